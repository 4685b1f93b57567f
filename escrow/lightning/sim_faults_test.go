package lightning_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// TestFaultsAroundCalls checks for each method that Before keeps the effect from happening
// and that After only loses the answer.
func TestFaultsAroundCalls(t *testing.T) {
	lost := errors.New("lost")
	only := func(method lightning.SimMethod) func(lightning.SimMethod, order.Hash) error {
		return func(asked lightning.SimMethod, _ order.Hash) error {
			if asked == method {
				return lost
			}
			return nil
		}
	}
	for _, c := range []struct {
		method lightning.SimMethod
		call   func(n trio, hold lightning.HoldInvoice, preimage order.Preimage, payout string) error
		effect func(n trio, hold lightning.HoldInvoice, payout string) bool
	}{
		{
			lightning.SimOpenHold,
			func(n trio, _ lightning.HoldInvoice, _ order.Preimage, _ string) error {
				_, err := n.escrow.OpenHold(t.Context(), lightning.HoldRequest{Hash: order.Hash{9}, Amount: 1000})
				return err
			},
			func(n trio, _ lightning.HoldInvoice, _ string) bool {
				_, ok := n.escrow.HoldState(order.Hash{9})
				return ok
			},
		},
		{
			lightning.SimSettle,
			func(n trio, _ lightning.HoldInvoice, preimage order.Preimage, _ string) error {
				return n.escrow.Settle(t.Context(), preimage)
			},
			func(n trio, hold lightning.HoldInvoice, _ string) bool {
				state, _ := n.escrow.HoldState(hold.Hash)
				return state.State == lightning.Settled
			},
		},
		{
			lightning.SimCancel,
			func(n trio, hold lightning.HoldInvoice, _ order.Preimage, _ string) error {
				return n.escrow.Cancel(t.Context(), hold.Hash)
			},
			func(n trio, hold lightning.HoldInvoice, _ string) bool {
				state, _ := n.escrow.HoldState(hold.Hash)
				return state.State == lightning.Canceled
			},
		},
		{
			lightning.SimSend,
			func(n trio, _ lightning.HoldInvoice, _ order.Preimage, payout string) error {
				_, err := n.escrow.Send(t.Context(), payRequest(payout, 1000))
				return err
			},
			func(n trio, _ lightning.HoldInvoice, payout string) bool {
				_, ok := n.escrow.PaymentState(hashOf(t, payout))
				return ok
			},
		},
	} {
		for _, when := range []string{"before", "after"} {
			n := newTrio(t)
			hold, preimage := n.hold(t, 1, 1000)
			if _, err := n.seller.PayHold(hold.Invoice); err != nil {
				t.Fatal(err)
			}
			payout := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 1_000_000})
			faults := lightning.Faults{Before: only(c.method)}
			if when == "after" {
				faults = lightning.Faults{After: only(c.method)}
			}
			n.escrow.SetFaults(faults)
			if err := c.call(n, hold, preimage, payout); !errors.Is(err, lost) {
				t.Errorf("%s %s: %v, want %v", when, c.method, err, lost)
			}
			if got, want := c.effect(n, hold, payout), when == "after"; got != want {
				t.Errorf("%s %s: effect %v, want %v", when, c.method, got, want)
			}
			if count := n.escrow.Count(c.method); count == 0 {
				t.Errorf("%s %s: the call was not counted", when, c.method)
			}
		}
	}
}

