package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestOffers: one query shows the offers of this node, of followed Mostros and of other platforms,
// told apart by who signed them, with those of a Mostro that is silent marked or hidden.
func TestOffers(t *testing.T) {
	p := newPlain(t, 100, "127.0.0.1:0")
	alive, silent, robosats, lnp2pbot, stranger := newPerson(t), newPerson(t), newPerson(t), newPerson(t), newPerson(t)
	now := nostr.Now()
	later := fmt.Sprint(int64(now) + 3600)
	p.add(
		alive.info(t, 0), alive.offer(t, "same", now-1), silent.info(t, now-7200), silent.offer(t, "same", now-2),
		alive.sign(t, nostr.Event{Kind: kindOrder, Tags: nostr.Tags{{"d", "taken"}, {"k", "buy"}, {"f", "USD"}, {"s", "in-progress"}}}),
		robosats.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: now - 3, Tags: nostr.Tags{
			{"d", "robot"}, {"name", "QuickBot"}, {"k", "buy"}, {"f", "EUR"}, {"s", "pending"}, {"amt", "0"}, {"fa", "10.5", "99"},
			{"pm", "Revolut", "SEPA"}, {"premium", "2.5"}, {"y", "robosats", "lake"}, {"expiration", later, "3600"}, {"network", "testnet"}, {"layer", "lightning"}, {"bond", "3"}, {"z", "order"},
		}}),
		lnp2pbot.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: now - 4, Tags: nostr.Tags{
			{"d", "bot"}, {"k", "sell"}, {"f", "ARS"}, {"s", "pending"}, {"amt", "1000"}, {"fa", "5"}, {"pm", "cash, Mercado Pago"},
			{"premium", "0"}, {"y", "mostro"}, {"community_id", "x"}, {"z", "order"}, // says that it is a Mostro
			{"expires_at", fmt.Sprint(int64(now) - 60)},
		}}),
		lnp2pbot.info(t, 0), stranger.offer(t, "strange", 0),
	)
	a := newInstance(t, "a")
	a.cfg.OrphanedAfter = time.Hour
	a.cfg.Follow = []Followed{
		{Pubkey: alive.public, Relays: []string{p.url}}, {Pubkey: silent.public, Relays: []string{p.url}},
		{Pubkey: robosats.public, Relays: []string{p.url}, Platform: "robosats"},
		{Pubkey: lnp2pbot.public, Relays: []string{p.url}, Platform: "lnp2pbot"},
	}
	a.start()
	own := a.offer(t, "same", now)
	a.publish(own)
	offers := func() []Offer {
		all, err := a.mirror.Offers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	eventually(t, "all are there", func() bool { return len(offers()) == 5 && a.health(p.url).State == Live })
	for _, pubkey := range []string{alive.public, silent.public} {
		if err := a.mirror.survey(t.Context(), pubkey); err != nil {
			t.Fatal(err)
		}
	}
	plain := Offer{ID: "same", Platform: "mostro", Side: "sell", Fiat: "USD", Min: "10", Max: "10", Sats: 1000, Premium: "1", Methods: []string{"cash"}}
	mine, theirs, orphan := plain, plain, plain
	mine.Node, mine.Own, mine.CreatedAt = a.public, true, int64(now)
	theirs.Node, theirs.CreatedAt = alive.public, int64(now)-1
	orphan.Node, orphan.CreatedAt, orphan.Orphaned = silent.public, int64(now)-2, true
	want := []Offer{mine, theirs, orphan,
		{ID: "robot", Node: robosats.public, Platform: "robosats", Name: "lake", Side: "buy", Fiat: "EUR", Min: "10.5", Max: "99", Premium: "2.5",
			Methods: []string{"Revolut", "SEPA"}, Network: "testnet", Layer: "lightning", Bond: "3", CreatedAt: int64(now) - 3},
		{ID: "bot", Node: lnp2pbot.public, Platform: "lnp2pbot", Side: "sell", Fiat: "ARS", Min: "5", Max: "5", Sats: 1000, Premium: "0",
			Methods: []string{"cash", "Mercado Pago"}, CreatedAt: int64(now) - 4, Expired: true},
	}
	got := offers()
	for i := range got {
		got[i].ExpiresAt = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if evs, err := a.relay.All(t.Context(), nostr.Filter{Kinds: []int{kindInfo}, Authors: []string{lnp2pbot.public}}); err != nil || len(evs) > 0 {
		t.Error("more than offers was copied of a platform")
	}

	var served struct{ Offers []Offer }
	answer := httptest.NewRecorder()
	a.mirror.book.serve(answer, httptest.NewRequest("GET", "/offers", nil))
	if err := json.Unmarshal(answer.Body.Bytes(), &served); err != nil || len(served.Offers) != 5 {
		t.Errorf("served: %s (%v)", answer.Body, err)
	}

	// Hidden: by this query and by every REQ.
	a.stop()
	a.cfg.HideOrphaned = true
	a.start()
	eventually(t, "what is orphaned is hidden", func() bool { return a.mirror.Orphaned(silent.public) })
	if n := len(offers()); n != 4 {
		t.Errorf("%d offers are shown, want 4", n)
	}
	if got := ask(t, a.url(), silent.public); len(got) == 0 {
		t.Error("its terms are hidden too")
	}
	c := dialClient(t, a.url())
	c.say("REQ", "x", nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{silent.public}})
	c.hear("EOSE")
	for _, parts := range *c.unread {
		if string(parts[0]) == `"EVENT"` {
			t.Errorf("shown: %s", parts[2])
		}
	}
	// News of it brings its offers back.
	p.add(silent.info(t, 0))
	eventually(t, "it is back", func() bool { return !a.mirror.Orphaned(silent.public) && len(offers()) == 5 })
}

