package escrow

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Defects 13 to 18: what the existing daemon loses, forgets or lets grow.

// Defect 13: streams of the Lightning node that die stay dead. Here each is cut once the node has
// it, what happens then is news, and the watch, which must not end, hears of it.
func TestDefect13StreamsDie(t *testing.T) {
	for _, c := range []struct {
		name, play string
		stream     lightning.SimMethod
		news       func(w *world)
		want       mostro.Status
	}{
		{"hold invoice", "alice new sell sats=100000\n bob take invoice=99700", lightning.SimWatchHold,
			func(w *world) {
				alice := w.person("alice")
				_, err := alice.wallet.PayHold(alice.invoice)
				w.check(err)
			}, mostro.StatusActive},
		{"payment", "alice new sell sats=100000\n bob take invoice=hold:99700\n alice pay\n bob fiat-sent\n alice release", lightning.SimTrack,
			func(w *world) {
				bob := w.person("bob")
				w.check(bob.wallet.Settle(t.Context(), bob.holds[0]))
			}, mostro.StatusSuccess},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.play(t, c.play)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			before := w.node.Count(c.stream)
			go func() {
				defer close(ended)
				for _, each := range w.watches {
					if each.payment == (c.stream == lightning.SimTrack) {
						w.e.watchHash(ctx, each)
					}
				}
			}()
			until := func(what string, done func() bool) {
				for !done() {
					select {
					case <-ended:
						t.Fatalf("the watch has ended before %s", what)
					case <-time.After(time.Millisecond):
					}
				}
			}
			until("it began", func() bool { return w.node.Count(c.stream) > before })
			w.node.DropStreams()
			c.news(w)
			until("it heard the news", func() bool {
				o, _, err := w.e.Order(w.order(args{}))
				w.check(err)
				return o.Status == c.want
			})
			stop()
			<-ended
		})
	}
}

// Defect 14: a question makes the node look through the orders of everybody. Here it could not:
// no row of anybody else can be read.
func TestDefect14NobodyElsesRowsAreRead(t *testing.T) {
	w := newWorld(t)
	w.play(t, fiatSent+"bob dispute")
	mine := map[string]bool{w.order(args{}): true}
	for _, p := range w.people {
		mine[p.identity.Public()], mine[p.trade.Public()] = true, true
	}
	w.check(w.e.db.Update(func(txn *badger.Txn) error {
		for i := range 100 {
			other := fmt.Sprintf("%064x", i)
			for _, table := range []byte{tableOrder, tableUser, tableOwes, tableLive, tablePast, tableRating} {
				if err := txn.Set(rowKey(table, other), []byte("unreadable")); err != nil {
					return err
				}
			}
			for _, table := range []byte{tableMine, tableLog} {
				if err := txn.Set(rowKey(table, other, other), []byte("unreadable")); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	w.out.Reset()
	w.play(t, "alice restore\n alice orders A\n alice last-index\n operator take-dispute\n alice release\n alice rate stars=4\n alice new sell sats=1000\n bob take\n bob cancel\n alice cancel")
	for _, refused := range []string{"cant-do", "OK false"} {
		if strings.Contains(w.out.String(), refused) {
			t.Errorf("%s in\n%s", refused, w.out.String())
		}
	}
	if n := w.rows(tableHeld); n != 0 {
		t.Errorf("%d orders are held back", n)
	}
}

// Defect 15: what is kept in memory grows with all trades there ever were.
func TestDefect15NothingGrowsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		buyer := fmt.Sprint("buyer", i)
		w.play(t, "alice new sell sats=1000\n "+buyer+" take invoice=997\n alice pay\n "+buyer+" fiat-sent\n "+buyer+" dispute\n alice release\n alice rate stars=5")
		w.names, w.status = map[string]string{}, map[string]mostro.Status{}
	}
	w.play(t, "wait 1m")
	if l := w.e.live; len(l.orders)+len(l.keys)+len(l.watches) != 0 || l.promised != 0 || l.holds != 0 {
		t.Errorf("live: %d orders, %d keys, %d watches, %d msat, %d holds", len(l.orders), len(l.keys), len(l.watches), l.promised, l.holds)
	}
	if s := w.e.work; len(s.lanes)+len(s.ready[true])+len(s.ready[false]) != 0 {
		t.Errorf("work: %d lanes, %d and %d ready", len(s.lanes), len(s.ready[true]), len(s.ready[false]))
	}
	// Marks of messages, which nothing else bounds, end by themselves, and so does what is known
	// of strangers.
	keys := w.forEver(tableKey)
	for range 10 {
		w.play(t, "mallory new sell sats=1\n mallory cancel\n mallory orders A\n mallory take-dispute")
		w.person("mallory").nextKey()
	}
	if n := w.forEver(tableKey); n != keys {
		t.Errorf("%d keys of strangers are kept for ever", n-keys)
	}
	if n := w.forEver(tableSeen); n != 0 {
		t.Errorf("%d marks never end", n)
	}
}

// forEver counts the rows of a table that do not end by themselves.
func (w *world) forEver(table byte) (n int) {
	w.check(w.e.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{table}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if it.Item().ExpiresAt() == 0 {
				n++
			}
		}
		return nil
	}))
	return n
}

