package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
)

const (
	differentialEvents = 1500 // in a usual run
	worldSteps         = 300  // each most often an event
	worldPeople        = 4
	worldSeconds       = 8 // created_at is one of so many, so that ties are common
	onDisk             = 4 // one world in so many is on disk and restarted now and then
)

// TestDifferential plays random events and questions to a relay and to an oracle, and compares
// what is answered, stored and live. A failure names the seed of its world:
//
//	MOSTRO_DIFFERENTIAL_SEED=7 go test ./relay -run TestDifferential
//	MOSTRO_DIFFERENTIAL_EVENTS=100000 go test ./relay -run TestDifferential -timeout 0
//
// For millions run that again and again: a process keeps some 2 MB of each world of 250 events, since khatru.NewRelay leaves a
// goroutine that never ends.
func TestDifferential(t *testing.T) {
	events := int(number("MOSTRO_DIFFERENTIAL_EVENTS", differentialEvents))
	seed := number("MOSTRO_DIFFERENTIAL_SEED", uint64(time.Now().UnixNano())>>10)
	for done := 0; done < events && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { done += playWorld(t, seed) })
		if os.Getenv("MOSTRO_DIFFERENTIAL_SEED") != "" {
			return
		}
	}
}

// number is what an environment variable says.
func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// world is one relay, its oracle, and a client that watches both.
type world struct {
	*testing.T
	*rand.Rand
	dir     string
	clock   *clock
	relay   *Relay
	url     string
	stop    func()
	offers  map[int]bool // NIPs
	oracle  oracle
	secrets []string // of people; the node's is the last
	publics []string
	base    nostr.Timestamp
	made    []nostr.Event
	byID    map[string]nostr.Event

	publisher, watcher wire
	subs               map[string]*watched
	sentinels          int
}

// watched is an open subscription: what it must still be sent, and what it has been sent.
type watched struct {
	probes    []probe
	due, came []string // ids
}

func playWorld(t *testing.T, seed uint64) (events int) {
	w := &world{T: t, Rand: rand.New(rand.NewPCG(seed, 77)), byID: make(map[string]nostr.Event)}
	if w.one(onDisk) {
		w.dir = t.TempDir()
	}
	w.clock = &clock{now: time.Unix(1_800_000_000, 0)}
	w.base = nostr.Timestamp(w.clock.now.Unix() - 100)
	for i := range worldPeople {
		w.secrets = append(w.secrets, fmt.Sprintf("%064x", i+2))
	}
	w.secrets = append(w.secrets, nodeKey)
	for _, secret := range w.secrets {
		w.publics = append(w.publics, publicKey(t, secret))
	}
	w.oracle.node = w.publics[worldPeople]
	w.start()
	defer func() { w.stop() }()
	for range worldSteps {
		w.oracle.now = w.clock.now.Unix()
		switch n := w.IntN(100); {
		case n < 62:
			w.publish(w.event())
		case n < 70 && len(w.made) > 0:
			w.again()
		case n < 75:
			w.clock.add(time.Duration(w.IntN(6)) * time.Second)
		case n < 88:
			w.subscribe()
		case n < 90:
			w.unsubscribe()
		case n < 94:
			w.count()
		case n < 97:
			w.reconcile()
		case n < 98 && w.dir != "":
			w.restart()
		default:
			w.settle()
		}
		if t.Failed() {
			return len(w.made)
		}
	}
	w.settle()
	return len(w.made)
}

func (w *world) start() {
	w.Helper()
	// With the smaller budgets events that are not hot are indexed on disk, some or all of them.
	budget := pick(w, 0, 20_000, 6000, 1)
	r, err := open(Config{Dir: w.dir, Pubkey: w.oracle.node, IndexBytes: budget}, w.clock.time)
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewServer(r.Handler())
	w.relay, w.url = r, "ws"+strings.TrimPrefix(server.URL, "http")
	w.stop = func() {
		w.publisher.Close()
		w.watcher.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			w.Error(err)
		}
		server.Close()
	}
	w.offers = make(map[int]bool)
	info, err := nip11.Fetch(w.Context(), server.URL)
	if err != nil {
		w.Fatal(err)
	}
	for _, nip := range info.SupportedNIPs {
		if n, ok := nip.(float64); ok {
			w.offers[int(n)] = true
		}
	}
	w.publisher, w.watcher = dial(w, w.url), dial(w, w.url)
	w.subs = make(map[string]*watched)
}

func (w *world) restart() {
	w.settle()
	w.stop()
	w.start()
}

// publish gives an event to both and compares the answers.
func (w *world) publish(ev nostr.Event) {
	w.Helper()
	if ev.PubKey == w.oracle.node {
		// The node's own events come from inside; what has expired is success without effect.
		if w.oracle.gone(ev) {
			return
		}
		if err := w.relay.Publish(w.Context(), ev); err != nil {
			w.Fatalf("publish %s: %v", ev, err)
		}
		w.expect(ev, w.oracle.take(ev))
		return
	}
	must := w.oracle.take(ev)
	w.publisher.write(`["EVENT",` + ev.String() + `]`)
	var parts []json.RawMessage
	for parts = w.publisher.next(); string(parts[0]) == `"AUTH"`; parts = w.publisher.next() {
	}
	var reason string
	if len(parts) != 4 || string(parts[0]) != `"OK"` || json.Unmarshal(parts[3], &reason) != nil || string(parts[1]) != `"`+ev.ID+`"` {
		w.Fatalf("event %s was answered with %s", ev, parts)
	}
	if !must.fits(string(parts[2]) == "true", reason) {
		w.Fatalf("event is %s, but the relay says %s\n%s", must, parts, ev)
	}
	w.expect(ev, must)
}

