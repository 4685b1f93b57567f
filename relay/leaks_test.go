package relay

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// secret is an event of a private kind as the oracle of the leak test sees it.
type secret struct {
	id, author string
	to         []string
}

// mayRead is the rule for private kinds, said once more in the plainest way.
func mayRead(mode PrivateReads, s secret, f nostr.Filter, authed []string, node, followed string, path string) bool {
	if mode == ReadsOpen || slices.Contains(authed, s.author) || slices.ContainsFunc(s.to, func(to string) bool { return slices.Contains(authed, to) }) {
		return true
	}
	if mode == ReadsStrict || path == "COUNT" || path == "NEG-OPEN" {
		return false
	}
	for _, to := range s.to {
		if slices.Contains(f.Tags["p"], to) {
			return true
		}
	}
	return s.author != node && s.author != followed && slices.Contains(f.Authors, s.author)
}

// leaks are random events between a few people, and random filters for them.
type leaks struct {
	random  *rand.Rand
	mode    PrivateReads
	names   []string // public keys; the last two are the node's and that of a followed Mostro
	now     nostr.Timestamp
	events  []nostr.Event
	secrets []secret
	ids     []string
	raws    map[string]string // ids by what is served
}

var leakKinds = []int{1, 4, 14, 1059, 21059, 38383}

func (w *leaks) node() string     { return w.names[len(w.names)-2] }
func (w *leaks) followed() string { return w.names[len(w.names)-1] }

func (w *leaks) config() Config {
	limits := DefaultLimits()
	limits.QueryTime = time.Hour // what is measured here is not the clock
	return Config{Pubkey: w.node(), ServiceURL: serviceURL, Limits: limits, PrivateReads: w.mode, Followed: func(k string) bool { return k == w.followed() }}
}

