package mirror

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// maxListed is how many relays of a found list are used.
const maxListed = 3

// relays are where a followed key publishes: where the operator says, else where it says itself.
func (f *followed) relays() []string {
	if len(f.Relays) > 0 {
		return f.Relays
	}
	return f.found
}

// seek looks for the relays of followed keys, now and then and whenever one of them says where it is.
func (m *Mirror) seek(ctx context.Context) {
	for {
		m.discover(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.moved:
		case <-time.After(checkEvery):
		}
	}
}

// discover looks at where followed keys say that they publish (kind 10002): in the store, and on all relays that are
// connected for those of whom no relay can be reached. A key that came without relays is followed to where it
// moves, as the operator has agreed to by following it; of one whose relays he has named himself he is told.
func (m *Mirror) discover(ctx context.Context) {
	var all, lost []string
	m.mu.Lock()
	for pubkey, f := range m.followed {
		all = append(all, pubkey)
		if !slices.ContainsFunc(f.relays(), func(url string) bool {
			p := m.peers[url]
			return p == nil || p.link.Load() != nil || p.failures.Load() == 0 // it may still come
		}) {
			lost = append(lost, pubkey)
		}
	}
	m.mu.Unlock()
	if len(lost) > 0 {
		m.askAll(ctx, func(p *peer, l *link) { p.fetchLists(ctx, l, lost) })
	}
	for _, pubkey := range all {
		f := nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindRelayList}, Limit: 1}
		if stored, err := m.relay.All(ctx, f); err == nil && len(stored) > 0 { // else a later round finds it
			m.movedTo(&stored[0])
		}
	}
}

// askAll asks all connected relays something at once, so that one that is slow to answer keeps nothing from others; it reports
// how many they are.
func (m *Mirror) askAll(ctx context.Context, ask func(*peer, *link)) (asked int) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for _, p := range m.list() {
		if l := p.link.Load(); l != nil {
			asked++
			asking.Go(func() { ask(p, l) })
		}
	}
	return asked
}

// fetchBriefly is fetch for somebody who waits, or asks again: no longer than askTime.
func (l *link) fetchBriefly(ctx context.Context, f nostr.Filter, take func(*nostr.Event)) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_ = l.fetchOnce(ctx, f, take) // what has come by then counts
}

// fetchLists gets the lists of relays of some followed keys. Stored like all else of them, they are found at the next start too.
func (p *peer) fetchLists(ctx context.Context, l *link, of []string) {
	newest := make(map[string]*nostr.Event)
	for some := range slices.Chunk(of, l.keysAtOnce()) {
		f := nostr.Filter{Authors: some, Kinds: []int{kindRelayList}, Limit: len(some)}
		l.fetchBriefly(ctx, f, func(ev *nostr.Event) {
			if old := newest[ev.PubKey]; ev.Kind == kindRelayList && slices.Contains(some, ev.PubKey) && (old == nil || ev.CreatedAt > old.CreatedAt) {
				newest[ev.PubKey] = ev
			}
		})
	}
	for _, list := range newest {
		if p.m.room(ctx, list) && !p.m.relay.Take(ctx, p.url, []*nostr.Event{list})[0].New {
			p.m.grow(list, -1)
		}
	}
}

// movedTo takes notice of where a followed key says that it publishes.
func (m *Mirror) movedTo(list *nostr.Event) {
	var urls []string
	for tag := range list.Tags.FindAll("r") {
		if address := Address(tag[1]); len(urls) < maxListed && m.mayFind(address) && !slices.Contains(urls, address) {
			urls = append(urls, address)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[list.PubKey]
	if f == nil {
		return
	}
	if f.noneFit = len(urls) == 0; f.noneFit {
		return
	}
	f.listed = urls
	if len(f.Relays) == 0 && !slices.Equal(f.found, urls) && f.moves.Allow() { // else a later round does it
		f.found = urls
		m.change()
		m.log.Info("found the relays of a followed Mostro", "pubkey", list.PubKey, "relays", urls)
	}
}

// movedFrom lists the followed keys for which the operator has named a relay and that name only others themselves. The
// caller holds mu.
func (m *Mirror) movedFrom(h *Health) (moved map[string][]string) {
	for _, pubkey := range slices.Concat(h.Mostros, h.Platforms) {
		f := m.followed[pubkey]
		if f == nil || len(f.Relays) == 0 || len(f.listed) == 0 || slices.ContainsFunc(f.Relays, func(url string) bool { return slices.Contains(f.listed, url) }) {
			continue
		}
		if moved == nil {
			moved = make(map[string][]string)
		}
		moved[pubkey] = f.listed
	}
	return moved
}

// mayFind reports whether an address that a list of relays names may be used: one of the operator's
// own network only when he has named it himself, since whoever is followed chose the list, and none that asks
// something. What a name leads to shows when it is dialled.
func (m *Mirror) mayFind(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.User != nil || u.RawQuery != "" || address == m.here {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers[address] != nil || !isInner(u.Hostname()) && u.Hostname() != ""
}

// named reports whether the operator himself has named a relay.
func (m *Mirror) named(url string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.followed {
		if slices.Contains(f.Relays, url) {
			return true
		}
	}
	return slices.Contains(m.cfg.Outside, url)
}
