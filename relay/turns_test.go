package relay

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3Turns: addresses take turns, however many wait at one of them.
func TestC3Turns(t *testing.T) {
	turns := newTurns(1)
	turns.take("first")
	served := make(chan string)
	waiting := 0
	for _, from := range []string{"crowd", "crowd", "crowd", "crowd", "alice", "crowd", "bob"} {
		go func() {
			turns.take(from)
			served <- from
		}()
		// They come one after another.
		waiting++
		inLine(turns, waiting)
	}
	var got []string
	last := "first"
	for range waiting {
		turns.give(last, 0)
		last = <-served
		got = append(got, last)
	}
	if diff := cmp.Diff("crowd alice bob crowd crowd crowd crowd", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	turns.give(last, 0)
	turns.halved = time.Time{}
	turns.forget()
	if turns.free != 1 || len(turns.workers) != 0 || len(turns.waiting) != 0 {
		t.Errorf("left: %+v", turns)
	}
}

// TestC3LeastWorked: an address that has worked for long comes after those that have not, also when it has waited longer,
// and what it has used is forgotten with time.
func TestC3LeastWorked(t *testing.T) {
	turns := newTurns(1)
	busy := []string{"a", "b", "c"}
	for i, from := range busy {
		turns.take(from)
		turns.give(from, time.Duration(3-i)*time.Second)
	}
	turns.take("first")
	served := make(chan string)
	all := append(busy, "new", "newer")
	for i, from := range all {
		go func() {
			turns.take(from)
			served <- from
		}()
		for n := 0; n <= i; {
			turns.mu.Lock()
			n = len(turns.waiting)
			turns.mu.Unlock()
		}
	}
	turns.halved = time.Now().Add(-halfLife)
	var got []string
	last := "first"
	for range all {
		turns.give(last, slice)
		last = <-served
		got = append(got, last)
	}
	if diff := cmp.Diff("new newer c b a", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
	turns.give(last, slice)
	for range 30 { // a long life with a place does not lose it
		turns.take("holder")
		turns.halved = time.Time{}
		turns.forget()
		turns.give("holder", 0)
	}
	if turns.free != 1 || len(turns.workers) > 1 {
		t.Errorf("left: %d places, %d addresses", turns.free, len(turns.workers))
	}
}

// TestC3Forgotten: what an address has used is halved for each half-life that has passed, also when nobody worked meanwhile.
func TestC3Forgotten(t *testing.T) {
	turns := newTurns(1)
	turns.take("hub")
	turns.give("hub", 64*slice)
	turns.halved = time.Now().Add(-5 * halfLife)
	turns.forget()
	if used := turns.workers["hub"].used; used != 2*slice {
		t.Errorf("%s used after 5 half-lives, want %s", used, 2*slice)
	}
	turns.halved = time.Now().Add(-1000 * halfLife)
	if turns.forget(); len(turns.workers) != 0 {
		t.Errorf("%d addresses after 1000 half-lives", len(turns.workers))
	}
}

// TestC3Passed: an address that has worked for long is not passed without end by others that were never here before.
func TestC3Passed(t *testing.T) {
	turns := newTurns(1)
	turns.take("hub")
	turns.give("hub", 50*slice)
	turns.take("first")
	turns.halved = time.Now().Add(time.Hour) // nothing is forgotten
	const others, each = 16, 10
	served := make(chan string, 1)
	n := 0
	come := func(from string) {
		go func() {
			turns.take(from)
			served <- from
		}()
		n++
		inLine(turns, n)
	}
	come("hub")
	for i := range others {
		for range each {
			come(fmt.Sprint("new ", i))
		}
	}
	before, last := 0, "first"
	for {
		turns.give(last, slice)
		if last = <-served; last == "hub" {
			break
		}
		before++
	}
	if most := passes * (others + 1); before > most {
		t.Errorf("%d turns were given before that of somebody who has worked for long, want %d at most", before, most)
	}
	for range others*each - before {
		turns.give(last, slice)
		last = <-served
	}
	turns.give(last, slice)
	if turns.free != 1 || len(turns.waiting) != 0 || turns.order.Len() != 0 {
		t.Errorf("left: %d places, %d wait", turns.free, len(turns.waiting))
	}
}

// TestC3NewAddresses: addresses that were never here before, however many come, do not go before one that has worked next to
// nothing and has waited longer.
func TestC3NewAddresses(t *testing.T) {
	turns := newTurns(1)
	turns.take("known")
	turns.give("known", slice/2)
	turns.take("first")
	served := make(chan string)
	for n, from := range []string{"known", "new 1", "new 2"} {
		go func() {
			turns.take(from)
			served <- from
		}()
		for waiting := -1; waiting <= n; {
			turns.mu.Lock()
			waiting = len(turns.waiting)
			turns.mu.Unlock()
		}
	}
	last, got := "first", []string{}
	for range 3 {
		turns.give(last, slice)
		last = <-served
		got = append(got, last)
	}
	turns.give(last, slice)
	if diff := cmp.Diff("known,new 1,new 2", strings.Join(got, ",")); diff != "" {
		t.Error(diff)
	}
}

// TestC3Decryptions: what an escrow does for a message in a turn counts for its sender, so that one who floods it with
// messages keeps nobody else waiting for more than what is being done.
func TestC3Decryptions(t *testing.T) {
	entered, release := make(chan string, 100), make(chan struct{})
	r, url := serveWhole(t, Config{Receive: func(ctx context.Context, ev *nostr.Event) error {
		defer Turn(ctx)()
		entered <- ev.Content
		<-release
		return nil
	}})
	places := r.slots.free
	send := func(from net.Dialer, content string) {
		dialer := websocket.Dialer{NetDialContext: from.DialContext}
		conn, _, err := dialer.Dial(url, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ev := signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 14, Content: content, Tags: nostr.Tags{{"p", publicKey(t, nodeKey)}}})
		wire{t, conn}.write(`["EVENT",` + ev.String() + `]`)
	}
	// lines waits until so many wait for a turn.
	lines := func(n int) {
		for waits := -1; waits != n; {
			r.slots.mu.Lock()
			waits = 0
			for _, w := range r.slots.workers {
				waits += len(w.line)
			}
			r.slots.mu.Unlock()
		}
	}
	for range places {
		send(attackerAt(0), "flood")
		<-entered
	}
	const more = 8
	for i := range more {
		send(attackerAt(0), "flood")
		lines(i + 1)
	}
	send(net.Dialer{}, "innocent")
	lines(more + 1)
	// The first turn that is free reads the innocent's message, and gives it to a worker; the second decrypts it at the latest.
	before := 0
	for release <- struct{}{}; <-entered != "innocent"; release <- struct{}{} {
		before++
	}
	if before > 1 {
		t.Errorf("%d of a flood came before a message of somebody else", before)
	}
	close(release)
}

// inLine waits until so many wait for their turns.
func inLine(t *turns, want int) {
	for {
		t.mu.Lock()
		n := 0
		for _, w := range t.workers {
			n += len(w.line)
		}
		t.mu.Unlock()
		if n == want {
			return
		}
	}
}
