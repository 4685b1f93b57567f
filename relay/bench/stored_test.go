package bench

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const (
	ingestClients = 64
	ingestWindow  = 4  // events in flight on one connection
	syncedShare   = 10 // the synced baseline gets one event in so many: it takes a second for 1,000
	queryClients  = 4  // each with one request in flight
	queryTime     = 3 * time.Second
	queryVariants = 64  // different filters of one row
	manyAuthors   = 100 // in one filter
	mebibyte      = 1 << 20
)

// market is a relay of each side, filled with the same events.
type market struct {
	testing.TB // the benchmark that all rows belong to
	load       *load
	frames     [][]byte
	relays     map[string]*process
	empty      map[string]int // bytes on the heap before the first event
	spans      map[string]span
	growth     *growth // nil = only one number of events is measured
}

// BenchmarkStored measures taking events and answering from what is stored, for one number of events or for several, one
// after another, and then how much more each answer costs among the most of them than among the fewest.
func BenchmarkStored(b *testing.B) {
	counts := settings(b, "MOSTRO_BENCH_EVENTS", 10_000)
	if len(counts) == 1 {
		measureStored(b, counts[0], nil)
		return
	}
	g := new(growth)
	for _, n := range counts {
		b.Run(strconv.Itoa(n), func(b *testing.B) { measureStored(b, n, g) })
	}
	for _, row := range g.rows {
		b.Run("growth/"+row.name, row.report)
	}
}

func measureStored(b *testing.B, events int, g *growth) {
	m := &market{TB: b, load: makeLoad(b, events), growth: g,
		relays: make(map[string]*process), empty: make(map[string]int), spans: make(map[string]span)}
	m.frames = frames(m.load.events)
	b.Run("ingest", m.ingest)
	for _, q := range m.queries() {
		b.Run(q.name, func(b *testing.B) { m.query(b, q) })
	}
	b.Run("memory", m.memory)
	b.Run("restart", m.restart)
}

// relay is the filled relay of one side.
func (m *market) relay(side string) *process {
	if p := m.relays[side]; p != nil {
		return p
	}
	p := launch(m, side, m.TempDir())
	m.empty[side] = p.heap(m, "empty")
	m.spans[side] = ingest(m, p, m.frames)
	m.relays[side] = p
	return p
}

// ingest publishes events over many connections.
func ingest(b testing.TB, p *process, events [][]byte) span {
	b.Helper()
	var clients []*client
	for range ingestClients {
		c, err := connect(p.address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.Close()
		clients = append(clients, c)
	}
	return p.measure(b, "ingest", func() error {
		return together(clients, func(i int, c *client) error {
			return c.publish(share(events, i, len(clients)), ingestWindow)
		})
	})
}

// together runs work for all clients at once and returns the first client's error.
func together(clients []*client, work func(i int, c *client) error) error {
	errs := make([]error, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() { errs[i] = work(i, c) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

// share is every n-th of all, from the i-th on.
func share[T any](all []T, i, n int) []T {
	part := make([]T, 0, len(all)/n+1)
	for ; i < len(all); i += n {
		part = append(part, all[i])
	}
	return part
}

func (m *market) ingest(b *testing.B) {
	rate, cpu := newFigure("ev/s", true), newFigure("cpu-µs/ev", false)
	for _, side := range sides(ours, served, stock) {
		m.relay(side)
		rate.value[side] = m.spans[side].perSecond(len(m.frames))
		cpu.value[side] = m.spans[side].micros(len(m.frames))
	}
	for _, side := range sides(synced) {
		part := m.frames[:max(len(m.frames)/syncedShare, 1)]
		p := launch(b, side, b.TempDir())
		took := ingest(b, p, part)
		p.stop(b)
		rate.value[side], cpu.value[side] = took.perSecond(len(part)), took.micros(len(part))
	}
	report(b, rate, cpu)
}

// query is a row: a kind of question, in variants.
type query struct {
	name    string
	filters []nostr.Filter
	cold    bool // asked also with a cold index
}

// queries are what clients ask. Their order is that of relay and baseline alike.
func (m *market) queries() []query {
	r := rand.New(rand.NewPCG(1, 2))
	vary := func(name string, make func(i int) nostr.Filter) query {
		q := query{name: name}
		for i := range queryVariants {
			q.filters = append(q.filters, make(i))
		}
		return q
	}
	many := vary("notes-of-100-authors", func(int) nostr.Filter {
		f := nostr.Filter{Kinds: []int{1}, Limit: 100}
		for _, i := range r.Perm(len(m.load.authors))[:manyAuthors] {
			f.Authors = append(f.Authors, m.load.authors[i])
		}
		return f
	})
	many.cold = true
	return []query{
		vary("id", func(int) nostr.Filter {
			return nostr.Filter{IDs: []string{m.load.events[r.IntN(len(m.load.events)/20)*20+8].ID}}
		}),
		vary("notes-of-author", func(int) nostr.Filter {
			return nostr.Filter{Kinds: []int{1}, Authors: []string{m.load.authors[r.IntN(len(m.load.authors))]}, Limit: 100}
		}),
		vary("wraps-by-p", func(int) nostr.Filter {
			return nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {recipient(r.IntN(recipients(len(m.load.events))))}}, Limit: 100}
		}),
		vary("wraps-of-nobody", func(i int) nostr.Filter {
			return nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {recipient(recipients(len(m.load.events)) + i)}}, Limit: 100}
		}),
		vary("orders-by-s-f-y", func(i int) nostr.Filter {
			return nostr.Filter{Kinds: []int{38383}, Limit: 100, Tags: nostr.TagMap{
				"s": {"pending"}, "f": {[]string{"USD", "EUR", "ARS", "CUP", "VES"}[i%5]}, "y": {"mostro"}}}
		}),
		many,
	}
}

