package escrow

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/nbd-wtf/go-nostr/nip44"

	"mostro/escrow/mostro"
)

// rows counts what the money store holds of a table.
func (w *world) rows(table byte) (n int) {
	w.t.Helper()
	w.check(w.e.db.View(func(txn *badgerTxn) error {
		return scan(txn, []byte{table}, false, func(_, _ []byte) error { n++; return nil })
	}))
	return n
}

// TestRefusedBeforeTheEngine: what is not proven, not readable or not timely is refused on
// the connection, tells nobody anything, and leaves no mark.
func TestRefusedBeforeTheEngine(t *testing.T) {
	offer := func(w *world, at time.Duration) *nostr.Event {
		p := w.person("alice")
		p.nextKey()
		m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, Action: mostro.NewOrder, TradeIndex: &p.index, Payload: &mostro.Payload{
			Order: &mostro.SmallOrder{Kind: mostro.Sell, Status: mostro.StatusPending, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}}}
		ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: p.trade, Identity: p.identity}, w.cfg.Key.Public(), w.net.Now().Add(at).Unix(), 0)
		w.check(err)
		return &ev
	}
	// content seals any text as a v2 message of a fresh key.
	content := func(w *world, text string) *nostr.Event {
		key, _ := mostro.NewSecret([32]byte{31: 7})
		secret := strings.Repeat("0", 63) + "7"
		conversation, err := nip44.GenerateConversationKey(w.cfg.Key.Public(), secret)
		w.check(err)
		sealed, err := nip44.Encrypt(text, conversation)
		w.check(err)
		ev := &nostr.Event{Kind: mostro.KindMessage, CreatedAt: nostr.Timestamp(w.net.Now().Unix()), Tags: nostr.Tags{{"p", w.cfg.Key.Public()}}, Content: sealed}
		w.check(mostro.Sign(ev, key))
		return ev
	}
	for _, c := range []struct {
		name string
		make func(*world) *nostr.Event
		want string
	}{
		{"not encrypted", func(w *world) *nostr.Event { ev := offer(w, 0); ev.Content = "hello"; return ev }, "invalid: "},
		{"to another key", func(w *world) *nostr.Event {
			ev := offer(w, 0)
			ev.Content = ev.Content[:len(ev.Content)-8] + "AAAAAAA="
			return ev
		}, "invalid: "},
		{"not JSON", func(w *world) *nostr.Event { return content(w, "hello") }, "invalid: "},
		{"no tuple", func(w *world) *nostr.Event { return content(w, `{"order":{}}`) }, "invalid: "},
		{"unproven identity", func(w *world) *nostr.Event {
			return content(w, `[{"order":{"version":2,"request_id":1,"trade_index":1,"action":"new-order","payload":null}},null,["`+strings.Repeat("a", 64)+`","`+strings.Repeat("b", 128)+`"]]`)
		}, "invalid: "},
		{"an offer of eleven minutes ago", func(w *world) *nostr.Event { return offer(w, -11*time.Minute) }, "invalid: the message is 11m0s old"},
		{"from the future", func(w *world) *nostr.Event { return offer(w, 11*time.Minute) }, "invalid: the message is dated 11m0s in the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			err := w.e.Receive(context.Background(), c.make(w))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("answer %v, want %q", err, c.want)
			}
			w.settle()
			if n := w.rows(tableSeen) + w.rows(tableOutbox) + w.rows(tableKey) + w.rows(tableOrder); n != 0 || len(w.events) != 0 {
				t.Errorf("%d rows and %d events are left behind", n, len(w.events))
			}
		})
	}
}

// A message that can be answered is, even when it cannot be understood.
func TestUnderstoodEnoughToAnswer(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"unknown action", `{"order":{"version":2,"request_id":5,"trade_index":null,"action":"dance","payload":null}}`, "alice <- cant-do (to request 5) invalid_action"},
		{"a claim without an invoice", `{"order":{"version":2,"request_id":5,"trade_index":null,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"add-bond-invoice","payload":null}}`, "alice <- cant-do (to request 5) invalid_parameters"},
		{"payload of another action", `{"order":{"version":2,"request_id":5,"trade_index":1,"action":"new-order","payload":{"rating_user":5}}}`, "alice <- cant-do (to request 5) invalid_parameters"},
		{"a rating of no order", `{"rate":{"version":2,"request_id":5,"trade_index":null,"action":"rate-user","payload":{"rating_user":5}}}`, "alice <- cant-do (to request 5) not_found"},
		{"no order id", `{"order":{"version":2,"request_id":5,"trade_index":null,"action":"release","payload":null}}`, "alice <- cant-do (to request 5) "},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.person("alice")
			p.nextKey()
			ev := w.raw(p, c.message)
			if err := w.e.Receive(context.Background(), ev); err != nil {
				t.Fatalf("not accepted: %v", err)
			}
			w.settle()
			if got := w.out.String(); !strings.HasPrefix(got, c.want) {
				t.Errorf("answer %q, want %q", got, c.want)
			}
			// The second hearing says nothing.
			w.out.Reset()
			_ = w.deliver(ev)
			if w.out.Len() > 0 {
				t.Errorf("heard twice, answered again: %s", w.out.String())
			}
		})
	}
}

