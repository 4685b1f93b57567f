package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow"
)

const (
	chaosRest = 2 * time.Second
	chaosYes  = 2 * time.Second
)

// fault is one way to fail, and how the world is put right again.
type fault struct {
	name  string
	often int // of all: its share
	kills int
	do    func(*chaos, context.Context) error
}

func chaosFaults() []fault {
	return []fault{
		{"kill -9 of mostro", 40, 1, (*chaos).killMostro},
		{"kill -9 of mostro, as it says yes", 20, 1, (*chaos).killSayingYes},
		{"kill -9 of lnd", 3, 1, (*chaos).killLND},
		{"kill -9 of both", 3, 2, (*chaos).killBoth},
		{"lnd is restarted", 4, 0, (*chaos).restartLND},
		{"lnd hangs", 8, 0, (*chaos).hangLND},
		{"mostro is killed while lnd hangs", 5, 1, (*chaos).killWhileHanging},
		{"WebSockets cut", 10, 0, (*chaos).cut},
		{"blocks mined", 3, 0, (*chaos).mine},
		{"many blocks mined at once", 2, 0, (*chaos).mineBurst},
		{"disk full", 5, 0, (*chaos).fillDisk},
	}
}

// fail lets things fail, one after the other, until each has failed and there were enough
// kills.
func (x *chaos) fail(ctx context.Context) error {
	if err := x.passDeadlines(ctx); err != nil {
		return err
	}
	once := chaosFaults()
	x.random.Shuffle(len(once), func(i, j int) { once[i], once[j] = once[j], once[i] })
	for ctx.Err() == nil {
		var f fault
		switch {
		case len(once) > 0:
			f, once = once[0], once[1:]
		case x.kills >= x.wantKills:
			return nil
		default:
			f = x.pick()
		}
		if !x.can(f) {
			continue
		}
		// Kills and trades keep pace, so that no trade is spared.
		if err := x.await(ctx, func() bool { return x.begun*x.wantKills >= min(x.kills, x.wantKills)*x.wantTrades }); err != nil {
			return err
		}
		if err := x.strike(ctx, f); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// await is wait for who lets things fail; when nothing happens he does what an operator would.
func (x *chaos) await(ctx context.Context, holds func() bool) error {
	for {
		x.wait(ctx, func() bool { return holds() || x.stuck })
		if !x.now(func() bool { return x.stuck }) {
			return nil
		}
		x.note(func() { x.stuck = false })
		if err := x.operate(ctx); err != nil {
			return err
		}
	}
}

// strike lets one thing fail.
func (x *chaos) strike(ctx context.Context, f fault) error {
	x.rest(chaosRest)
	x.t.Logf("!! %s", f.name)
	if err := f.do(x, ctx); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	select {
	case <-x.drained:
		return fmt.Errorf("after %s mostro has ended by itself:\n%s", f.name, x.lastWords())
	default:
	}
	x.note(func() { x.faults[f.name]++; x.kills += f.kills })
	if x.lose > 0 && x.kills >= x.lose {
		return x.loseChannel(ctx)
	}
	return nil
}

// pick draws a fault by its share.
func (x *chaos) pick() fault {
	faults := slices.DeleteFunc(chaosFaults(), func(f fault) bool { return !x.can(f) })
	sum := 0
	for _, f := range faults {
		sum += f.often
	}
	at := x.random.IntN(sum)
	for _, f := range faults {
		if at -= f.often; at < 0 {
			return f
		}
	}
	panic("shares do not add up")
}

// can tells whether a fault is possible: there may be no disk, and blocks come by count up to the deadlines.
func (x *chaos) can(f fault) bool {
	switch f.name {
	case "disk full":
		return x.disk.why == nil
	case "blocks mined", "many blocks mined at once":
		return x.ready
	}
	return true
}

// rest sleeps up to a time, often not at all.
func (x *chaos) rest(most time.Duration) {
	time.Sleep(time.Duration(max(0, x.random.Int64N(int64(most)*5/4)-int64(most)/4)))
}

// kill ends mostro by kill -9.
func (x *chaos) kill() error {
	x.down = true
	return x.lab.kill()
}

func (x *chaos) killMostro(ctx context.Context) error {
	if err := x.kill(); err != nil {
		return err
	}
	x.rest(chaosRest / 3)
	return x.start(ctx)
}

// killSayingYes kills mostro as soon as a client has heard that its event counts. What does not come
// for so long is not waited for.
func (x *chaos) killSayingYes(ctx context.Context) error {
	select {
	case <-x.proxy.yes:
	case <-time.After(chaosYes):
	}
	return x.killMostro(ctx)
}

func (x *chaos) killLND(ctx context.Context) error {
	x.network.KillNode(escrowNode)
	x.rest(chaosRest)
	return x.startLND(ctx)
}

// restartLND ends lnd as an operator would, and starts it. Trades go on meanwhile.
func (x *chaos) restartLND(ctx context.Context) error {
	x.stopLND(ctx)
	x.rest(chaosRest)
	return x.startLND(ctx)
}

// stopLND ends lnd. It may hang where it stands, killed at a bad moment and its links with it, and then not end by
// itself.
func (x *chaos) stopLND(ctx context.Context) {
	stops, cancel := context.WithTimeout(ctx, lndSilent)
	defer cancel()
	x.network.StopNode(stops, escrowNode)
}

// errLNDBroken means that lnd is broken, and not by mostro. Killed in the moment after it has
// settled an HTLC, lnd sometimes tries to settle it again at each start, fails the channel for that,
// and never uses it again (github.com/lightningnetwork/lnd/issues/1642 and 8315): trades over it end
// only on the chain.
var errLNDBroken = errors.New("lnd has lost a channel by being killed")

// startLND brings lnd back. One that was killed at a bad moment of its own may need a second
// start.
func (x *chaos) startLND(ctx context.Context) error {
	var err error
	for range 3 {
		if err = x.network.StartNode(ctx, escrowNode); err == nil {
			err = x.channelsLive(ctx)
		}
		// A broken one may have closed the channel when it is asked again, and nothing would seem to be wrong.
		if err == nil || ctx.Err() != nil || errors.Is(err, errLNDBroken) {
			return err
		}
		x.t.Logf("!! lnd does not start: %v", err)
		x.network.KillNode(escrowNode)
	}
	return err
}

// channelsLive answers with errLNDBroken when a channel does not come back, or is closed, and lnd says why.
func (x *chaos) channelsLive(ctx context.Context) error {
	dead, err := x.network.Client(escrowNode).ListChannels(ctx, &lnrpc.ListChannelsRequest{InactiveOnly: true})
	if err != nil {
		return err
	}
	closing, err := x.network.Client(escrowNode).PendingChannels(ctx, &lnrpc.PendingChannelsRequest{})
	if err != nil || len(dead.Channels)+len(closing.WaitingCloseChannels)+len(closing.PendingForceClosingChannels) == 0 {
		return err
	}
	if err := x.linkLost(); err != nil {
		return err
	}
	return fmt.Errorf("channels do not come back: %v, or are closed: %v", dead.Channels, closing)
}

// linkLost answers with errLNDBroken when lnd has said that it uses a channel no more. It may do so a moment after
// the channel seemed to be there again.
func (x *chaos) linkLost() error {
	log, err := os.ReadFile(filepath.Join(filepath.Dir(x.network.Node(escrowNode).TLSCert), "logs", "bitcoin", "simnet", "lnd.log"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "failing link: unable to settle htlc: No HTLC with ID") {
			return fmt.Errorf("%w: %s", errLNDBroken, strings.TrimSpace(line))
		}
	}
	return nil
}

func (x *chaos) killBoth(ctx context.Context) error {
	x.network.KillNode(escrowNode)
	if err := x.kill(); err != nil {
		return err
	}
	first, second := x.start, x.startLND
	if x.random.IntN(2) == 0 {
		first, second = second, first
	}
	if err := first(ctx); err != nil {
		return err
	}
	x.rest(chaosRest)
	return second(ctx)
}

func (x *chaos) hangLND(ctx context.Context) error {
	if err := x.network.Freeze(ctx, escrowNode); err != nil {
		return err
	}
	x.rest(5 * chaosRest) // now and then longer than a call waits
	return x.network.Thaw(escrowNode)
}

func (x *chaos) killWhileHanging(ctx context.Context) error {
	if err := x.network.Freeze(ctx, escrowNode); err != nil {
		return err
	}
	x.rest(chaosRest)
	return errors.Join(x.killMostro(ctx), x.network.Thaw(escrowNode))
}

func (x *chaos) cut(context.Context) error {
	x.proxy.cut(x.random)
	return nil
}

// fillDisk leaves mostro a little room, and then more. The reserves last for so long; should it end
// nevertheless, it says why and is started again, as a supervisor would.
func (x *chaos) fillDisk(ctx context.Context) error {
	if err := x.disk.shrink(x.random.Uint64N(256 << 10)); err != nil {
		return err
	}
	x.rest(2 * chaosRest)
	if err := x.disk.grow(); err != nil {
		return err
	}
	x.rest(chaosRest) // in which it may still end
	select {
	case <-x.drained:
		how := "mostro ended on a full disk and said so"
		switch log := x.readLog(); {
		case strings.Contains(log, escrow.ErrNoSpace.Error()):
		case strings.Contains(log, "signal SIGBUS"): // Badger was compacting in that moment
			how = "mostro was killed by a full disk"
		default:
			return fmt.Errorf("mostro has ended on a full disk without a word about it:\n%s", x.lastWords())
		}
		x.note(func() { x.faults[how]++ })
		return x.start(ctx)
	default:
		return nil
	}
}

// lastWords is the end of the log of a mostro that has ended.
func (x *chaos) lastWords() string {
	lines := strings.Split(x.readLog(), "\n")
	return strings.Join(lines[max(0, len(lines)-storyLines):], "\n")
}

// startOnDisk starts the node on a file system of its own, where that is possible.
func (x *chaos) startOnDisk(l *lab, ctx context.Context) error {
	x.disk = newDisk(l.t, l.dir+"-disk", chaosDisk)
	l.settings = x.terms()
	return x.disk.start(l, ctx)
}

// start starts mostro anew, now and then with other terms for new orders. Of the one before only what
// the lab keeps is of interest.
func (x *chaos) start(ctx context.Context) error {
	x.process.seen = nil
	x.settings = x.terms()
	x.down = false
	return errors.Join(x.lab.start(ctx), x.disk.uses(x.process.cmd.Process))
}

// terms are settings, with bonds of one side, of both, or none.
func (x *chaos) terms() []string {
	settings := append(strings.Fields(chaosSettings), fmt.Sprintf("lightning.hold_invoice_cltv_delta=%d", x.cltv))
	sides := []string{bondTake, bondMake, bondBoth}
	if i := x.random.IntN(len(sides) + 1); i < len(sides) {
		settings = append(settings, "anti_abuse_bond.enabled=true", "anti_abuse_bond.apply_to="+sides[i])
	}
	return settings
}
