package mirror

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// crowded is why more of a followed key is refused.
const crowded = "blocked: this key has as many events here as may be kept of it"

// room reports whether more of the author may be kept, and counts the event as kept if so.
func (m *Mirror) room(ev *nostr.Event) bool {
	m.mu.Lock()
	f := m.followed[ev.PubKey]
	full := f == nil || f.events >= m.cfg.MaxEvents || f.bytes >= m.cfg.MaxBytes
	m.mu.Unlock()
	if !full {
		m.grow(ev, 1)
	}
	return !full
}

// grow counts events of a followed key that are kept.
func (m *Mirror) grow(ev *nostr.Event, events int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followed[ev.PubKey]; f != nil {
		f.events += events
		f.bytes += events * sizeOf(ev)
	}
}

// tend counts what is kept of the followed keys, since what is replaced or expires makes room, and
// looks for the relays of those that are followed without any.
func (m *Mirror) tend(ctx context.Context) {
	for round := 0; ; round++ {
		if round%(int(fullEvery/checkEvery)) == 0 {
			if err := m.book.load(ctx); err != nil && ctx.Err() == nil {
				m.log.Error("find out when offers end", "error", err)
			}
		}
		m.mu.Lock()
		var keys []string
		for pubkey := range m.followed {
			keys = append(keys, pubkey)
		}
		m.mu.Unlock()
		for _, pubkey := range keys {
			if err := m.survey(ctx, pubkey); err != nil && ctx.Err() == nil {
				m.log.Error("count events of a followed Mostro", "pubkey", pubkey, "error", err)
			}
		}
		m.trimOutbox()
		m.discover(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkEvery):
		}
	}
}

// survey counts what is kept of a followed key, and finds out when it last gave news of itself.
func (m *Mirror) survey(ctx context.Context, pubkey string) error {
	events, bytes, err := m.relay.Count(ctx, nostr.Filter{Authors: []string{pubkey}}) // also what it publishes here
	if err != nil {
		return err
	}
	infos, err := m.relay.All(ctx, nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindInfo}, Limit: 1})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	if f == nil {
		return nil
	}
	f.events, f.bytes, f.counted = events, bytes, m.cfg.Now()
	for i := range infos {
		f.news = max(f.news, int64(infos[i].CreatedAt))
	}
	return nil
}

// discover looks for the relays (kind 10002) of followed keys that came without any, in the store
// and on all relays that are connected. The operator has agreed to them by following the key.
func (m *Mirror) discover(ctx context.Context) {
	m.mu.Lock()
	var lost []string
	for pubkey, f := range m.followed {
		if len(f.Relays) == 0 {
			lost = append(lost, pubkey)
		}
	}
	m.mu.Unlock()
	for _, pubkey := range lost {
		f := nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindRelayList}, Limit: 1}
		var newest *nostr.Event
		consider := func(ev *nostr.Event) {
			if ev.PubKey != pubkey || ev.Kind != kindRelayList || newest != nil && ev.CreatedAt <= newest.CreatedAt || !ev.CheckID() {
				return
			}
			if ok, _ := ev.CheckSignature(); ok {
				newest = ev
			}
		}
		if stored, err := m.relay.All(ctx, f); err == nil {
			for i := range stored {
				consider(&stored[i])
			}
		}
		for _, p := range m.list() {
			if l := p.link.Load(); l != nil {
				_ = l.fetch(ctx, f, consider) // the next round asks again
			}
		}
		if newest == nil {
			continue
		}
		var urls []string
		for tag := range newest.Tags.FindAll("r") {
			if address := strings.TrimSuffix(tag[1], "/"); len(urls) < maxListed && m.mayFind(address) && !slices.Contains(urls, address) {
				urls = append(urls, address)
			}
		}
		m.mu.Lock()
		if f := m.followed[pubkey]; f != nil && len(f.Relays) == 0 && len(urls) > 0 {
			f.Relays = urls
			m.change()
			m.log.Info("found the relays of a followed Mostro", "pubkey", pubkey, "relays", urls)
		}
		m.mu.Unlock()
	}
}

// mayFind reports whether an address that a list of relays names may be used: one of the operator's
// own network only when he has named it himself, since whoever is followed chose the list.
func (m *Mirror) mayFind(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.User != nil || address == m.cfg.Own {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers[address] != nil || !isInner(u.Hostname()) && u.Hostname() != ""
}

// maxListed is how many relays of a found list are used.
const maxListed = 3

// listing is whose offers make the book, and how they are shown.
func (m *Mirror) listing() Listing {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := Listing{Policy: m.cfg.Policy, Formerly: slices.Sorted(maps.Keys(m.formerly))}
	for _, pubkey := range slices.Sorted(maps.Keys(m.followed)) {
		l.Follows = append(l.Follows, Listed{Pubkey: pubkey, Platform: m.followed[pubkey].Platform})
	}
	return l
}

// news is when a followed Mostro last gave news of itself.
func (m *Mirror) news(pubkey string) (at int64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	if f == nil || f.Platform != "" {
		return 0, false
	}
	return f.news, !f.counted.IsZero()
}

// Orphaned reports whether a followed Mostro has given no news of itself for too long.
func (m *Mirror) Orphaned(pubkey string) bool { return m.book.orphaned(pubkey) }

// Hidden reports whether an event is left out of answers (relay.Federation.Hidden).
func (m *Mirror) Hidden(kind int, pubkey string, id reconcile.ID) bool {
	return m.book.hidden(kind, pubkey, id)
}

// Serve adds to the relay's pages the book of everybody, and for replicas whose offers make it.
func (m *Mirror) Serve() { m.book.pages() }

// Offers is the book of everybody: pending offers, the newest first, at most maxOffers.
func (m *Mirror) Offers(ctx context.Context) ([]Offer, error) { return m.book.offers(ctx) }
