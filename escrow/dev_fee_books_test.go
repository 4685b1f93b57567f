package escrow

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/audit"
)

// What the books of a month say stays as it is when a development fee becomes due later.
func TestDevFeeLeavesEarlierBookingsAlone(t *testing.T) {
	w := newWorld(t)
	w.play(t, "dev-fee ppm=300000 to=dev@ln.example\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release\n wait 1m")
	month := w.net.Now().Unix()
	booked := func() []audit.Booking {
		var accounts []audit.Account
		w.check(w.e.Books(func(a audit.Account) error { accounts = append(accounts, a); return nil }))
		return audit.Bookings(accounts, 0, month)
	}
	before := booked()
	w.play(t, "wait 1h\n bob route\n bob add-invoice invoice=99700\n wait 1h\n ledger A")
	if diff := cmp.Diff(before, booked()); diff != "" || len(before) == 0 {
		t.Errorf("%d bookings of the month before have changed:\n%s\n%s", len(before), diff, w.out.String())
	}
	if r := w.audit(); !r.Agrees() || r.Total.DevFee != 180_000 || r.Total.NodeFee != 420_000 {
		t.Errorf("sums %+v, differences %+v", r.Total, r.Differences)
	}
}