// TestOffersEnd: offers of others whose time has passed are marked, or hidden in the book and in what the
// relay answers, from the second on in which it passes; also those that were here before the start.
func TestOffersEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(100)
		ending := func(who person, id string, after time.Duration) nostr.Event {
			return who.sign(t, nostr.Event{Kind: kindOrder, Tags: nostr.Tags{
				{"d", id}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "0"}, {"fa", "1"}, {"pm", "cash"}, {"z", "order"},
				{"expires_at", fmt.Sprint(time.Now().Add(after).Unix())}, {"expiration", fmt.Sprint(time.Now().Add(24 * time.Hour).Unix())},
			}})
		}
		p.add(ending(b, "soon", time.Minute), ending(b, "later", time.Hour), ending(b, "over", -time.Minute))
		a, _ := abroad(t, p, follows(b))
		a.publish(ending(a.person, "own", -time.Minute))
		ids := func() (ids []string) {
			all, err := a.mirror.Offers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				mark := ""
				if o.Expired {
					mark = " expired"
				}
				ids = append(ids, o.ID+mark)
			}
			slices.Sort(ids)
			return ids
		}
		want := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, ids()); diff != "" {
				t.Error(diff)
			}
		}
		eventually(t, "all are here", func() bool { return len(ids()) == 4 })
		want("later", "over expired", "own expired", "soon")
		a.stop()
		a.cfg.HideExpired = true
		c := newCable()
		a.listen = c.listen
		a.start()
		served := func() (n int) {
			l, err := Dial(c.dial).connect(t.Context(), "ws://relay.test", agent, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			if err := l.fetch(t.Context(), nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{b.public}}, func(*nostr.Event) { n++ }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		eventually(t, "what is over is hidden", func() bool { return len(ids()) == 3 })
		want("later", "own expired", "soon")
		if n := served(); n != 2 {
			t.Errorf("%d of its offers are answered, want 2", n)
		}
		time.Sleep(time.Minute)
		want("later", "own expired")
		if n := served(); n != 1 {
			t.Errorf("after a minute %d of its offers are answered, want 1", n)
		}
		p.add(ending(b, "soon", time.Hour)) // it is prolonged
		eventually(t, "it is back", func() bool { return len(ids()) == 3 && served() == 2 })
	})
}

