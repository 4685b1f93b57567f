package audit

import (
	"context"
	"slices"
	"testing"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// paidUnasked is a node that somebody has paid without a payment hash.
type paidUnasked struct{ states []lightning.HoldState }

func (paidUnasked) Info(context.Context) (lightning.Info, error) { return lightning.Info{}, nil }

func (n paidUnasked) Invoices(_ context.Context, seen func(lightning.InvoiceRecord) error) error {
	for _, state := range n.states {
		if err := seen(lightning.InvoiceRecord{HoldInvoice: lightning.HoldInvoice{State: state, AmountPaid: 5}}); err != nil {
			return err
		}
	}
	return nil
}

func (paidUnasked) Payments(context.Context, func(lightning.PaymentRecord) error) error { return nil }

// Anybody may pay a node without being asked. It counts as taken in beside the escrow, and is no difference.
func TestPaidUnasked(t *testing.T) {
	node, err := ReadNode(t.Context(), paidUnasked{[]lightning.HoldState{lightning.Settled, lightning.Open, lightning.Settled}})
	if err != nil {
		t.Fatal(err)
	}
	r := Compare(nil, node, derive, 100, 0)
	if !r.Agrees() || r.OthersIn != (Tally{2, 10, 0}) || len(r.OthersHolds) != 0 {
		t.Errorf("differences %+v, taken in %+v, holds %+v", r.Differences, r.OthersIn, r.OthersHolds)
	}
}

// A payment that no order claims may have paid what is owed, when the books are of a store that was put back. Until the
// escrow has looked that is news; what it has found and nobody has explained is a difference.
func TestUnexplained(t *testing.T) {
	const owed = 99_700_000 // of an order whose payout is in flight
	for name, c := range map[string]struct {
		amount order.Msat
		stray  *Stray
		differ []Kind
		news   []Kind
	}{
		"over another amount":          {owed + 1, nil, nil, nil},
		"over just as much":            {owed, nil, nil, []Kind{MayBePaid}},
		"found by the escrow":          {owed, &Stray{}, []Kind{Unexplained}, nil},
		"found, whatever its amount":   {owed + 1, &Stray{}, []Kind{Unexplained}, nil},
		"it has nothing to do with it": {owed, &Stray{Own: true}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := goodBooks()
			b.pay("forgotten", lightning.Succeeded, c.amount, 10)
			p := b.node.Payments[hash("forgotten")]
			p.CreatedAt = 99
			b.node.Payments[p.Hash] = p
			accounts := b.list()
			if c.stray != nil {
				c.stray.Hash, c.stray.Amount = p.Hash, c.amount
				accounts = append(accounts, Account{Stray: c.stray})
			}
			r := Compare(accounts, b.node, derive, 100, 0)
			kinds := func(list []Finding) (k []Kind) {
				for _, f := range list {
					k = append(k, f.Kind)
				}
				return k
			}
			if !slices.Equal(kinds(r.Differences), c.differ) || !slices.Equal(kinds(r.News), c.news) || r.Orders != 5 {
				t.Errorf("differences %+v, news %+v of %d orders", r.Differences, r.News, r.Orders)
			}
		})
	}
}
