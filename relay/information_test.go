package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
	"github.com/nbd-wtf/go-nostr/nip13"
)

// described is the relay's description as clients read it.
type described struct {
	nip11.RelayInformationDocument
	Further furtherLimits `json:"mostro_limitation"`
}

func describedAt(t *testing.T, url string) (told described) {
	t.Helper()
	_, body := get(t, "http"+strings.TrimPrefix(url, "ws"), http.Header{"Accept": {"application/nostr+json"}})
	if err := json.Unmarshal([]byte(body), &told); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return told
}

// TestLimitsAsTold: each limit in the relay's description is the one that holds: what it allows is taken, and the next more
// is not. A field that is new fails the test until somebody probes it.
func TestLimitsAsTold(t *testing.T) {
	limits := DefaultLimits()
	limits.MessageBytes, limits.Subscriptions, limits.MaxResults, limits.Results, limits.BookResults, limits.SubIDLength = 16_000, 3, 7, 4, 6, 9
	limits.EventTags, limits.ContentLength, limits.Past, limits.Future = 40, 1000, 100*day, limits.Future/3
	limits.Filters, limits.FilterValues, limits.FilterTags, limits.SubscriptionValues = 5, 20, 2, 60
	limits.WrapPast, limits.OrderFuture, limits.IndexedTags, limits.TagBytes, limits.EventsPerKey = 2*day, limits.OrderFuture/2, 5, 900, 30
	limits.AuthKeys, limits.NegSessions, limits.NegItems, limits.Events = 2, 1, 25, 10_000
	cfg := Config{ServiceURL: serviceURL, Limits: limits, Contents: map[int]int{0: 10, 7: 0}, Retention: []Retention{{Kinds: []int{42}, For: 50 * day}, {For: 90 * day}}}
	r, url := start(t, cfg)
	told := describedAt(t, url)
	w, challenge := greet(t, url)
	alice := nostr.GeneratePrivateKey()
	// takes tells whether an event is taken, as somebody's who has published nothing yet.
	takes := func(ev nostr.Event, change ...func(*nostr.Event)) bool {
		t.Helper()
		for _, c := range change {
			c(&ev)
		}
		w, _ := greet(t, url)
		defer w.Close()
		ok, _ := w.publish(signed(t, nostr.GeneratePrivateKey(), ev))
		return ok
	}
	opens := func(w wire, id string, filters ...string) bool {
		t.Helper()
		w.write(`["REQ","` + id + `",` + strings.Join(filters, ",") + `]`)
		answer := w.text()
		for strings.HasPrefix(answer, "EVENT ") {
			answer = w.text()
		}
		return strings.HasPrefix(answer, "EOSE ")
	}
	aged := func(kind int, seconds int64) bool {
		return takes(nostr.Event{Kind: kind, CreatedAt: nostr.Now() - nostr.Timestamp(seconds), Tags: nostr.Tags{{"d", "x"}, {"p", strings.Repeat("ab", 32)}}})
	}
	tagged := func(kind, n int) bool {
		return takes(nostr.Event{Kind: kind, Tags: append(nostr.Tags{{"d", "x"}}, repeated(nostr.Tag{"x"}, n-1)...)})
	}
	content := func(kind, n int) bool {
		return takes(nostr.Event{Kind: kind, Content: strings.Repeat("x", n)})
	}
	// spare is for the time between two looks at the clock.
	const spare = 20

	for range 30 {
		if ok, reason := w.publish(signed(t, alice, nostr.Event{Kind: 42, Content: nostr.GeneratePrivateKey()})); !ok {
			t.Fatal(reason)
		}
	}
	for _, kind := range bookKinds {
		for i := range 8 {
			if err := r.Publish(t.Context(), signed(t, nodeKey, nostr.Event{Kind: kind, Tags: nostr.Tags{{"d", fmt.Sprint(i)}, {"p", strings.Repeat("ab", 32)}}})); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := func(filter string) int { return len(w.query(filter)) }
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }
	fresh := func() wire { w, _ := greet(t, url); return w }

	l := told.Limitation
	probes := map[string]func() (within, beyond bool){
		"max_message_length": func() (bool, bool) {
			message := func(n int) string {
				head := `["CLOSE","a","`
				return head + strings.Repeat("x", n-len(head)-2) + `"]`
			}
			w := fresh()
			w.write(message(l.MaxMessageLength))
			within := opens(w, "a", `{"limit":0}`)
			w.write(message(l.MaxMessageLength + 1))
			_, _, err := w.ReadMessage()
			return within, !websocket.IsCloseError(err, websocket.CloseMessageTooBig)
		},
		"max_subscriptions": func() (bool, bool) {
			w, within := fresh(), true
			for i := range l.MaxSubscriptions {
				within = within && opens(w, fmt.Sprint(i), `{"limit":0}`)
			}
			return within, opens(w, "more", `{"limit":0}`)
		},
		"max_limit": func() (bool, bool) {
			n := found(fmt.Sprintf(`{"kinds":[42],"limit":%d}`, l.MaxLimit+1))
			return n >= l.MaxLimit, n > l.MaxLimit
		},
		"default_limit": func() (bool, bool) {
			n := found(`{"kinds":[42]}`)
			return n >= l.DefaultLimit, n > l.DefaultLimit
		},
		"max_subid_length": func() (bool, bool) {
			return opens(fresh(), strings.Repeat("é", l.MaxSubidLength), `{"limit":0}`), opens(fresh(), strings.Repeat("s", l.MaxSubidLength+1), `{"limit":0}`)
		},
		"max_event_tags":     func() (bool, bool) { return tagged(1, l.MaxEventTags), tagged(1, l.MaxEventTags+1) },
		"max_content_length": func() (bool, bool) { return content(1, l.MaxContentLength), content(1, l.MaxContentLength+1) },
		"created_at_upper_limit": func() (bool, bool) {
			return aged(1, spare-l.CreatedAtUpperLimit), aged(1, -spare-l.CreatedAtUpperLimit)
		},
		"created_at_lower_limit": func() (bool, bool) { // where no retention is shorter
			_, url := start(t, Config{Limits: limits})
			told, w := describedAt(t, url).Limitation, dial(t, url)
			old := func(seconds int64) bool {
				ok, _ := w.publish(signed(t, alice, nostr.Event{Kind: 1, CreatedAt: nostr.Now() - nostr.Timestamp(seconds)}))
				return ok
			}
			return old(told.CreatedAtLowerLimit - spare), old(told.CreatedAtLowerLimit + spare)
		},
		"min_pow_difficulty": func() (bool, bool) {
			limits := DefaultLimits()
			limits.MinPow = 6
			_, url := start(t, Config{Limits: limits})
			told, w := describedAt(t, url), dial(t, url)
			ev := nostr.Event{PubKey: publicKey(t, alice), Kind: 1, CreatedAt: nostr.Now()}
			work := func(bits int) bool {
				nonce, err := nip13.DoWork(t.Context(), ev, bits)
				if err != nil {
					t.Fatal(err)
				}
				worked := ev
				worked.Tags = nostr.Tags{nonce}
				ok, _ := w.publish(signed(t, alice, worked))
				return ok
			}
			if !told.Limitation.RestrictedWrites {
				t.Error("work is demanded, and it is not told that writes are restricted")
			}
			return work(told.Limitation.MinPowDifficulty), work(told.Limitation.MinPowDifficulty - 1)
		},
		"auth_required":     func() (bool, bool) { return !l.AuthRequired && opens(fresh(), "a", `{}`), false },
		"payment_required":  func() (bool, bool) { return !l.PaymentRequired && content(1, 1), false },
		"restricted_writes": func() (bool, bool) { return !l.RestrictedWrites && content(1, 2), false },

		"max_filters": func() (bool, bool) {
			n := told.Further.Filters
			filters := strings.Split(strings.TrimSuffix(strings.Repeat(`{"limit":0} `, n), " "), " ")
			return opens(fresh(), "a", filters...), opens(fresh(), "a", append(filters, `{}`)...)
		},
		"max_filter_values": func() (bool, bool) {
			n := told.Further.FilterValues
			return opens(fresh(), "a", `{"kinds":[`+list(n)+`]}`), opens(fresh(), "a", `{"kinds":[`+list(n+1)+`]}`)
		},
		"max_filter_tags": func() (bool, bool) {
			return opens(fresh(), "a", `{"#a":["1"],"#b":["1"]}`) && told.Further.FilterTags == 2, opens(fresh(), "a", `{"#a":["1"],"#b":["1"],"#c":["1"]}`)
		},
		"max_subscription_values": func() (bool, bool) {
			// A filter by kinds has as many values as kinds, and as many places in the index.
			w, n := fresh(), told.Further.SubscriptionValues
			within := true
			for i := range n / 20 / 2 {
				within = within && opens(w, fmt.Sprint(i), `{"kinds":[`+list(20)+`],"limit":0}`)
			}
			return within, opens(w, "more", `{"kinds":[`+list(20)+`],"limit":0}`, `{"kinds":[`+list(20)+`],"limit":0}`, `{"kinds":[`+list(20)+`],"limit":0}`)
		},
		"max_tag_bytes": func() (bool, bool) {
			long := func(n int) bool {
				return takes(nostr.Event{Kind: 1, Tags: nostr.Tags{{"x", strings.Repeat("x", n-1)}}})
			}
			return long(told.Further.TagBytes), long(told.Further.TagBytes + 1)
		},
		"max_events_per_key": func() (bool, bool) { // alice has published 30
			ok, _ := w.publish(signed(t, alice, nostr.Event{Kind: 1, Content: "one more"}))
			return told.Further.EventsPerKey == 30, ok
		},
		"max_auth_keys": func() (bool, bool) {
			within := true
			for range told.Further.AuthKeys {
				ok, _ := w.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil))
				within = within && ok
			}
			ok, _ := w.auth(login(t, nostr.GeneratePrivateKey(), challenge, serviceURL, nil))
			return within, ok
		},
		"max_negentropy_sessions": func() (bool, bool) {
			w := fresh()
			open := func(id string) bool {
				w.write(`["NEG-OPEN","` + id + `",{"kinds":[1],"limit":1},"6100000200"]`)
				return strings.HasPrefix(w.text(), "NEG-MSG ")
			}
			return open("a") && told.Further.NegSessions == 1, open("b")
		},
		"max_negentropy_events": func() (bool, bool) {
			open := func(limit int) bool {
				w := fresh()
				w.write(fmt.Sprintf(`["NEG-OPEN","a",{"kinds":[42],"limit":%d},"6100000200"]`, limit))
				return strings.HasPrefix(w.text(), "NEG-MSG ")
			}
			return open(told.Further.NegItems), open(told.Further.NegItems + 1)
		},
		"max_search_bytes": func() (bool, bool) {
			search := func(n int) bool { return opens(fresh(), "a", `{"search":"`+strings.Repeat("x", n)+`"}`) }
			return search(told.Further.SearchBytes), search(told.Further.SearchBytes + 1)
		},
		"max_search_words": func() (bool, bool) {
			search := func(n int) bool { return opens(fresh(), "a", `{"search":"`+strings.Repeat("x ", n)+`"}`) }
			return search(told.Further.SearchWords), search(told.Further.SearchWords + 1)
		},
		"max_searched_bytes": func() (bool, bool) {
			n := told.Further.Searched
			finds := func(at int) bool { // of a text that ends there
				ev := signed(t, nodeKey, nostr.Event{Kind: 1, Content: strings.Repeat("x", at-len(" needle")) + " needle"})
				if err := r.Publish(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
				return found(fmt.Sprintf(`{"search":"needle","ids":["%s"]}`, ev.ID)) == 1
			}
			return finds(n), finds(n + 1)
		},
		"kinds": func() (bool, bool) {
			for _, k := range told.Further.Kinds {
				for _, kind := range k.Kinds {
					for field, is := range map[string][2]bool{
						"created_at_lower_limit": {k.LowerLimit == 0 || aged(kind, k.LowerLimit-spare), k.LowerLimit != 0 && aged(kind, k.LowerLimit+spare)},
						"created_at_upper_limit": {k.UpperLimit == 0 || aged(kind, spare-k.UpperLimit), k.UpperLimit != 0 && aged(kind, -spare-k.UpperLimit)},
						"max_event_tags":         {k.EventTags == 0 || tagged(kind, k.EventTags), k.EventTags != 0 && tagged(kind, k.EventTags+1)},
						"max_content_bytes":      {k.ContentBytes == nil || content(kind, *k.ContentBytes), k.ContentBytes != nil && content(kind, *k.ContentBytes+1)},
					} {
						if !is[0] || is[1] {
							t.Errorf("%s of kind %d: within %v, beyond %v", field, kind, is[0], is[1])
						}
					}
					if k.DefaultLimit == 0 {
						continue
					}
					if n := found(fmt.Sprintf(`{"kinds":[%d],"#p":["%s"]}`, kind, strings.Repeat("ab", 32))); n != k.DefaultLimit {
						t.Errorf("%d events of kind %d, told are %d", n, kind, k.DefaultLimit)
					}
				}
			}
			return len(told.Further.Kinds) == 6, false
		},
	}
	for _, document := range []reflect.Type{reflect.TypeFor[nip11.RelayLimitationDocument](), reflect.TypeFor[furtherLimits]()} {
		for i := range document.NumField() {
			name, _, _ := strings.Cut(document.Field(i).Tag.Get("json"), ",")
			probe := probes[name]
			if probe == nil {
				t.Errorf("nobody probes %s", name)
				continue
			}
			if within, beyond := probe(); !within || beyond {
				t.Errorf("%s: what is told to be within is taken: %v, what is beyond: %v", name, within, beyond)
			}
		}
	}

	// Retention: by kind, for all others, and how many are kept.
	seconds := func(d int64) bool { return aged(42, d) }
	if !seconds(told.Retention[0].Time-spare) || seconds(told.Retention[0].Time+spare) || told.Retention[0].Kinds[0][0] != 42 {
		t.Error("retention by kind is another one")
	}
	if !aged(1, told.Retention[1].Time-spare) || aged(1, told.Retention[1].Time+spare) || told.Retention[1].Count != limits.Events {
		t.Error("retention of all others is another one")
	}
	for name, change := range map[string]func(*Config){
		"listed keys": func(c *Config) { c.OnlyAllowed = true },
		"few kinds":   func(c *Config) { c.Kinds = []int{1, 7} },
	} {
		c := Config{}
		change(&c)
		_, url := start(t, c)
		if !describedAt(t, url).Limitation.RestrictedWrites {
			t.Errorf("%s: it is not told that writes are restricted", name)
		}
	}
	strict := Config{ServiceURL: serviceURL, PrivateReads: ReadsStrict, ReadPolicies: []ReadPolicy{func(context.Context, nostr.Filter) (bool, string) { return false, "" }}}
	if _, url := start(t, strict); describedAt(t, url).Limitation.AuthRequired {
		t.Error("the strict mode asks for a login for messages, not for everything")
	}
}
