package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip13"

	"mostro/escrow/mostro"
	"mostro/relay"
)

// relayProbe shows that settings take effect in a node.
type relayProbe struct {
	settings []string
	check    func(s *served)
}

func relayProbes(t testing.TB) []relayProbe {
	alice, bob, other := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	a, b := publicOf(t, alice), publicOf(t, bob)
	wants := func(s *served, what, got, want string) {
		s.Helper()
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			s.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	counts := func(s *served, what string, got, want int) {
		s.Helper()
		if got != want {
			s.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	fill := func(s *served, n, kind int, tags ...nostr.Tag) {
		s.Helper()
		w := s.dial()
		for range n {
			wants(s, "fill", w.publish(s.sign(alice, nostr.Event{Kind: kind, Tags: tags})), "")
		}
	}
	auth := func(s *served, w *line, secret string) string {
		s.Helper()
		ev := s.sign(secret, nostr.Event{Kind: 22242, Tags: nostr.Tags{{"relay", s.url}, {"challenge", w.challenge}}})
		_, rest, _ := strings.Cut(w.ask(`["AUTH",`+ev.String()+`]`), ev.ID+" ")
		return strings.TrimPrefix(rest, "true ")
	}
	wrap := func(s *served, secret string) nostr.Event {
		return s.sign(secret, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", b}}})
	}
	return []relayProbe{
		{[]string{"relay.url=wss://relay.example.com", "relay.description=D", "relay.contact=C", "relay.icon=https://example.com/i.png", "relay.max_subid_length=7"}, func(s *served) {
			doc := s.information()
			if doc.Description != "D" || doc.Contact != "C" || doc.Icon != "https://example.com/i.png" || doc.Limitation.MaxSubidLength != 7 {
				s.Errorf("%+v", doc)
			}
			w := s.dial()
			wants(s, "login", auth(s, w, alice), "")
			wants(s, "sub id", w.ask(`["REQ","12345678",{}]`), "NOTICE invalid: a subscription id")
		}},
		{[]string{"relay.private_reads=default"}, func(s *served) {
			fill(s, 2, 1059, nostr.Tag{"p", b})
			w := s.dial()
			counts(s, "wraps", w.stored(`{"kinds":[1059]}`), 0)
			counts(s, "wraps of one", w.stored(`{"kinds":[1059],"#p":["`+b+`"]}`), 2)
		}},
		{[]string{"relay.private_reads=open"}, func(s *served) {
			fill(s, 2, 1059, nostr.Tag{"p", b})
			counts(s, "wraps", s.dial().stored(`{"kinds":[1059]}`), 2)
		}},
		{[]string{"relay.private_reads=strict"}, func(s *served) {
			fill(s, 2, 1059, nostr.Tag{"p", b})
			w := s.dial()
			wants(s, "wraps", w.ask(`["REQ","q",{"kinds":[1059],"#p":["`+b+`"]}]`), "CLOSED q auth-required: ")
			wants(s, "login", auth(s, w, bob), "")
			counts(s, "wraps of the recipient", w.stored(`{"kinds":[1059]}`), 2)
		}},
		{[]string{"relay.profile=market"}, func(s *served) {
			w := s.dial()
			wants(s, "note", w.publish(s.sign(alice, nostr.Event{Kind: 1})), "blocked: this relay does not take kind 1")
			wants(s, "wrap", w.publish(wrap(s, alice)), "")
			for _, nip := range s.information().SupportedNIPs {
				if nip == 28.0 {
					s.Error("channels are advertised and not taken")
				}
			}
		}},
		{[]string{"relay.only_allowed=true", "relay.allow_pubkeys=[\"" + a + "\"]", "relay.deny_pubkeys=[\"" + b + "\"]"}, func(s *served) {
			w := s.dial()
			wants(s, "allowed", w.publish(s.sign(alice, nostr.Event{Kind: 1})), "")
			wants(s, "denied", w.publish(wrap(s, bob)), "blocked: ")
			wants(s, "not allowed", w.publish(s.sign(other, nostr.Event{Kind: 1})), "restricted: ")
			wants(s, "message of anybody", w.publish(wrap(s, other)), "")
		}},
		{[]string{"admin.pubkeys=[\"" + a + "\"]"}, func(s *served) {
			wants(s, "administrator", s.manage(alice, `{"method":"banpubkey","params":["`+b+`"]}`), "200")
			wants(s, "stranger", s.manage(other, `{"method":"banpubkey","params":["`+a+`"]}`), "403")
			wants(s, "banned", s.dial().publish(s.sign(bob, nostr.Event{Kind: 1})), "blocked: ")
		}},
		{[]string{"federation.follow=[\"" + a + "\"]"}, func(s *served) {
			w := s.dial()
			tags := nostr.Tags{{"d", "x"}, {"z", "order"}}
			wants(s, "order of a followed one", w.publish(s.sign(alice, nostr.Event{Kind: mostro.KindOrder, Tags: tags})), "")
			wants(s, "order of another", w.publish(s.sign(other, nostr.Event{Kind: mostro.KindOrder, Tags: tags})), "blocked: kind 38383")
			wants(s, "order of this node", w.publish(s.sign(s.secretHex(), nostr.Event{Kind: mostro.KindOrder, Tags: tags})), "blocked: events of this node")
			// Messages of a followed Mostro, which writes to all, go out to who names himself.
			wants(s, "message", w.publish(s.sign(alice, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", b}}})), "")
			wants(s, "message of another", w.publish(s.sign(other, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", b}}})), "")
			counts(s, "messages by a Mostro", w.stored(`{"kinds":[14],"authors":["`+a+`"]}`), 0)
			counts(s, "messages by another", w.stored(`{"kinds":[14],"authors":["`+publicOf(s, other)+`"]}`), 1)
		}},
		{[]string{"relay.trusted_proxies=[\"127.0.0.1\"]", "relay.events_per_second=1", "relay.events_burst=2"}, func(s *served) {
			for i, want := range []string{"", "", "rate-limited: "} {
				w := s.dial("X-Forwarded-For", "203.0.113.9")
				wants(s, fmt.Sprint("one client, event ", i), w.publish(s.sign(alice, nostr.Event{Kind: 1})), want)
			}
			wants(s, "another client", s.dial("X-Forwarded-For", "203.0.113.10").publish(s.sign(alice, nostr.Event{Kind: 1})), "")
		}},
		{[]string{"relay.events_per_second=1", "relay.events_burst=2"}, func(s *served) {
			for i, want := range []string{"", "", "rate-limited: "} {
				w := s.dial("X-Forwarded-For", fmt.Sprint("203.0.113.", i))
				wants(s, fmt.Sprint("spoofed address, event ", i), w.publish(s.sign(alice, nostr.Event{Kind: 1})), want)
			}
		}},
		{[]string{"relay.key_events_per_second=1", "relay.key_events_burst=2"}, func(s *served) {
			w := s.dial()
			for i, want := range []string{"", "", "rate-limited: too many events by your key"} {
				wants(s, fmt.Sprint("event ", i), w.publish(s.sign(alice, nostr.Event{Kind: 1})), want)
			}
			wants(s, "another key", w.publish(s.sign(bob, nostr.Event{Kind: 1})), "")
		}},
		{[]string{"relay.duplicates_per_second=1", "relay.duplicates_burst=2"}, func(s *served) {
			w := s.dial()
			ev := s.sign(alice, nostr.Event{Kind: 1})
			for i, want := range []string{"", "duplicate: ", "duplicate: ", "rate-limited: "} {
				wants(s, fmt.Sprint("time ", i), w.publish(ev), want)
			}
		}},
		{[]string{"relay.min_pow=4", "mostro.pow=4"}, func(s *served) {
			w := s.dial()
			wants(s, "no work", w.publish(s.sign(alice, nostr.Event{Kind: 1})), "pow: 4 bits needed, 0 found")
			ev := nostr.Event{PubKey: a, Kind: 1, CreatedAt: nostr.Now(), Content: "worked"}
			nonce, err := nip13.DoWork(s.Context(), ev, 4)
			if err != nil {
				s.Fatal(err)
			}
			ev.Tags = nostr.Tags{nonce}
			wants(s, "work", w.publish(s.sign(alice, ev)), "")
			if got := s.information().Limitation.MinPowDifficulty; got != 4 {
				s.Errorf("advertised %d bits", got)
			}
		}},
		{[]string{"relay.max_connections=2"}, func(s *served) {
			s.dial()
			s.dial()
			if _, err := s.tryDial("127.0.0.1"); err == nil {
				s.Error("a third connection from one address")
			}
			if _, err := s.tryDial("127.0.0.2"); err != nil {
				s.Errorf("a connection from another address: %v", err)
			}
		}},
		{[]string{"relay.max_half_open=10"}, func(s *served) {
			var first net.Conn
			for range 11 {
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					s.Fatal(err)
				}
				s.Cleanup(func() { conn.Close() })
				if first == nil {
					first = conn
				}
				fmt.Fprint(conn, "GET / HTTP/1.1\r\n")
			}
			if err := first.SetReadDeadline(time.Now().Add(relayPatience)); err != nil {
				s.Fatal(err)
			}
			var late net.Error
			if _, err := io.Copy(io.Discard, first); errors.As(err, &late) && late.Timeout() {
				s.Error("the oldest half-open connection is kept")
			}
		}},
		{[]string{"relay.max_queue_bytes=65536", "relay.max_all_queues_bytes=1048576", "relay.max_result_bytes=131072", "relay.max_query_milliseconds=60000"}, func(s *served) {
			w := s.dial()
			for i := range 5 {
				wants(s, "fill", w.publish(s.sign(alice, nostr.Event{Kind: 1, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})), "")
			}
			counts(s, "events of 131,072 bytes", w.stored(`{"kinds":[1]}`), 2)
			slow := s.dial()
			if err := slow.WriteMessage(websocket.TextMessage, []byte(`["REQ","a",{"kinds":[20001]}]`)); err != nil {
				s.Fatal(err)
			}
			// One that does not read is cut off, long before megabytes wait for it here.
			gone := make(chan struct{})
			go func() {
				for range 2000 {
					select {
					case <-gone:
						return
					default:
					}
					big := s.sign(nostr.GeneratePrivateKey(), nostr.Event{Kind: 20_001, Content: strings.Repeat("x", 60_000)})
					if s.relay.Publish(context.Background(), big) != nil {
						return
					}
				}
			}()
			time.Sleep(2 * time.Second)
			for last := ""; last != "closed"; {
				last = slow.next()[0]
			}
			close(gone)
		}},
		{[]string{"relay.max_queue_seconds=60", "relay.max_queue_bytes=67108864"}, func(s *served) {
			late := s.dial()
			wants(s, "subscription", late.ask(`["REQ","a",{"kinds":[20001]}]`), "EOSE a")
			const events = 250 // more than the sockets' buffers hold
			for i := range events {
				big := s.sign(alice, nostr.Event{Kind: 20_001, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})
				if err := s.relay.Publish(s.Context(), big); err != nil {
					s.Fatal(err)
				}
			}
			time.Sleep(relay.DefaultLimits().QueueTime + time.Second)
			for i := range events {
				if got := late.next()[0]; got != "EVENT" {
					s.Fatalf("event %d: %s", i, got)
				}
			}
		}},
		{[]string{"relay.max_all_messages_bytes=1048576"}, func(s *served) {
			refused := make(chan struct{}, 20)
			for range cap(refused) {
				w := s.dial()
				long, err := w.NextWriter(websocket.TextMessage)
				if err != nil {
					s.Fatal(err)
				}
				// It begins and does not end; the relay may have closed already.
				_, _ = io.WriteString(long, strings.Repeat(" ", 100_000))
				go func() {
					if _, _, err := w.ReadMessage(); websocket.IsCloseError(err, websocket.CloseTryAgainLater) {
						refused <- struct{}{}
					}
				}()
			}
			select {
			case <-refused:
			case <-time.After(relayPatience):
				s.Error("20 long messages of 100,000 bytes are on their way")
			}
		}},
		{[]string{"relay.max_indexed_tags=10"}, func(s *served) {
			w := s.dial()
			profile := func(tags int) string {
				return w.publish(s.sign(alice, nostr.Event{Kind: 0, Content: fmt.Sprint(tags), Tags: slices.Repeat(nostr.Tags{{"t", "x"}}, tags)}))
			}
			wants(s, "11 tags", profile(11), "invalid: event has 11 tags")
			wants(s, "10 tags", profile(10), "")
		}},
		{[]string{"relay.max_index_memory_mib=1", "relay.index_memory_mib=1"}, func(s *served) {
			tags := make(nostr.Tags, 100)
			for n := range 400 { // about 5,000 bytes each
				for i := range tags {
					tags[i] = nostr.Tag{"t", fmt.Sprint(n, " ", i)}
				}
				if err := s.relay.Publish(s.Context(), s.sign(nostr.GeneratePrivateKey(), nostr.Event{Kind: 1059, Tags: tags})); err != nil {
					s.Fatal(err)
				}
			}
			wants(s, "no memory", s.dial().publish(s.sign(alice, nostr.Event{Kind: 1})), "error: this relay is full")
		}},
		{[]string{"relay.max_all_subscriptions=50"}, func(s *served) {
			a, b := s.dial(), s.dial()
			for n := range 30 {
				wants(s, "subscription", a.ask(fmt.Sprintf(`["REQ","%d",{"kinds":[1]}]`, n)), "EOSE ")
			}
			for n := range 20 {
				wants(s, "subscription", b.ask(fmt.Sprintf(`["REQ","%d",{"kinds":[1]}]`, n)), "EOSE ")
			}
			wants(s, "51", b.ask(`["REQ","x",{"kinds":[1]}]`), "CLOSED x rate-limited: ")
		}},
		{[]string{"relay.max_comparisons=50", "relay.max_subscriptions=60"}, func(s *served) {
			w := s.dial()
			subscribe := func(from, to int) {
				for n := from; n < to; n++ {
					wants(s, "subscription", w.ask(fmt.Sprintf(`["REQ","%d",{"kinds":[20001]}]`, n)), fmt.Sprint("EOSE ", n))
				}
				if err := s.relay.Publish(s.Context(), s.sign(alice, nostr.Event{Kind: 20_001, Content: fmt.Sprint(to)})); err != nil {
					s.Fatal(err)
				}
			}
			subscribe(0, 50)
			for range 50 {
				wants(s, "event", w.next()[0], "EVENT")
			}
			subscribe(50, 60)
			last := ""
			for last != "closed" {
				last = w.next()[0]
			}
		}},
		{[]string{"relay.max_all_negentropy_events=1000"}, func(s *served) {
			fill(s, 1, 1)
			w := s.dial()
			open := func(id string) string { return w.ask(`["NEG-OPEN","` + id + `",{"kinds":[1]},"6100000200"]`) }
			wants(s, "session", open("a"), "NEG-MSG a ")
			wants(s, "second session", open("b"), "NEG-ERR b rate-limited: ")
		}},
		{[]string{"relay.max_message_bytes=16384", "relay.max_content_characters=13000", "relay.max_content_by_kind=[\"0: 10\"]", "relay.max_event_tags=100", "relay.max_tag_bytes=1000"}, func(s *served) {
			w := s.dial()
			note := func(kind, content, tags, tag int) string {
				ev := nostr.Event{Kind: kind, Content: strings.Repeat("x", content)}
				for i := range tags {
					ev.Tags = append(ev.Tags, nostr.Tag{"x", fmt.Sprint(i) + strings.Repeat("x", tag)})
				}
				return w.publish(s.sign(nostr.GeneratePrivateKey(), ev))
			}
			wants(s, "content", note(1, 13_000, 0, 0), "")
			wants(s, "long content", note(1, 13_001, 0, 0), "invalid: content has 13001 characters, at most 13000")
			wants(s, "profile", note(0, 10, 0, 0), "")
			wants(s, "long profile", note(0, 11, 0, 0), "invalid: content has 11 bytes, at most 10 are taken for kind 0")
			wants(s, "tags", note(1, 1, 100, 0), "")
			wants(s, "many tags", note(1, 1, 101, 0), "invalid: event has 101 tags")
			wants(s, "long tags", note(1, 1, 10, 100), "invalid: tags have")
			if l := s.information().Limitation; l.MaxMessageLength != 16384 || l.MaxContentLength != 13_000 || l.MaxEventTags != 100 {
				s.Errorf("advertised %+v", l)
			}
			wants(s, "long message", w.ask(`["REQ","`+strings.Repeat("x", 20_000)+`"]`), "closed 1009")
		}},
		{[]string{"relay.max_subscriptions=20", "relay.max_filters=2", "relay.max_filter_values=100", "relay.max_filter_tags=1", "relay.max_subscription_values=1000",
			"relay.default_limit=3", "relay.book_limit=4", "relay.max_limit=5", "relay.max_auth_keys=1"}, func(s *served) {
			w := s.dial()
			for i := range 20 {
				wants(s, "subscription", w.ask(fmt.Sprintf(`["REQ","%d",{"kinds":[7],"limit":0}]`, i)), "EOSE")
			}
			wants(s, "subscription 21", w.ask(`["REQ","x",{"limit":0}]`), "CLOSED x rate-limited: ")
			w = s.dial()
			wants(s, "filters", w.ask(`["REQ","x",{},{},{}]`), "CLOSED x invalid: there are 3 filters")
			wants(s, "values", w.ask(`["REQ","x",{"kinds":[`+strings.Repeat("1,", 100)+`1]}]`), "CLOSED x invalid: filter has a list of 101 values")
			wants(s, "tag names", w.ask(`["REQ","x",{"#a":["1"],"#b":["1"]}]`), "CLOSED x invalid: filter has 2 tag names")
			hundred := `[` + strings.Repeat(`"x",`, 99) + `"x"]`
			for i, want := range []string{"EOSE", "EOSE", "CLOSED 2 rate-limited: the subscriptions of this connection name"} {
				wants(s, "values of all", w.ask(fmt.Sprintf(`["REQ","%d",{"kinds":[7],"#a":%s},{"kinds":[7],"#a":%s,"limit":0}]`, i, hundred, hundred)), want)
			}
			w = s.dial()
			fill(s, 6, 1)
			fill(s, 6, 1059, nostr.Tag{"p", b})
			counts(s, "without limit", w.stored(`{"kinds":[1]}`), 3)
			counts(s, "mail without limit", w.stored(`{"kinds":[1059],"#p":["`+b+`"]}`), 4)
			counts(s, "with limit", w.stored(`{"kinds":[1],"limit":100}`), 5)
			if l := s.information().Limitation; l.MaxSubscriptions != 20 || l.DefaultLimit != 3 || l.MaxLimit != 5 {
				s.Errorf("advertised %+v", l)
			}
			wants(s, "login", auth(s, w, alice), "")
			wants(s, "second login", auth(s, w, bob), "false rate-limited: ")
		}},
		{[]string{"relay.max_negentropy_sessions=1", "relay.max_negentropy_events=2"}, func(s *served) {
			fill(s, 2, 1)
			w := s.dial()
			open := func(id string) string { return w.ask(`["NEG-OPEN","` + id + `",{"kinds":[1]},"6100000200"]`) }
			wants(s, "session", open("a"), "NEG-MSG a ")
			wants(s, "second session", open("b"), "NEG-ERR b rate-limited: ")
			fill(s, 1, 1)
			wants(s, "three events", open("a"), "NEG-ERR a blocked: ")
		}},
		{[]string{"relay.max_age_days=5", "relay.max_gift_wrap_age_days=4", "relay.max_future_seconds=600", "relay.max_order_future_seconds=300", "federation.follow=[\"" + a + "\"]"}, func(s *served) {
			w := s.dial()
			aged := func(kind int, age time.Duration) string {
				return w.publish(s.sign(alice, nostr.Event{Kind: kind, CreatedAt: nostr.Now() - nostr.Timestamp(age/time.Second), Tags: nostr.Tags{{"d", "x"}}}))
			}
			const day = 24 * time.Hour
			wants(s, "old", aged(1, 5*day-time.Hour), "")
			wants(s, "too old", aged(1, 5*day+time.Hour), "invalid: created_at is too old")
			wants(s, "old wrap", aged(1059, 4*day-time.Hour), "")
			wants(s, "wrap too old", aged(1059, 4*day+time.Hour), "invalid: created_at is too old")
			wants(s, "future", aged(1, -500*time.Second), "")
			wants(s, "far future", aged(1, -15*time.Minute), "invalid: created_at is in the future")
			wants(s, "order of the near future", aged(mostro.KindOrder, -100*time.Second), "")
			wants(s, "order of the future", aged(mostro.KindOrder, -500*time.Second), "invalid: created_at is in the future")
			if l := s.information().Limitation; l.CreatedAtLowerLimit != 5*86_400 || l.CreatedAtUpperLimit != 600 {
				s.Errorf("advertised %+v", l)
			}
		}},
		{[]string{"relay.retention=[\"1,7: 40\", \"*: 60\"]"}, func(s *served) {
			w := s.dial()
			aged := func(kind int, days nostr.Timestamp) string {
				return w.publish(s.sign(alice, nostr.Event{Kind: kind, CreatedAt: nostr.Now() - days*86_400}))
			}
			wants(s, "note", aged(1, 39), "")
			wants(s, "old note", aged(1, 41), "invalid: created_at is too old")
			wants(s, "article", aged(42, 59), "")
			wants(s, "old article", aged(42, 61), "invalid: created_at is too old")
			if got, err := json.Marshal(s.information().Retention); err != nil || string(got) != `[{"time":3456000,"kinds":[[1,1],[7,7]]},{"time":5184000,"count":2000000}]` {
				s.Errorf("advertised %s", got)
			}
		}},
		{[]string{"relay.max_events=1000", "relay.key_events_burst=10000", "relay.events_burst=10000"}, func(s *served) {
			w := s.dial()
			full := false
			for i := 0; i < 1100 && !full; i++ {
				full = strings.HasPrefix(w.publish(s.sign(alice, nostr.Event{Kind: 1})), "error: this relay is full")
			}
			if !full {
				s.Error("the store takes more than it may hold")
			}
		}},
		{[]string{"relay.max_events_per_key=100"}, func(s *served) {
			fill(s, 100, 1)
			wants(s, "one more", s.dial().publish(s.sign(alice, nostr.Event{Kind: 1})), "rate-limited: 100 events of this key")
		}},
		{[]string{"relay.index_memory_mib=1", "relay.events_burst=100000", "relay.key_events_burst=100000"}, func(s *served) {
			w := s.dial()
			for i := range 60 { // 20 kB of index each
				ev := nostr.Event{Kind: 1}
				for k := range 400 {
					ev.Tags = append(ev.Tags, nostr.Tag{"t", fmt.Sprint(i, "-", k)})
				}
				wants(s, "note", w.publish(s.sign(alice, ev)), "")
			}
			if _, onDisk, bytes := s.relay.Indexed(); onDisk == 0 || bytes > 1<<20 {
				s.Errorf("%d events are indexed on disk, the others take %d bytes", onDisk, bytes)
			}
			counts(s, "notes", w.stored(`{"kinds":[1]}`), 60)
		}},
	}
}

// TestRelaySettings: each setting of the relay takes effect in the node.
func TestRelaySettings(t *testing.T) {
	for _, p := range append(relayProbes(t), handshakeProbes(t)...) {
		t.Run(strings.Join(p.settings, " ")[:min(len(strings.Join(p.settings, " ")), 60)], func(t *testing.T) {
			p.check(serveWith(t, p.settings...))
		})
	}
}

// TestRelaySettingsAreProbed: no setting is left out above but the address, which every other test
// needs.
func TestRelaySettingsAreProbed(t *testing.T) {
	probed := map[string]bool{"relay.listen": true}
	for _, p := range append(relayProbes(t), handshakeProbes(t)...) {
		for _, setting := range p.settings {
			path, _, _ := strings.Cut(setting, "=")
			probed[path] = true
		}
	}
	var s Settings
	for _, k := range s.Relay.keys() {
		if !probed[k.path] {
			t.Errorf("%s has no probe", k.path)
		}
	}
}

// TestRelayLimitsAreSettings: the defaults of the settings are the relay's own, and every limit
// of the relay has a setting.
func TestRelayLimitsAreSettings(t *testing.T) {
	l, err := loadSettings("none", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, want := reflect.ValueOf(l.Relay.limits()), reflect.ValueOf(relay.DefaultLimits())
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		if got.Field(i).Interface() != want.Field(i).Interface() {
			t.Errorf("%s is %v by the settings' defaults and %v by the relay's", name, got.Field(i), want.Field(i))
		}
	}
}
