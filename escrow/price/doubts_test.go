package price

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestM51TwoDisagree: of two sources that say very different things, or of one that has just contradicted the other,
// nobody's price is used, and the operator hears of it once.
func TestM51TwoDisagree(t *testing.T) {
	a, c, node := newProvider(t, `"USD":100,"EUR":90`), newProvider(t, `"USD":104,"EUR":90`), newPeer(t, 1)
	var log bytes.Buffer
	b := newBench(t, Config{JumpPPM: 100_000, Logger: slog.New(slog.NewTextHandler(&log, nil))}, a.source(), c.source(), Nodes(node.public))
	step := func(sayA, sayC string, usd float64, age time.Duration) {
		t.Helper()
		a.set(sayA)
		c.set(sayC)
		b.next(t)
		b.want(t, "USD", usd, age)
		for i := range b.sources { // nobody rests in the next step
			b.sources[i].failures, b.sources[i].restsTo = 0, time.Time{}
		}
	}
	const begun, ended = "price sources disagree", "doubted no more"
	step(`"USD":100,"EUR":90`, `"USD":104,"EUR":90`, 102, 0)
	step(`"USD":100,"EUR":90`, `"USD":300,"EUR":92`, 0, 0)
	b.want(t, "EUR", 91, 0) // the others go on
	if rates, ok := b.Rates(); !ok || strings.Contains(rates.Content, "USD") {
		t.Errorf("published is %v", rates)
	}
	if got := b.Doubted(); len(got) != 1 || got[0] != "USD yadio=100 yadio=300" {
		t.Errorf("doubted is %q", got)
	}
	if text := log.String(); !strings.Contains(text, "USD yadio=100 yadio=300") || !strings.Contains(text, "price.providers.NAME.except") {
		t.Errorf("the operator hears %s", text)
	}
	if err := b.offer(node.rates(t, b.now, `{"BTC":{"USD":200}}`)); err != nil {
		t.Fatal(err)
	}
	step(`"USD":100`, `"USD":300`, 0, 0) // another node does not decide
	step(`"USD":100`, ``, 0, 0)          // neither does he who is heard alone
	step(``, `"USD":300`, 0, 0)
	step(``, ``, 0, 0)
	if n := strings.Count(log.String(), begun); n != 1 || strings.Contains(log.String(), ended) {
		t.Errorf("told %d times:\n%s", n, &log)
	}
	step(`"USD":101`, `"USD":102`, 101.5, 0) // they agree again
	if !strings.Contains(log.String(), ended) || len(b.Doubted()) > 0 {
		t.Errorf("it does not end:\n%s", &log)
	}
	step(`"USD":101`, `"USD":300`, 0, 0)
	step(`"USD":301`, `"USD":300`, 0, 0) // far from the last price, which still says so
	step(`"USD":301`, `"USD":300`, 300.5, 0)
	step(`"USD":300`, `"USD":900`, 0, 0)
	b.now = b.now.Add(26 * time.Minute)
	step(``, `"USD":900`, 900, 0) // nobody has contradicted for as long as a price lasts
	step(`"USD":300`, `"USD":900`, 0, 0)
	b.now = b.now.Add(26 * time.Minute)
	step(`"EUR":90`, `"EUR":90`, 0, 0)
	if got := b.Doubted(); len(got) > 0 {
		t.Errorf("nobody quotes it any more, and doubted is %q", got)
	}
}

// TestM51DoubtsOfOtherCurrencies: sources disagree on many currencies that no order can be in; nobody has to hear of them.
func TestM51DoubtsOfOtherCurrencies(t *testing.T) {
	a, c := newProvider(t, `"USD":100,"VES":90`), newProvider(t, `"USD":104,"VES":900`)
	var log bytes.Buffer
	b := newBench(t, Config{Orders: []string{"USD"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, a.source(), c.source())
	b.next(t)
	b.want(t, "VES", 0, 0)
	c.set(`"USD":104,"VES":90`)
	b.next(t)
	b.want(t, "VES", 90, 0)
	if got := b.Doubted(); len(got) > 0 || strings.Contains(log.String(), "VES") {
		t.Errorf("told is %q, and\n%s", got, &log)
	}
	c.set(`"USD":300,"VES":900`)
	b.next(t)
	if got := b.Doubted(); len(got) != 1 || !strings.Contains(log.String(), "USD yadio=100") || strings.Contains(log.String(), "VES") {
		t.Errorf("told is %q, and\n%s", got, &log)
	}
}

// TestM51TwoNodesDisagree: the same of what other nodes publish.
func TestM51TwoNodesDisagree(t *testing.T) {
	peers := []peer{newPeer(t, 1), newPeer(t, 2)}
	p := newProvider(t, `"USD":100`)
	b := newBench(t, Config{}, p.source(), Nodes(peers[0].public, peers[1].public))
	says := func(cup ...string) {
		t.Helper()
		for i, each := range cup {
			if err := b.offer(peers[i].rates(t, b.now, `{"BTC":{"CUP":`+each+`}}`)); err != nil {
				t.Fatal(err)
			}
		}
		b.next(t)
	}
	says("100", "102")
	b.want(t, "CUP", 101, 5*time.Minute)
	says("100", "200")
	b.want(t, "CUP", 0, 0)
	p.set(`"CUP":150`) // a source of our own has not been contradicted
	says("100", "200")
	b.want(t, "CUP", 150, 0)
}
