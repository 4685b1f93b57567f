package mirror

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestForeignBooks: books that are larger than a page of a relay of another make pass over it both ways, from before and
// live, while it, this node or the way between them is away; they are equal byte for byte in the end. Messages that
// came meanwhile are handled once, and answers arrive.
//
// A real relay is taken as in TestForeign, which tells of those that were, with books of 3000 events (or MIRROR_BACKLOG). It
// is killed and started again when MIRROR_FOREIGN_RUN is the command that runs it, one process, else the way to it is cut:
//
//	MIRROR_FOREIGN=ws://127.0.0.1:8080 MIRROR_FOREIGN_RUN='nostr-rs-relay --config relay.toml' go test ./relay/mirror -run 'TestForeignBooks$' -v
func TestForeignBooks(t *testing.T) {
	size := 3000
	if text := os.Getenv("MIRROR_BACKLOG"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if url := os.Getenv("MIRROR_FOREIGN"); url != "" {
		f := &foreign{url: url, wraps: os.Getenv("MIRROR_FOREIGN_WRAPS") != "no"}
		if run := os.Getenv("MIRROR_FOREIGN_RUN"); run != "" {
			stop := runForeign(t, url, run)
			f.stop, f.start = func() { stop() }, func() { stop = runForeign(t, url, run) }
		}
		booksCourse(t, f, size)
		return
	}
	for name, manner := range map[string]func(*plain) func() manner{
		"windows": func(*plain) func() manner { return nil }, "negentropy": negotiates, "notices": noticesOnly, "forgets": negotiates,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := idlePlain(50)
			p.manner = manner(p)
			p.listen(t, freeAddress(t))
			f := &foreign{url: p.url, wraps: true, stop: func() { p.stop() }}
			f.start = func() {
				if name == "forgets" {
					p.mu.Lock()
					clear(p.stored)
					p.mu.Unlock()
				}
				p.listen(t, strings.TrimPrefix(p.url, "ws://"))
			}
			booksCourse(t, f, 200)
		})
	}
}

// foreign is a relay of another make.
type foreign struct {
	url         string
	wraps       bool   // it gives gift wraps to whoever asks for them
	stop, start func() // nil: nobody here can
}

// runForeign runs a relay and waits until it listens. stop kills it.
func runForeign(t *testing.T, url, command string) (stop func()) {
	t.Helper()
	relay := exec.Command("sh", "-c", "exec "+command)
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = relay.Process.Kill() // fails only when it has ended
		_ = relay.Wait()         // says that it was killed
	}
	t.Cleanup(stop)
	eventually(t, "the relay listens", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return stop
}

// over counts how often a message to the node comes over one relay while it runs; beyond that the escrow knows it.
func (i *instance) over(url string) (came func(id string) int) {
	type run struct {
		of *Mirror
		id string
	}
	var mu sync.Mutex
	count := make(map[run]int)
	receive := i.receive
	i.receive = func(ctx context.Context, ev *nostr.Event) error {
		if ctx.Value(originKey{}) == url {
			mu.Lock()
			count[run{i.mirror, ev.ID}]++
			mu.Unlock()
		}
		return receive(ctx, ev)
	}
	return func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return count[run{i.mirror, id}]
	}
}

// addAll publishes many events, as slowly as the relay wants.
func (v visitor) addAll(evs []nostr.Event) {
	v.t.Helper()
	for some := range slices.Chunk(evs, sentAtOnce) {
		left := make([]*nostr.Event, len(some))
		for i := range some {
			left[i] = &some[i]
		}
		for len(left) > 0 {
			var again []*nostr.Event
			for i, err := range v.link.publishAll(v.t.Context(), left...) {
				switch {
				case err != nil && strings.HasPrefix(err.Error(), "rate-limited"):
					again = append(again, left[i])
				case err != nil:
					v.t.Fatalf("publish kind %d: %v", left[i].Kind, err)
				}
			}
			if left = again; len(left) > 0 {
				time.Sleep(time.Second)
			}
		}
	}
}

