package relay

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// hour is in seconds, as created_at.
const hour nostr.Timestamp = 3600

// TestFiltersOfClients asks what the clients in the field ask: what is stored comes, and then the
// end of it; and what is published afterwards comes too.
func TestFiltersOfClients(t *testing.T) {
	r, url := start(t, Config{})
	now := nostr.Now()
	since := func(age nostr.Timestamp) *nostr.Timestamp {
		at := now - age
		return &at
	}
	node := publicKey(t, nodeKey)
	trade, other := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	tradeKey, chatKey := publicKey(t, trade), publicKey(t, other)
	const order = "6f1c7e6e-6b1e-4b0e-9c6e-0a4a3f9a1b2c"
	recipients := []string{tradeKey}
	for i := range 99 {
		recipients = append(recipients, fmt.Sprintf("%064x", i+1))
	}

	// One event of each sort that the filters are about, newest last. A stored event and one
	// that comes live differ in their age.
	corpus := func(age nostr.Timestamp) map[string]nostr.Event {
		sign := func(secret string, kind int, tags ...nostr.Tag) nostr.Event {
			return signed(t, secret, nostr.Event{Kind: kind, CreatedAt: now - age, Tags: tags})
		}
		orderTags := func(status string) []nostr.Tag {
			return []nostr.Tag{{"d", order}, {"k", "sell"}, {"f", "ARS"}, {"s", status}, {"y", "mostro"}, {"z", "order"}}
		}
		return map[string]nostr.Event{
			"order":   sign(nodeKey, 38383, orderTags("pending")...),
			"info":    sign(nodeKey, 38385, nostr.Tag{"d", node}, nostr.Tag{"z", "info"}),
			"dispute": sign(nodeKey, 38386, nostr.Tag{"d", "dispute"}, nostr.Tag{"z", "dispute"}),
			"relays":  sign(nodeKey, 10_002, nostr.Tag{"r", "wss://relay.example"}),
			"rates":   sign(nodeKey, 30_078, nostr.Tag{"d", "mostro-rates"}),
			"profile": sign(nodeKey, 0),
			"reply":   sign(nodeKey, 14, nostr.Tag{"p", tradeKey}),
			"wrap":    sign(nostr.GeneratePrivateKey(), 1059, nostr.Tag{"p", tradeKey}),
			"chat":    sign(other, 14, nostr.Tag{"p", publicKey(t, nostr.GeneratePrivateKey())}),
			"note":    sign(other, 1),
		}
	}
	stored := corpus(hour)
	names := make(map[string]string)
	publish := func(events map[string]nostr.Event) {
		t.Helper()
		outside := dial(t, url)
		for name, ev := range events {
			names[ev.ID] = name
			if ev.PubKey == node {
				if err := r.Publish(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
			} else if ok, reason := outside.publish(ev); !ok {
				t.Fatalf("%s: %s", name, reason)
			}
		}
	}
	publish(stored)

	one := func(f nostr.Filter) nostr.Filters { return nostr.Filters{f} }
	zero := func(f nostr.Filter) nostr.Filter { f.LimitZero = true; return f }
	mostro := []string{node}
	replies := nostr.Filter{Kinds: []int{14}, Authors: mostro, Tags: nostr.TagMap{"p": recipients}}
	wraps := nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": recipients}}
	cases := []struct {
		name    string
		filters nostr.Filters
		want    string // names of stored events
		live    string // names of live events when they differ
	}{
		{"mobile: book and info", one(nostr.Filter{Kinds: []int{38383, 38385}, Authors: mostro, Since: since(48 * hour)}), "info order", ""},
		{"mobile: messages, v2", one(replies), "reply", ""},
		{"mobile: messages, v1", one(wraps), "wrap", ""},
		{"mobile: chat", one(nostr.Filter{Kinds: []int{14}, Authors: []string{chatKey}, Since: since(7 * 24 * hour), Limit: 100}), "chat", ""},
		{"mobile: restore", nostr.Filters{zero(wraps), zero(replies)}, "", "reply wrap"},
		{"mobile: relay list", one(nostr.Filter{Kinds: []int{10_002}, Authors: mostro, Limit: 1}), "relays", ""},
		{"mobile: rates", one(nostr.Filter{Kinds: []int{30_078}, Authors: mostro, Tags: nostr.TagMap{"d": {"mostro-rates"}}, Limit: 1}), "rates", ""},
		{"mobile: profiles", one(nostr.Filter{Kinds: []int{0}, Authors: []string{node, tradeKey}}), "profile", ""},
		{"mobile: deep link", one(nostr.Filter{Kinds: []int{38383}, Tags: nostr.TagMap{"d": {order}}}), "order", ""},
		{"mobile: by id", one(nostr.Filter{IDs: []string{stored["order"].ID}, Kinds: []int{38383}}), "order", "-"},
		{"mobile: health", one(nostr.Filter{Kinds: []int{1}, Limit: 1}), "note", ""},
		{"app: book", one(nostr.Filter{Kinds: []int{38383}, Authors: mostro}), "order", ""},
		{"app: order", one(nostr.Filter{Kinds: []int{38383}, Authors: mostro, Tags: nostr.TagMap{"d": {order}}}), "order", ""},
		{"app: info", one(nostr.Filter{Kinds: []int{38385}, Authors: mostro, Tags: nostr.TagMap{"d": {node}}, Limit: 1}), "info", ""},
		{"app: messages of a trade", nostr.Filters{zero(nostr.Filter{Kinds: []int{14}, Authors: mostro, Tags: nostr.TagMap{"p": {tradeKey}}})}, "", "reply"},
		{"app: chat", one(nostr.Filter{Kinds: []int{14}, Authors: []string{chatKey}, Limit: 50}), "chat", ""},
		{"cli: orders", one(nostr.Filter{Authors: mostro, Limit: 50, Since: since(7 * 24 * hour), Tags: nostr.TagMap{"z": {"order"}}, Kinds: []int{38383}}), "order", ""},
		{"cli: disputes", one(nostr.Filter{Authors: mostro, Limit: 50, Since: since(7 * 24 * hour), Tags: nostr.TagMap{"z": {"dispute"}}, Kinds: []int{38386}}), "dispute", ""},
		{"cli: info", one(nostr.Filter{Authors: mostro, Kinds: []int{38385}}), "info", ""},
		{"cli: reply, v1", nostr.Filters{zero(nostr.Filter{Tags: nostr.TagMap{"p": {tradeKey}}, Kinds: []int{1059}})}, "", "wrap"},
		{"cli: reply, v2", nostr.Filters{zero(nostr.Filter{Tags: nostr.TagMap{"p": {tradeKey}}, Kinds: []int{14}, Authors: mostro})}, "", "reply"},
		{"cli: getdm", one(nostr.Filter{Tags: nostr.TagMap{"p": {tradeKey}}, Kinds: []int{1059}, Since: since(48 * hour)}), "wrap", ""},
		{"mostrix: orders", one(nostr.Filter{Authors: mostro, Kinds: []int{38383}, Limit: 500}), "order", ""},
		{"mostrix: disputes", one(nostr.Filter{Authors: mostro, Kinds: []int{38386}, Limit: 500}), "dispute", ""},
		{"mostrix: info", one(nostr.Filter{Authors: mostro, Kinds: []int{38385}, Tags: nostr.TagMap{"d": {node}}, Limit: 1}), "info", ""},
		{"mostrix: as the node, without authentication", one(nostr.Filter{Authors: mostro, Kinds: []int{14}}), "", ""},
		{"ts-client: book", one(nostr.Filter{Kinds: []int{38383}, Authors: mostro, Limit: 500}), "order", ""},
		{"ts-client: messages", one(nostr.Filter{Kinds: []int{14}, Authors: mostro, Tags: nostr.TagMap{"p": {tradeKey}}}), "reply", ""},
		{"skill: book", one(nostr.Filter{Kinds: []int{38383}, Authors: mostro, Limit: 50, Tags: nostr.TagMap{"s": {"pending"}, "k": {"sell"}, "f": {"ARS"}, "z": {"order"}}}), "order", ""},
		{"skill: info", one(nostr.Filter{Kinds: []int{38385}, Authors: mostro, Limit: 1, Tags: nostr.TagMap{"z": {"info"}}}), "info", ""},
		{"skill: replies", one(nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {tradeKey}}, Since: since(72 * hour)}), "wrap", ""},
		{"mostrui: book", one(nostr.Filter{Kinds: []int{38383}, Authors: mostro, Limit: 50, Tags: nostr.TagMap{"s": {"pending"}, "y": {"mostro"}, "z": {"order"}}}), "order", ""},
		{"watchdog", one(nostr.Filter{Kinds: []int{38386}, Authors: mostro, Since: since(48 * hour)}), "dispute", ""},
		{"push server, without authentication", one(nostr.Filter{Kinds: []int{1059}, Since: since(48 * hour)}), "", ""},
		{"statistics", one(nostr.Filter{Kinds: []int{38383}, Since: since(2 * hour), Until: since(hour / 2), Limit: 100}), "order", "-"},
	}

	// All on one connection, as clients do: there is room for this many subscriptions.
	w := dial(t, url)
	for i, c := range cases {
		// The mark comes to every subscription.
		filters := append(c.filters, zero(nostr.Filter{Kinds: []int{40}}))
		req, err := nostr.ReqEnvelope{SubscriptionID: fmt.Sprint(i), Filters: filters}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		w.write(string(req))
		var got []string
		for _, ev := range w.stored() {
			got = append(got, names[ev.ID])
		}
		if diff := cmp.Diff(c.want, sorted(got)); diff != "" {
			t.Errorf("%s, stored:\n%s", c.name, diff)
		}
	}

	publish(corpus(0))
	dial(t, url).publish(signed(t, other, nostr.Event{Kind: 40}))
	live := make([][]string, len(cases))
	for marks := 0; marks < len(cases); {
		parts := w.next()
		ev := w.event(parts)
		if ev.Kind == 40 {
			marks++
			continue
		}
		i, err := strconv.Atoi(strings.Trim(string(parts[1]), `"`))
		if err != nil {
			t.Fatal(err)
		}
		live[i] = append(live[i], names[ev.ID])
	}
	for i, c := range cases {
		want := c.want
		if c.live != "" {
			want = strings.Trim(c.live, "-")
		}
		if diff := cmp.Diff(want, sorted(live[i])); diff != "" {
			t.Errorf("%s, live:\n%s", c.name, diff)
		}
	}
}