// TestHangEndsWithContext hangs every method in turn.
func TestHangEndsWithContext(t *testing.T) {
	n := newTrio(t)
	n.escrow.SetFaults(lightning.Faults{Before: func(lightning.SimMethod, order.Hash) error { return lightning.ErrSimHang }})
	for name, call := range map[string]func(ctx context.Context) error{
		"Info":        func(ctx context.Context) error { _, err := n.escrow.Info(ctx); return err },
		"Balance":     func(ctx context.Context) error { _, err := n.escrow.Balance(ctx); return err },
		"Lookup":      func(ctx context.Context) error { _, err := n.escrow.Lookup(ctx, order.Hash{1}); return err },
		"Settle":      func(ctx context.Context) error { return n.escrow.Settle(ctx, order.Preimage{}) },
		"Cancel":      func(ctx context.Context) error { return n.escrow.Cancel(ctx, order.Hash{1}) },
		"CanRoute":    func(ctx context.Context) error { return n.escrow.CanRoute(ctx, order.Invoice{}, 1) },
		"WatchBlocks": func(ctx context.Context) error { return n.escrow.WatchBlocks(ctx, func(uint32) {}) },
		"OpenHold": func(ctx context.Context) error {
			_, err := n.escrow.OpenHold(ctx, lightning.HoldRequest{})
			return err
		},
		"WatchHold": func(ctx context.Context) error {
			return n.escrow.WatchHold(ctx, order.Hash{1}, func(lightning.HoldInvoice) {})
		},
		"Send": func(ctx context.Context) error { _, err := n.escrow.Send(ctx, lightning.PayRequest{}); return err },
		"Track": func(ctx context.Context) error {
			return n.escrow.Track(ctx, order.Hash{1}, func(lightning.Payment) {})
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", name, err)
		}
		cancel()
	}
}

// TestPaymentFaults follows one payout through each fault of a payment: what Track says at
// first, what another Send says, where the money is, and what Track says in the end.
func TestPaymentFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fate      lightning.SimFate
		says      lightning.PaymentState
		sendAgain error
		arrived   bool
		heal      func(n trio, hash order.Hash)
		ends      lightning.PaymentState
	}{
		"stuck, sent in the end":    {lightning.SimStuck, lightning.InFlight, lightning.ErrInFlight, false, unstick, lightning.Succeeded},
		"stuck, failed by restart":  {lightning.SimStuck, lightning.InFlight, lightning.ErrInFlight, false, restart, lightning.Failed},
		"frozen, told in the end":   {lightning.SimFrozen, lightning.InFlight, lightning.ErrAlreadyPaid, true, unstick, lightning.Succeeded},
		"frozen, told by restart":   {lightning.SimFrozen, lightning.InFlight, lightning.ErrAlreadyPaid, true, restart, lightning.Succeeded},
		"said to fail and succeeds": {lightning.SimLying, lightning.Failed, lightning.ErrAlreadyPaid, true, unstick, lightning.Succeeded},
	} {
		n := newTrio(t)
		n.escrow.SetFaults(lightning.Faults{Fate: func(order.Hash) lightning.SimFate { return c.fate }})
		var told []lightning.PaymentState
		n.net.OnChange(func(change lightning.SimChange) {
			if change.Payment != nil {
				told = append(told, change.Payment.State)
			}
		})
		before := n.buyer.Funds()
		payout := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 1_000_000})
		hash := hashOf(t, payout)
		if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); err != nil {
			t.Fatal(err)
		}
		if got := trackFirst(t, n.escrow, hash).State; got != c.says {
			t.Errorf("%s: track says %s, want %s", name, got, c.says)
		}
		if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); !errors.Is(err, c.sendAgain) {
			t.Errorf("%s: send again: %v, want %v", name, err, c.sendAgain)
		}
		if arrived := n.buyer.Funds() > before; arrived != c.arrived {
			t.Errorf("%s: the money arrived: %v, want %v", name, arrived, c.arrived)
		}
		c.heal(n, hash)
		if got := trackFirst(t, n.escrow, hash).State; got != c.ends {
			t.Errorf("%s: track says %s in the end, want %s", name, got, c.ends)
		}
		// A restart tells nothing: streams are dead over it.
		if last := told[len(told)-1]; last != c.ends && name != "frozen, told by restart" {
			t.Errorf("%s: told %v, want %s at the end", name, told, c.ends)
		}
		for i := 1; i < len(told); i++ {
			if told[i] == told[i-1] {
				t.Errorf("%s: told %v, want nothing twice in a row", name, told)
			}
		}
	}
}

func unstick(n trio, hash order.Hash) { n.escrow.Unstick(hash) }
func restart(n trio, hash order.Hash) { n.escrow.Restart() }

