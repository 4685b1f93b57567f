package price

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// peer is another node.
type peer struct{ secret, public string }

func newPeer(t *testing.T, n int) peer {
	t.Helper()
	secret := fmt.Sprintf("%064x", n)
	public, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return peer{secret, public}
}

// rates signs published rates.
func (p peer) rates(t *testing.T, at time.Time, content string) *nostr.Event {
	t.Helper()
	ev := &nostr.Event{Kind: 30078, CreatedAt: nostr.Timestamp(at.Unix()), Tags: nostr.Tags{{"d", "mostro-rates"}}, Content: content}
	if err := ev.Sign(p.secret); err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestNodesFillGaps(t *testing.T) {
	p, node := newProvider(t, `"USD":100`), newPeer(t, 1)
	b := newBench(t, Config{}, p.source(), Nodes(node.public).Except("EUR"))
	b.next(t)
	if err := b.offer(node.rates(t, b.now.Add(-time.Minute), `{"BTC":{"USD":500,"CUP":7,"EUR":8,"XAU":1,"ARS":-1}}`)); err != nil {
		t.Fatal(err)
	}
	b.next(t)
	b.want(t, "USD", 100, 0)
	b.want(t, "CUP", 7, 6*time.Minute)
	b.want(t, "EUR", 0, 0)
	b.want(t, "ARS", 0, 0)

	// What is known only through others is not published.
	ev, ok := b.Rates()
	if !ok || ev.Content != `{"BTC":{"USD":100}}` {
		t.Errorf("publishes %v", ev)
	}
	// Our own source takes the currency over, and keeps it until its price is stale.
	p.set(`"CUP":9`)
	b.next(t)
	b.want(t, "CUP", 9, 0)
	b.want(t, "USD", 100, 5*time.Minute)
	p.set(``)
	if err := b.offer(node.rates(t, b.now.Add(20*time.Minute), `{"BTC":{"CUP":8}}`)); err == nil {
		t.Error("rates from the future are kept")
	}
	b.now = b.now.Add(20 * time.Minute)
	if err := b.offer(node.rates(t, b.now, `{"BTC":{"CUP":8}}`)); err != nil {
		t.Error(err)
	}
	b.next(t)
	b.want(t, "CUP", 9, 25*time.Minute)
	b.next(t)
	b.want(t, "CUP", 9, 30*time.Minute)
	b.next(t)
	b.want(t, "CUP", 8, 15*time.Minute)
	b.now = b.now.Add(16 * time.Minute)
	b.next(t)
	b.want(t, "CUP", 0, 0)
	if ev, ok := b.Rates(); ok {
		t.Errorf("publishes %v", ev)
	}
}

func TestSeveralNodes(t *testing.T) {
	peers := []peer{newPeer(t, 1), newPeer(t, 2), newPeer(t, 3)}
	b := newBench(t, Config{JumpPPM: 100_000}, Nodes(peers[0].public, peers[1].public, peers[2].public))
	offer := func(i int, cup string) {
		t.Helper()
		if err := b.offer(peers[i].rates(t, b.now, `{"BTC":{"CUP":`+cup+`}}`)); err != nil {
			t.Error(err)
		}
	}
	offer(0, "100")
	offer(1, "102")
	offer(2, "1") // the newest is the liar
	b.next(t)
	b.want(t, "CUP", 101, 5*time.Minute)

	b.cfg.JumpPPM = 0
	offer(0, "100")
	offer(1, "200")
	offer(2, "400")
	b.next(t)
	b.want(t, "CUP", 101, 10*time.Minute) // nobody agrees
	b.cfg.JumpPPM = 100_000

	// A jump of other nodes needs a second look, which is another event.
	offer(0, "300")
	offer(1, "300")
	offer(2, "300")
	for range 3 {
		b.next(t)
	}
	b.want(t, "CUP", 101, 25*time.Minute)
	offer(0, "300")
	offer(1, "300")
	offer(2, "300")
	if asked, _, _ := b.round(t.Context()); asked != 0 {
		t.Errorf("%d nodes were asked; they publish", asked)
	}
	b.want(t, "CUP", 300, 0)

	// What a node said long ago does not count beside what another one says now.
	b.cfg.JumpPPM = 0
	b.now = b.now.Add(31 * time.Minute)
	offer(1, "310")
	b.round(t.Context())
	b.want(t, "CUP", 310, 0)
}

func TestOfferRefuses(t *testing.T) {
	node, stranger := newPeer(t, 1), newPeer(t, 2)
	p := newProvider(t, `"USD":100`)
	b := newBench(t, Config{}, p.source(), Nodes(node.public))
	change := func(f func(ev *nostr.Event)) *nostr.Event {
		ev := node.rates(t, b.now, `{"BTC":{"CUP":7}}`)
		f(ev)
		return ev
	}
	sign := func(f func(ev *nostr.Event)) *nostr.Event {
		return change(func(ev *nostr.Event) { f(ev); ev.Sign(node.secret) })
	}
	for name, ev := range map[string]*nostr.Event{
		"a stranger's":    stranger.rates(t, b.now, `{"BTC":{"CUP":7}}`),
		"in his name":     change(func(ev *nostr.Event) { ev.Sign(stranger.secret); ev.PubKey = node.public }),
		"changed content": change(func(ev *nostr.Event) { ev.Content = `{"BTC":{"CUP":8}}` }),
		"no signature":    change(func(ev *nostr.Event) { ev.Sig = "" }),
		"other kind":      sign(func(ev *nostr.Event) { ev.Kind = 30079 }),
		"other d":         sign(func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"d", "rates"}} }),
		"no d":            sign(func(ev *nostr.Event) { ev.Tags = nil }),
		"too old":         node.rates(t, b.now.Add(-31*time.Minute), `{"BTC":{"CUP":7}}`),
		"future":          node.rates(t, b.now.Add(2*time.Minute), `{"BTC":{"CUP":7}}`),
		"far future":      node.rates(t, time.Unix(1<<60, 0), `{"BTC":{"CUP":7}}`),
		"no JSON":         node.rates(t, b.now, `CUP 7`),
		"too long":        node.rates(t, b.now, `{"BTC":{"CUP":7},"pad":"`+strings.Repeat("x", maxRates)+`"}`),
	} {
		if err := b.offer(ev); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	b.next(t)
	b.want(t, "CUP", 0, 0)
	if err := b.offer(node.rates(t, b.now, `{"BTC":{"CUP":7}}`)); err != nil {
		t.Error(err)
	}
	for name, ev := range map[string]*nostr.Event{
		"replayed":      node.rates(t, b.now, `{"BTC":{"CUP":7}}`),
		"older":         node.rates(t, b.now.Add(-time.Minute), `{"BTC":{"CUP":8}}`),
		"another of it": node.rates(t, b.now, `{"BTC":{"CUP":9}}`),
	} {
		if err := b.offer(ev); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
}

// TestPublishedIsLookedUp: rates come from where this node keeps events, of the trusted nodes
// only, whatever else is found there.
func TestPublishedIsLookedUp(t *testing.T) {
	one, two, stranger := newPeer(t, 1), newPeer(t, 2), newPeer(t, 3)
	p := newProvider(t, `"USD":100`)
	var asked [][]string
	var found []nostr.Event
	var fails error
	b := newBench(t, Config{Published: func(_ context.Context, pubkeys []string) ([]nostr.Event, error) {
		asked = append(asked, pubkeys)
		return found, fails
	}}, p.source(), Nodes(one.public, two.public))
	b.next(t)
	b.want(t, "CUP", 0, 0)
	found = []nostr.Event{
		*stranger.rates(t, b.now, `{"BTC":{"CUP":1}}`),
		*one.rates(t, b.now, `{"BTC":{"CUP":7.9,"USD":900}}`),
		*two.rates(t, b.now, `{"BTC":{"CUP":8.1}}`),
	}
	b.next(t)
	b.want(t, "CUP", 8, 5*time.Minute)
	b.want(t, "USD", 100, 0)
	fails, found = errors.New("the store is closing"), nil
	b.next(t)
	b.want(t, "CUP", 8, 10*time.Minute)
	b.want(t, "USD", 100, 0)
	both := []string{one.public, two.public}
	slices.Sort(both)
	if diff := cmp.Diff([][]string{both, both, both}, asked); diff != "" {
		t.Error(diff)
	}

	// Who trusts nobody asks for nothing.
	asked = nil
	alone := newBench(t, Config{Published: b.cfg.Published}, p.source())
	alone.next(t)
	if len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

func TestRates(t *testing.T) {
	usd, ars := newProvider(t, `"USD":100000.5`), newProvider(t, `"ARS":120000000,"USD":100000.5`)
	far := newProvider(t, `"USD":900000`)
	b := newBench(t, Config{}, far.source(), Nodes(newPeer(t, 1).public), usd.source(), Fixed(map[string]int64{"EUR": 1}), ars.source())
	if ev, ok := b.Rates(); ok {
		t.Errorf("publishes %v before there are prices", ev)
	}
	b.next(t)
	ev, ok := b.Rates()
	want := nostr.Event{
		Kind: 30078,
		Tags: nostr.Tags{{"d", "mostro-rates"}, {"published_at", fmt.Sprint(b.now.Unix())},
			{"source", "yadio,fixed,yadio"}, {"expiration", fmt.Sprint(b.now.Unix() + 600)}},
		Content: `{"BTC":{"ARS":120000000,"EUR":0.000001,"USD":100000.5}}`,
	}
	if diff := cmp.Diff(want.String(), ev.String()); !ok || diff != "" {
		t.Error(diff)
	}
	// Another node reads the same prices from it.
	node := newPeer(t, 9)
	other := newBench(t, Config{}, Nodes(node.public))
	other.now = b.now
	if err := other.offer(node.rates(t, b.now, ev.Content)); err != nil {
		t.Error(err)
	}
	other.round(t.Context())
	other.want(t, "USD", 100_000.5, 0)
	b.cfg.Interval = 24 * time.Hour
	if ev, _ = b.Rates(); ev.Tags.GetD() == "" || ev.Tags[3][1] != fmt.Sprint(b.now.Unix()+3600) {
		t.Errorf("expires at %v", ev.Tags[3])
	}
	// Stale prices are not published.
	b.now = b.now.Add(31 * time.Minute)
	if ev, ok := b.Rates(); ok {
		t.Errorf("publishes %v", ev)
	}
}