// TestEndsAtOnce: what is over is hidden from the moment on in which the relay can be asked, and what is stored while it is
// looked for is not forgotten.
func TestEndsAtOnce(t *testing.T) {
	const stored = 300
	a, b := newInstance(t, "a"), newPerson(t)
	a.start()
	over := func(i int) *nostr.Event {
		ev := b.sign(t, nostr.Event{Kind: kindOrder, Tags: nostr.Tags{
			{"d", fmt.Sprint(i)}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "0"}, {"fa", "1"}, {"pm", "cash"}, {"z", "order"}, {"expires_at", "1000"},
		}})
		return &ev
	}
	var evs []*nostr.Event
	for i := range stored {
		evs = append(evs, over(i))
	}
	for _, taken := range a.relay.Take(t.Context(), "elsewhere", evs) {
		if !taken.New {
			t.Fatalf("%+v", taken)
		}
	}
	m, err := New(Config{Pubkey: a.public, Policy: Policy{HideExpired: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Attach(a.relay); err != nil {
		t.Fatal(err)
	}
	hidden := func(ev *nostr.Event) bool { return m.Hidden(kindOrder, b.public, idOf(ev.ID)) }
	for _, ev := range evs {
		if !hidden(ev) {
			t.Fatal("an offer that is over is shown after a start")
		}
	}
	looks := func() bool {
		m.book.mu.RLock()
		defer m.book.mu.RUnlock()
		return m.book.meanwhile != nil
	}
	for tries, came := 0, 0; came < 3; tries++ {
		if tries == 10_000 {
			t.Fatal("nothing ever came during a look")
		}
		late := over(stored + tries)
		loaded := make(chan error, 1)
		go func() { loaded <- m.book.load(t.Context()) }()
		for !looks() && len(loaded) == 0 {
			runtime.Gosched()
		}
		m.Stored(late)
		during := looks()
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		if !during {
			continue
		}
		if came++; !hidden(late) {
			t.Fatal("an offer that came during a look at all is shown")
		}
	}
}

// TestC3Offers: a followed Mostro that floods its book, with large offers too, hides nobody else's, and does not
// make the answer large.
func TestC3Offers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newInstance(t, "a")
		flood, calm := newPerson(t), newPerson(t)
		a.listen = newCable().listen
		a.cfg.Follow = []Followed{{Pubkey: flood.public}, {Pubkey: calm.public}}
		a.start()
		tags := nostr.Tags{{"k", "buy"}, {"f", "USD"}, {"s", "pending"}, {"fa", "1"}, {"name", strings.Repeat("ä", 1000)}, {"source", strings.Repeat("x", 2000)}}
		for range 25 {
			tags = append(tags, nostr.Tag{"pm", strings.Repeat(fmt.Sprint(len(tags)), 200)})
		}
		var evs []*nostr.Event
		add := func(ev nostr.Event) { evs = append(evs, &ev) }
		for i := range maxOffers + 100 {
			add(flood.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: nostr.Now() - 10, Tags: append(nostr.Tags{{"d", fmt.Sprint(i)}}, tags...)}))
		}
		for i := range 50 {
			add(calm.offer(t, fmt.Sprint(i), nostr.Now()-1000))
		}
		for i, taken := range a.relay.Take(t.Context(), "elsewhere", evs) {
			if !taken.New {
				t.Fatalf("event %d: %+v", i, taken)
			}
		}
		a.publish(a.offer(t, "own", nostr.Now()-2000))
		offers, err := a.mirror.Offers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		count := make(map[string]int)
		for _, o := range offers {
			count[o.Node]++
		}
		if count[a.public] != 1 || count[calm.public] != 50 || count[flood.public] != maxOffers-51 {
			t.Errorf("%d own offers, %d calm, %d of the flood", count[a.public], count[calm.public], count[flood.public])
		}
		answer := httptest.NewRecorder()
		a.mirror.book.serve(answer, httptest.NewRequest("GET", "/offers", nil))
		if size := answer.Body.Len(); size > 14<<20 || !utf8.Valid(answer.Body.Bytes()) {
			t.Errorf("an answer of %d bytes", size)
		}
	})
}

// unread is the connection of somebody who asks and does not read.
type unread struct {
	httptest.ResponseRecorder
	asked   chan struct{}
	closing <-chan struct{}
}

func (w *unread) Write([]byte) (int, error) {
	close(w.asked)
	<-w.closing
	return 0, net.ErrClosed
}

// TestC3OffersUnread: one who asks for the book and does not read keeps it from nobody else, nor does one who leaves.
func TestC3OffersUnread(t *testing.T) {
	a := newInstance(t, "a")
	a.start()
	a.publish(a.offer(t, "own", 0))
	book := a.mirror.book
	left, leave := context.WithCancel(t.Context())
	leave()
	answer := httptest.NewRecorder()
	if book.serve(answer, httptest.NewRequestWithContext(left, "GET", "/offers", nil)); answer.Code != http.StatusOK {
		t.Errorf("one who has left made the answer %d", answer.Code)
	}
	slow := &unread{asked: make(chan struct{}), closing: t.Context().Done()}
	go book.serve(slow, httptest.NewRequest("GET", "/offers", nil))
	<-slow.asked
	answered := make(chan int, 1)
	go func() {
		answer := httptest.NewRecorder()
		book.serve(answer, httptest.NewRequest("GET", "/offers", nil))
		answered <- answer.Body.Len()
	}()
	eventually(t, "another one has the book", func() bool { return len(answered) == 1 })
	if n := <-answered; n < 100 {
		t.Errorf("an answer of %d bytes", n)
	}
}

func TestShares(t *testing.T) {
	for _, test := range []struct {
		wants []int
		most  int
		want  []int
	}{
		{nil, 10, nil}, {[]int{3, 4}, 10, []int{3, 4}}, {[]int{100, 2}, 10, []int{8, 2}}, {[]int{100, 1, 100}, 11, []int{5, 1, 5}},
		{[]int{5, 5, 5}, 2, []int{0, 1, 1}}, {[]int{0, 7}, 7, []int{0, 7}},
	} {
		got := shares(test.wants, test.most)
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("shares(%v, %d) = %v, want %v", test.wants, test.most, got, test.want)
		}
	}
}
