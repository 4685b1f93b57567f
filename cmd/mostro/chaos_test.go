package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// TestChaos runs a short round in every full run of the tests. A long one is
// go test ./cmd/mostro -run Chaos -v -timeout 3h -args -trades 500 -kills 500.
var (
	chaosTrades = flag.Int("trades", 20, "trades of the chaos test")
	chaosKills  = flag.Int("kills", 30, "kills of the chaos test, of mostro and its lnd together; other faults come on top")
	chaosSeed   = flag.Uint64("seed", 0, "of the chaos test; 0 is one of its own")
	// A round has no time limit but this: no message has come, nothing has failed and no trade has ended.
	chaosStill = flag.Duration("still", 5*time.Minute, "after which the chaos test ends when nothing happens")
	chaosLose  = flag.Int("lose", 0, "kills after which lnd is made to lose a channel in the first round of the chaos test; 0 is never")
)

const (
	chaosAtOnce = 12 // trades
	chaosIdle   = 3  // rounds, one after the other, in which lnd breaks before any trade counts

	chaosLook     = 15 * time.Second // after which lnd's log is looked at
	chaosOperates = 3                // times that lnd is started anew while things fail, since nothing happens
)

// chaos is a lab in which everything fails that can: trades run between real clients while
// mostro and its lnd are killed, hang and lose their connections and their disk.
type chaos struct {
	*lab
	seed   uint64
	random *rand.Rand // of the faults; each trade has its own
	proxy  *proxy     // between the clients and mostro
	disk   *disk
	user   *client.Client // of nobody: reads the book
	admin  *client.Admin

	wantTrades, wantKills int  // in this round
	lose                  int  // kills after which lnd is made to lose a channel; 0 is never
	down                  bool // mostro was killed and not started

	cltv      uint32        // blocks, of the escrows of new orders
	forgotten int           // so many trades are, the first
	forgets   []*chaosTrade // these

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at everything that happens
	last    time.Time     // that something has happened
	faults  map[string]int
	kills   int
	blocks  uint32
	begun   int
	trades  []*chaosTrade             // these
	held    int                       // forgotten trades, whose sats are held
	passed  int                       // these have ended
	ready   bool                      // for other trades
	stuck   bool                      // nothing happens, while things fail
	orders  int                       // with the rests of ranges
	owed    map[order.Hash]order.Msat // by the payment that is in flight, when nothing fails any more
	calm    chan struct{}             // closed when nothing fails any more
	stands  chan struct{}             // closed when nothing happens any more either

	took        time.Duration
	differences int
	lost        error // errLNDBroken, which has ended the round
	left        int   // trades on the channel that was lost
}

// TestChaos: whatever fails while trades run, in the end each has ended as its two sides
// wanted, no sat was paid twice, none is lost, and the auditor says so too. Trades are over fixed
// amounts and over parts of ranges, whose rests are offered again; orders are born with bonds of one side,
// of both or of none, which come back, or go to the other side by a solver's verdict. The first trades are
// forgotten by both sides, and bursts of blocks bring them to their deadline.
//
// Killed at a bad moment, lnd loses a channel (errLNDBroken), and with it the trades of that moment. Such a round ends
// there and is judged as it stands (judgeLost); what is left to do is done in another round, on a network of its own,
// until as many trades as were asked for are accounted, among as many kills. -lose has it happen in the first round.
//
// It was tried on code that was broken by hand, in rounds of 20 trades and 30 kills. It found
//   - the buyer promised one sat less: "the seller was asked for 42252 and the buyer promised 41999,
//     want a fee of 126 each", of each trade that completes;
//   - messages acknowledged before they are written: "new-order: the request is accepted, the node has
//     not answered it yet", since mostro is also killed as it says yes;
//   - calls taken off the outbox before they are made: "nothing has happened", and the story of a
//     trade whose escrow lnd still holds although the verdict was to settle it;
//   - hold invoices that are not canceled: the same, with the payments of the sellers in flight;
//   - the winner of a bond paid one sat less: the story of a trade that waits for it.
//
// 500 trades with 500 kills, bonds, ranges and bursts of blocks (710 faults, 35 minutes, seed 20261204, in three rounds since lnd lost
// a channel twice) had no difference, nor had 500 and 500 before there were bonds (seed 20261128). In other runs lnd lost a channel
// after 11, 66, 255 and 401 kills.
//
// It did not find an answer that never came taken for a failed payment, a payment that lnd has
// taken over booked as paid, a dead stream that stays dead, nor messages forgotten before they are
// published: lnd's own memory, the next start and luck make up for these here. The last two are
// caught elsewhere (escrow/mutants).
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	sums := newChaosSums()
	defer func() { t.Log(sums.text()) }()
	for idle := 0; !t.Failed() && !sums.done(); seed++ {
		before := sums.trades
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			trades, kills := sums.next()
			x := newChaos(t, seed, trades, kills)
			if len(sums.seeds) == 0 {
				x.lose = *chaosLose
			}
			defer sums.add(x)
			x.round(t)
		})
		if idle++; sums.trades > before {
			idle = 0
		}
		if idle == chaosIdle {
			t.Errorf("no trade counts in %d rounds, one after the other", idle)
		}
	}
}