// raw seals a message of exactly these bytes in full privacy.
func (w *world) raw(p *person, message string) *nostr.Event {
	_, secret, err := nip19.Decode(p.trade.Nsec())
	w.check(err)
	conversation, err := nip44.GenerateConversationKey(w.cfg.Key.Public(), secret.(string))
	w.check(err)
	sealed, err := nip44.Encrypt("["+message+",null,null]", conversation)
	w.check(err)
	ev := &nostr.Event{Kind: mostro.KindMessage, CreatedAt: nostr.Timestamp(w.net.Now().Unix()), Tags: nostr.Tags{{"p", w.cfg.Key.Public()}}, Content: sealed}
	w.check(mostro.Sign(ev, p.trade))
	return ev
}

// Messages other than offers count for three days: they may have waited while we were down.
func TestOldMessagesStillCount(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.person("alice"), w.person("bob")
	w.check(w.command(strings.Fields("alice new sell sats=100000")))
	w.check(w.command(strings.Fields("bob take invoice=99700")))
	w.check(w.command(strings.Fields("alice pay")))
	_ = alice
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: w.order(args{}), Action: mostro.FiatSent}
	sealAt := func(age time.Duration) *nostr.Event {
		ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: bob.trade, Identity: bob.identity}, w.cfg.Key.Public(), w.net.Now().Add(-age).Unix(), 0)
		w.check(err)
		return &ev
	}
	if err := w.e.Receive(context.Background(), sealAt(73*time.Hour)); err == nil {
		t.Error("a message of three days and an hour ago was accepted")
	}
	w.check(w.deliver(sealAt(71 * time.Hour)))
	if o, _, _ := w.e.Order(m.ID); o.Status != mostro.StatusFiatSent {
		t.Errorf("status %s", o.Status)
	}
}

// A reader of the relay that is slow must not be able to hold many decryptions.
func TestFullDecryptionQueueSaysSo(t *testing.T) {
	w := newWorld(t)
	for range maxOpening {
		w.e.opened <- struct{}{}
	}
	p := w.person("alice")
	p.nextKey()
	err := w.e.Receive(context.Background(), w.raw(p, `{"order":{"version":2,"action":"new-order","payload":null}}`))
	if err == nil || !strings.HasPrefix(err.Error(), "rate-limited: ") {
		t.Errorf("answer %v", err)
	}
}

// TestDecryptingTakesTurns: each message is decrypted in a turn of its sender, which ends whatever comes of it.
func TestDecryptingTakesTurns(t *testing.T) {
	w := newWorld(t)
	type sender struct{}
	var took, ended int
	w.e.cfg.Turn = func(ctx context.Context) func() {
		if ctx.Value(sender{}) != "alice" {
			t.Error("whose turn it is cannot be known: it is another context than Receive got")
		}
		took++
		return func() { ended++ }
	}
	ctx := context.WithValue(context.Background(), sender{}, "alice")
	p := w.person("alice")
	p.nextKey()
	good := w.raw(p, `{"order":{"version":2,"action":"new-order","payload":null}}`)
	broken := *good
	broken.ID, broken.Content = strings.Repeat("ab", 32), "nonsense"
	for _, ev := range []*nostr.Event{good, &broken} {
		_ = w.e.Receive(ctx, ev)
	}
	if took != 2 || ended != 2 {
		t.Errorf("%d turns, %d of them over, want 2", took, ended)
	}
}

