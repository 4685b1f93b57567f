package escrow

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// active is a trade up to the held escrow, fiatSent one step more.
const (
	active   = "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n"
	fiatSent = active + "bob fiat-sent\n"
)

// TestDefects: defects that the existing daemon has (or had), one each; here they are absent.
// want must be said, in this order, never must not.
func TestDefects(t *testing.T) {
	for _, d := range []struct {
		name, play  string
		want, never []string
	}{
		{"01 a payout that could not even start strands the buyer", fiatSent + "bob route none\n alice release\n wait 1m\n wait 1m\n bob route\n bob add-invoice invoice=99700\n wait 5m",
			[]string{"bob <- payment-failed", "bob <- add-invoice", "settled-hold-invoice -> success"}, nil},
		{"01 a crash between settle and payout strands the buyer", fiatSent + "node down\n alice release\n crash\n node up\n crash\n wait 1m",
			[]string{"-> success"}, nil},
		{"02 the node has settled and the row has not moved", fiatSent + "lose answers of Settle\n alice release\n keep answers\n wait 1m\n bob is",
			[]string{"settling -> settled-hold-invoice", "-> success", "bob has +99700000 msat"}, nil},
		{"03 an invoice after the timeout makes an order active that holds nothing", "bob new buy sats=100000\n alice take\n alice pay\n wait 15m\n bob add-invoice invoice=99700",
			[]string{"-> canceled", "bob <- cant-do not_allowed_by_status"}, []string{"-> active"}},
		{"04 the escrow runs out under a dispute", fiatSent + "bob dispute\n mine 189\n mine 48\n mine 24",
			[]string{"send-dm \"The escrow of order", "Last call", "dispute -> canceled", "dispute: seller-refunded"}, nil},
		{"06 a premium of 100 percent makes an invoice over nothing", "alice new sell usd=50 premium=100\n alice new sell usd=50 premium=200",
			[]string{"cant-do out_of_range_sats_amount", "cant-do out_of_range_sats_amount"}, []string{"new-order pending"}},
		{"06 limits are not looked at again when the price has moved", "alice new sell usd=50\n price usd=4000\n bob take",
			[]string{"cant-do out_of_range_sats_amount"}, []string{"add-invoice"}},
		{"06 limits are not looked at again when the price has moved, buy order", "bob new buy usd=50\n price usd=4000\n alice take",
			[]string{"cant-do out_of_range_sats_amount"}, []string{"pay-invoice"}},
		{"06 an order that has expired before it begins", "alice new sell sats=1000 expires=-10", []string{"cant-do invalid_parameters"}, nil},
		{"07 the maker's invoice is checked without the fee", "bob new buy sats=100000 invoice=100000\n bob new buy sats=100000 invoice=99700",
			[]string{"cant-do invalid_invoice", "book: order A is pending"}, nil},
		{"08 a cancel whose call fails tells nobody", "alice new sell sats=100000\n bob take invoice=99700\n node down\n alice cancel",
			[]string{"book: order A is canceled", "alice <- canceled", "bob <- canceled"}, nil},
		{"08 a cooperative cancel fails for ever once the node has canceled", active + "bob cancel\n node cancels\n alice cancel",
			[]string{"active -> canceled", "order_already_canceled"}, nil},
		{"09 the deadline overwrites a settled order", fiatSent + "bob route none\n alice release\n mine 300",
			[]string{"-> settled-hold-invoice"}, []string{"-> dispute", "settled-hold-invoice -> canceled"}},
		{"10 one attempt never asks for another invoice", "attempts 1\n" + fiatSent + "bob route none\n alice release",
			[]string{"bob <- add-invoice settled-hold-invoice"}, nil},
		{"16 an answer is lost when the store is away", "deaf\n alice new sell sats=100000\n crash\n hear\n wait 1m", []string{"alice <- new-order"}, nil},
		{"19 the preimage goes to the solver", "operator add-solver dave level=\n" + fiatSent + "bob dispute\n dave take-dispute", []string{"dave <- admin-took-dispute"}, nil},
		{"20 a rejected first order burns the index", "alice new sell sats=1 index=1\n alice new sell sats=1000 index=1",
			[]string{"out_of_range_sats_amount", "new-order pending"}, []string{"invalid_trade_index"}},
		{"20 no index resets the count", "alice new sell sats=1000 index=5\n alice new sell sats=1000 index=0\n alice new sell sats=1000 index=5\n alice last-index",
			[]string{"cant-do invalid_trade_index", "cant-do invalid_trade_index", "last-trade-index 5"}, nil},
		{"21 a taken sell order stays in the book", "alice new sell sats=100000\n bob take invoice=99700", []string{"book: order A is pending", "book: order A is in-progress"}, nil},
		{"22 a child inherits the dispute, the cancel and the dates", "alice new sell min=20 max=100 expires=7200\n bob take usd=30 invoice=59820\n alice pay\n alice cancel\n bob fiat-sent\n bob dispute\n wait 1h\n alice release next=yes\n wait 61m\n carol take usd=20 invoice=39880\n alice pay\n carol cancel",
			[]string{"book: order B is pending", "carol <- cooperative-cancel-initiated-by-you"}, []string{"order B: pending -> expired"}},
		{"23 canceled orders are restored", "alice new sell sats=1000\n alice cancel\n alice new sell sats=2000\n alice restore",
			[]string{"restore-session; order B at trade 2 is pending"}, []string{"order A at trade"}},
		{"25 a solver who is one already cannot be made one", "operator add-solver dave level=:read\n operator add-solver dave level=", []string{"admin-add-solver", "admin-add-solver"}, []string{"cant-do"}},
		{"25 a second dispute is not answered", active + "bob dispute\n alice dispute request=7", []string{"cant-do (to request 7) dispute_creation_error"}, nil},
		{"25 the maker is not told that his order expired", "alice new sell sats=1000\n wait 24h", []string{"alice <- canceled"}, nil},
		{"26 a payment method without end", "alice new sell sats=1000 method=" + strings.Repeat("x", 301), []string{"cant-do invalid_parameters"}, nil},
		{"M48 release and cancel at once", fiatSent + "bob cancel\n node unsynced\n alice release\n alice cancel\n node synced\n wait 1m",
			[]string{"fiat-sent -> settling", "cant-do not_allowed_by_status", "-> success"}, []string{"cooperatively-canceled"}},
		{"M49 a rating counts as often as it is sent", fiatSent + "alice release\n alice rate stars=4\n alice rate stars=4\n alice rate stars=1\n wait 1m",
			[]string{"rating: bob has 1 reviews, 2\n"}, []string{"2 reviews"}},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.play(t, d.play)
			text := w.out.String()
			for rest := text; len(d.want) > 0; d.want = d.want[1:] {
				_, after, found := strings.Cut(rest, d.want[0])
				if !found {
					t.Fatalf("%q is not said in\n%s", d.want[0], text)
				}
				rest = after
			}
			for _, never := range d.never {
				if strings.Contains(text, never) {
					t.Errorf("%q is said in\n%s", never, text)
				}
			}
		})
	}
}

