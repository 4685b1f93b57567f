package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3QueryTime: a search that finds nothing ends in time too, and says so.
func TestC3QueryTime(t *testing.T) {
	limits := DefaultLimits()
	limits.QueryTime = time.Nanosecond
	r, url := start(t, Config{Limits: limits})
	alice, bob := publicKey(t, nostr.GeneratePrivateKey()), publicKey(t, nostr.GeneratePrivateKey())
	var evs []nostr.Event
	for i := range 3000 { // two lists of 1,500 with nothing in common
		ev := nostr.Event{Kind: 1, PubKey: []string{alice, bob}[i%2], CreatedAt: nostr.Now(), Content: fmt.Sprint(i), Sig: strings.Repeat("0", 128)}
		if i%2 == 1 {
			ev.Tags = nostr.Tags{{"t", "x"}}
		}
		ev.ID = ev.GetID()
		evs = append(evs, ev)
	}
	if err := r.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	w := dial(t, url)
	long := `{"authors":["` + alice + `"],"#t":["x"]}`
	for message, want := range map[string]string{
		`["REQ","a",` + long + `]`:                            "CLOSED a error: answering takes too long",
		`["COUNT","a",` + long + `]`:                          "CLOSED a error: answering takes too long",
		`["NEG-OPEN","a",` + long + `,"6100000200"]`:          "NEG-ERR a error: answering takes too long",
		`["REQ","a",{"ids":["` + evs[0].ID + `"],"limit":0}]`: "EOSE a",
	} {
		w.write(message)
		if got := w.text(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", message, got)
		}
	}
}

