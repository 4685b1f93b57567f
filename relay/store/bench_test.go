package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// The load of the figures: 40% gift wraps, 20 for each recipient, 30% notes, 30 by each author, 25%
// orders, 5% reactions; 1.17 kB on average. Text is random, since encrypted text does not compress.
const (
	perRecipient = 50 // events of all sorts
	perAuthor    = 100
)

func loadEvent(r *rand.Rand, i, count int) *nostr.Event {
	recipients, authors := count/perRecipient, count/perAuthor
	created := start - int64(r.IntN(172_800))
	var unique Key
	for k := range unique {
		unique[k] = byte(r.Uint32())
	}
	noise := make([]byte, 600)
	for k := range noise {
		noise[k] = byte(r.Uint32())
	}
	text := base64.StdEncoding.EncodeToString(noise)
	author := person(r.IntN(authors))
	switch n := r.IntN(100); {
	case n < 40:
		return unsigned(unique, 1059, created, text, nostr.Tag{"p", person(r.IntN(recipients)).String()})
	case n < 70:
		return unsigned(author, 1, created, text, nostr.Tag{"p", person(r.IntN(recipients)).String()}, nostr.Tag{"t", "topic" + strconv.Itoa(r.IntN(100))})
	case n < 95:
		return unsigned(person(0), 38383, created, text[:200],
			nostr.Tag{"d", fmt.Sprintf("%x-%d", unique[:8], i)}, nostr.Tag{"k", []string{"buy", "sell"}[r.IntN(2)]},
			nostr.Tag{"f", "C" + strconv.Itoa(r.IntN(20))}, nostr.Tag{"s", []string{"pending", "in-progress", "success", "canceled"}[r.IntN(4)]},
			nostr.Tag{"amt", "0"}, nostr.Tag{"fa", "100"}, nostr.Tag{"pm", "bank"}, nostr.Tag{"premium", "1"}, nostr.Tag{"network", "mainnet"},
			nostr.Tag{"layer", "lightning"}, nostr.Tag{"expiration", strconv.Itoa(start + 90_000)}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"})
	default:
		return unsigned(author, 7, created, "+", nostr.Tag{"e", unique.String()}, nostr.Tag{"p", person(r.IntN(recipients)).String()})
	}
}

// loaded opens a store with count events. Folders are kept in the environment's STORE_BENCH, if it
// is set, so that large ones are filled once.
func loaded(b *testing.B, count int) *Store {
	b.Helper()
	dir := b.TempDir()
	if keep := os.Getenv("STORE_BENCH"); keep != "" {
		dir = filepath.Join(keep, strconv.Itoa(count))
	}
	began := time.Now()
	opts := Options{Dir: dir, Now: newClock().now, Log: slog.New(slog.DiscardHandler)}
	if os.Getenv("STORE_BENCH_CACHE") == "none" {
		opts.CacheBytes = 1 // the worst case: all JSON comes from Badger
	}
	s, err := Open(opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	if n := s.Len(); n > 0 {
		b.Logf("started with %d events in %v", n, time.Since(began))
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := s.Len(); i < count; {
		var items []Item
		for ; i < count && len(items) < 1000; i++ {
			items = append(items, Item{Event: loadEvent(r, i, count)})
		}
		for _, out := range s.Add(b.Context(), items...) {
			if out.Status != Stored {
				b.Fatal(out)
			}
		}
	}
	return s
}

func sizes() []int {
	if text := os.Getenv("STORE_BENCH_EVENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err == nil {
			return []int{n}
		}
	}
	return []int{100_000}
}

// BenchmarkQuery measures the queries of the figures: CPU time of the process and time of the
// call.
func BenchmarkQuery(b *testing.B) {
	for _, count := range sizes() {
		s := loaded(b, count)
		r := rand.New(rand.NewPCG(2, 2))
		hundred := func() (names []string) {
			for _, n := range r.Perm(count / perAuthor)[:100] {
				names = append(names, person(n).String())
			}
			return names
		}
		for _, q := range []struct {
			name   string
			filter func() nostr.Filter
		}{
			{"wraps", func() nostr.Filter {
				return nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {person(r.IntN(count / perRecipient)).String()}}}
			}},
			{"wraps-none", func() nostr.Filter {
				return nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {person(-1).String()}}}
			}},
			{"orders", func() nostr.Filter {
				return nostr.Filter{Kinds: []int{38383}, Limit: 100, Tags: nostr.TagMap{"s": {"pending"}, "f": {"C" + strconv.Itoa(r.IntN(20))}, "y": {"mostro"}}}
			}},
			{"authors", func() nostr.Filter { return nostr.Filter{Kinds: []int{1}, Authors: hundred(), Limit: 100} }},
			{"recent", func() nostr.Filter { return nostr.Filter{Kinds: []int{1}, Limit: 500} }},
		} {
			b.Run(fmt.Sprintf("%s/%d", q.name, count), func(b *testing.B) {
				found, cpu := 0, cpuTime()
				for b.Loop() {
					err := s.Query(b.Context(), []nostr.Filter{q.filter()}, QueryOptions{}, func(Found) bool { found++; return true })
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/op")
				b.ReportMetric(float64(found)/float64(b.N), "found/op")
			})
		}
	}
}

// BenchmarkAdd measures durable ingest by 64 writers that wait for each event.
func BenchmarkAdd(b *testing.B) {
	s := openTest(b, Options{Dir: b.TempDir(), Now: newClock().now})
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	events := make([]*nostr.Event, b.N)
	for i := range events {
		events[i] = loadEvent(r, i, 100_000)
	}
	var next atomic.Int64
	var writers sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for range 64 {
		writers.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if out := s.Add(context.Background(), Item{Event: events[i-1]})[0]; out.Status != Stored {
					b.Error(out)
				}
			}
		})
	}
	writers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/op")
}

// BenchmarkIndex measures what an event takes in the index.
func BenchmarkIndex(b *testing.B) {
	for _, count := range sizes() {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			for b.Loop() {
				x := newIndex()
				before := heapBytes()
				r := rand.New(rand.NewPCG(1, 1))
				for i := range count {
					e, err := describe(loadEvent(r, i, count))
					if err != nil {
						b.Fatal(err)
					}
					x.add(e, uint64(i+1))
				}
				b.ReportMetric(float64(heapBytes()-before)/float64(count), "bytes/event")
				runtime.KeepAlive(x)
			}
		})
	}
}

// BenchmarkStart measures opening a store.
func BenchmarkStart(b *testing.B) {
	for _, count := range sizes() {
		s := loaded(b, count)
		opts := s.opts
		s.Close()
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			for b.Loop() {
				s, err := Open(opts)
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
