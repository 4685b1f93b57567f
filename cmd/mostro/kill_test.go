package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// moment is when mostro is killed in a trade.
type moment struct {
	name   string
	step   string // of labTrade.steps
	when   when
	window time.Duration // the kill comes at random within it
	rounds int           // trades; each takes its own part of the window
	held   bool          // the buyer gives a hold invoice of his own
}

type when int

const (
	inTheAir  when = iota // within the window from the request on: the relay may have it or not
	after                 // within the window after the step was done
	whileAway             // before the step, which is done while nobody is there
)

// TestKillNine kills mostro in the middle of whole trades and starts it again, at another
// moment of each. Both sides finish each time, without doing anything again themselves, and
// every sat is where it belongs.
func TestKillNine(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for _, m := range []moment{
		{"the order in the air", "new-order", inTheAir, 10 * time.Millisecond, 3, false},
		{"the order in the book", "new-order", after, 0, 1, false},
		{"the take in the air", "take-sell", inTheAir, 10 * time.Millisecond, 3, false},
		{"the order taken", "take-sell", after, 0, 1, false},
		{"the invoice in the air, the hold invoice being made", "add-invoice", inTheAir, 20 * time.Millisecond, 4, false},
		{"the hold invoice is paid while mostro is away", "pay", whileAway, 0, 1, false},
		{"the hold invoice just paid", "pay", after, 100 * time.Millisecond, 3, false},
		{"the sats held", "active", after, 0, 1, false},
		{"fiat-sent in the air", "fiat-sent", inTheAir, 10 * time.Millisecond, 2, false},
		{"fiat-sent is sent while mostro is away", "fiat-sent", whileAway, 0, 1, false},
		{"the release in the air, the escrow being settled", "release", inTheAir, 20 * time.Millisecond, 4, false},
		{"the payout being sent", "release", after, 100 * time.Millisecond, 4, false},
		{"the payout in flight", "payout held", after, 0, 1, true},
		{"the payout arrives while mostro is away", "payout settled", whileAway, 0, 1, true},
	} {
		for round := range m.rounds {
			delay := time.Duration((float64(round) + random.Float64()) * float64(m.window) / float64(m.rounds))
			t.Run(m.name, func(t *testing.T) { l.tradeAndKill(t, m, delay) })
		}
	}
	l.settle(t)
}

// tradeAndKill plays a whole trade with a kill in it.
func (l *lab) tradeAndKill(t *testing.T, m moment, delay time.Duration) {
	ctx := labContext(t)
	x := l.newTrade(t, ctx)
	modes := []client.Mode{{Transport: mostro.NIP44}, {Transport: mostro.GiftWrap}, {FullPrivacy: true}}
	x.makes, x.takes = modes[x.number%3], modes[x.number/3%3]
	t.Logf("%d is made with %+v and taken with %+v", x.number, x.makes, x.takes)
	if m.held {
		x.invoice = x.heldInvoice
	}
	for _, s := range x.steps() {
		if s.name != m.step {
			x.run(ctx, []step{s})
		} else if err := x.killAt(ctx, s, m.when, delay); err != nil {
			t.Fatal(err)
		}
	}
	if x.asked != 100_300 || x.promised != 99_700 {
		t.Errorf("the seller was asked for %d sat, the buyer promised %d", x.asked, x.promised)
	}
	x.account(ctx)
}

// killAt kills mostro at one step of a trade and starts it again.
func (x *labTrade) killAt(ctx context.Context, s step, when when, delay time.Duration) error {
	done := make(chan error, 1)
	do := func() { done <- x.do(ctx, s) }
	switch when {
	case inTheAir:
		go do()
	case after:
		do()
	}
	time.Sleep(delay)
	if err := x.kill(); err != nil {
		return err
	}
	x.t.Logf("!! mostro is killed, %v later", delay)
	switch {
	case when == whileAway && s.nodes:
		do()
	case when == whileAway:
		go do()
	}
	if err := x.start(ctx); err != nil {
		return err
	}
	x.t.Log("!! mostro is back")
	return <-done
}

// noAnswer is what mostro logs when its Lightning node is away.
const noAnswer = "the Lightning node does not answer"

