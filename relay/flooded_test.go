package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// stored counts the events that a relay has.
func stored(t *testing.T, r *Relay, ids []string) (n int) {
	t.Helper()
	for _, id := range ids {
		if has, err := r.Has(t.Context(), id); err != nil {
			t.Fatal(err)
		} else if has {
			n++
		}
	}
	return n
}

// TestC3MessagesTakeRoom: a flood of messages from keys that are made for one each takes the room of messages, not of what
// others have published, nor that of trades.
func TestC3MessagesTakeRoom(t *testing.T) {
	trade := publicKey(t, nostr.GeneratePrivateKey())
	for _, c := range []struct {
		name   string
		limits func(*Limits)
	}{
		{"too many", func(l *Limits) { l.Events = 100 }},
		{"too large an index", func(l *Limits) { l.IndexBytes = 90_000 }},
	} {
		limits := DefaultLimits()
		c.limits(&limits)
		at := &clock{now: time.Now()}
		r, _ := startAt(t, Config{Limits: limits, Running: func(pubkey string) bool { return pubkey == trade }}, at.time)
		add := func(n, kind, days int, tags ...nostr.Tag) (ids []string) {
			for i := range n {
				ev := nostr.Event{Kind: kind, PubKey: publicKey(t, nostr.GeneratePrivateKey()), CreatedAt: nostr.Timestamp(at.time().Add(-time.Duration(days)*day).Unix() + int64(i)),
					Tags: append(nostr.Tags{}, tags...), Sig: strings.Repeat("0", 128)}
				for k := range 10 {
					ev.Tags = append(ev.Tags, nostr.Tag{"x", fmt.Sprint(kind, days, i, k)})
				}
				ev.ID = ev.GetID()
				if err := r.Publish(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, ev.ID)
			}
			return ids
		}
		left := func(ids []string) int { return stored(t, r, ids) }
		public := append(append(add(20, 1, 300), add(10, 0, 300)...), add(10, 10002, 300)...)
		needed := add(5, 1059, 20, nostr.Tag{"p", trade})
		old, young := add(60, 1059, 4), add(55, 1059, 2)
		if _, _, bytes := r.Indexed(); bytes <= limits.IndexBytes && limits.Events > 1000 {
			t.Fatalf("%d bytes of index are not too many", bytes)
		}
		for range 2 {
			if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if left(public) != len(public) || left(needed) != len(needed) || left(young) != len(young) || left(old) == len(old) {
			t.Errorf("%s: left are %d of %d that others have published, %d of %d messages of a trade, %d of %d young ones, %d of %d old ones", c.name,
				left(public), len(public), left(needed), len(needed), left(young), len(young), left(old), len(old))
		}
		add(200, 1059, 1) // and when none of them may go
		if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
			t.Fatal(err)
		}
		if left(public) != len(public) || left(needed) != len(needed) || left(young) != len(young) {
			t.Errorf("%s: left are %d of %d that others have published, %d of %d messages of a trade, %d of %d young ones", c.name,
				left(public), len(public), left(needed), len(needed), left(young), len(young))
		}
	}
}

// TestHubIsNoFlood: a relay that has very many messages is flooded when they could soon take the room of all else, not as long
// as there is room.
func TestHubIsNoFlood(t *testing.T) {
	limits := DefaultLimits()
	limits.Events = 1000
	for _, c := range []struct {
		messages, others int
		want             bool
	}{
		{700, 0, false},
		{820, 0, true},
		{390, 430, false},
		{430, 390, true},
	} {
		r, _ := start(t, Config{Limits: limits})
		put(t, r, c.messages, 1059, time.Now())
		put(t, r, c.others, 1, time.Now())
		if got := r.flooded(); got != c.want {
			t.Errorf("flooded by %d messages and %d others: %v, want %v", c.messages, c.others, got, c.want)
		}
	}
}

// TestC3Rations: while there are very many messages, an address has only so many more of them stored, and others have theirs.
func TestC3Rations(t *testing.T) {
	limits := DefaultLimits()
	limits.Events = 1500
	r, url := serveWhole(t, Config{Limits: limits})
	w := dial(t, url)
	wrap := func(n int) nostr.Event {
		ev := nostr.Event{Kind: 1059, CreatedAt: nostr.Now()}
		for i := range 100 {
			ev.Tags = append(ev.Tags, nostr.Tag{"p", key{byte(n), byte(n >> 8), byte(i)}.String()})
		}
		return signed(t, nostr.GeneratePrivateKey(), ev)
	}
	sent, said := 0, ""
	for ok := true; ok && sent < 1600; sent++ {
		ok, said = w.publish(wrap(sent))
	}
	// 1200 are few, then 6 for each of the 2000.
	if !strings.HasPrefix(said, "rate-limited: this relay is flooded") || sent < 1500 || sent > 1560 {
		t.Errorf("message %d: %s", sent, said)
	}
	if ok, said := elsewhere(t, url).publish(wrap(sent)); !ok {
		t.Errorf("from another address: %s", said)
	}
	if ok, said := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); !ok {
		t.Errorf("a note: %s", said)
	}
	if !r.flooded() {
		t.Error("the relay does not know that it is flooded")
	}
}