// TestC3SubscriptionValues: what subscriptions keep in memory is bounded on each connection and
// over all.
func TestC3SubscriptionValues(t *testing.T) {
	limits := DefaultLimits()
	limits.SubscriptionValues = 5000
	r, url := start(t, Config{Limits: limits})
	var values, kinds []string
	for i := range 500 {
		values = append(values, fmt.Sprintf("%q", fmt.Sprint(i)))
	}
	kinds = []string{"1", "2", "3", "4"}
	wide := `{"#t":[` + strings.Join(values, ",") + `],"kinds":[` + strings.Join(kinds, ",") + `]}` // 504 values in 2,000 places
	w := dial(t, url)
	ask := func(id, filters, want string) {
		t.Helper()
		w.write(`["REQ","` + id + `",` + filters + `]`)
		if got := w.text(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", id, got)
		}
	}
	ask("1", wide, "EOSE 1")
	ask("2", wide, "CLOSED 2 rate-limited: the subscriptions of this connection name 5008 values")
	ask("1", wide, "EOSE 1") // in place of itself
	ask("3", wide+","+wide, "CLOSED 3 rate-limited: ")
	w.write(`["CLOSE","1"]`)
	ask("4", wide, "EOSE 4")
	if got := r.places.taken(); got != 2504 {
		t.Errorf("%d values are counted, want 2504", got)
	}
	// What is counted is what is there.
	for _, filter := range []string{wide, `{}`, `{"kinds":[1,2]}`, `{"ids":["` + strings.Repeat("a", 64) + `"],"kinds":[1,2]}`, `{"kinds":[1,2],"authors":["` + strings.Repeat("a", 64) + `"],"#t":["x","y"]}`,
		`{"#t":["x"],"kinds":[1,2,3,4,5],"authors":[` + strings.Repeat(`"`+strings.Repeat("b", 64)+`",`, 499) + `"` + strings.Repeat("b", 64) + `"]}`,
		`{"authors":["` + strings.Repeat("a", 64) + `"]}`, `{"kinds":[],"#t":["x"]}`, `{"#t":[` + strings.Join(values, ",") + `],"kinds":[1,2,3,4,5]}`, `{"#t":["x"],"#s":["y","z"]}`} {
		f, err := r.ask([]byte(filter), false)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := f.placesCount(), len(f.places()); got != want {
			t.Errorf("%.80s: %d places are counted of %d", filter, got, want)
		}
	}
	// When all connections together have many, small subscriptions are still taken.
	r.places.add("127.0.0.1", maxPlacesOfAll)
	w = dial(t, url)
	ask("5", wide, "CLOSED 5 rate-limited: subscriptions to so many values")
	ask("5", `{"#t":["x"],"kinds":[1]}`, "EOSE 5")
	w.Close()
	// And large ones of whoever has few: an address cannot take the places of all others.
	w = elsewhere(t, url)
	ask("6", wide, "EOSE 6")
	r.places.add("203.0.113.7", maxPlacesOfAll)
	ask("6", wide, "CLOSED 6 rate-limited: subscriptions to so many values")
	w.Close()
	r.places.give("203.0.113.7", maxPlacesOfAll)
	r.places.give("127.0.0.1", maxPlacesOfAll)
	dial(t, url).query(`{"limit":0}`)
	for deadline := time.Now().Add(patience); r.places.taken() != 2504; {
		if time.Now().After(deadline) {
			t.Fatalf("%d values are counted after the end of a connection, want 2504", r.places.taken())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestC3QueuesTogether: many clients that ask for much and do not read hold little memory, and
// whoever reads, at another address than theirs, gets everything.
func TestC3QueuesTogether(t *testing.T) {
	limits := DefaultLimits()
	limits.AllQueuesBytes = 1 << 20
	r, url := start(t, Config{Limits: limits})
	const n, size = 150, 30_000
	for i := range n {
		ev := nostr.Event{Kind: 1, PubKey: publicKey(t, nodeKey), CreatedAt: nostr.Now(), Content: fmt.Sprint(i, strings.Repeat("x", size)), Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	const crowd = 40
	for range crowd {
		dial(t, url).write(`["REQ","a",{}]`)
	}
	w, err := dialFrom(t, url, "127.0.0.2") // from theirs it might be cut off for what they hold
	if err != nil {
		t.Fatal(err)
	}
	w.write(`["REQ","a",{}]`)
	most := int64(0)
	for got := 0; ; got++ {
		most = max(most, r.held.Load())
		if parts := w.next(); string(parts[0]) == `"EOSE"` {
			if got != n {
				t.Errorf("got %d events, want %d", got, n)
			}
			break
		}
	}
	if bound := int64(limits.AllQueuesBytes + (crowd+1)*2*(writeBuffer+size+2000)); most > bound {
		t.Errorf("queues held %d bytes, at most %d may be", most, bound)
	}
	t.Logf("queues held %d bytes", most)
}

// TestC3Headers: pages of this address run nothing and are framed nowhere, and nothing of a request
// comes back in an answer.
func TestC3Headers(t *testing.T) {
	_, url := start(t, Config{ServiceURL: serviceURL, Name: "<script>alert(1)</script>"})
	const mark = "<script>alert(2)</script>"
	for _, path := range []string{"/", "/healthz", "/" + mark, "/?q=" + mark} {
		for _, accept := range []string{"text/html", "application/nostr+json", mark} {
			for _, kind := range []string{"", "application/nostr+json+rpc", mark} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(url, "ws")+strings.ReplaceAll(path, "<", "%3C"), nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{"Accept": {accept}, "Content-Type": {kind}, "X-Forwarded-Host": {mark}, "Origin": {"https://evil.example"}, "User-Agent": {mark}}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				var body strings.Builder
				if err := res.Write(&body); err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				if strings.Contains(body.String(), "alert(2)") {
					t.Errorf("%s, accept %s, type %s: %s", path, accept, kind, body.String())
				}
				if h := res.Header; !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: headers %v", path, h)
				}
				if kind := res.Header.Get("Content-Type"); strings.Contains(body.String(), "<script>") && strings.Contains(kind, "html") {
					t.Errorf("%s: %s holds a script: %s", path, kind, body.String())
				}
			}
		}
	}
	if _, _, err := websocket.DefaultDialer.Dial(url+"/"+strings.ReplaceAll(mark, "<", "%3C"), nil); err != nil {
		t.Error(err)
	}
}