// TestLightningNodeRestarts: the Lightning nodes die and hang while sats are held and paid
// out. What the two say in the meantime is taken and carried out later.
func TestLightningNodeRestarts(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	for _, test := range []struct {
		name string
		held bool // the buyer gives a hold invoice of his own
		play func(ctx context.Context, x *labTrade) error
	}{
		{"killed while the sats are held", false, func(ctx context.Context, x *labTrade) error {
			x.run(ctx, x.funding())
			logged := l.logged()
			l.network.KillNode(escrowNode)
			x.t.Log("!! lnd is killed")
			if err := l.waitLog(ctx, logged, noAnswer); err != nil {
				return err
			}
			return x.duringAbsence(ctx, func() error { return l.network.StartNode(ctx, escrowNode) })
		}},
		{"killed and back at once", false, func(ctx context.Context, x *labTrade) error {
			x.run(ctx, x.funding())
			l.network.KillNode(escrowNode)
			if err := l.network.StartNode(ctx, escrowNode); err != nil {
				return err
			}
			x.run(ctx, x.payingOut())
			return nil
		}},
		{"hanging while the sats are held", false, func(ctx context.Context, x *labTrade) error {
			x.run(ctx, x.funding())
			logged := l.logged()
			if err := l.network.Freeze(ctx, escrowNode); err != nil {
				return err
			}
			x.t.Log("!! lnd hangs")
			if err := l.waitLog(ctx, logged, noAnswer); err != nil {
				return err
			}
			return x.duringAbsence(ctx, func() error { return l.network.Thaw(escrowNode) })
		}},
		{"the buyer's node is away when he is paid", false, func(ctx context.Context, x *labTrade) error {
			x.run(ctx, x.funding())
			l.network.KillNode("bob")
			x.t.Log("!! the buyer's lnd is killed")
			if err := l.waitDisconnected(ctx, "bob"); err != nil {
				return err
			}
			x.run(ctx, x.payingOut()[:2])
			asked := x.hears(ctx, x.bought, mostro.AddInvoice)
			if err := l.network.StartNode(ctx, "bob"); err != nil {
				return err
			}
			x.t.Log("!! the buyer's lnd is back")
			x.replaceInvoice(ctx, asked)
			return nil
		}},
		{"the buyer's node hangs when he is paid", false, func(ctx context.Context, x *labTrade) error {
			x.run(ctx, x.funding())
			if err := l.network.Freeze(ctx, "bob"); err != nil {
				return err
			}
			x.t.Log("!! the buyer's lnd hangs")
			steps := x.payingOut()
			x.run(ctx, steps[:2])
			// The payment is on its way, and no other is made in its place.
			if err := l.waitInFlight(ctx, x.payout.Hash); err != nil {
				return err
			}
			if err := l.network.Thaw("bob"); err != nil {
				return err
			}
			x.t.Log("!! the buyer's lnd goes on")
			x.run(ctx, steps[2:])
			return nil
		}},
		{"killed while the payout is in flight", true, func(ctx context.Context, x *labTrade) error {
			return x.untilHeld(ctx, func() error {
				l.network.KillNode(escrowNode)
				x.t.Log("!! lnd is killed")
				return l.network.StartNode(ctx, escrowNode)
			})
		}},
		{"both killed while the payout is in flight", true, func(ctx context.Context, x *labTrade) error {
			return x.untilHeld(ctx, func() error {
				l.network.KillNode(escrowNode)
				if err := l.kill(); err != nil {
					return err
				}
				x.t.Log("!! lnd and mostro are killed")
				if err := l.start(ctx); err != nil {
					return err
				}
				return l.network.StartNode(ctx, escrowNode)
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := labContext(t)
			x := l.newTrade(t, ctx)
			x.patient = true
			if test.held {
				x.invoice = x.heldInvoice
			}
			if err := test.play(ctx, x); err != nil {
				t.Fatal(err)
			}
			x.account(ctx)
		})
	}
	l.settle(t)
}

// duringAbsence plays the rest of a trade while lnd is away, until nothing more can be done,
// and ends it when lnd is back. Meanwhile orders can be made, and not taken.
func (x *labTrade) duringAbsence(ctx context.Context, back func() error) error {
	other := x.newTrade(x.t, ctx)
	if err := other.do(ctx, step{"new-order of others", false, other.newOrder}); err != nil {
		return err
	}
	_, _, err := other.buyer.client.Take(ctx, other.shown, "", client.Mode{})
	cantDo(x.t, "a take while lnd is away", err, mostro.NotAllowedByStatus)
	if _, err := other.sold.Cancel(ctx); err != nil {
		return err
	}
	steps := x.payingOut()
	if err := x.do(ctx, steps[0]); err != nil {
		return err
	}
	// The answer to the release waits for the node; the relay's OK does not.
	if err := x.seller.say(ctx, x.sold, mostro.Message{Action: mostro.Release}); err != nil {
		return err
	}
	if err := back(); err != nil {
		return err
	}
	x.t.Log("!! lnd is back")
	if _, err := x.sold.Wait(ctx, mostro.HoldInvoicePaymentSettled); err != nil {
		return err
	}
	x.run(ctx, steps[2:])
	return nil
}

// untilHeld plays a trade until its payout hangs at the buyer's node, lets something happen,
// and ends it.
func (x *labTrade) untilHeld(ctx context.Context, happen func() error) error {
	x.run(ctx, x.funding())
	steps := x.payingOut()
	x.run(ctx, steps[:3])
	if err := happen(); err != nil {
		return err
	}
	x.t.Log("!! all are back")
	x.run(ctx, steps[3:])
	return nil
}

// waitDisconnected waits until the escrow's node knows that it has lost a peer. A payment that
// comes before hangs until the peer is back.
func (l *lab) waitDisconnected(ctx context.Context, name string) error {
	return waitUntil(ctx, "the loss of "+name, func() (bool, error) {
		answer, err := l.network.Client(escrowNode).ListChannels(ctx, &lnrpc.ListChannelsRequest{ActiveOnly: true})
		return !slices.ContainsFunc(answer.GetChannels(), func(c *lnrpc.Channel) bool {
			return c.RemotePubkey == l.network.Node(name).Pubkey
		}), err
	})
}

// waitInFlight waits until the escrow's node has begun a payment.
func (l *lab) waitInFlight(ctx context.Context, hash order.Hash) error {
	return waitUntil(ctx, "the payout", func() (bool, error) {
		begun := false
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		err := l.demo.escrow.Track(ctx, hash, func(p lightning.Payment) {
			begun = p.State == lightning.InFlight
			cancel()
		})
		if begun {
			return true, nil
		}
		return false, err
	})
}