// Defect 03: news that a payment was accepted comes when the order is canceled already, and
// brings it back to life, with nothing held.
func TestDefect03LateNewsRevivesNothing(t *testing.T) {
	for _, invoice := range []string{"", " invoice=99700\n alice cancel"} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take"+invoice)
		if invoice == "" {
			w.play(t, "bob add-invoice invoice=99700\n wait 15m")
		}
		id := w.order(args{})
		before, _, err := w.e.Order(id)
		w.check(err)
		if before.Status != mostro.StatusCanceled {
			t.Fatalf("the order is %s", before.Status)
		}
		ev := w.e.newEvent(order.HoldAccepted, id)
		ev.Hold = &order.HoldNotice{Hash: before.Escrow.Hash, Paid: before.SellerPays().Msat(), ExpiryHeight: 2000}
		w.check(w.e.apply(t.Context(), ev))
		if after, _, err := w.e.Order(id); err != nil || after.Status != mostro.StatusCanceled || after.Rev != before.Rev {
			t.Errorf("the order is %s, %v", after.Status, err)
		}
	}
}

// Defect 06: what a market order comes to may have become too little since it was made.
func TestDefect06TooLittleAtTheTake(t *testing.T) {
	for _, play := range []string{"alice new sell usd=50\n price usd=1000000\n bob take", "bob new buy usd=50\n price usd=1000000\n alice take"} {
		w := newWorld(t)
		w.e.cfg.Settings.Rules.MinAmount = 10_000
		w.play(t, play)
		if text := w.out.String(); !strings.HasSuffix(text, "cant-do out_of_range_sats_amount\n") {
			t.Errorf("5000 of at least 10000 sats are traded:\n%s", text)
		}
	}
}

