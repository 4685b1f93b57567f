package relay

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
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
	heap := func() (least int) { // of several times, since others of this process come and go
		least = math.MaxInt
		for range 5 {
			runtime.GC()
			runtime.GC() // buffers in pools go with the second
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			least = min(least, int(now.HeapAlloc))
			time.Sleep(10 * time.Millisecond)
		}
		return least
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

// TestC3SlowReaders: thousands that ask for much and do not read hold no more than a bounded amount, what is being written to
// them included. Those for whose address most waits are cut off for it, and others get their answers.
func TestC3SlowReaders(t *testing.T) {
	limits := DefaultLimits()
	limits.AllQueuesBytes = 1 << 20
	r, url := serveWhole(t, Config{Limits: limits})
	const stored, size, slow = 60, 100_000, 30
	for i := range stored {
		ev := nostr.Event{Kind: 1, PubKey: publicKey(t, nodeKey), CreatedAt: nostr.Now(), Content: fmt.Sprint(i, strings.Repeat("x", size)), Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		if err := r.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	for i := range slow {
		w, err := dialFrom(t, url, fmt.Sprint("127.0.0.", 2+i%3))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		w.write(`["REQ","a",{}]`)
	}
	sessions := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.sessions)
	}
	bound := int64(2 * limits.AllQueuesBytes)
	for sessions() == slow || r.held.Load() > bound { // each holds a frame, which is more than that
		time.Sleep(10 * time.Millisecond)
	}
	if left := sessions(); left < 5 {
		t.Errorf("%d of %d slow readers are left: more were cut off than had to be", left, slow)
	}
	w := dial(t, url)
	w.write(`["REQ","a",{}]`)
	for got := 0; ; got++ {
		parts := w.next()
		if label := string(parts[0]); label == `"EOSE"` && got == stored {
			break
		} else if label != `"EVENT"` {
			t.Fatalf("after %d events: %s", got, parts)
		}
		if held := r.held.Load(); held > bound+size+writeBuffer { // until those who are cut off have gone
			t.Errorf("queues hold %d bytes", held)
		}
	}
	l := DefaultLimits()
	whole := 2*l.AllQueuesBytes + l.Connections*(writeBuffer+spareBytes+32<<10) // with the buffer of each write and what each has read ahead
	t.Logf("by default %d slow readers hold %d MiB at most", l.Connections, whole>>20)
	if whole > 900<<20 {
		t.Error("that is too much")
	}
}

// TestC3HeldByCarriers: for what carriers and replicas hold, who are not cut off, nobody else is.
func TestC3HeldByCarriers(t *testing.T) {
	limits := DefaultLimits()
	limits.AllQueuesBytes = 1 << 20
	replica := keyOf(t)
	r, _ := start(t, Config{
		Limits: limits, Carriers: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Federation: Federation{Peer: func(pubkey string) bool { return pubkey == replica.String() }},
	})
	holds := func(from string, bytes int, held ...key) *session {
		s := &session{relay: r, from: from, origin: new(origin)}
		s.room.L = &s.mu
		s.ctx, s.end = context.WithCancel(t.Context())
		s.held = bytes
		s.origin.held.Store(int64(bytes))
		s.keys.Store((*keys)(&held))
		r.held.Add(int64(bytes))
		r.mu.Lock()
		r.sessions[s] = struct{}{}
		r.mu.Unlock()
		return s
	}
	all := []*session{
		holds("192.0.2.7", 4*limits.AllQueuesBytes), holds("198.51.100.1", 4*limits.AllQueuesBytes, replica), holds("198.51.100.2", 1000),
		holds("198.51.100.3", 2*limits.AllQueuesBytes),
	}
	r.relieving.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.relieve()
	}()
	for !all[3].leaving.Load() {
		time.Sleep(time.Millisecond)
	}
	for _, s := range all[:2] { // they have read it
		s.mu.Lock()
		s.dropQueue()
		s.mu.Unlock()
	}
	<-ended
	for i, s := range all[:3] {
		if s.leaving.Load() {
			t.Errorf("client %d was cut off for what others hold", i)
		}
	}
	r.mu.Lock()
	for _, s := range all {
		delete(r.sessions, s)
	}
	r.mu.Unlock()
}