func newChaos(t *testing.T, seed uint64, trades, kills int) *chaos {
	x := &chaos{
		seed: seed, random: rand.New(rand.NewPCG(seed, 0)), changed: make(chan struct{}), last: time.Now(),
		wantTrades: trades, wantKills: kills,
		cltv: forgottenCLTV, forgotten: min(forgottenMost, max(1, trades/10)),
		faults: map[string]int{}, owed: map[order.Hash]order.Msat{},
		calm: make(chan struct{}), stands: make(chan struct{}),
	}
	x.lab = labOn(t, regtest.ForTest(t), x.startOnDisk)
	return x
}

// round lets trades run while things fail, until there were as many as it wants or lnd breaks.
func (x *chaos) round(t *testing.T) {
	t.Logf("seed %d: %d trades, %d kills", x.seed, x.wantTrades, x.wantKills)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	x.open(t, ctx)
	var faults, trades, watch sync.WaitGroup
	watch.Go(func() { x.watch(ctx, cancel) })

	began := time.Now()
	places := make(chan struct{}, chaosAtOnce)
	begin := func(i int) *chaosTrade {
		places <- struct{}{}
		return x.newTrade(i, sync.OnceFunc(func() { <-places }))
	}
	for i := range x.forgotten {
		x.forgets = append(x.forgets, begin(i))
	}
	faults.Go(func() {
		defer close(x.calm)
		if err := x.fail(ctx); err != nil {
			cancel(fmt.Errorf("while things fail: %w", err))
		}
	})
	play := func(c *chaosTrade) {
		x.note(func() { x.begun++; x.trades = append(x.trades, c) })
		trades.Go(func() {
			if err := c.playAndAccount(ctx); err != nil && !errors.Is(context.Cause(ctx), errLNDBroken) {
				c.fails(t, err)
			}
		})
	}
	for _, c := range x.forgets {
		play(c)
	}
	for i := x.forgotten; i < x.wantTrades; i++ {
		x.wait(ctx, func() bool { return x.ready && x.kills*x.wantTrades >= i*x.wantKills })
		if ctx.Err() != nil {
			break
		}
		play(begin(i))
	}
	faults.Wait()
	t.Logf("!! nothing fails any more, %v after the beginning", time.Since(began).Round(time.Second))
	trades.Wait()
	x.took = time.Since(began)
	switch err := context.Cause(ctx); {
	case errors.Is(err, errLNDBroken):
		x.lost = err
		watch.Wait()
		x.judgeLost(t)
	case err != nil:
		t.Errorf("the round has ended before its time: %v", err)
	default:
		x.settle(t)
		x.differences = x.compare(t, ctx)
	}
}

// playAndAccount brings a trade to its end, and says what of it was wrong.
func (c *chaosTrade) playAndAccount(ctx context.Context) error {
	lives, end := c.untilItStands(ctx)
	defer end()
	err := c.play(lives)
	c.leave()
	if c.course == forgotten {
		c.note(func() { c.passed++ })
	}
	<-c.calm // the escrow's node is asked too
	for _, part := range c.parts() {
		if err == nil && lives.Err() == nil {
			err = part.account(lives)
		}
		if err != nil && part.counted {
			return err
		}
	}
	if stands := context.Cause(lives); ctx.Err() == nil && errors.Is(stands, errStands) {
		var wrong error
		err = errors.Join(stands, err)
		for _, part := range c.parts() {
			switch {
			case part.counted:
			case part.played:
				wrong = errors.Join(wrong, part.account(ctx))
			default:
				wrong = errors.Join(wrong, part.owes(ctx, err))
			}
		}
		return wrong
	}
	return err
}

