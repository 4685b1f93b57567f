package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3LongComparisons: comparing an event with a filter takes no time that grows with both, nor once more for each
// filter what is the same for all of them. One event that is as long as may be, and subscriptions of one address that are as wide
// as may be, would else keep all publishers waiting for seconds.
func TestC3LongComparisons(t *testing.T) {
	r, _ := serveWhole(t, Config{})
	short, long := nostr.Event{Kind: 1, Content: "a note"}, nostr.Event{Kind: 1, Content: strings.Repeat("a note ", 9000)}
	short.Tags = nostr.Tags{{"x", "a"}, {"g", "none"}, {"p", fmt.Sprintf("%064x", 1)}}
	long.Tags = nostr.Tags{{"x", "a"}}
	for i := range 1000 {
		long.Tags = append(long.Tags, nostr.Tag{"g", fmt.Sprintf("%08d", i)}, nostr.Tag{"p", fmt.Sprintf("%064x", i+1)})
	}
	var values, words []string
	for i := range r.cfg.Limits.FilterValues {
		values = append(values, fmt.Sprintf("%08d", 5000+i))
	}
	for range maxWords {
		words = append(words, "note")
	}
	words[maxWords-1] = "other"
	var authed keys
	for i := range r.cfg.Limits.AuthKeys {
		k, err := parseKey(fmt.Sprintf("%064x", 50_000+i))
		if err != nil {
			t.Fatal(err)
		}
		authed = append(authed, k)
	}
	filter := func(text string) *ask {
		f, err := r.ask([]byte(text), false)
		if err != nil {
			t.Fatal(err)
		}
		return &f
	}
	many, search := filter(`{"#x":["a"],"#g":["`+strings.Join(values, `","`)+`"]}`), filter(`{"search":"`+strings.Join(words, " ")+`"}`)
	for name, compare := range map[string]func(e *fresh) bool{
		"values":     func(e *fresh) bool { return e.matches(many) },
		"search":     func(e *fresh) bool { return e.matches(search) },
		"recipients": func(e *fresh) bool { return e.isFor(authed) },
	} {
		best := func(ev nostr.Event) time.Duration {
			e, err := newFresh(new(signed(t, nodeKey, ev)))
			if err != nil {
				t.Fatal(err)
			}
			best := time.Hour
			for range 20 {
				began := time.Now()
				for range 50 {
					if compare(e) {
						t.Fatalf("%s: the event matches", name)
					}
				}
				best = min(best, time.Since(began))
			}
			return best
		}
		if short, long := best(short), best(long); long > 50*short {
			t.Errorf("%s: %v for 50 comparisons with a short event, %v with a long one", name, short, long)
		} else {
			t.Logf("%s: %v for 50 comparisons with a short event, %v with a long one", name, short, long)
		}
	}
}

// TestC3SearchesCount: a comparison with a search counts for several, but never keeps out the first of a session.
func TestC3SearchesCount(t *testing.T) {
	limits := DefaultLimits()
	limits.Comparisons = 2*searchWeight + 1
	r, url := serveWhole(t, Config{Limits: limits})
	open := func(n int) wire {
		w := dial(t, url)
		for i := range n {
			w.write(fmt.Sprintf(`["REQ","%d",{"kinds":[1],"search":"nothing","limit":0}]`, i))
			if got := w.text(); got != fmt.Sprint("EOSE ", i) {
				t.Fatal(got)
			}
		}
		return w
	}
	one, many := open(1), open(3)
	if err := r.Publish(t.Context(), signed(t, nodeKey, nostr.Event{Kind: 1, Content: "something"})); err != nil {
		t.Fatal(err)
	}
	one.write(`["REQ","last",{"kinds":[7]}]`)
	if got := one.text(); got != "EOSE last" {
		t.Error(got)
	}
	if got := many.text(); !strings.HasPrefix(got, "NOTICE rate-limited: ") {
		t.Error(got)
	}
	many.Close()
	one.write(`["REQ","words",{"search":"` + strings.Repeat("a ", maxWords+1) + `"}]`)
	if got := one.text(); !strings.HasPrefix(got, "CLOSED words invalid: a search has at most 10 words") {
		t.Error(got)
	}
}
