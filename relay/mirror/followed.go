package mirror

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// crowded is why more of a followed key is refused.
const crowded = "blocked: this key has as many events here as may be kept of it"

// room reports whether more of the author may be kept, and counts the event as kept if so. What replaces an event that is here
// needs no more room than that, about: refused, it would leave an offer in the book that was taken.
func (m *Mirror) room(ctx context.Context, ev *nostr.Event) bool {
	m.mu.Lock()
	f := m.followed[ev.PubKey]
	takes := f != nil && f.takes(ev.Kind)
	full := takes && m.isFull(f)
	over := full && f.bytes+sizeOf(ev) > m.cfg.MaxBytes+m.cfg.MaxBytes/overfull
	m.mu.Unlock()
	if !takes || over || full && !m.replaces(ctx, ev) {
		return false
	}
	m.grow(ev, 1)
	return true
}

// overfull is the part of Config.MaxBytes by which later versions may be larger than earlier ones.
const overfull = 10

// isFull reports whether a followed key has all the room that it gets. The caller holds mu.
func (m *Mirror) isFull(f *followed) bool {
	return f.events >= m.cfg.MaxEvents || f.bytes >= m.cfg.MaxBytes
}

// full is isFull of a key.
func (m *Mirror) full(pubkey string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	return f != nil && m.isFull(f)
}

// replaces reports whether there is an event here in whose place another one comes. Which of them is newer the store decides.
func (m *Mirror) replaces(ctx context.Context, ev *nostr.Event) bool {
	f := nostr.Filter{Kinds: []int{ev.Kind}, Authors: []string{ev.PubKey}}
	switch {
	case nostr.IsReplaceableKind(ev.Kind):
	case nostr.IsAddressableKind(ev.Kind):
		f.Tags = nostr.TagMap{"d": {ev.Tags.GetD()}}
	default:
		return false
	}
	n, _, err := m.relay.Count(ctx, f)
	return err == nil && n > 0
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

// tend counts what is kept of the followed keys, since what is replaced or expires makes room.
func (m *Mirror) tend(ctx context.Context) {
	for round := 1; ; round++ {
		if round%(int(fullEvery/checkEvery)) == 0 {
			if err := m.book.load(ctx); err != nil && ctx.Err() == nil {
				m.log.Error("find out when offers end", "error", err)
			}
		}
		own, _, err := m.relay.Count(ctx, pendingOf(m.cfg.Pubkey))
		if err != nil && ctx.Err() == nil {
			m.log.Error("count own offers", "error", err)
		}
		m.mu.Lock()
		m.own = own
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
		if err := m.leavePlatforms(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("take away offers of a platform that is followed no more", "error", err)
		}
		m.endLeft()
		m.trimOutbox()
		if err := m.routes.sweep(m.past()); err != nil {
			m.log.Error("forget by which ways strangers came", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkEvery):
		}
	}
}

// past is before when nothing waits or is remembered any more, by what the relay believes of the clock: one that is a month ahead
// for a minute would cost all of it.
func (m *Mirror) past() time.Time { return m.relay.Now().Add(-keysKept) }

// survey counts what is kept of a followed key, and finds out when it last gave news of itself.
func (m *Mirror) survey(ctx context.Context, pubkey string) error {
	events, bytes, err := m.relay.Count(ctx, nostr.Filter{Authors: []string{pubkey}}) // also what it publishes here
	if err != nil {
		return err
	}
	if err := m.thin(ctx, pubkey); err != nil {
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

// listing is whose offers make the book, and how they are shown.
func (m *Mirror) listing() Listing {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := Listing{Policy: m.cfg.Policy, Reads: m.cfg.Reads, URL: m.cfg.Own, Formerly: slices.Sorted(maps.Keys(m.formerly))}
	for _, pubkey := range slices.Sorted(maps.Keys(m.followed)) {
		if !m.followed[pubkey].now() {
			continue
		}
		l.Follows = append(l.Follows, Listed{Pubkey: pubkey, Platform: m.followed[pubkey].Platform})
	}
	return l
}

// news is when a followed Mostro last gave news of itself.
func (m *Mirror) news(pubkey string) (at int64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	if !f.now() || f.Platform != "" {
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