// watch ends the round when lnd has lost a channel, and what stands still when a new start of lnd has not
// helped: the round while things fail, and afterwards the trades.
func (x *chaos) watch(ctx context.Context, end context.CancelCauseFunc) {
	operated, told, looked := false, 0, time.Now()
	for ctx.Err() == nil {
		if time.Since(looked) > chaosLook {
			if err := x.linkLost(); err != nil {
				end(err)
				return
			}
			looked = time.Now()
		}
		x.mu.Lock()
		last := x.last
		x.mu.Unlock()
		if time.Since(last) > *chaosStill {
			select {
			case <-x.calm:
			default:
				if told == chaosOperates {
					end(fmt.Errorf("nothing has happened for %v", *chaosStill))
					return
				}
				told++
				x.note(func() { x.stuck = true })
				continue
			}
			if operated {
				close(x.stands)
				return
			}
			operated = true
			if err := x.operate(ctx); err != nil {
				end(err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// open connects what the trades share.
func (x *chaos) open(t *testing.T, ctx context.Context) {
	t.Helper()
	var err error
	if x.proxy, err = startProxy(x.address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.proxy.close)
	if x.user, err = x.dial(ctx, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.user.Close)
	x.admin = x.user.Admin(x.lab.admin, mostro.NIP44)
}

// dial makes a new user, who comes through the proxy.
func (x *chaos) dial(ctx context.Context, heard func(*client.Trade, mostro.Message)) (c *client.Client, err error) {
	words, err := mostro.NewMnemonic()
	if err != nil {
		return nil, err
	}
	err = waitUntil(ctx, "the relay", func() (bool, error) {
		c, err = client.Dial(ctx, client.Config{
			RelayURL: "ws://" + x.proxy.address(), Node: x.key.Public(), Keys: client.Keys{Mnemonic: words}, Heard: heard,
		})
		return err == nil, err
	})
	return c, err
}

// note changes what all share.
func (x *chaos) note(change func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change()
	x.last = time.Now()
	close(x.changed)
	x.changed = make(chan struct{})
}

// now tells whether a condition on what all share holds.
func (x *chaos) now(holds func() bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return holds()
}

// wait waits until a condition on what all share holds, or ctx ends.
func (x *chaos) wait(ctx context.Context, holds func() bool) {
	for {
		x.mu.Lock()
		ok, changed := holds(), x.changed
		x.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// compare holds the auditor's sums against what the nodes of sellers and buyers say, and
// returns how many things differ.
func (x *chaos) compare(t *testing.T, ctx context.Context) int {
	t.Helper()
	r := x.report(t, ctx)
	var sellers, buyers, routing order.Msat
	for _, f := range x.flows {
		sellers, buyers, routing = sellers+f.SellerPaid, buyers+f.BuyerGot, routing+f.EscrowRouting
	}
	differences := len(r.Differences)
	for _, err := range x.owes(r) {
		differences++
		t.Error(err)
	}
	for what, pair := range map[string][2]order.Msat{
		"settled in":                         {r.Total.SettledIn, sellers},
		"settled, as the escrow's node says": {r.Settled.Amount, sellers},
		"paid out":                           {r.Total.PaidOut, buyers},
		"paid, as the escrow's node says":    {r.Paid.Amount, buyers},
		"routing":                            {r.Total.Routing, routing},
		"held":                               {r.Total.Held, 0},
	} {
		if pair[0] != pair[1] {
			differences++
			t.Errorf("%s: the auditor says %s msat, the nodes %s", what, thousands(pair[0]), thousands(pair[1]))
		}
	}
	orders, err := x.events(ctx, nostr.Filter{Kinds: []int{mostro.KindOrder}, Limit: 10 * x.orders})
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != x.orders {
		differences++
		t.Errorf("%d orders are public, of %d", len(orders), x.orders)
	}
	if r.OthersPaid.Count > 0 {
		differences++
		t.Errorf("the escrow's node has paid %d invoices that no order has", r.OthersPaid.Count)
	}
	return differences
}
