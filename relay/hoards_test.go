package relay

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3KeptMessages: a subscription keeps its filters, not the message that they came in.
func TestC3KeptMessages(t *testing.T) {
	_, url := start(t, Config{})
	w := dial(t, url)
	heap := func() int {
		runtime.GC()
		runtime.GC() // buffers in pools go with the second
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		return int(now.HeapAlloc)
	}
	const padding = 120_000
	before := heap()
	for i := range 50 {
		w.write(fmt.Sprintf(`["REQ","%d",{"#t":["x"],"#p":["y"],"limit":0}%s]`, i, strings.Repeat(" ", padding)))
		if got := w.text(); got != fmt.Sprint("EOSE ", i) {
			t.Fatal(got)
		}
	}
	if grown := heap() - before; grown > 10*padding {
		t.Errorf("50 subscriptions keep %d bytes, their messages have %d each", grown, padding)
	}
}

// TestC3QueuesOfOthers: while others hold all that may wait, one who is being sent stored events is not cut off for the
// live one that comes meanwhile.
func TestC3QueuesOfOthers(t *testing.T) {
	limits := DefaultLimits()
	r, url := start(t, Config{Limits: limits})
	r.held.Add(int64(limits.AllQueuesBytes)) // as others do
	defer r.held.Add(-int64(limits.AllQueuesBytes))
	const stored, later = 400, 5
	publish := func(n int) {
		for i := range n {
			ev := nostr.Event{Kind: 1, PubKey: publicKey(t, nodeKey), CreatedAt: nostr.Now(), Content: fmt.Sprint(i, n, strings.Repeat("x", 30_000)), Sig: strings.Repeat("0", 128)}
			ev.ID = ev.GetID()
			if err := r.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(stored)
	w := dial(t, url)
	w.write(`["REQ","a",{}]`)
	var s *session
	for s == nil {
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		for s = range r.sessions {
		}
		r.mu.Unlock()
	}
	for waits := 0; waits == 0; { // the connection takes no more
		time.Sleep(time.Millisecond)
		s.mu.Lock()
		if s.writing {
			waits = s.queued
		}
		s.mu.Unlock()
	}
	publish(later)
	got := 0
	for {
		parts := w.next()
		if label := string(parts[0]); label == `"NOTICE"` {
			t.Fatalf("%d events, then %s", got, parts[1])
		} else if label == `"EVENT"` {
			got++
		}
		if got == stored+later {
			break
		}
	}
}
