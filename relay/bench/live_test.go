package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const (
	listeners     = 1000 // connections
	selective     = 10   // subscriptions of each of them in the selective row
	publishers    = 8
	publishWindow = 8
	flatOutEvents = 1000
	pacedEvents   = 200
	pacedEvery    = time.Second / 20
	wrapEvents    = 30_000 // some seconds of the relay's work: its time is counted in ticks
	stockWraps    = 3000   // the same for the baseline, to which each costs some twenty times as much
	liveLoad      = 10_000
	kibibyte      = 1 << 10
)

// BenchmarkLive measures what is sent to open subscriptions.
func BenchmarkLive(b *testing.B) {
	l := makeLoad(b, liveLoad)
	notes := l.ofKind(nostr.KindTextNote, flatOutEvents)
	b.Run("flat-out", func(b *testing.B) { flatOut(b, frames(notes)) })
	b.Run("paced", func(b *testing.B) { paced(b, frames(notes[:pacedEvents])) })
	b.Run("selective", func(b *testing.B) { selected(b, frames(makeWraps(b, wrapEvents))) })
	b.Run("idle", idle)
}

// audience opens connections to p with subscriptions on each.
func audience(b testing.TB, p *process, connections int, requests func(i int) [][]byte) []*client {
	b.Helper()
	all := make([]*client, connections)
	for i := range all {
		c, err := connect(p.address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.conn.Close() })
		for _, req := range requests(i) {
			if _, err := c.subscribe(req); err != nil {
				b.Fatal(err)
			}
		}
		all[i] = c
	}
	return all
}

func notesOnly(int) [][]byte { return [][]byte{clientFrame(`["REQ","n",{"kinds":[1],"limit":1}]`)} }

// receive reads messages until n events have come, and tells of each.
func (c *client) receive(n int, got func(i int)) error {
	for i := 0; i < n; {
		head, err := c.next()
		if err != nil {
			return fmt.Errorf("after %d of %d events: %w", i, n, err)
		}
		if is(head, "EVENT") {
			got(i)
			i++
		}
	}
	return nil
}

// broadcast publishes events with work while all of the audience must get deliveries events.
func broadcast(b testing.TB, p *process, row string, listening []*client, deliveries func(i int) int, got func(client, i int), work func() error) span {
	b.Helper()
	return p.measure(b, row, func() error {
		var sent sync.WaitGroup
		var failed error
		sent.Go(func() { failed = work() })
		err := together(listening, func(i int, c *client) error {
			if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			return c.receive(deliveries(i), func(n int) { got(i, n) })
		})
		sent.Wait()
		if failed != nil {
			return failed
		}
		return err
	})
}

// flood publishes events as fast as they are taken.
func flood(b testing.TB, p *process, events [][]byte) func() error {
	clients := audience(b, p, publishers, func(int) [][]byte { return nil })
	return func() error {
		return together(clients, func(i int, c *client) error {
			return c.publish(share(events, i, len(clients)), publishWindow)
		})
	}
}

func flatOut(b *testing.B, events [][]byte) {
	rate, cpu := newFigure("deliveries/s", true), newFigure("cpu-µs/delivery", false)
	for _, side := range sides(ours, stock) {
		p := launch(b, side, b.TempDir())
		work := flood(b, p, events)
		took := broadcast(b, p, "flat-out", audience(b, p, listeners, notesOnly),
			func(int) int { return len(events) }, func(int, int) {}, work)
		p.stop(b)
		total := listeners * len(events)
		rate.value[side], cpu.value[side] = took.perSecond(total), took.micros(total)
	}
	report(b, rate, cpu)
}

// paced measures from the time when an event was due to be sent to its arrival.
func paced(b *testing.B, events [][]byte) {
	p50, p99, cpu := newFigure("p50-ms", false), newFigure("p99-ms", false), newFigure("cpu-µs/delivery", false)
	for _, side := range sides(ours, stock) {
		p := launch(b, side, b.TempDir())
		publisher := audience(b, p, 1, func(int) [][]byte { return nil })[0]
		times := make([][]time.Duration, listeners)
		var began time.Time
		due := func(i int) time.Time { return began.Add(time.Duration(i) * pacedEvery) }
		listening := audience(b, p, listeners, notesOnly)
		began = time.Now().Add(pacedEvery)
		took := broadcast(b, p, "paced", listening, func(int) int { return len(events) },
			func(client, i int) { times[client] = append(times[client], time.Since(due(i))) },
			func() error {
				for i := range events {
					time.Sleep(time.Until(due(i)))
					if err := publisher.publish(events[i:i+1], 1); err != nil {
						return err
					}
				}
				return nil
			})
		p.stop(b)
		all := sortedTimes(times)
		p50.value[side], p99.value[side] = percentile(all, 50), percentile(all, 99)
		cpu.value[side] = took.micros(len(all))
	}
	report(b, p50, p99, cpu)
}

// selected publishes gift wraps to many subscriptions, one of which wants each.
func selected(b *testing.B, all [][]byte) {
	rate, cpu := newFigure("ev/s", true), newFigure("cpu-µs/ev", false)
	for _, side := range sides(ours, stock) {
		events := all
		if side == stock {
			events = all[:stockWraps]
		}
		wanted := make([]int, listeners)
		for i := range events {
			// makeWraps gives wrap i to recipient i, in rounds.
			wanted[i%leastRecipients%listeners]++
		}
		p := launch(b, side, b.TempDir())
		work := flood(b, p, events)
		listening := audience(b, p, listeners, func(i int) [][]byte {
			var requests [][]byte
			for n := range selective {
				requests = append(requests, clientFrame(fmt.Sprintf(
					`["REQ","w%d",{"kinds":[1059],"#p":[%s],"limit":1}]`, n, quoted(recipient(n*listeners+i)))))
			}
			return requests
		})
		took := broadcast(b, p, "selective", listening, func(i int) int { return wanted[i] }, func(int, int) {}, work)
		p.stop(b)
		rate.value[side], cpu.value[side] = took.perSecond(len(events)), took.micros(len(events))
	}
	report(b, rate, cpu)
}

// idle weighs connections that have one subscription each and say nothing.
func idle(b *testing.B) {
	count := setting(b, "MOSTRO_BENCH_IDLE", 1000)
	each := newFigure("KiB/conn", false)
	for _, side := range sides(ours, stock) {
		p := launch(b, side, b.TempDir())
		p.heap(b, "idle-empty")
		_, before := p.resident(b)
		audience(b, p, count, notesOnly)
		p.heap(b, "idle")
		_, after := p.resident(b)
		p.stop(b)
		each.value[side] = float64(after-before) / kibibyte / float64(count)
	}
	report(b, each)
}
