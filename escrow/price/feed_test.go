package price

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/order"
)

// provider is a source in Yadio's format whose answer the test sets; "" is a status 500.
type provider struct {
	*httptest.Server
	mu     sync.Mutex
	answer string
	asked  int
}

func newProvider(t *testing.T, answer string) *provider {
	t.Helper()
	p := &provider{answer: answer}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		if p.answer == "" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"BTC":{%s}}`, p.answer)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) set(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *provider) source() Source { return Yadio(Provider{URL: p.URL}) }

// bench is a feed with a clock of its own.
type bench struct {
	*Feed
	now time.Time
}

func newBench(t *testing.T, cfg Config, sources ...Source) *bench {
	t.Helper()
	b := &bench{now: noon}
	cfg.Sources = append(cfg.Sources, sources...)
	cfg.Interval, cfg.Staleness, cfg.Timeout = 5*time.Minute, 30*time.Minute, time.Minute
	cfg.Now = func() time.Time { return b.now }
	b.Feed = New(cfg)
	return b
}

// next lets the interval pass and asks.
func (b *bench) next(t *testing.T) (answered int, surprised bool) {
	t.Helper()
	b.now = b.now.Add(b.cfg.Interval)
	_, answered, surprised = b.round(t.Context())
	return answered, surprised
}

// want checks a price in whole units; 0 is none.
func (b *bench) want(t *testing.T, code string, units float64, age time.Duration) {
	t.Helper()
	got, ok := b.Price(code)
	want := order.Price{}
	if units > 0 {
		want = order.Price{PerBTC: int64(units * million), At: b.now.Add(-age).Unix()}
	}
	if got != want || ok != (units > 0) {
		t.Errorf("%s is %v, want %v", code, got, want)
	}
}

func TestKeepsLastGoodPriceUntilStale(t *testing.T) {
	p := newProvider(t, `"USD":60000,"EUR":50000`)
	b := newBench(t, Config{}, p.source())
	b.want(t, "USD", 0, 0)
	b.next(t)
	b.want(t, "USD", 60_000, 0)
	b.want(t, "XYZ", 0, 0)

	p.set(`"USD":61000`)
	b.next(t)
	b.want(t, "USD", 61_000, 0)
	b.want(t, "EUR", 50_000, 5*time.Minute)

	p.set(``)
	if answered, _ := b.next(t); answered != 0 {
		t.Error("a status 500 counts as an answer")
	}
	b.want(t, "USD", 61_000, 5*time.Minute)
	b.now = b.now.Add(20 * time.Minute)
	b.want(t, "EUR", 50_000, 30*time.Minute)
	b.now = b.now.Add(time.Second)
	b.want(t, "EUR", 0, 0)
	b.want(t, "USD", 61_000, 25*time.Minute+time.Second)
	b.now = b.now.Add(-2 * time.Hour) // a clock that is set back
	b.want(t, "USD", 0, 0)
}

func TestOneTwoAndThreeSources(t *testing.T) {
	a, c, d := newProvider(t, `"USD":100`), newProvider(t, `"USD":104,"EUR":90`), newProvider(t, `"USD":900`)
	b := newBench(t, Config{}, a.source(), c.source())
	b.next(t)
	b.want(t, "USD", 102, 0)
	b.want(t, "EUR", 90, 0)

	b = newBench(t, Config{}, a.source(), c.source(), d.source())
	b.next(t)
	b.want(t, "USD", 102, 0)
}

func TestTwoOfThreeMustAgree(t *testing.T) {
	a, c, d := newProvider(t, `"USD":100`), newProvider(t, `"USD":101`), newProvider(t, `"USD":102,"VES":7`)
	b := newBench(t, Config{}, a.source(), c.source(), d.source())
	b.next(t)
	b.want(t, "USD", 101, 0)
	b.want(t, "VES", 7, 0) // of one source only, and the others have shown that they do not know it

	for _, lonely := range []struct{ a, c, d string }{
		{`"USD":200`, `"USD":300`, `"USD":400`}, // nobody agrees
		{`"USD":200`, ``, ``},                   // one is left
		{`"USD":200`, ``, `"USD":300`},          // two are left, and disagree
		{`"USD":200`, `"EUR":1`, ``},
	} {
		a.set(lonely.a)
		c.set(lonely.c)
		d.set(lonely.d)
		b.round(t.Context())
		b.want(t, "USD", 101, 0)
		// The next case is not to find anybody resting.
		for i := range b.sources {
			b.sources[i].failures, b.sources[i].restsTo = 0, time.Time{}
		}
	}
	b.now = b.now.Add(31 * time.Minute)
	b.want(t, "USD", 0, 0)

	// Two that agree are enough.
	a.set(``)
	c.set(`"USD":500`)
	d.set(`"USD":510`)
	b.next(t)
	b.want(t, "USD", 505, 0)

	// A source that has not answered yet may quote everything.
	a, c, d = newProvider(t, `"USD":100`), newProvider(t, ``), newProvider(t, ``)
	b = newBench(t, Config{}, a.source(), c.source(), d.source())
	b.next(t)
	b.want(t, "USD", 0, 0)
	// ... but not what is not taken from it.
	b = newBench(t, Config{}, a.source(), c.source(), d.source().Except("USD"))
	b.next(t)
	b.want(t, "USD", 100, 0)
}

func TestJumpWaitsForSecondLook(t *testing.T) {
	p := newProvider(t, `"USD":100`)
	b := newBench(t, Config{JumpPPM: 100_000}, p.source())
	step := func(answer string, usd float64, age time.Duration, surprised bool) {
		t.Helper()
		p.set(answer)
		if _, got := b.next(t); got != surprised {
			t.Errorf("%s: surprised is %v", answer, got)
		}
		b.want(t, "USD", usd, age)
	}
	step(`"USD":100`, 100, 0, false)
	step(`"USD":110`, 110, 0, false)              // at the limit
	step(`"USD":10`, 110, 5*time.Minute, true)    // a slip ...
	step(`"USD":111`, 111, 0, false)              // ... that is gone at the second look
	step(`"USD":10`, 111, 5*time.Minute, true)    // again: the first one counts no more
	step(`"USD":150`, 111, 10*time.Minute, true)  // another one
	step(`"USD":300`, 111, 15*time.Minute, true)  // and another one
	step(`"EUR":1`, 111, 20*time.Minute, false)   // nothing said
	step(`"USD":310`, 310, 0, false)              // confirmed
	step(`"USD":10`, 310, 5*time.Minute, true)    // a jump ...
	b.now = b.now.Add(26 * time.Minute)           // ... and a long silence
	step(`"USD":2000`, 2000, 0, false)            // there is no fresh price to compare with
	step(`"USD":9000`, 2000, 5*time.Minute, true) // The same moment is no second look.
	b.round(t.Context())
	b.want(t, "USD", 2000, 5*time.Minute)

	// Without the setting every price is taken.
	b = newBench(t, Config{}, p.source())
	for _, usd := range []int{100, 1, 10_000} {
		p.set(fmt.Sprintf(`"USD":%d`, usd))
		b.next(t)
		b.want(t, "USD", float64(usd), 0)
	}
}

func TestElToqueFollowsTheDollar(t *testing.T) {
	a := newProvider(t, `"USD":100000,"CUP":40000000`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tasas":{"USD":410,"MLC":205}}`) }))
	defer server.Close()
	elToque := ElToque(Provider{URL: server.URL, Key: "token"})
	b := newBench(t, Config{JumpPPM: 100_000}, elToque, a.source())
	b.next(t)
	b.want(t, "CUP", 40_500_000, 0)
	b.want(t, "MLC", 200_000, 0)
	b.want(t, "USD", 100_000, 0)

	// While the dollar waits for a second look, so does what follows from it.
	a.set(`"USD":200000`)
	b.next(t)
	b.want(t, "MLC", 200_000, 5*time.Minute)
	b.next(t)
	b.want(t, "USD", 200_000, 0)
	b.want(t, "MLC", 200_000, 10*time.Minute)
	b.next(t)
	b.want(t, "MLC", 400_000, 0)

	// Without a dollar there is nothing to say.
	node := newPeer(t, 1)
	b = newBench(t, Config{}, elToque, Nodes(node.public))
	b.next(t)
	b.want(t, "CUP", 0, 0)
	// Nor with another node's dollar, or its echo would be published as our own.
	if err := b.offer(node.rates(t, b.now, `{"BTC":{"USD":100}}`)); err != nil {
		t.Error(err)
	}
	for range 2 {
		b.round(t.Context())
	}
	b.want(t, "USD", 100, 0)
	b.want(t, "CUP", 0, 0)
}

