package escrow

import (
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// M31, M32: an invoice for a payout that bears the hash of a hold invoice of this node, made at the
// buyer's own node, is refused: the payment could come back as that of the escrow.
func TestM32PayoutWithTheHashOfAHoldInvoice(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n carol new sell sats=100000\n dave new buy sats=100000\n erin take order=C\n erin pay order=C")
	id := w.order(args{named: map[string]string{"order": "A"}})
	o, _, err := w.e.Order(id)
	w.check(err)
	preimage := w.e.preimage(id, o.Escrow.Attempt)
	forged := func(name string) string {
		return w.person(name).wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: order.Sat(99700).Msat(), Expiry: 2 * time.Hour, Preimage: preimage.Bytes()})
	}
	w.out.Reset()
	w.play(t, "frank take order=B invoice="+forged("frank"))
	w.play(t, "dave add-invoice order=C invoice="+forged("dave"))
	if got := w.out.String(); strings.Count(got, "cant-do "+string(mostro.InvalidInvoice)) != 2 {
		t.Errorf("answers to two invoices with the hash of an escrow:\n%s", got)
	}
	w.play(t, "bob fiat-sent order=A\n alice release order=A")
	w.play(t, "dave add-invoice order=C invoice=99700")
	if o, _, _ := w.e.Order(w.order(args{named: map[string]string{"order": "C"}})); o.Status != mostro.StatusActive {
		t.Errorf("order C is %s", o.Status)
	}
}