// Defect 11: a hold invoice outlives the seller's time only by a little.
func TestDefect11HoldInvoicesExpire(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700")
	inv, err := lightning.Decode(w.person("alice").invoice)
	w.check(err)
	if life := inv.ExpiresAt.Sub(w.net.Now()).Seconds(); life < 900 || life > 1000 {
		t.Errorf("the hold invoice lives %.0f s, the seller has 900", life)
	}
}

// Defect 12: one payee who never settles delays nobody (M3, 200 of them).
func TestDefect12HangingPayeesDelayNobody(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		buyer := "b" + string(rune('a'+i/20))
		w.play(t, "alice new sell sats=1000")
		w.play(t, buyer+" take invoice=hold:997\n alice pay\n "+buyer+" fiat-sent\n alice release")
		w.names, w.status = map[string]string{}, map[string]mostro.Status{}
	}
	w.out.Reset()
	w.play(t, fiatSent+"alice release")
	if !strings.Contains(w.out.String(), "-> success") {
		t.Errorf("the last trade does not end:\n%s", w.out.String())
	}
}

// Defect 19 and M30: no message carries anybody's preimage, nor an invoice to who has not
// given it. It is looked for in the very bytes that are sealed, whatever field they are in.
func TestDefect19NothingSecretIsTold(t *testing.T) {
	w := newWorld(t)
	plain := map[string]string{} // all that each key is told
	seal := w.e.finish
	w.e.finish = func(r *row) (nostr.Event, error) {
		if r.Tell != nil {
			plain[r.Tell.To] += string(r.Tell.Plaintext)
		}
		return seal(r)
	}
	w.play(t, "operator add-solver dave level=\n"+fiatSent+"bob dispute\n dave take-dispute\n alice release")
	id := w.order(args{})
	secret := order.Hash(w.e.preimage(id, 1).Bytes()).String()
	o, _, err := w.e.Order(id)
	w.check(err)
	for _, name := range []string{"alice", "bob", "dave"} {
		p, told := w.person(name), ""
		for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
			told += plain[key.Public()]
		}
		if told == "" {
			t.Errorf("%s is told nothing", name)
		}
		if strings.Contains(strings.ToLower(told), secret) {
			t.Errorf("%s gets the preimage:\n%s", name, told)
		}
		if name == "alice" && strings.Contains(told, o.Payout.Invoice) {
			t.Errorf("%s gets the buyer's invoice:\n%s", name, told)
		}
	}
}

// Defect 24: the average moves with the present vote, and the event is filed under the key
// of the rated.
func TestDefect24RatingAverage(t *testing.T) {
	var r order.Reputation
	for _, c := range []struct {
		vote int64
		want float64
	}{{5, 2.5}, {5, 3.75}, {2, 3.75 + (2-3.75)/3}, {5, 3.75 + (2-3.75)/3 + (5-(3.75+(2-3.75)/3))/4}} {
		if r = r.Add(c.vote); r.Rating != c.want {
			t.Errorf("after vote %d of %d: %v, want %v", c.vote, r.Reviews, r.Rating, c.want)
		}
	}
	if r.Min != 2 || r.Max != 5 || r.Last != 5 {
		t.Errorf("min %d, max %d, last %d", r.Min, r.Max, r.Last)
	}
}

