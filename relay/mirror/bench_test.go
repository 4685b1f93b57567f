package mirror

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// backlogSize is how many events the benchmarks copy.
const backlogSize = 100_000

// backlog makes signed offers of somebody, on all processors.
func backlog(b testing.TB, who person, n int) []nostr.Event {
	b.Helper()
	evs := make([]nostr.Event, n)
	var making sync.WaitGroup
	at := nostr.Now() - nostr.Timestamp(n)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		making.Go(func() {
			for i := w; i < n; i += workers {
				evs[i] = who.offer(b, fmt.Sprint("order-", i), at+nostr.Timestamp(i))
			}
		})
	}
	making.Wait()
	return evs
}

// fill stores events that somebody published here.
func (i *instance) fill(evs []nostr.Event) {
	i.t.Helper()
	for chunk := range slices.Chunk(evs, 1000) {
		pointers := make([]*nostr.Event, len(chunk))
		for k := range chunk {
			pointers[k] = &chunk[k]
		}
		for _, taken := range i.relay.Take(context.Background(), "bench", pointers) {
			if !taken.New {
				i.t.Fatalf("an event of the book is not stored: %+v", taken)
			}
		}
	}
}

// roomy lets a relay keep as many events of one key as a book has.
func roomy(cfg *relay.Config) {
	cfg.Limits = relay.DefaultLimits()
	cfg.Limits.EventsPerKey = 2 * backlogSize
}

// BenchmarkResync connects two relays whose books of 100,000 differ in 100.
func BenchmarkResync(b *testing.B) {
	peer, who := newInstance(b, "b"), newPerson(b)
	peer.change = roomy
	peer.start()
	evs := backlog(b, who, backlogSize)
	peer.fill(evs)
	for range b.N {
		a := newInstance(b, "a")
		a.change = roomy
		a.start()
		var most []nostr.Event
		for i, ev := range evs {
			if i%(backlogSize/100) != 7 {
				most = append(most, ev)
			}
		}
		a.fill(most)
		began := time.Now()
		if err := a.mirror.Follow(Followed{Pubkey: who.public, Relays: []string{peer.url()}}); err != nil {
			b.Fatal(err)
		}
		for a.health(peer.url()).State != Live {
			time.Sleep(time.Millisecond)
		}
		h := a.health(peer.url())
		if h.Stored != 100 {
			b.Fatalf("%d events were copied, want 100", h.Stored)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/resync")
		b.ReportMetric(float64(h.BytesIn+h.BytesOut), "bytes")
		a.stop()
	}
}

// BenchmarkLag measures from an event's publication at one relay to its storage at another that
// follows it.
func BenchmarkLag(b *testing.B) {
	peer := newInstance(b, "b")
	peer.start()
	a := newInstance(b, "a")
	arrived := make(chan string, 100)
	a.change = func(cfg *relay.Config) {
		old := cfg.Federation.Stored
		cfg.Federation.Stored = func(ev *nostr.Event) {
			old(ev)
			arrived <- ev.ID
		}
	}
	a.cfg.Follow = []Followed{{Pubkey: peer.public, Relays: []string{peer.url()}}}
	a.start()
	for a.health(peer.url()).State != Live {
		time.Sleep(time.Millisecond)
	}
	var took []time.Duration
	for i := range b.N {
		ev := peer.offer(b, fmt.Sprint(i), 0)
		began := time.Now()
		peer.publish(ev)
		for id := range arrived {
			if id == ev.ID {
				break
			}
		}
		took = append(took, time.Since(began))
		time.Sleep(5 * time.Millisecond) // below the rate that a followed Mostro has
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// BenchmarkMemory measures what a followed Mostro costs when its relay is connected, by following many whose relays are
// one process: idle, and while each publishes and the mail of 1,000 clients here is fetched from each. Both ends of
// each connection are in it, and what is stored here.
func BenchmarkMemory(b *testing.B) {
	for _, load := range []struct {
		name                           string
		mostros, keys, offers, letters int
	}{{"idle", 50, 0, 0, 0}, {"busy", 20, keysPerPeer, 200, 200}} {
		b.Run(load.name, func(b *testing.B) {
			for range b.N {
				p := newPlain(b, 500, "127.0.0.1:0")
				a := newInstance(b, "a")
				a.start()
				idle := heap()
				readers := make([]person, load.keys)
				for i := range readers {
					readers[i] = newPerson(b)
					a.mirror.interest.add(mailbox{readers[i].public, ""}, claimant{near, true})
				}
				mostros := make([]person, load.mostros)
				for i := range mostros {
					mostros[i] = newPerson(b)
					p.add(mostros[i].info(b, 0))
					// One address each, so that each has a connection of its own.
					url := fmt.Sprintf("%s/%d", p.url, i)
					if err := a.mirror.Follow(Followed{Pubkey: mostros[i].public, Relays: []string{url}}); err != nil {
						b.Fatal(err)
					}
				}
				until := func(what func(Health) bool) {
					for {
						so := 0
						for _, h := range a.mirror.Health() {
							if what(h) {
								so++
							}
						}
						if so == load.mostros {
							return
						}
						time.Sleep(10 * time.Millisecond)
					}
				}
				until(func(h Health) bool { return h.State == Live })
				for i := range load.offers {
					for _, who := range mostros {
						p.publish(who.offer(b, fmt.Sprint(i), 0))
					}
				}
				for i := range load.letters {
					for _, who := range mostros {
						p.publish(who.message(b, readers[i].public, "an answer"))
					}
				}
				until(func(h Health) bool { return h.Stored >= int64(load.offers) && h.CarriedIn >= int64(load.letters) })
				most := heap()
				b.ReportMetric(float64(most-idle)/float64(load.mostros)/1024, "KiB/peer")
				a.stop()
			}
		})
	}
}

// heap is the live heap and the stacks, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
