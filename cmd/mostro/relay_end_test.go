package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
	"mostro/relay/store"
)

// TestNodeDrains: a node that ends while clients publish keeps all that it has answered with OK
// true, says goodbye with close code 1001, and serves nobody any more.
func TestNodeDrains(t *testing.T) {
	s := serveWith(t, "relay.events_burst=100000", "relay.key_events_burst=100000")
	const clients = 8
	var mu sync.Mutex
	taken := make(map[string]bool)
	var some atomic.Int64
	var all sync.WaitGroup
	for range clients {
		w := s.dial()
		secret := nostr.GeneratePrivateKey()
		all.Go(func() {
			sent := make(map[string]bool)
			for {
				ev := s.sign(secret, nostr.Event{Kind: 1})
				sent[ev.ID] = true
				answer := strings.SplitN(w.ask(`["EVENT",`+ev.String()+`]`), " ", 4)
				for answer[0] == "OK" {
					if answer[2] != "true" || !sent[answer[1]] {
						t.Errorf("answer %q", answer)
						return
					}
					mu.Lock()
					taken[answer[1]] = true
					mu.Unlock()
					some.Add(1)
					if answer[1] == ev.ID {
						break
					}
					answer = strings.SplitN(strings.Join(w.next(), " "), " ", 4)
				}
				if answer[0] == "closed" {
					// The socket may have been closed before the frame could be read.
					if len(answer) > 1 && answer[1] != "1001" {
						t.Errorf("close code %s, want 1001", answer[1])
					}
					return
				}
			}
		})
	}
	for some.Load() < 10*clients {
		if t.Failed() {
			t.FailNow()
		}
	}
	// A request that stands still does not use up the time in which clients are told.
	slow, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/nostr+json+rpc\r\nContent-Length: 100\r\n\r\n{", s.address)
	s.stop()
	all.Wait()
	if conn, err := net.Dial("tcp", s.address); err == nil {
		conn.Close()
		t.Error("a node that has ended takes connections")
	}
	events, err := relay.OpenEvents(filepath.Join(s.cfg.dir, relayDir), s.url, store.Space{}, s.cfg.logger, func(string, int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	kept := make(map[string]bool)
	found, err := events.QueryEvents(t.Context(), nostr.Filter{Kinds: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	for ev := range found {
		kept[ev.ID] = true
	}
	for id := range taken {
		if !kept[id] {
			t.Errorf("event %s was answered with OK true and is gone", id)
		}
	}
	t.Logf("%d events were taken, %d are kept", len(taken), len(kept))
}
