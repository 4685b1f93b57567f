package escrow

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// BenchmarkBonds has 10,000 open bonds, five takers racing for each of 2,000 orders, and
// measures single steps of an engine whose store is in memory: the end of a race (four of five
// bonds are let go, the order goes on), a bond that was not paid in time, and a look at the
// clock at which nothing is due. cpu-µs/op is what the process itself used, whatever else the
// machine does.
//
//	go test ./escrow -run '^$' -bench Bonds -benchtime 2000x
func BenchmarkBonds(b *testing.B) {
	const orders, racers = 2000, 5
	b.Run("race", func(b *testing.B) {
		e, bonds := racing(b, orders, racers)
		defer e.Close()
		defer cpu(b)()
		for i := range b.N {
			if i%orders == 0 && i > 0 {
				b.StopTimer()
				e.Close()
				e, bonds = racing(b, orders, racers)
				b.StartTimer()
			}
			winner := bonds[i%orders*racers+i%racers]
			ev := e.holdEvent(order.HoldAccepted, lightning.HoldInvoice{Hash: winner.Hold.Hash, AmountPaid: winner.Amount.Msat(), ExpiryHeight: 2000})
			ev.Bond = winner.ID
			if err := e.apply(context.Background(), *ev); err != nil {
				b.Fatal(err)
			}
		}
		if o, _, err := e.Order(bonds[0].Order); err != nil || o.Status != mostro.StatusWaitingBuyerInvoice {
			b.Fatalf("the race has ended with the order %s, %v", o.Status, err)
		}
	})
	b.Run("timer", func(b *testing.B) {
		e, bonds := racing(b, orders, racers)
		defer e.Close()
		late := e.cfg.Clock().Add(time.Hour)
		e.cfg.Clock = func() time.Time { return late }
		defer cpu(b)()
		for i := range b.N {
			if i%len(bonds) == 0 && i > 0 {
				b.StopTimer()
				e.Close()
				e, bonds = racing(b, orders, racers)
				e.cfg.Clock = func() time.Time { return late }
				b.StartTimer()
			}
			if err := e.tickBond(context.Background(), bonds[i%len(bonds)].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nothing due", func(b *testing.B) {
		e, _ := racing(b, orders, racers)
		defer e.Close()
		defer cpu(b)()
		for range b.N {
			if due := e.live.dueBonds(e.now(), true); len(due) > 0 {
				b.Fatalf("%d are due", len(due))
			}
		}
	})
}

// cpu starts the clock, and the function that it returns reports the processor time of a step.
func cpu(b *testing.B) (done func()) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ResetTimer()
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "cpu-µs/op") }
}

// racing is an engine with many takers asked for their bonds.
func racing(b *testing.B, orders, racers int) (*Engine, []order.Bond) {
	cfg := benchConfig(b, func(context.Context, ...nostr.Event) error { return nil })
	cfg.Dir = ""
	cfg.Settings.Terms.Bond = &order.BondTerms{AmountPPM: 10_000, Base: 1000, Taker: true, SlashOnTimeout: true, NodeSharePPM: 500_000,
		AskSeconds: 300, Attempts: 5, ClaimSeconds: 86400}
	e, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	e.inline = true
	var bonds []order.Bond
	for i := range orders {
		o := order.Order{
			ID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i), Rev: 1, Kind: mostro.Sell, Status: mostro.StatusWaitingTakerBond,
			FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer", Amount: 100_000, Fee: 300,
			Terms: cfg.Settings.Terms, CreatedAt: e.now(), ExpiresAt: e.now() + 86400,
			Seller: order.Party{Trade: benchKeys[i%len(benchKeys)], Identity: benchKeys[i%len(benchKeys)]},
		}
		var changes []order.BondChange
		for j := range racers {
			id := fmt.Sprintf("%08x-%04x-4000-8000-000000000000", i, j+1)
			key := benchKeys[(i+j+1)%len(benchKeys)]
			bond := order.Bond{
				ID: id, Rev: 1, Order: o.ID, Role: order.TakerBond, State: order.BondRequested, Owner: order.Party{Trade: key, Identity: key}, Amount: 1000,
				Terms: o.Terms, CreatedAt: e.now(), Since: e.now(), Take: &order.Take{Fiat: 50, Amount: 100_000},
				Hold: order.Escrow{Attempt: 1, Hash: e.preimage(id, 1).Hash(), State: order.EscrowOpen, Invoice: "lnbcrt10u1p"},
			}
			bonds, changes = append(bonds, bond), append(changes, order.BondChange{Is: bond, Row: -1})
		}
		err := e.submit(context.Background(), "", func(txn *badger.Txn, w *writes) error {
			ev := order.Event{At: o.CreatedAt}
			out := order.Out{Bonds: changes}
			return first(e.keep(txn, w, &order.Order{}, &o, ev, order.Facts{}, out), e.keepBonds(txn, w, &order.Order{}, &o, ev, order.Facts{}, out))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if n := len(e.live.bondIDs()); n != orders*racers {
		b.Fatalf("%d bonds", n)
	}
	return e, bonds
}