// question is a REQ and the number of events that must answer it.
type question struct {
	frame []byte
	hits  int
}

func (m *market) questions(q query) []question {
	var all []question
	for _, f := range q.filters {
		hits := 0
		for i := range m.load.events {
			if f.Matches(&m.load.events[i]) {
				hits++
			}
		}
		if f.Limit > 0 {
			hits = min(hits, f.Limit)
		}
		// The last subscription is closed in passing.
		frame := append(clientFrame(`["CLOSE","q"]`), clientFrame(`["REQ","q",`+f.String()+`]`)...)
		all = append(all, question{frame, hits})
	}
	return all
}

func (m *market) query(b *testing.B, q query) {
	questions := m.questions(q)
	rate, cpu := newFigure("req/s", true), newFigure("cpu-µs/req", false)
	p50, p99 := newFigure("p50-ms", false), newFigure("p99-ms", false)
	compared := sides(ours, served, stock)
	if q.cold {
		compared = sides(ours, served, cold, stock)
	}
	for _, side := range compared {
		p := m.relay(side)
		took, times := ask(b, p, q.name, questions)
		rate.value[side], cpu.value[side] = took.perSecond(len(times)), took.micros(len(times))
		p50.value[side], p99.value[side] = percentile(times, 50), percentile(times, 99)
	}
	report(b, rate, cpu, p50, p99)
	m.growth.note(q.name, len(m.frames), cpu, p50, p99)
}

// ask has clients ask questions for a while and returns the sorted times of the answers.
func ask(b testing.TB, p *process, row string, questions []question) (span, []time.Duration) {
	b.Helper()
	var clients []*client
	for range queryClients {
		c, err := connect(p.address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.Close()
		clients = append(clients, c)
	}
	times := make([][]time.Duration, len(clients))
	took := p.measure(b, row, func() error {
		until := time.Now().Add(queryTime)
		return together(clients, func(i int, c *client) error {
			for n := i; time.Now().Before(until); n += len(clients) {
				q, began := questions[n%len(questions)], time.Now()
				hits, err := c.subscribe(q.frame)
				switch {
				case err != nil:
					return fmt.Errorf("ask for %s: %w", row, err)
				case hits != q.hits:
					return fmt.Errorf("ask for %s: %d events came, expected %d", row, hits, q.hits)
				}
				times[i] = append(times[i], time.Since(began))
			}
			return nil
		})
	})
	return took, sortedTimes(times)
}

// memory weighs the filled relays: as they stand after the rows before, and when the garbage has
// been collected.
func (m *market) memory(b *testing.B) {
	all, private, settled := newFigure("MiB", false), newFigure("anon-MiB", false), newFigure("settled-MiB", false)
	each := newFigure("heap-B/ev", false)
	for _, side := range sides(ours, stock) {
		p := m.relay(side)
		rss, anonymous := p.resident(b)
		all.value[side], private.value[side] = float64(rss)/mebibyte, float64(anonymous)/mebibyte
		each.value[side] = float64(p.heap(b, "memory")-m.empty[side]) / float64(len(m.frames))
		rss, _ = p.resident(b)
		settled.value[side] = float64(rss) / mebibyte
	}
	report(b, all, private, settled, each)
}

// restart measures from the start of a process on a filled folder to its first answer.
func (m *market) restart(b *testing.B) {
	took, each := newFigure("start-s", false), newFigure("restarted-heap-B/ev", false)
	first := m.questions(m.queries()[0])[:1]
	for _, side := range sides(ours, stock) {
		m.relay(side).stop(b)
		began := time.Now()
		p := launch(m, side, m.relays[side].dir)
		c, err := connect(p.address)
		if err != nil {
			b.Fatal(err)
		}
		if hits, err := c.subscribe(first[0].frame); err != nil || hits != first[0].hits {
			b.Fatalf("%s answered with %d events after its start, expected %d: %v", side, hits, first[0].hits, err)
		}
		took.value[side] = time.Since(began).Seconds()
		c.conn.Close()
		m.relays[side] = p
		each.value[side] = float64(p.heap(b, "restart")-m.empty[side]) / float64(len(m.frames))
	}
	report(b, took, each)
	m.growth.note("restart", len(m.frames), took)
}