// TestC3AnswersTakeRoom: what the node has written to who asks it from keys made for one question each is the first to go, and
// neither what others have published nor what it has written to a trade; nor how a trade has ended, which goes at last.
func TestC3AnswersTakeRoom(t *testing.T) {
	node, trade := publicKey(t, nodeKey), publicKey(t, nostr.GeneratePrivateKey())
	limits := DefaultLimits()
	limits.Events = 110
	at := &clock{now: time.Now()}
	r, _ := startAt(t, Config{Limits: limits, Pubkey: node, Running: func(pubkey string) bool { return pubkey == trade || pubkey == node }}, at.time)
	add := func(n, kind int, age, lasts time.Duration, author, to string) (ids []string) {
		for i := range n {
			written := at.time().Add(-age).Unix() + int64(i)
			ev := nostr.Event{Kind: kind, PubKey: author, CreatedAt: nostr.Timestamp(written), Tags: nostr.Tags{{"p", to}}, Sig: strings.Repeat("0", 128)}
			if to == "" {
				ev.Tags[0][1] = publicKey(t, nostr.GeneratePrivateKey())
			}
			if lasts > 0 {
				ev.Tags = append(ev.Tags, nostr.Tag{"expiration", fmt.Sprint(written + int64(lasts/time.Second))})
			}
			ev.ID = ev.GetID()
			if err := r.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, ev.ID)
		}
		return ids
	}
	room := func() {
		t.Helper()
		if err := r.makeRoom(t.Context(), r.store.opts.Now()); err != nil {
			t.Fatal(err)
		}
	}
	left := func(ids []string) int { return stored(t, r, ids) }
	public := add(20, 1, 300*day, 0, publicKey(t, nostr.GeneratePrivateKey()), trade)
	needed := add(20, 14, 20*day, 30*day, node, trade)
	public = append(public, add(1, 38386, 20*day, 30*day, node, trade)...)
	chat := add(10, 14, 2*day, 0, publicKey(t, nostr.GeneratePrivateKey()), "")
	ended := add(10, 14, 6*day, 30*day, node, "")
	old, young := add(100, 14, 30*time.Hour, 2*day, node, ""), add(30, 14, 20*time.Hour, 2*day, node, "")
	room()
	if left(public) != 21 || left(needed) != 20 || left(chat) != 10 || left(ended) != 10 || left(young) != 30 || left(old) > 20 {
		t.Errorf("left are %d of 21 that are public, %d of 20 to a trade, %d of 10 chats, %d of 10 that a trade has ended, %d of 30 young answers, %d of 100 old ones",
			left(public), left(needed), left(chat), left(ended), left(young), left(old))
	}
	young = append(young, add(60, 14, 20*time.Hour, 2*day, node, "")...)
	long := add(10, 14, 8*day, 30*day, node, "")
	room()
	if left(ended) != 10 || left(young) != 90 || left(long) != 0 || left(old) != 0 {
		t.Errorf("left are %d of 10 that a trade has ended, %d of 90 young answers, %d that a trade ended long ago, %d old answers",
			left(ended), left(young), left(long), left(old))
	}
}

// TestC3AnswersRationed: while there are very many messages, strangers from one address have only so many more answered.
func TestC3AnswersRationed(t *testing.T) {
	limits := DefaultLimits()
	limits.Events = 1200
	taken := 0
	receive := func(ctx context.Context, ev *nostr.Event) error {
		if err := Stranger(ctx, ev); err != nil {
			return err
		}
		taken++
		return nil
	}
	r, url := serveWhole(t, Config{Limits: limits, Receive: receive})
	w := dial(t, url)
	ask := func(w wire) (bool, string) {
		ev := nostr.Event{Kind: 14, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}}
		for i := range 99 { // counts for 6
			ev.Tags = append(ev.Tags, nostr.Tag{"x", fmt.Sprint(i)})
		}
		return w.publish(signed(t, nostr.GeneratePrivateKey(), ev))
	}
	for range 300 {
		if ok, said := ask(w); !ok {
			t.Fatalf("without a flood: %s", said)
		}
	}
	for i := range 1001 {
		ev := nostr.Event{Kind: 1059, PubKey: publicKey(t, nostr.GeneratePrivateKey()), CreatedAt: nostr.Now(), Content: fmt.Sprint(i), Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	taken = 0
	said := ""
	for ok := true; ok && taken < 500; {
		ok, said = ask(w)
	}
	if !strings.HasPrefix(said, "rate-limited: this relay is flooded") || taken < 330 || taken > 340 {
		t.Errorf("after %d messages: %s", taken, said)
	}
	if ok, said := ask(elsewhere(t, url)); !ok {
		t.Errorf("from another address: %s", said)
	}
}
