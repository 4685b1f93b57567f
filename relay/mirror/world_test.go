package mirror

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// patience bounds how long a test waits for what must happen.
const patience = 60 * time.Second

// person is somebody with a key.
type person struct{ secret, public string }

func newPerson(t testing.TB) person {
	t.Helper()
	secret := nostr.GeneratePrivateKey()
	public, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return person{secret, public}
}

func (p person) sign(t testing.TB, ev nostr.Event) nostr.Event {
	t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if err := ev.Sign(p.secret); err != nil {
		t.Fatal(err)
	}
	return ev
}

// offer is an order of a Mostro.
func (p person) offer(t testing.TB, id string, at nostr.Timestamp) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindOrder, CreatedAt: at, Tags: nostr.Tags{
		{"d", id}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "1000"}, {"fa", "10"},
		{"pm", "cash"}, {"premium", "1"}, {"y", "mostro"}, {"z", "order"},
		{"expiration", fmt.Sprint(int64(nostr.Now()) + 86400)},
	}})
}

// info is a Mostro's news of itself.
func (p person) info(t testing.TB, at nostr.Timestamp) nostr.Event {
	return p.sign(t, nostr.Event{Kind: kindInfo, CreatedAt: at, Tags: nostr.Tags{{"d", p.public}, {"z", "info"}}})
}

// instance is a relay with a mirror, of a node whose escrow is a function.
type instance struct {
	t testing.TB
	person
	name    string
	dir     string
	address string // host:port
	listen  func(t testing.TB, address string) net.Listener
	cfg     Config
	change  func(*relay.Config)
	receive func(context.Context, *nostr.Event) error
	carries bool

	relay  *relay.Relay
	mirror *Mirror
	stop   func()
}

func (i *instance) url() string { return "ws://" + i.address }