// fill makes the events, and publishes them on r.
func (w *leaks) fill(t *testing.T, r *Relay) {
	w.raws = make(map[string]string)
	for i := range 60 {
		ev := nostr.Event{
			Kind: leakKinds[w.random.IntN(len(leakKinds))], PubKey: w.names[w.random.IntN(len(w.names))], Sig: strings.Repeat("0", 128),
			CreatedAt: w.now - nostr.Timestamp(w.random.IntN(20)), Content: fmt.Sprint("text ", i), Tags: nostr.Tags{{"d", fmt.Sprint(i)}},
		}
		for range w.random.IntN(3) {
			ev.Tags = append(ev.Tags, nostr.Tag{"p", w.names[w.random.IntN(len(w.names))]})
		}
		ev.ID = ev.GetID()
		w.ids = append(w.ids, ev.ID)
		w.raws[string(encodeEvent(&ev))] = ev.ID
		w.events = append(w.events, ev)
		to := secret{id: ev.ID, author: ev.PubKey}
		for tag := range ev.Tags.FindAll("p") {
			to.to = append(to.to, tag[1])
		}
		w.secrets = append(w.secrets, to)
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *leaks) pick(from []string, n int) []string {
	var got []string
	for range 1 + w.random.IntN(n) {
		got = append(got, from[w.random.IntN(len(from))])
	}
	return got
}

func (w *leaks) filter() (f nostr.Filter) {
	if w.random.IntN(2) == 0 {
		for range 1 + w.random.IntN(3) {
			f.Kinds = append(f.Kinds, leakKinds[w.random.IntN(len(leakKinds))])
		}
	}
	if w.random.IntN(3) == 0 {
		f.Authors = w.pick(w.names, 3)
	}
	if w.random.IntN(6) == 0 {
		f.IDs = w.pick(w.ids, 6)
	}
	if f.Tags = make(nostr.TagMap); w.random.IntN(3) == 0 {
		f.Tags["p"] = w.pick(w.names, 2)
	}
	if w.random.IntN(10) == 0 {
		f.Tags["d"] = w.pick([]string{"1", "2", "3", "4", "5", "6"}, 4)
	}
	if w.random.IntN(6) == 0 {
		at := w.now - nostr.Timestamp(w.random.IntN(20))
		f.Since = &at
	}
	if w.random.IntN(8) == 0 {
		f.Search = "text"
	}
	return f
}

// path is the way on which filter i is asked.
func (w *leaks) path(i int) string {
	switch { // these cost more
	case i%50 == 0:
		return "LIVE"
	case i%8 == 0:
		return "REQ"
	}
	return []string{"COUNT", "NEG-OPEN"}[i%2]
}

// judge holds what came out for f on a path against the rule: which events, and how many.
func (w *leaks) judge(t *testing.T, f nostr.Filter, path string, authed []string, got map[string]bool, n int, err error) {
	t.Helper()
	plain := f
	plain.Search = ""
	want := make(map[string]bool)
	for i := range w.events {
		ev := &w.events[i]
		if plain.Matches(ev) && (path == "LIVE" || ev.Kind != 21059) && (f.Search == "" || ev.Kind == 1 || ev.Kind == 38383) &&
			(!privateKind(ev.Kind) || mayRead(w.mode, w.secrets[i], f, authed, w.node(), w.followed(), path)) {
			want[ev.ID] = true
		}
	}
	if err == nil && n == len(want) && (path == "COUNT" || maps.Equal(got, want)) {
		return
	}
	for id := range got {
		if i := slices.Index(w.ids, id); !want[id] {
			t.Errorf("given out: event of kind %d by %s to %s", w.events[i].Kind, w.secrets[i].author, w.secrets[i].to)
		}
	}
	t.Fatalf("mode %d, %s %s, authed %s: %d events, want %d, %v", w.mode, path, f, authed, n, len(want), err)
}

// TestC3Leaks asks random filters on every path that answers, as random connections, and holds
// every private event that comes out, and every one that does not, against the rule.
//
//	MOSTRO_LEAKS_SEED=7 go test ./relay -run C3Leaks
//	MOSTRO_LEAKS_FILTERS=10000000 go test ./relay -run C3Leaks -timeout 0
func TestC3Leaks(t *testing.T) {
	filters := 180_000 // in all, a third for each mode, of which two gate
	if testing.Short() {
		filters = 12_000
	}
	filters = int(number("MOSTRO_LEAKS_FILTERS", uint64(filters)))
	each := min(filters/3, 10_000) // on one relay, then comes another in another mode
	seed := number("MOSTRO_LEAKS_SEED", uint64(time.Now().UnixNano()))
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	names := make([]string, 8)
	for i := range names {
		names[i] = fmt.Sprintf("%064x", i+1)
	}
	names[6] = publicKey(t, nodeKey)
	now := nostr.Now()
	modes := []PrivateReads{ReadsNamed, ReadsOpen, ReadsStrict}
	for done := 0; done < filters; done += each {
		w := &leaks{random: random, mode: modes[done/each%len(modes)], names: names, now: now}
		r, err := Open(w.config())
		if err != nil {
			t.Fatal(err)
		}
		w.fill(t, r)
		for i := range each {
			f := w.filter()
			var authed []string
			s := &session{relay: r, subs: make(map[string]*subscription), sets: make(map[string]*reconciling), hooks: t.Context()}
			s.ctx, s.room.L, s.writing = t.Context(), &s.mu, true // there is no connection to write to
			if random.IntN(2) == 0 {
				authed = w.pick(names, 2)
				var held keys
				for _, name := range authed {
					k, err := parseKey(name)
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, k)
				}
				s.keys.Store(&held)
			}
			path := w.path(i)
			got, n, err := asked(r, s, f, path, w.events, w.raws)
			w.judge(t, f, path, authed, got, n, err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestC3LeaksOnSockets is the same on real connections, of a stranger and of people who have authenticated.
func TestC3LeaksOnSockets(t *testing.T) {
	seed := number("MOSTRO_LEAKS_SEED", uint64(time.Now().UnixNano()))
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	secrets := make([]string, 6)
	var names []string
	for i := range secrets {
		secrets[i] = fmt.Sprintf("%064x", i+2)
		names = append(names, publicKey(t, secrets[i]))
	}
	names = append(names, publicKey(t, nodeKey), fmt.Sprintf("%064x", 8))
	for _, mode := range []PrivateReads{ReadsNamed, ReadsOpen, ReadsStrict} {
		w := &leaks{random: random, mode: mode, names: names, now: nostr.Now()}
		r, url := serveWhole(t, w.config())
		w.fill(t, r)
		for people := range 3 {
			c, challenge := greet(t, url)
			for _, secret := range secrets[:people] {
				if ok, reason := c.auth(login(t, secret, challenge, serviceURL, nil)); !ok {
					t.Fatal(reason)
				}
			}
			for i := range 300 {
				f := w.filter()
				path := []string{"REQ", "COUNT", "NEG-OPEN"}[i%3]
				if i%25 == 0 {
					path = "LIVE"
				}
				got, n, err := w.askOn(t, r, c, f, path)
				w.judge(t, f, path, names[:people], got, n, err)
			}
		}
	}
}

// askOn asks f on a connection, and gives what comes out; for LIVE all events come once more.
func (w *leaks) askOn(t *testing.T, r *Relay, c wire, f nostr.Filter, path string) (got map[string]bool, n int, err error) {
	label, more := path, ""
	switch path {
	case "LIVE":
		label, f.LimitZero = "REQ", true
	case "NEG-OPEN":
		more = `,"6100000200"` // everything that you have
	}
	c.write(`["` + label + `","x",` + f.String() + more + `]`)
	got = make(map[string]bool)
	for {
		parts := c.next()
		switch string(parts[0]) {
		case `"EVENT"`:
			id := w.raws[string(parts[2])]
			if id == "" || got[id] {
				return nil, 0, fmt.Errorf("unknown, changed or twice: %s", parts[2])
			}
			got[id] = true
		case `"EOSE"`:
			if path == "LIVE" {
				for i := range w.events {
					r.store.sync(func() { r.fanOut(&w.events[i], encodeEvent(&w.events[i])) })
				}
				c.write(`["COUNT","mark",{"ids":["` + w.ids[0] + `"]}]`) // it is answered behind what is live
				continue
			}
			c.write(`["CLOSE","x"]`)
			return got, len(got), nil
		case `"CLOSED"`, `"NEG-ERR"`:
			if w.mode != ReadsStrict || !strings.Contains(string(parts[2]), "auth-required: ") {
				return nil, 0, fmt.Errorf("refused: %s", parts)
			}
			return got, 0, nil
		case `"COUNT"`:
			if path == "LIVE" {
				c.write(`["CLOSE","x"]`)
				return got, len(got), nil
			}
			var answer struct{ Count int }
			err = json.Unmarshal(parts[2], &answer)
			return nil, answer.Count, err
		case `"NEG-MSG"`:
			var message string
			if err = json.Unmarshal(parts[2], &message); err != nil {
				return nil, 0, err
			}
			for _, id := range w.ids { // few enough to be named one by one
				if strings.Contains(message, id) {
					got[id] = true
				}
			}
			c.write(`["NEG-CLOSE","x"]`)
			return got, len(got), nil
		default:
			return nil, 0, fmt.Errorf("answer %s", parts)
		}
	}
}

// asked sends a session the message that asks for f on a path, and gives what it answers: how many events, and but
// for COUNT which.
func asked(r *Relay, s *session, f nostr.Filter, path string, events []nostr.Event, raws map[string]string) (got map[string]bool, n int, err error) {
	label, more := path, ""
	switch path {
	case "LIVE":
		label, f.LimitZero = "REQ", true
	case "NEG-OPEN":
		more = `,"6100000200"`
	}
	s.handle([]byte(`["` + label + `","x",` + f.String() + more + `]`))
	if path == "LIVE" {
		for i := range events {
			r.store.sync(func() { r.fanOut(&events[i], encodeEvent(&events[i])) })
		}
	}
	got = make(map[string]bool)
	for i := range s.queue {
		o := &s.queue[i]
		if o.prefix != nil {
			id := raws[string(o.body)]
			if id == "" || got[id] {
				return nil, 0, fmt.Errorf("unknown, changed or twice: %s", o.body)
			}
			got[id] = true
			continue
		}
		var answer struct {
			Count int `json:"count"`
		}
		switch parts, _ := splitArray(o.body); {
		case path == "COUNT" && string(parts[0]) == `"COUNT"`:
			if err := json.Unmarshal(parts[2], &answer); err != nil {
				return nil, 0, err
			}
			return nil, answer.Count, nil
		case string(parts[0]) == `"EOSE"`, path == "NEG-OPEN" && string(parts[0]) == `"NEG-MSG"`:
		case strings.Contains(string(o.body), `"auth-required: `) && r.cfg.PrivateReads == ReadsStrict:
		default:
			return nil, 0, fmt.Errorf("answer %s", o.body)
		}
	}
	if set := s.sets["x"]; set != nil {
		for _, item := range set.items {
			got[key(item.ID).String()] = true
		}
	}
	s.handle([]byte(`["` + map[bool]string{true: "NEG-CLOSE", false: "CLOSE"}[path == "NEG-OPEN"] + `","x"]`))
	return got, len(got), nil
}