// TestWaitingForTurnsHoldsNoSlot: while an address whose turn does not come has as many messages here as are read at once, those
// of everybody else are read.
func TestWaitingForTurnsHoldsNoSlot(t *testing.T) {
	w := newWorld(t)
	type flood struct{}
	var waiting, flooding sync.WaitGroup
	free := make(chan struct{})
	w.e.cfg.Turn = func(ctx context.Context) func() {
		if ctx.Value(flood{}) != nil {
			waiting.Done()
			<-free
		}
		return func() {}
	}
	p := w.person("alice")
	p.nextKey()
	good := w.raw(p, `{"order":{"version":2,"action":"new-order","payload":null}}`)
	broken := *good
	broken.ID, broken.Content = strings.Repeat("ab", 32), "nonsense"
	waiting.Add(maxOpening)
	for range maxOpening {
		flooding.Go(func() { _ = w.e.Receive(context.WithValue(context.Background(), flood{}, true), &broken) })
	}
	waiting.Wait()
	if err := w.e.Receive(context.Background(), good); err != nil {
		t.Errorf("answer %v", err)
	}
	close(free)
	flooding.Wait()
	if n := len(w.e.opened); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}

// A copy of a message that comes again, over another relay, does nothing, but its sender is named: he may read there only.
func TestCopyNamesItsSender(t *testing.T) {
	for _, version := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		w := newWorld(t)
		var heard []string
		w.e.cfg.Heard = func(_ context.Context, key string) error {
			heard = append(heard, key)
			return nil
		}
		p := w.person("alice")
		p.version = version
		w.play(t, "alice new sell sats=1000")
		told := len(w.events)
		w.check(w.deliver(p.last))
		if key := p.trade.Public(); len(heard) != 2 || heard[0] != key || heard[1] != key {
			t.Errorf("transport %v: %v were heard, want %s twice", version, heard, key)
		}
		if len(w.events) != told {
			t.Errorf("transport %v: a copy was answered", version)
		}
	}
}

// Anybody can have as many answers stored as he likes, from keys that are made for one each: they go after two days, and
// when there are too many he is refused without a trace. Whose key has a trade is not bounded.
func TestAnswersToStrangers(t *testing.T) {
	for _, version := range []mostro.Transport{mostro.GiftWrap, mostro.NIP44} {
		w := newWorld(t)
		for _, name := range []string{"alice", "bob", "mallory"} {
			w.person(name).version = version
		}
		lasts := func(name string) (days int64) {
			t.Helper()
			ev := w.events[len(w.events)-1]
			if to := ev.Tags.Find("p"); to == nil || to[1] != w.person(name).trade.Public() {
				t.Fatalf("the last message is for %v", to)
			}
			until, err := strconv.ParseInt(ev.Tags.Find("expiration")[1], 10, 64)
			w.check(err)
			return (until - int64(ev.CreatedAt)) / 86400
		}
		w.play(t, "alice new sell sats=100000")
		ask := func(name, command string, days int64) {
			t.Helper()
			w.play(t, name+" "+command)
			if got := lasts(name); got != days {
				t.Errorf("version %d: the answer to %s %s lasts %d days, want %d", version.Version(), name, command, got, days)
			}
		}
		ask("mallory", "cancel", 2)         // no party
		ask("mallory", "restore", 2)        // nothing to restore
		ask("mallory", "new sell usd=0", 2) // no order
		ask("mallory", "send pay-invoice", 2)
		ask("alice", "orders A", 30)
		ask("alice", "release", 30) // refused, and hers
		w.play(t, "bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release")
		ask("bob", "rate stars=5", 30)
		ask("bob", "rate stars=5", 2) // once more

		w.play(t, "alice new sell sats=100000")
		asked := 0
		w.e.cfg.Stranger = func(context.Context, *nostr.Event) error {
			asked++
			return errors.New("rate-limited: there are too many")
		}
		before, seen := len(w.events), w.rows(tableSeen)
		w.play(t, "mallory cancel\n mallory restore\n mallory new sell sats=1000\n mallory send pay-invoice")
		if n := strings.Count(w.out.String(), "OK false: rate-limited: there are too many"); asked != 4 || n != 4 || len(w.events) != before || w.rows(tableSeen) != seen {
			t.Errorf("version %d: asked %d times about strangers, %d more events, %d more rows", version.Version(), asked, len(w.events)-before, w.rows(tableSeen)-seen)
		}
		w.play(t, "alice restore as=99") // with a new device
		if asked != 4 {
			t.Errorf("version %d: who has a trade is refused his list of them", version.Version())
		}
		ask("alice", "cancel", 30)
	}
}