// book is what the relay gives out of somebody, by id; nil while it may be more.
func (v visitor) book(author string) []byte {
	v.t.Helper()
	var evs []nostr.Event
	f := nostr.Filter{Authors: []string{author}, Kinds: mostroKinds}
	gap, err := v.link.walk(v.t.Context(), f, 0, func(ev *nostr.Event) { evs = append(evs, *ev) })
	if err != nil {
		v.t.Fatalf("read the book there: %v", err)
	}
	if gap { // it has little, all of one second
		return nil
	}
	// A page begins in the second in which the last one ended.
	slices.SortFunc(evs, func(a, b nostr.Event) int { return strings.Compare(a.ID, b.ID) })
	return lines(slices.CompactFunc(evs, func(a, b nostr.Event) bool { return a.ID == b.ID }))
}

// monthOf makes a book of offers of the last month.
func (p person) monthOf(t *testing.T, size int) (book []nostr.Event) {
	now := nostr.Now()
	for i := range size {
		book = append(book, p.offer(t, fmt.Sprint("order ", i), now-nostr.Timestamp((size-i)*30*86400/size)))
	}
	return book
}

// revise gives some offers of a book a later version, and adds as many.
func (p person) revise(t *testing.T, book *[]nostr.Event, n int) (changes []nostr.Event) {
	was := *book
	for i := range n {
		at := i * len(was) / n
		changes = append(changes, p.offer(t, was[at].Tags.GetD(), max(nostr.Now(), was[at].CreatedAt+1)))
		was[at] = changes[len(changes)-1]
	}
	for range n {
		changes = append(changes, p.offer(t, fmt.Sprint("order ", len(was)), 0))
		was = append(was, changes[len(changes)-1])
	}
	*book = was
	return changes
}