// TestLimitsOfSeveralFilters: each filter finds what it would find alone, and what several find is
// sent once.
func TestLimitsOfSeveralFilters(t *testing.T) {
	r, url := start(t, Config{})
	now := nostr.Now()
	for i := range 6 {
		ev := signed(t, nodeKey, nostr.Event{Kind: 1 + i%2, CreatedAt: now - nostr.Timestamp(i), Content: fmt.Sprint(i)})
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	w := dial(t, url)
	for filters, want := range map[string]string{
		`{"limit":2},{"limit":4}`:                               "0 1 2 3",
		`{"limit":4},{"limit":2}`:                               "0 1 2 3",
		`{"limit":2},{"kinds":[1],"limit":2}`:                   "0 1 2",
		`{"kinds":[2],"limit":1},{"limit":1}`:                   "1 0",
		`{"limit":0},{"kinds":[2],"limit":2}`:                   "1 3",
		`{"limit":3},{"limit":3},{"limit":3}`:                   "0 1 2",
		`{"kinds":[1],"limit":1},{"kinds":[1]},{"kinds":[1,2]}`: "0 2 4 1 3 5",
	} {
		var got []string
		for _, ev := range w.query(filters) {
			got = append(got, ev.Content)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s:\n%s", filters, diff)
		}
	}
}

// TestBookAndMailWithoutLimit: clients ask for their whole book and mail without a limit; other
// filters get fewer.
func TestBookAndMailWithoutLimit(t *testing.T) {
	limits := DefaultLimits()
	if limits.Results != 500 || limits.BookResults != 5000 || limits.MaxResults != 5000 {
		t.Errorf("defaults %+v", limits)
	}
	limits.Results, limits.BookResults, limits.MaxResults = 10, 40, 35
	r, url := start(t, Config{Limits: limits})
	const n = 38
	for i := range n {
		order := signed(t, nodeKey, nostr.Event{Kind: 38383, Tags: nostr.Tags{{"d", fmt.Sprint(i)}}})
		note := signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
		if err := r.Publish(t.Context(), order, note); err != nil {
			t.Fatal(err)
		}
	}
	w := dial(t, url)
	for filter, want := range map[string]int{
		`{"kinds":[38383]}`:               n,
		`{"kinds":[38383,1059,14]}`:       n,
		`{"kinds":[38383],"limit":5}`:     5,
		`{"kinds":[38383],"limit":37}`:    35,
		`{"kinds":[1]}`:                   10,
		`{"kinds":[1],"limit":20}`:        20,
		`{"kinds":[1],"limit":100000}`:    35,
		`{"kinds":[38383,1]}`:             10,
		`{}`:                              10,
		`{"kinds":[1],"limit":0}`:         0,
		`{"kinds":[1]},{"kinds":[38383]}`: 10 + n,
	} {
		if got := len(w.query(filter)); got != want {
			t.Errorf("%s: %d events, want %d", filter, got, want)
		}
	}
}