func TestIndexDelay(t *testing.T) {
	n := newTrio(t)
	n.escrow.SetFaults(lightning.Faults{IndexDelay: func(order.Hash) time.Duration { return time.Minute }})
	payout := n.buyer.AddInvoice(lightning.SimInvoiceRequest{Amount: 1_000_000})
	if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); err != nil {
		t.Fatal(err)
	}
	track := func() error { return n.escrow.Track(t.Context(), hashOf(t, payout), func(lightning.Payment) {}) }
	n.net.Advance(59 * time.Second)
	if err := track(); !errors.Is(err, lightning.ErrNotFound) {
		t.Errorf("track too early: %v, want %v", err, lightning.ErrNotFound)
	}
	n.net.Advance(time.Second)
	if err := track(); err != nil {
		t.Errorf("track when indexed: %v", err)
	}
}

func TestForgottenPayment(t *testing.T) {
	n := newTrio(t)
	payout, preimage := n.buyer.AddHoldInvoice(1_000_000)
	hash := preimage.Hash()
	if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); err != nil {
		t.Fatal(err)
	}
	n.escrow.ForgetPayment(hash)
	err := n.escrow.Track(t.Context(), hash, func(lightning.Payment) {})
	if !errors.Is(err, lightning.ErrNotFound) {
		t.Errorf("track: %v, want %v", err, lightning.ErrNotFound)
	}
	// The node would send again, and the payee does not take it twice.
	if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); err != nil {
		t.Errorf("send again: %v", err)
	}
	if got := trackFirst(t, n.escrow, hash); got.State != lightning.Failed {
		t.Errorf("the second payment: %+v, want failed", got)
	}
	before := n.buyer.Funds()
	n.net.OnChange(func(change lightning.SimChange) {
		if change.Payment != nil {
			t.Errorf("the node tells %+v of a payment that it has forgotten", change.Payment)
		}
	})
	if err := n.buyer.Settle(t.Context(), preimage); err != nil {
		t.Fatal(err)
	}
	if got := n.buyer.Funds() - before; got != 1_000_000 {
		t.Errorf("the buyer got %d msat, want 1,000,000", got)
	}
}

