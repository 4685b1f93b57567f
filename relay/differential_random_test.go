package relay

import (
	"fmt"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

func (w *world) one(in int) bool { return w.IntN(in) == 0 }

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

// words are tag values; some are the beginning of others, some need care in JSON, some are
// longer than an index key should be.
func (w *world) word() string {
	long := strings.Repeat("z", 150)
	return pick(w, "", "a", "a1", "a10", "usd", "usdt", "USD", "é", "\u2028", `quote"back\`, "line\nbreak", "\x00", "<&>", long, long+"1")
}

func (w *world) anyID() string {
	if len(w.made) == 0 || w.one(10) {
		return fmt.Sprintf("%064x", w.Uint64())
	}
	return w.made[w.IntN(len(w.made))].ID
}

// idFor picks an event that a person may delete: one of their own or a gift wrap to them.
func (w *world) idFor(who int) string {
	for range 20 {
		if ev := w.byID[w.anyID()]; ev.PubKey == w.publics[who] && w.one(2) || ev.Kind == 1059 && ev.Tags.FindWithValue("p", w.publics[who]) != nil {
			return ev.ID
		}
	}
	return w.anyID()
}

func (w *world) kind() int {
	return pick(w, 1, 1, 7, 9999, 4, 14, 1059, 1059, 0, 3, 10002, 20001, 21059, 30000, 38383, 38383, 39999, 40000, 65535)
}

// event makes an event and signs it.
func (w *world) event() nostr.Event {
	who := w.IntN(len(w.secrets))
	ev := nostr.Event{Kind: w.kind(), CreatedAt: w.base + nostr.Timestamp(w.IntN(worldSeconds)), Content: w.word(), Tags: nostr.Tags{}}
	for range w.IntN(4) {
		ev.Tags = append(ev.Tags, pick(w,
			nostr.Tag{"p", pick(w, w.publics...)}, nostr.Tag{"e", w.anyID()}, nostr.Tag{"t", w.word()},
			nostr.Tag{"t", w.word(), w.word()}, nostr.Tag{"T", w.word()}, nostr.Tag{"tt", w.word()}, nostr.Tag{"t"}, nostr.Tag{""}))
	}
	if w.one(10) {
		ev.Kind = 5
		for range 1 + w.IntN(3) {
			ev.Tags = append(ev.Tags, pick(w, nostr.Tag{"e", w.anyID()}, nostr.Tag{"e", w.idFor(who)}, nostr.Tag{"e", w.idFor(who)}, nostr.Tag{"e"}, nostr.Tag{"e", "?"},
				nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", w.kind(), w.publics[who], pick(w, "", "a", "a1"))},
				nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", w.kind(), pick(w, w.publics...), pick(w, "", "a", "a1"))}, nostr.Tag{"a", "30000"}))
		}
	}
	for ev.Kind >= 30000 && !w.one(6) { // several d tags now and then, the first counts; or none
		ev.Tags = append(ev.Tags, nostr.Tag{"d", pick(w, "", "a", "a1", "a10")})
		if !w.one(6) {
			break
		}
	}
	// Only regular events expire here: whether an expired version still stands in the way of
	// an older one is for the relay to say.
	if oracleAddress(ev) == "" && ev.Kind != 5 && w.one(8) {
		at := w.clock.now.Unix() + int64(w.IntN(20)) - 2
		ev.Tags = append(ev.Tags, nostr.Tag{"expiration", pick(w, fmt.Sprint(at), fmt.Sprint(at), "soon")})
	}
	w.sign(&ev, who)
	w.made = append(w.made, ev)
	return ev
}

// sign signs ev once: another signature of the same event would be as valid, but not what the
// relay has.
func (w *world) sign(ev *nostr.Event, who int) {
	if err := ev.Sign(w.secrets[who]); err != nil {
		w.Fatal(err)
	}
	if first, twice := w.byID[ev.ID]; twice {
		*ev = first
	}
	w.byID[ev.ID] = *ev
}

// probe makes a filter at random.
func (w *world) probe() probe {
	var q probe
	some := func(most int, value func()) {
		for range 1 + w.IntN(most) {
			value()
		}
	}
	if w.one(8) {
		some(6, func() { q.ids = append(q.ids, w.anyID()) })
	}
	if w.one(3) {
		some(3, func() { q.authors = append(q.authors, pick(w, w.publics...)) })
	}
	if w.one(2) {
		some(4, func() { q.kinds = append(q.kinds, pick(w, w.kind(), 5)) })
	}
	for _, letter := range []string{"p", "e", "t", "T", "d", "a"} {
		if !w.one(6) {
			continue
		}
		if q.tags == nil {
			q.tags = make(map[string][]string)
		}
		some(4, func() {
			value := w.word()
			switch letter {
			case "p":
				value = pick(w, w.publics...)
			case "e":
				value = w.anyID()
			}
			q.tags[letter] = append(q.tags[letter], value)
		})
	}
	at := func() *int64 { s := int64(w.base) + int64(w.IntN(worldSeconds)); return &s }
	if w.one(5) {
		q.since = at()
	}
	if w.one(5) {
		q.until = at()
	}
	if w.one(3) {
		limit := w.IntN(12)
		q.limit = &limit
	}
	return q
}

func (w *world) probes() []probe {
	all := []probe{w.probe()}
	for range w.IntN(6) / 3 {
		all = append(all, w.probe())
	}
	return all
}