// Defect 16: one message that cannot be delivered holds up all others.
func TestDefect16OneLaneHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.e.cfg.Publish = func(ctx context.Context, events ...nostr.Event) error {
		for _, ev := range events {
			if tag := ev.Tags.Find("p"); tag != nil && tag[1] == w.person("alice").trade.Public() {
				return fmt.Errorf("this one cannot be stored")
			}
		}
		return w.publish(ctx, events...)
	}
	w.person("alice").nextKey()
	// All of them wait, and a worker takes them together.
	store := w.e.cfg.Publish
	w.e.cfg.Publish = func(context.Context, ...nostr.Event) error { return fmt.Errorf("the store is away") }
	w.play(t, "alice new sell sats=1000 key=same index=1\n bob new sell sats=2000\n carol new sell sats=3000")
	w.e.cfg.Publish = store
	for _, again := range w.later {
		again()
	}
	lanes := w.e.work.pick(false, lanesAtOnce)
	if len(lanes) != 3 {
		t.Fatalf("%d lanes wait", len(lanes))
	}
	w.e.tellLanes(t.Context(), lanes)
	for _, want := range []string{"bob <- new-order", "carol <- new-order"} {
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%q is not said in\n%s", want, w.out.String())
		}
	}
	if strings.Contains(w.out.String(), "alice <-") {
		t.Error("the message that cannot be delivered is")
	}
}

// Defect 17: what was sent while the node was down is lost, old messages count again after a
// start or on version 1, dates have no upper bound, and faults of the node are met with silence.
func TestDefect17NoMessageIsLostOrCountsTwice(t *testing.T) {
	for _, version := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		t.Run(fmt.Sprint("version ", version.Version()), func(t *testing.T) {
			w := newWorld(t)
			w.person("bob").version = version
			w.play(t, active)
			bob := w.person("bob")
			seal := func(action mostro.Action, at time.Duration) *nostr.Event {
				m := mostro.Message{Wrapper: mostro.WrapOrder, Version: version.Version(), ID: w.order(args{}), Action: action}
				ev, err := mostro.SealRequest(m, version, mostro.Party{Trade: bob.trade, Identity: bob.identity}, w.cfg.Key.Public(), w.net.Now().Add(at).Unix(), 0)
				w.check(err)
				return &ev
			}
			status := func() mostro.Status {
				o, _, err := w.e.Order(w.order(args{}))
				w.check(err)
				return o.Status
			}
			if err := w.deliver(seal(mostro.FiatSent, time.Hour)); err == nil || !strings.HasPrefix(err.Error(), "invalid: ") {
				t.Errorf("a message from the future: %v", err)
			}
			if err := w.deliver(seal(mostro.FiatSent, -73*time.Hour)); err == nil || !strings.HasPrefix(err.Error(), "invalid: ") {
				t.Errorf("a message of the last week: %v", err)
			}
			if status() != mostro.StatusActive {
				t.Errorf("they count: %s", status())
			}
			// It waited for two days.
			w.play(t, "crash")
			w.check(w.deliver(seal(mostro.FiatSent, -48*time.Hour)))
			if status() != mostro.StatusFiatSent {
				t.Errorf("a message that waited does not count: %s", status())
			}
			cancel := seal(mostro.Cancel, 0)
			w.check(w.deliver(cancel))
			told := len(w.events)
			w.play(t, "crash\n wait 2h") // longer than any memory of a process
			w.check(w.deliver(cancel))
			if n := len(w.events); n != told {
				t.Errorf("a message that comes again after a start leads to %d answers", n-told)
			}
			// A fault of the node.
			w.check(w.e.db.Update(func(txn *badger.Txn) error {
				return txn.Set(rowKey(tableOrder, w.order(args{})), []byte(`{"status":17}`))
			}))
			for range 2 {
				if err := w.e.Receive(t.Context(), seal(mostro.Dispute, 0)); err == nil || !strings.HasPrefix(err.Error(), "error: ") {
					t.Errorf("a fault is answered with %v", err)
				}
			}
		})
	}
}

// Defect 18: whoever reaches the administration may settle and cancel. Here each of its actions
// needs a message that an administrator or the assigned solver has signed.
func TestDefect18OnlyAdministratorsAdministrate(t *testing.T) {
	w := newWorld(t)
	w.play(t, "operator add-solver dave level=:read\n"+fiatSent+"bob dispute\n operator take-dispute")
	before, _, err := w.e.Order(w.order(args{}))
	w.check(err)
	w.out.Reset()
	w.play(t, "mallory add-solver mallory\n mallory take-dispute\n mallory settle\n mallory undo\n dave add-solver mallory\n dave take-dispute\n dave settle\n dave undo\n bob settle\n alice undo")
	if n := strings.Count(w.out.String(), "cant-do"); n != 10 {
		t.Errorf("%d of 10 are refused:\n%s", n, w.out.String())
	}
	// Another's signature is no key: the event is the operator's, the signature mallory's.
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: before.ID, Action: mostro.AdminSettle}
	mallory := w.person("mallory").identity
	ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: mallory, Identity: mallory}, w.cfg.Key.Public(), w.net.Now().Unix(), 0)
	w.check(err)
	ev.PubKey = w.cfg.Key.Public()
	if err := w.e.Receive(t.Context(), &ev); err == nil {
		t.Error("a message under the operator's name is accepted")
	}
	after, _, err := w.e.Order(before.ID)
	w.check(err)
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(after)
	if string(a) != string(b) {
		t.Errorf("the order has changed:\n%s\n%s", a, b)
	}
	if list, err := w.e.Solvers(); err != nil || len(list) != 1 || list[0].Level != order.ReadOnly {
		t.Errorf("solvers %+v, %v", list, err)
	}
}