func TestNotices(t *testing.T) {
	for name, c := range map[string]struct {
		notice lightning.SimNotice
		want   []lightning.HoldState
	}{
		"once":  {lightning.SimOnce, []lightning.HoldState{lightning.Accepted, lightning.Settled}},
		"twice": {lightning.SimTwice, []lightning.HoldState{lightning.Accepted, lightning.Accepted, lightning.Settled, lightning.Settled}},
		"late":  {lightning.SimLate, []lightning.HoldState{lightning.Settled, lightning.Accepted}},
	} {
		n := newTrio(t)
		hold, preimage := n.hold(t, 1, 1000)
		var got []lightning.HoldState
		n.net.OnChange(func(change lightning.SimChange) {
			if change.Node == "mostro" && change.Hold != nil {
				got = append(got, change.Hold.State)
			}
		})
		n.escrow.SetFaults(lightning.Faults{Notice: func(order.Hash) lightning.SimNotice { return c.notice }})
		if _, err := n.seller.PayHold(hold.Invoice); err != nil {
			t.Fatal(err)
		}
		if c.notice == lightning.SimLate {
			n.escrow.SetFaults(lightning.Faults{})
		}
		if err := n.escrow.Settle(t.Context(), preimage); err != nil {
			t.Fatal(err)
		}
		n.escrow.ReleaseNotices()
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestListenerMayAct lets a listener settle what it hears is accepted, and die of it once:
// a simulated crash must not leave the network deaf.
func TestListenerMayAct(t *testing.T) {
	n := newTrio(t)
	hold, preimage := n.hold(t, 1, 1000)
	var told []string
	crash := true
	n.net.OnChange(func(change lightning.SimChange) {
		if change.Hold == nil {
			return
		}
		told = append(told, string(change.Hold.State))
		if change.Hold.State == lightning.Accepted {
			if err := n.escrow.Settle(t.Context(), preimage); err != nil {
				t.Error(err)
			}
			told = append(told, "called")
		}
		if change.Hold.State == lightning.Settled && crash {
			crash = false
			panic("crash")
		}
	})
	func() {
		defer func() { recover() }()
		n.seller.PayHold(hold.Invoice)
		t.Error("the listener's panic was lost")
	}()
	other, _ := n.hold(t, 2, 1000)
	if err := n.escrow.Cancel(t.Context(), other.Hash); err != nil {
		t.Fatal(err)
	}
	want := []string{"accepted", "called", "settled", "open", "canceled"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStreamsEnd counts that each way of ending a stream ends it with the right error.
func TestStreamsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(n trio, cancel context.CancelFunc)
		want error
	}{
		"dropped":  {func(n trio, _ context.CancelFunc) { n.escrow.DropStreams() }, lightning.ErrSimDropped},
		"stopped":  {func(n trio, _ context.CancelFunc) { n.escrow.Stop() }, lightning.ErrSimUnavailable},
		"restart":  {func(n trio, _ context.CancelFunc) { n.escrow.Restart() }, lightning.ErrSimUnavailable},
		"canceled": {func(_ trio, cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		n := newTrio(t)
		hold, _ := n.hold(t, 1, 1000)
		payout, payoutPreimage := n.buyer.AddHoldInvoice(1_000_000)
		if _, err := n.escrow.Send(t.Context(), payRequest(payout, 1000)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var begun sync.WaitGroup
		begun.Add(3)
		first := func() func() { return sync.OnceFunc(begun.Done) }
		ends := make(chan error, 3)
		onHold, onPayment, onBlock := first(), first(), first()
		go func() {
			ends <- n.escrow.WatchHold(ctx, hold.Hash, func(lightning.HoldInvoice) { onHold() })
		}()
		go func() {
			ends <- n.escrow.Track(ctx, payoutPreimage.Hash(), func(lightning.Payment) { onPayment() })
		}()
		go func() { ends <- n.escrow.WatchBlocks(ctx, func(uint32) { onBlock() }) }()
		begun.Wait()
		c.end(n, cancel)
		for range 3 {
			if err := <-ends; !errors.Is(err, c.want) {
				t.Errorf("%s: a stream ended with %v, want %v", name, err, c.want)
			}
		}
		cancel()
	}
}

// TestManyGoroutines has many traders at once, for the race detector and for the money.
func TestManyGoroutines(t *testing.T) {
	n := newTrio(t)
	var told sync.Map
	n.net.OnChange(func(change lightning.SimChange) {
		if change.Hold != nil {
			told.Store(fmt.Sprint(change.Hash, change.Hold.State), true)
		}
	})
	var traders sync.WaitGroup
	for trader := range byte(8) {
		traders.Go(func() {
			for trade := range byte(20) {
				preimage := order.NewPreimage([32]byte{trader, trade, 7})
				hold, err := n.escrow.OpenHold(t.Context(), lightning.HoldRequest{Hash: preimage.Hash(), Amount: 1_000_000})
				if err != nil {
					t.Error(err)
					return
				}
				settle := func(seen lightning.HoldInvoice) {
					if seen.State == lightning.Open {
						n.seller.PayHold(hold.Invoice)
					}
					if seen.State == lightning.Accepted {
						n.escrow.Settle(t.Context(), preimage)
					}
				}
				if err := n.escrow.WatchHold(t.Context(), hold.Hash, settle); err != nil {
					t.Error(err)
				}
				n.net.Mine(1)
				if trade%5 == 0 {
					n.escrow.ReleaseNotices()
				}
			}
		})
	}
	traders.Wait()
	settled := 0
	told.Range(func(any, any) bool { settled++; return true })
	if settled != 8*20*3 {
		t.Errorf("%d different changes told, want %d", settled, 8*20*3)
	}
}

func hashOf(t *testing.T, bolt11 string) order.Hash {
	t.Helper()
	invoice, err := lightning.Decode(bolt11)
	if err != nil {
		t.Fatal(err)
	}
	return invoice.Hash
}

// trackFirst is what Track says at first.
func trackFirst(t *testing.T, node *lightning.SimNode, hash order.Hash) (first lightning.Payment) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := node.Track(ctx, hash, func(payment lightning.Payment) {
		first = payment
		cancel()
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return first
}
