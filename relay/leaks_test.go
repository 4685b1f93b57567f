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

// TestC3Leaks asks random filters on every path that answers, as random connections, and holds
// every private event that comes out, and every one that does not, against the rule.
//
//	MOSTRO_LEAKS_SEED=7 go test ./relay -run C3Leaks
//	MOSTRO_LEAKS_FILTERS=10000000 go test ./relay -run C3Leaks -timeout 0
func TestC3Leaks(t *testing.T) {
	filters := 120_000 // in all, a third for each mode
	if testing.Short() {
		filters = 12_000
	}
	filters = int(number("MOSTRO_LEAKS_FILTERS", uint64(filters)))
	each := min(filters/3, 10_000) // on one relay, then comes another in another mode
	seed := number("MOSTRO_LEAKS_SEED", uint64(time.Now().UnixNano()))
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(from []string, n int) []string {
		var got []string
		for range 1 + random.IntN(n) {
			got = append(got, from[random.IntN(len(from))])
		}
		return got
	}
	names := make([]string, 8)
	for i := range names {
		names[i] = fmt.Sprintf("%064x", i+1)
	}
	node, followed := publicKey(t, nodeKey), names[7]
	names[6] = node
	now := nostr.Now()
	modes := []PrivateReads{ReadsNamed, ReadsOpen, ReadsStrict}
	for done := 0; done < filters; done += each {
		mode := modes[done/each%len(modes)]
		limits := DefaultLimits()
		limits.QueryTime = time.Hour // what is measured here is not the clock
		r, err := Open(Config{Pubkey: node, Limits: limits, PrivateReads: mode, Followed: func(k string) bool { return k == followed }})
		if err != nil {
			t.Fatal(err)
		}
		kinds := []int{1, 4, 14, 1059, 21059, 38383}
		var events []nostr.Event
		var secrets []secret
		var ids []string
		raws := make(map[string]string) // ids by what is served
		for i := range 60 {
			ev := nostr.Event{
				Kind: kinds[random.IntN(len(kinds))], PubKey: names[random.IntN(len(names))], Sig: strings.Repeat("0", 128),
				CreatedAt: now - nostr.Timestamp(random.IntN(20)), Content: fmt.Sprint("text ", i), Tags: nostr.Tags{{"d", fmt.Sprint(i)}},
			}
			for range random.IntN(3) {
				ev.Tags = append(ev.Tags, nostr.Tag{"p", names[random.IntN(len(names))]})
			}
			ev.ID = ev.GetID()
			ids = append(ids, ev.ID)
			raws[string(encodeEvent(&ev))] = ev.ID
			events = append(events, ev)
			to := secret{id: ev.ID, author: ev.PubKey}
			for tag := range ev.Tags.FindAll("p") {
				to.to = append(to.to, tag[1])
			}
			secrets = append(secrets, to)
			if err := r.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
		for i := range each {
			var f nostr.Filter
			if random.IntN(2) == 0 {
				for range 1 + random.IntN(3) {
					f.Kinds = append(f.Kinds, kinds[random.IntN(len(kinds))])
				}
			}
			if random.IntN(3) == 0 {
				f.Authors = pick(names, 3)
			}
			if random.IntN(6) == 0 {
				f.IDs = pick(ids, 6)
			}
			if f.Tags = make(nostr.TagMap); random.IntN(3) == 0 {
				f.Tags["p"] = pick(names, 2)
			}
			if random.IntN(10) == 0 {
				f.Tags["d"] = pick([]string{"1", "2", "3", "4", "5", "6"}, 4)
			}
			if random.IntN(6) == 0 {
				at := now - nostr.Timestamp(random.IntN(20))
				f.Since = &at
			}
			if random.IntN(8) == 0 {
				f.Search = "text"
			}
			var authed []string
			s := &session{relay: r, subs: make(map[string]*subscription), sets: make(map[string]*reconciling), hooks: t.Context()}
			s.ctx, s.room.L, s.writing = t.Context(), &s.mu, true // there is no connection to write to
			if random.IntN(2) == 0 {
				authed = pick(names, 2)
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
			path := []string{"COUNT", "NEG-OPEN"}[i%2]
			switch { // these cost more
			case i%50 == 0:
				path = "LIVE"
			case i%8 == 0:
				path = "REQ"
			}
			plain := f
			plain.Search = ""
			want := make(map[string]bool)
			for i := range events {
				ev, to := &events[i], secrets[i]
				if plain.Matches(ev) && (path == "LIVE" || ev.Kind != 21059) && (f.Search == "" || ev.Kind == 1 || ev.Kind == 38383) &&
					(!privateKind(ev.Kind) || mayRead(mode, to, f, authed, node, followed, path)) {
					want[ev.ID] = true
				}
			}
			got, n, err := asked(r, s, f, path, events, raws)
			if err != nil || n != len(want) || path != "COUNT" && !maps.Equal(got, want) {
				for id := range got {
					if i := slices.Index(ids, id); !want[id] {
						t.Errorf("given out: event of kind %d by %s to %s", events[i].Kind, secrets[i].author, secrets[i].to)
					}
				}
				t.Fatalf("mode %d, %s %s, authed %s: %d events, want %d, %v", mode, path, f, authed, n, len(want), err)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
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