// Defect 27: the info event tells each value under its own name, and the Lightning node's as
// they are now.
func TestDefect27InfoIsTrue(t *testing.T) {
	w := newWorld(t)
	w.e.cfg.Settings.Info = mostro.NodeInfo{InvoiceExpirationWindow: 3600, HoldInvoiceExpirationWindow: 900}
	tags := func() map[string]string {
		w.check(w.e.announceNow(t.Context()))
		w.settle()
		found := map[string]string{}
		for _, tag := range w.events[len(w.events)-1].Tags {
			found[tag[0]] = tag[1]
		}
		for _, ev := range w.events {
			if ev.Kind == mostro.KindInfo {
				found = map[string]string{}
				for _, tag := range ev.Tags {
					found[tag[0]] = tag[1]
				}
			}
		}
		return found
	}
	got := tags()
	if got["invoice_expiration_window"] != "3600" || got["hold_invoice_expiration_window"] != "900" {
		t.Errorf("windows %s and %s", got["invoice_expiration_window"], got["hold_invoice_expiration_window"])
	}
	if got["lnd_node_pubkey"] != w.node.Pubkey() || got["d"] != w.cfg.Key.Public() {
		t.Errorf("node %s, d %s", got["lnd_node_pubkey"], got["d"])
	}
	other := w.net.Node("other")
	w.e.cfg.Node = other
	w.e.askNode(t.Context())
	if got := tags(); got["lnd_node_pubkey"] != other.Pubkey() {
		t.Errorf("the node is %s, the info says %s", other.Pubkey(), got["lnd_node_pubkey"])
	}
}

// Defect 27: when the node is another, that is news at once; without news the node is announced
// again and again, because clients look only at fresh events.
func TestDefect27InfoIsFresh(t *testing.T) {
	w := newWorld(t)
	select {
	case <-w.e.news: // of the first time that it was asked
	default:
		t.Error("the Lightning node is no news")
	}
	w.e.cfg.Node = w.net.Node("other")
	w.e.askNode(t.Context())
	select {
	case <-w.e.news:
	default:
		t.Error("another Lightning node is no news")
	}
	before := w.rows(tableOutbox)
	w.e.cfg.Settings.InfoInterval = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.e.announce(ctx) }()
	for w.rows(tableOutbox) < before+3*2 { // the info event and the list of relays
		select {
		case <-ended:
			t.Fatal("the node is announced no more")
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	<-ended
}

// The set of known trade keys is exact at every moment.
func TestKnownKeysAreExact(t *testing.T) {
	w := newWorld(t)
	known := func(name string) bool { return w.e.Known(w.person(name).trade.Public()) }
	check := func(command string, alice, bob bool) {
		t.Helper()
		w.play(t, command)
		if known("alice") != alice || known("bob") != bob {
			t.Errorf("after %q alice is known: %v, bob: %v", command, known("alice"), known("bob"))
		}
	}
	w.person("bob").nextKey()
	w.person("bob").index = 0
	check("alice new sell sats=100000", true, false)
	check("bob take", true, true)
	check("bob cancel", true, false)
	check("bob take invoice=99700", true, true)
	check("crash", true, true)
	check("alice pay\n bob fiat-sent\n alice release", false, false)
}

// rows of ended orders leave the indexes that live ones are in.
func TestEndedOrdersLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.play(t, fiatSent+"alice release")
	for name, table := range map[string]byte{"live": tableLive, "mine": tableMine, "owes": tableOwes, "outbox": tableOutbox} {
		if n := w.rows(table); n != 0 {
			t.Errorf("%d rows in %s", n, name)
		}
	}
	if promised, holds := w.e.live.load(); promised != 0 || holds != 0 || len(w.e.live.ids()) != 0 {
		t.Errorf("%d msat promised, %d holds, %d orders", promised, holds, len(w.e.live.ids()))
	}
}
