package mirror

import (
	"context"
	"net/url"
	"slices"
	"strings"
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
	m.mu.Lock()
	lost := make(map[string]bool, len(m.followed)) // by key
	for pubkey, f := range m.followed {
		lost[pubkey] = !slices.ContainsFunc(f.relays(), func(url string) bool {
			p := m.peers[url]
			return p == nil || p.link.Load() != nil || p.failures.Load() == 0 // it may still come
		})
	}
	m.mu.Unlock()
	for pubkey, ask := range lost {
		if newest := m.relayList(ctx, pubkey, ask); newest != nil {
			m.movedTo(newest)
		}
	}
}

// relayList is the newest list of relays of a followed key, nil when there is none.
func (m *Mirror) relayList(ctx context.Context, pubkey string, ask bool) (newest *nostr.Event) {
	f := nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindRelayList}, Limit: 1}
	if stored, err := m.relay.All(ctx, f); err == nil && len(stored) > 0 {
		newest = &stored[0]
	}
	if !ask {
		return newest
	}
	for _, p := range m.list() {
		l := p.link.Load()
		if l == nil {
			continue
		}
		var found *nostr.Event
		_ = l.fetch(ctx, f, func(ev *nostr.Event) { // the next round asks again
			if ev.PubKey == pubkey && ev.Kind == kindRelayList && (newest == nil || ev.CreatedAt > newest.CreatedAt) && (found == nil || ev.CreatedAt > found.CreatedAt) {
				found = ev
			}
		})
		if found == nil || !m.room(found) {
			continue
		}
		// Stored like all else of a followed key, it is found at the next start too.
		switch t := m.relay.Take(ctx, p.url, []*nostr.Event{found})[0]; {
		case t.New:
			newest = found
		default:
			m.grow(found, -1)
		}
	}
	return newest
}

// movedTo takes notice of where a followed key says that it publishes.
func (m *Mirror) movedTo(list *nostr.Event) {
	var urls []string
	for tag := range list.Tags.FindAll("r") {
		if address := strings.TrimSuffix(tag[1], "/"); len(urls) < maxListed && m.mayFind(address) && !slices.Contains(urls, address) {
			urls = append(urls, address)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[list.PubKey]
	if f == nil || len(urls) == 0 {
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
	if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.User != nil || u.RawQuery != "" || address == m.cfg.Own {
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
