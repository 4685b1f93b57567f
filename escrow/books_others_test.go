package escrow

import (
	"context"
	"slices"
	"testing"
	"time"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Every hold invoice of the node that belongs to no order is told: one that bears the escrow's mark as
// a difference, one of other software in a list. What an order, a bond or a payout knows is in neither.
func TestHoldsThatBelongToNoOrder(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.play(t, "bonds apply=both\n alice new sell sats=100000\n alice pay\n bob take invoice=99700\n bob pay\n alice pay\n carol new sell sats=50000\n carol pay")
	if r := w.audit(); !r.Agrees() || len(r.OthersHolds) != 0 || r.Total.Held < 100_000_000 {
		t.Fatalf("of the escrow's own: differences %+v, listed %+v, sums %+v", r.Differences, r.OthersHolds, r.Total)
	}

	payer := w.net.Node("a payer")
	var want []audit.OthersHold
	for _, state := range []lightning.HoldState{lightning.Accepted, lightning.Open, lightning.Canceled, lightning.Settled} {
		amount := order.Msat(1_000 * (len(want) + 1))
		bolt11, preimage := w.node.AddHoldInvoice(amount)
		other := audit.OthersHold{Hash: preimage.Hash(), State: state, Amount: amount}
		if state == lightning.Accepted || state == lightning.Settled {
			if _, err := payer.PayHold(bolt11); err != nil {
				t.Fatal(err)
			}
			other.Paid = amount
		}
		switch state {
		case lightning.Canceled:
			w.check(w.node.Cancel(ctx, other.Hash))
		case lightning.Settled: // lnd shows it as an ordinary one
			w.check(w.node.Settle(ctx, preimage))
			continue
		}
		want = append(want, other)
	}
	w.node.AddInvoice(lightning.SimInvoiceRequest{Amount: 9_000}) // an ordinary one that nobody has paid

	// What bears the mark of this escrow, by its memo and its secret, is one of ours that is lost.
	lost, forged := w.e.preimage("lost", 1).Hash(), w.e.preimage("forged", 1).Hash()
	for hash, memo := range map[order.Hash]string{lost: "Mostro escrow lost/1: x", forged: "Mostro escrow forged/2: x"} {
		if _, err := w.node.OpenHold(ctx, lightning.HoldRequest{Hash: hash, Amount: 4_000, Memo: memo, CLTVDelta: 144, Expiry: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	want = slices.Insert(want, 1, audit.OthersHold{Hash: forged, State: lightning.Open, Amount: 4_000})

	r := w.audit()
	if len(r.Differences) != 1 || r.Differences[0].Kind != audit.Orphan || r.Differences[0].Hash != lost {
		t.Errorf("differences %+v", r.Differences)
	}
	if r.OthersIn.Count != 1 || r.OthersIn.Amount != 4_000 {
		t.Errorf("settled of others: %+v", r.OthersIn)
	}
	byHash := func(a, b audit.OthersHold) int { return slices.Compare(a.Hash[:], b.Hash[:]) }
	got := slices.Clone(r.OthersHolds)
	for i, h := range got {
		if h.CreatedAt == 0 || i > 0 && h.State == lightning.Accepted || i < len(got)-1 && h.State == lightning.Canceled {
			t.Errorf("%d in the list is %+v", i, h)
		}
		got[i].CreatedAt = 0
	}
	slices.SortFunc(got, byHash)
	slices.SortFunc(want, byHash)
	if !slices.Equal(got, want) {
		t.Errorf("listed\n%+v, want\n%+v", got, want)
	}
}