func booksCourse(t *testing.T, f *foreign, size int) {
	way := newGate(t, strings.TrimPrefix(f.url, "ws://"))
	a, b := newInstance(t, "a"), newPerson(t)
	handled := a.escrow()
	came := a.over(way.url)
	a.cfg.Outside = []string{way.url}
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{way.url}}}
	few := max(size/100, 4)

	theirs, mine := b.monthOf(t, size), a.monthOf(t, size)
	there := b.visit(t, f.url)
	began := time.Now()
	there.addAll(theirs)
	wrote := time.Since(began)
	a.start()
	began = time.Now()
	await(t, a, way.url, "the book is here", func() bool { return bytes.Equal(a.book(b.public), lines(theirs)) })
	in, read := time.Since(began), a.health(way.url).BytesIn
	eventually(t, "it is live", func() bool { return a.health(way.url).State == Live })
	began = time.Now()
	for some := range slices.Chunk(mine, 500) {
		a.publish(some...)
	}
	await(t, a, way.url, "the node's book is there", func() bool { return a.health(way.url).Published >= int64(size) })
	rate := func(took time.Duration) float64 { return float64(size) / took.Seconds() }
	manner := "windows"
	if a.health(way.url).Negentropy {
		manner = "negentropy"
	}
	t.Logf("by %s: %d events in, %.0f a second (%d bytes); out, %.0f; a client writes %.0f", manner, size, rate(in), read, rate(time.Since(began)), rate(wrote))

	equal := func(when string) {
		t.Helper()
		await(t, a, way.url, "their book is here "+when, func() bool { return bytes.Equal(a.book(b.public), lines(theirs)) })
		await(t, a, way.url, "ours is there "+when, func() bool { return a.health(way.url).Waiting == 0 && bytes.Equal(there.book(a.public), lines(mine)) })
		if !bytes.Equal(there.book(b.public), lines(theirs)) {
			t.Fatalf("%s: the relay has lost some of their book", when)
		}
	}
	equal("at first")

	// Live, more than fits into a page.
	changes := b.revise(t, &theirs, 3*few)
	began = time.Now()
	there.addAll(changes)
	a.publish(a.revise(t, &mine, 3*few)...)
	equal("live")
	t.Logf("live: %d events each way in %s", len(changes), time.Since(began).Round(time.Millisecond))

	// Traders there.
	trader := newPerson(t).visit(t, f.url)
	var letters []nostr.Event
	write := func() (some []nostr.Event) {
		for i := range few {
			some = append(some, newPerson(t).message(t, a.public, fmt.Sprint("letter ", len(letters)+i)), newPerson(t).sign(t, nostr.Event{
				Kind: kindWrap, CreatedAt: nostr.Now() - nostr.Timestamp(i*3600%160_000), Tags: nostr.Tags{{"p", a.public}},
			}))
		}
		letters = append(letters, some...)
		return some
	}
	hello := trader.message(t, a.public, "hello")
	letters = append(letters, hello)
	trader.addAll(letters)
	trader.addAll(write())
	once := func(when string) {
		t.Helper()
		for _, ev := range letters {
			await(t, a, way.url, "a message is handled "+when, func() bool { return handled(ev.ID) > 0 })
			if n := came(ev.ID); n > 1 {
				t.Fatalf("%s: a message of kind %d came over the relay %d times", when, ev.Kind, n)
			}
		}
	}
	once("live")
	answered := func(ev nostr.Event) bool {
		return slices.ContainsFunc(trader.finds(nostr.Filter{Kinds: []int{kindMessage}, Authors: []string{a.public}, Tags: nostr.TagMap{"p": {ev.PubKey}}}),
			func(answer nostr.Event) bool { return answer.Content == "to "+ev.ID })
	}
	await(t, a, way.url, "the answer is there", func() bool { return answered(hello) })

	// This node is away, with changes that it could not publish before. Some of the messages come to it directly afterwards as well.
	way.set(true)
	eventually(t, "the node notices", func() bool { return a.health(way.url).State == Waiting })
	a.publish(a.revise(t, &mine, few)...)
	a.stop()
	way.set(false)
	there.addAll(b.revise(t, &theirs, few))
	twice := write()
	trader.addAll(twice)
	a.start()
	c := dialClient(t, a.url())
	for i := range twice {
		if ok, reason := c.send(twice[i]); !ok {
			t.Fatalf("message of kind %d: %s", twice[i].Kind, reason)
		}
	}
	equal("after the node was away")
	once("after the node was away")
	h := a.health(way.url)
	t.Logf("the node was away: %d events came, %d again, %d bytes", h.Stored, h.Known, h.BytesIn)
	if h.Stored < int64(2*few) || h.Known > int64(size/2) {
		t.Errorf("after the node was away: %+v", h)
	}

	// The relay is away, or the way to it.
	trader.link.close()
	if f.stop != nil {
		there.link.close()
		f.stop()
	} else {
		way.set(true)
	}
	eventually(t, "the node notices", func() bool { return a.health(way.url).State == Waiting })
	a.publish(a.revise(t, &mine, few)...)
	answers := []nostr.Event{a.message(t, trader.public, "while away")}
	if f.wraps {
		answers = append(answers, newPerson(t).sign(t, nostr.Event{Kind: kindWrap, CreatedAt: nostr.Now() - 3600, Tags: nostr.Tags{{"p", trader.public}}}))
	}
	a.publish(answers...)
	if f.start != nil {
		f.start()
	} else {
		way.set(false)
	}
	began = time.Now()
	there, trader = b.visit(t, f.url), trader.person.visit(t, f.url)
	if !there.has(theirs[len(theirs)-1].ID) {
		t.Log("the relay has forgotten everything")
		there.addAll(theirs)
	}
	there.addAll(b.revise(t, &theirs, few))
	trader.addAll(write())
	equal("after the relay was away")
	once("after the relay was away")
	for _, ev := range answers {
		await(t, a, way.url, "an answer of meanwhile is there", func() bool {
			return slices.ContainsFunc(trader.finds(nostr.Filter{Kinds: []int{ev.Kind}, Tags: nostr.TagMap{"p": {trader.public}}}),
				func(got nostr.Event) bool { return got.ID == ev.ID })
		})
	}
	t.Logf("the relay was away: all is equal %s after it is back", time.Since(began).Round(time.Millisecond))
	if h := a.health(way.url); h.Bad != 0 || h.Rejected != 0 || h.Gap || h.Sessions > 4 {
		t.Errorf("health %+v", h)
	}
	t.Logf("refused: %v", a.health(way.url).RefusedBy)
}

// await waits as long as it takes while something goes on at the connection, which a slow relay may make long.
func await(t *testing.T, a *instance, url, what string, so func() bool) {
	t.Helper()
	moved, last := time.Now(), Health{}
	for !so() {
		h := a.health(url)
		if h.BytesIn != last.BytesIn || h.BytesOut != last.BytesOut {
			moved, last = time.Now(), h
		}
		if time.Since(moved) > patience {
			t.Fatalf("never: %s; health %+v", what, h)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