func TestFixed(t *testing.T) {
	b := newBench(t, Config{}, Fixed(map[string]int64{"USD": 100_000 * million, "EUR": 0, "ARS": -5, "BTC": million}))
	b.next(t)
	b.want(t, "USD", 100_000, 0)
	b.now = b.now.Add(time.Hour)
	b.want(t, "USD", 0, 0)
	b.next(t)
	b.want(t, "USD", 100_000, 0)
	if len(*b.prices.Load()) != 1 {
		t.Errorf("prices %v", *b.prices.Load())
	}
}

func TestBreaker(t *testing.T) {
	good, bad := newProvider(t, `"USD":100`), newProvider(t, ``)
	b := newBench(t, Config{Failures: 2, Cooldown: 10 * time.Minute}, good.source(), bad.source())
	var asked []int
	for range 32 {
		b.next(t)
		asked = append(asked, bad.count())
	}
	// Rounds are 5 minutes apart. Two failures, then rests of 10, 20, 30 and 30 minutes.
	want := []int{1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 8}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("times that the failing source was asked: %s", diff)
	}
	if good.count() != 32 {
		t.Errorf("the good source was asked %d times of 32", good.count())
	}
	// It recovers at the first answer, and has its two failures again.
	bad.set(`"USD":102`)
	for range 6 {
		b.next(t)
	}
	b.want(t, "USD", 101, 0)
	bad.set(``)
	n := bad.count()
	for range 3 {
		b.next(t)
	}
	if got := bad.count() - n; got != 2 {
		t.Errorf("asked %d times after the recovery, want 2", got)
	}

	// Nobody rests when everybody would.
	good.set(``)
	b = newBench(t, Config{Failures: 1, Cooldown: time.Hour}, good.source(), bad.source())
	b.next(t)
	g, n := good.count(), bad.count()
	for range 4 {
		b.next(t)
	}
	if good.count()+bad.count()-g-n != 4 {
		t.Errorf("in four rounds %d and %d were asked", good.count()-g, bad.count()-n)
	}
	good.set(`"USD":7`)
	b.next(t)
	b.next(t)
	b.want(t, "USD", 7, 0)
}