// again publishes an event that was made before, and may have been replaced or deleted or have
// expired since. Whether an ephemeral event is sent on twice is for the relay to say.
func (w *world) again() {
	if ev := w.made[w.IntN(len(w.made))]; !nostr.IsEphemeralKind(ev.Kind) {
		w.publish(ev)
	}
}

// expect notes to whom an event must be sent.
func (w *world) expect(ev nostr.Event, became verdict) {
	if became != verdictKept && became != verdictSentOn {
		return
	}
	for _, sub := range w.subs {
		if slices.ContainsFunc(sub.probes, func(q probe) bool { return w.oracle.shows(q, ev) }) {
			sub.due = append(sub.due, ev.ID)
		}
	}
}

// sentinel asks for the events that mark the end of a wait.
func sentinel() probe { return probe{kinds: []int{20002}} }

// settle waits until the watcher has got all that was sent before, and compares.
func (w *world) settle() {
	w.Helper()
	w.sentinels++
	end := nostr.Event{Kind: 20002, CreatedAt: w.base, Content: fmt.Sprint(w.sentinels), Tags: nostr.Tags{}}
	w.sign(&end, 0)
	w.publish(end)
	for waiting := len(w.subs); waiting > 0; {
		if sub, id := w.live(w.watcher.next()); sub != nil && id == end.ID {
			waiting--
		}
	}
	for id, sub := range w.subs {
		if diff := cmp.Diff(sub.due, sub.came); diff != "" {
			text, _ := json.Marshal(sub.probes)
			w.Fatalf("subscription %q of %s was sent other events than it must be (-want +got)\n%s\n%s", id, text, diff, w.apart(sub.due, sub.came))
		}
		sub.due, sub.came = nil, nil
	}
}

// live notes an event that came for a subscription, and checks that it is as it was made.
func (w *world) live(parts []json.RawMessage) (*watched, string) {
	w.Helper()
	if string(parts[0]) == `"AUTH"` {
		return nil, ""
	}
	id, ev := w.received(parts)
	sub := w.subs[id]
	if sub == nil {
		w.Fatalf("event for %q, which is not open: %s", id, ev)
	}
	sub.came = append(sub.came, ev.ID)
	return sub, ev.ID
}

func (w *world) received(parts []json.RawMessage) (sub string, ev nostr.Event) {
	w.Helper()
	if len(parts) != 3 || string(parts[0]) != `"EVENT"` || json.Unmarshal(parts[1], &sub) != nil {
		w.Fatalf("the relay says %s instead of an event", parts)
	}
	if err := json.Unmarshal(parts[2], &ev); err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(w.byID[ev.ID].String(), ev.String()); diff != "" {
		w.Fatalf("an event is served changed (-made +served)\n%s", diff)
	}
	return sub, ev
}

func (w *world) ask(label, id string, probes []probe) {
	w.Helper()
	message := []any{label, id}
	for _, q := range probes {
		message = append(message, q)
	}
	text, err := json.Marshal(message)
	if err != nil {
		w.Fatal(err)
	}
	w.watcher.write(string(text))
}

// subscribe opens a subscription, perhaps in place of another, and compares what is stored. It
// also asks for sentinels, of which none is stored.
func (w *world) subscribe() {
	w.Helper()
	w.settle() // what came for the old subscription of that id is told apart from what is new
	id := pick(w, "s", "t", `q"\`, "é", "\u2028")
	sub := &watched{probes: append(w.probes(), sentinel())}
	w.ask("REQ", id, sub.probes)
	var got []string
	for {
		parts := w.watcher.next()
		if string(parts[0]) == `"AUTH"` {
			continue
		}
		if len(parts) == 2 && string(parts[0]) == `"EOSE"` {
			break
		}
		from, ev := w.received(parts)
		if from != id {
			w.Fatalf("event for %q instead of %q: %s", from, id, ev)
		}
		got = append(got, ev.ID)
	}
	w.subs[id] = sub
	var want []string
	for _, q := range sub.probes {
		for _, ev := range w.oracle.stored(q) {
			if !slices.Contains(want, ev.ID) {
				want = append(want, ev.ID)
			}
		}
	}
	if len(sub.probes) > 2 { // the order across filters is free
		slices.Sort(want)
		slices.Sort(got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		text, _ := json.Marshal(sub.probes)
		w.Fatalf("%s is answered with other events than are stored (-want +got)\n%s\n%s", text, diff, w.apart(want, got))
	}
}

// apart shows the events that are in one of two lists only, and what deletes them.
func (w *world) apart(want, got []string) string {
	var text strings.Builder
	for id, ev := range w.byID {
		if slices.Contains(want, id) == slices.Contains(got, id) {
			continue
		}
		fmt.Fprintf(&text, "%s\n", ev)
		for _, d := range w.oracle.asked {
			if w.oracle.deletes(d, ev) {
				fmt.Fprintf(&text, "deleted by %s\n", d)
			}
		}
	}
	return text.String()
}

func (w *world) unsubscribe() {
	w.settle()
	if len(w.subs) == 0 {
		return
	}
	id := slices.Min(slices.Collect(maps.Keys(w.subs)))
	w.watcher.write(string(frame("CLOSE", id)))
	delete(w.subs, id)
	// Frames of one client are handled in order: with this answer, CLOSE is done.
	w.ask("REQ", "barrier", []probe{{ids: []string{strings.Repeat("0", 64)}}})
	if answer := w.watcher.text(); answer != "EOSE barrier" {
		w.Fatalf("CLOSE and REQ were answered with %s", answer)
	}
}
