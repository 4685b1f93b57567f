package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

func TestNegentropySessions(t *testing.T) {
	limits := DefaultLimits()
	limits.NegItems, limits.NegSessions = 5, 2
	r, url := start(t, Config{Limits: limits})
	publish := func(n int) {
		for i := range n {
			if err := r.Publish(t.Context(), signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(n, i)})); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(3)
	w := dial(t, url)
	empty := `"6100000200"` // I have nothing
	open := func(id string) string {
		w.write(`["NEG-OPEN","` + id + `",{"kinds":[1]},` + empty + `]`)
		return w.text()
	}
	if got := open("a"); len(got) != len("NEG-MSG a 6100000203")+3*64 {
		t.Error(got)
	}
	open("b")
	if got := open("c"); !strings.HasPrefix(got, "NEG-ERR c rate-limited: ") {
		t.Error(got)
	}
	if got := r.negItems.taken(); got != 2*negReserve {
		t.Errorf("%d items are held, want %d", got, 2*negReserve)
	}
	w.write(`["NEG-CLOSE","b"]`)
	if got := open("c"); !strings.HasPrefix(got, "NEG-MSG c 61") {
		t.Error(got)
	}
	publish(4)
	if got := open("a"); !strings.HasPrefix(got, "NEG-ERR a blocked: ") {
		t.Error(got)
	}
	for i := range maxNegRounds {
		w.write(`["NEG-MSG","c",` + empty + `]`)
		if got := w.text(); strings.HasPrefix(got, "NEG-ERR") != (i == maxNegRounds-1) {
			t.Fatal(i, got)
		}
	}
	w.write(`["NEG-OPEN","d",{"kinds":[1],"limit":2},` + empty + `]`)
	if got := w.text(); len(got) != len("NEG-MSG d 6100000202")+2*64 {
		t.Error(got)
	}
	w.Close()
	for r.negItems.taken() != 0 { // the items go with the connection
		time.Sleep(time.Millisecond)
	}
}