func TestPause(t *testing.T) {
	var waits []time.Duration
	retry, wait := firstRetry, time.Duration(0)
	round := func(failed, surprised bool) {
		wait, retry = pause(5*time.Minute, retry, failed, surprised)
		waits = append(waits, wait/time.Second)
	}
	for range 7 {
		round(true, false)
	}
	round(false, false)
	round(true, false)
	round(true, false)
	round(false, true)
	round(true, false)
	if diff := cmp.Diff([]time.Duration{15, 30, 60, 120, 240, 300, 300, 300, 15, 30, 30, 15}, waits); diff != "" {
		t.Errorf("seconds to the next round: %s", diff)
	}
	if wait, next := pause(time.Second, firstRetry, true, true); wait != time.Second || next != time.Second {
		t.Errorf("a short interval: %v, %v", wait, next)
	}
}

// TestRun polls for real: at the start, and sooner than the interval after a failure.
func TestRun(t *testing.T) {
	p := newProvider(t, `"USD":100`)
	polled := make(chan struct{})
	f := New(Config{Sources: []Source{p.source()}, Interval: time.Millisecond, Staleness: time.Hour, Timeout: time.Minute,
		Polled: func() { polled <- struct{}{} }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	<-polled
	if got, ok := f.Price("USD"); !ok || got.PerBTC != 100*million {
		t.Errorf("USD is %v", got)
	}
	p.set(``)
	for range 3 {
		<-polled
	}
	p.set(`"USD":101`)
	for got, _ := f.Price("USD"); got.PerBTC != 101*million; got, _ = f.Price("USD") {
		<-polled
	}
	cancel()
	for running := true; running; {
		select {
		case <-polled:
		case <-done:
			running = false
		}
	}
}

// TestReaderNeverWaits reads a price while the source hangs.
func TestReaderNeverWaits(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	defer s.Close()
	defer close(release)
	f := New(Config{Sources: []Source{Yadio(Provider{URL: s.URL})}, Interval: time.Hour, Staleness: time.Hour, Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	<-asked
	if _, ok := f.Price("USD"); ok {
		t.Error("a price from a source that has not answered")
	}
	cancel()
	<-done // Run ends although the source still hangs
}

// BenchmarkPrice is what a take at market price costs, while rounds go on.
func BenchmarkPrice(b *testing.B) {
	prices := map[string]int64{}
	for _, code := range strings.Split(strings.ToUpper(geckoCodes), ",") {
		prices[code] = 100_000 * million
	}
	f := New(Config{Sources: []Source{Fixed(prices)}, Interval: time.Millisecond, Staleness: time.Hour})
	f.round(b.Context())
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	for b.Loop() {
		if _, ok := f.Price("USD"); !ok {
			b.Fatal("no price")
		}
	}
	cancel()
	<-done
}
