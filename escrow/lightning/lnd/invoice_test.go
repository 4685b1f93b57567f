package lnd

import (
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow/lightning"
)

// M7, M34: of several HTLCs the first to expire counts, and what is there so far; only lnd says that
// all of it has come. Those that are gone count for nothing.
func TestHoldInvoiceOfManyParts(t *testing.T) {
	part := func(state lnrpc.InvoiceHTLCState, msat uint64, height int32) *lnrpc.InvoiceHTLC {
		return &lnrpc.InvoiceHTLC{State: state, AmtMsat: msat, ExpiryHeight: height}
	}
	const accepted, settled, canceled = lnrpc.InvoiceHTLCState_ACCEPTED, lnrpc.InvoiceHTLCState_SETTLED, lnrpc.InvoiceHTLCState_CANCELED
	for name, c := range map[string]struct {
		state  lnrpc.Invoice_InvoiceState
		parts  []*lnrpc.InvoiceHTLC
		want   lightning.HoldState
		paid   int64
		height uint32
	}{
		"all parts":      {lnrpc.Invoice_ACCEPTED, []*lnrpc.InvoiceHTLC{part(accepted, 400, 910), part(accepted, 600, 900), part(accepted, 1, 920)}, lightning.Accepted, 1001, 900},
		"the first part": {lnrpc.Invoice_OPEN, []*lnrpc.InvoiceHTLC{part(accepted, 400, 910)}, lightning.Open, 400, 910},
		"a part is gone": {lnrpc.Invoice_ACCEPTED, []*lnrpc.InvoiceHTLC{part(canceled, 500, 800), part(accepted, 1000, 905)}, lightning.Accepted, 1000, 905},
		"settled":        {lnrpc.Invoice_SETTLED, []*lnrpc.InvoiceHTLC{part(settled, 1000, 905)}, lightning.Settled, 1000, 0},
		"hollow":         {lnrpc.Invoice_SETTLED, []*lnrpc.InvoiceHTLC{part(canceled, 1000, 905)}, lightning.Settled, 0, 0},
	} {
		got, err := holdInvoice(&lnrpc.Invoice{RHash: make([]byte, 32), ValueMsat: 1000, State: c.state, Htlcs: c.parts})
		if err != nil || got.State != c.want || int64(got.AmountPaid) != c.paid || got.ExpiryHeight != c.height {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