func newInstance(t testing.TB, name string) *instance {
	t.Helper()
	return &instance{t: t, name: name, person: newPerson(t), dir: t.TempDir(), address: freeAddress(t), listen: listenAt, carries: true}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listenAt listens at an address that was free a moment ago; another connection of this machine may
// have it for a while.
func listenAt(t testing.TB, address string) (listener net.Listener) {
	t.Helper()
	eventually(t, address+" is free", func() (free bool) {
		var err error
		listener, err = net.Listen("tcp", address)
		return err == nil
	})
	return listener
}

// start opens or reopens the instance.
func (i *instance) start() {
	t := i.t
	t.Helper()
	log := guarded(t, i.person)
	if os.Getenv("MIRROR_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("at", i.name)
	}
	cfg := i.cfg
	cfg.Dir, cfg.Pubkey, cfg.Logger = i.dir+"/mirror", i.public, log
	cfg.Sign = func(ev *nostr.Event) error { return ev.Sign(i.secret) }
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rc := relay.Config{
		Dir: i.dir + "/relay", Pubkey: i.public, ServiceURL: i.url(), Receive: i.receive, Followed: m.Followed, Formerly: m.Formerly, Logger: log,
		ReadPolicies: []relay.ReadPolicy{m.Asked}, Verified: []relay.Policy{m.Arrived},
		Federation: relay.Federation{Again: m.Again, Stored: m.Stored, Hidden: m.Hidden},
	}
	if i.carries {
		rc.Federation.Carry, rc.Federation.Carries = m.Carry, m.Carries
	}
	if i.change != nil {
		i.change(&rc)
	}
	r, err := relay.Open(rc)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Attach(r); err != nil {
		t.Fatal(err)
	}
	m.Serve()
	listener := i.listen(t, i.address)
	server := r.Server()
	go server.Serve(listener)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	i.relay, i.mirror = r, m
	var once sync.Once
	i.stop = func() {
		once.Do(func() {
			cancel()
			<-done
			server.Close()
			closing, end := context.WithTimeout(context.Background(), patience)
			defer end()
			if err := r.Close(closing); err != nil {
				t.Error(err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { i.stop() })
}

func (i *instance) publish(evs ...nostr.Event) {
	i.t.Helper()
	if err := i.mirror.Publish(context.Background(), evs...); err != nil {
		i.t.Fatal(err)
	}
}

// book is the stored events of somebody as they would be served, by id.
func (i *instance) book(author string) []byte {
	i.t.Helper()
	evs, err := i.relay.All(context.Background(), nostr.Filter{Authors: []string{author}, Kinds: mostroKinds})
	if err != nil {
		i.t.Fatal(err)
	}
	return lines(evs)
}

func lines(evs []nostr.Event) []byte {
	slices.SortFunc(evs, func(a, b nostr.Event) int { return cmp.Compare(a.ID, b.ID) })
	var out bytes.Buffer
	for _, ev := range evs {
		fmt.Fprintln(&out, ev.String())
	}
	return out.Bytes()
}

func (i *instance) has(id string) bool {
	i.t.Helper()
	has, err := i.relay.Has(context.Background(), id)
	if err != nil {
		i.t.Fatal(err)
	}
	return has
}

// health is that of the connection to url.
func (i *instance) health(url string) Health {
	for _, h := range i.mirror.Health() {
		if h.URL == url {
			return h
		}
	}
	return Health{}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// plain is a relay of another make, which knows NIP-01 and nothing more, and whose answers have at
// most some events.
type plain struct {
	url     string
	limit   int
	names   int // of its events, the newest, in negentropy; 0 = all
	stop    func()
	cut     func() // all its connections
	listens func(t testing.TB, address string) net.Listener
	fault   func(*nostr.Event) (lost, unanswered bool) // of an event that a client publishes; nil = neither
	manner  func() manner                              // of a connection; nil = none
	about   string                                     // what it says of itself (NIP-11); "" = that it knows NIP-01

	mu      sync.Mutex
	refuses func(*nostr.Event) string // why an event is refused; nil = never
	stored  map[string]nostr.Event    // by what replaces it
	subs    map[*plainSub]struct{}
}

type plainSub struct {
	id      string
	filters nostr.Filters
	say     func(parts ...any)
}

// manner is how a relay of another make differs from plain: it answers a frame itself, or not.
type manner func(say func(parts ...any), label string, parts []json.RawMessage) (answered bool)

func newPlain(t testing.TB, limit int, address string) *plain {
	t.Helper()
	return newPlainIn(t, limit, address, listenAt)
}

func newPlainIn(t testing.TB, limit int, address string, listens func(testing.TB, string) net.Listener) *plain {
	t.Helper()
	p := idlePlain(limit)
	p.listens = listens
	p.listen(t, address)
	return p
}

// idlePlain is one that does not listen yet.
func idlePlain(limit int) *plain {
	return &plain{limit: limit, listens: listenAt, stored: make(map[string]nostr.Event), subs: make(map[*plainSub]struct{})}
}

// answer handles one frame of a connection.
func (p *plain) answer(mine map[string]*plainSub, say func(parts ...any), label string, parts []json.RawMessage) {
	var id string
	_ = json.Unmarshal(parts[0], &id)
	drop := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subs, mine[id])
		delete(mine, id)
	}
	switch label {
	case "EVENT":
		var ev nostr.Event
		if json.Unmarshal(parts[0], &ev) != nil {
			return
		}
		p.mu.Lock()
		fault, why := p.fault, ""
		if p.refuses != nil {
			why = p.refuses(&ev)
		}
		p.mu.Unlock()
		if why != "" {
			say("OK", ev.ID, false, why)
			return
		}
		var lost, unanswered bool
		if fault != nil {
			lost, unanswered = fault(&ev)
		}
		if !lost {
			p.publish(ev)
		}
		if !unanswered {
			say("OK", ev.ID, true, "")
		}
	case "CLOSE":
		drop()
	case "REQ":
		drop()
		sub := &plainSub{id: id, say: say}
		for _, part := range parts[1:] {
			var f nostr.Filter
			_ = json.Unmarshal(part, &f)
			sub.filters = append(sub.filters, f)
		}
		p.mu.Lock()
		mine[id], p.subs[sub] = sub, struct{}{}
		p.mu.Unlock()
		for _, f := range sub.filters {
			evs := p.all(f)
			for _, ev := range evs[:min(len(evs), p.limit)] {
				say("EVENT", id, ev)
			}
		}
		say("EOSE", id)
	}
}

func (p *plain) set(fault func(*nostr.Event) (lost, unanswered bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

func (p *plain) refuse(why func(*nostr.Event) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = why
}

func (p *plain) publish(ev nostr.Event) {
	p.save(ev)
	p.mu.Lock()
	defer p.mu.Unlock()
	for sub := range p.subs {
		if sub.filters.Match(&ev) {
			sub.say("EVENT", sub.id, ev)
		}
	}
}

func (p *plain) save(ev nostr.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := ev.PubKey + place(&ev)
	if old, ok := p.stored[at]; !ok || old.CreatedAt < ev.CreatedAt {
		p.stored[at] = ev
	}
}

func (p *plain) add(evs ...nostr.Event) {
	for _, ev := range evs {
		p.publish(ev)
	}
}

// all lists what matches, newest first.
func (p *plain) all(f nostr.Filter) (evs []nostr.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range p.stored {
		if f.Matches(&ev) {
			evs = append(evs, ev)
		}
	}
	slices.SortFunc(evs, func(a, b nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	if f.Limit > 0 && len(evs) > f.Limit {
		evs = evs[:f.Limit]
	}
	return evs
}

func (p *plain) has(id string) bool { return len(p.all(nostr.Filter{IDs: []string{id}})) == 1 }
