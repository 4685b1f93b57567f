package mirror

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// A plain question for offers is answered with the newest, whoever made them (NIP-01), so one who publishes more than
// anybody asks for would be seen alone. Of the pending offers of a followed key only the newest are kept, Config.MaxOffers or its
// share of Config.Shown where that is more: older ones are refused while there are so many, and taken away when newer ones come.
// Which they were is remembered, so that comparing does not fetch them again and again.

// older is why an offer is refused.
const older = "blocked: this key has as many newer offers here as are kept of it"

// maxOlder is how many offers of one key are remembered that are not kept.
const maxOlder = 10_000

const (
	crowdTime = 10 * time.Second // for others to be stored
	crowdPoll = 20 * time.Millisecond
)

// offersAtOnce is how many more may be here for a moment, until the oldest are taken away.
const offersAtOnce = 32

// mostOffers is how many pending offers are kept of a key: none once it is followed no more, since nobody hears when they are
// taken. The caller holds mu.
func (m *Mirror) mostOffers(f *followed) int {
	switch {
	case !f.now():
		return 0
	case m.cfg.MaxOffers == 0:
		return math.MaxInt
	}
	// Who has few keeps them all, and those who have many share the rest, as in the book.
	wants, mine := []int{m.own}, 0
	for _, other := range m.followed {
		if other == f {
			mine = len(wants)
		}
		if other.now() {
			wants = append(wants, other.offers+len(other.older))
		}
	}
	wants[mine] = m.cfg.Shown // though it wants less it may have that
	return max(m.cfg.MaxOffers, shares(wants, m.cfg.Shown)[mine])
}

// tellLeftOut is how often the operator is told that offers of a key are left out, at most.
const tellLeftOut = time.Hour

// leftOut is how many offers of some followed keys are not kept because there are too many newer ones, as far as that is
// known; nil for none. m.mu is held.
func (m *Mirror) leftOut(keys ...string) (of map[string]int) {
	for _, pubkey := range keys {
		if f := m.followed[pubkey]; f != nil && len(f.older) > 0 {
			if of == nil {
				of = make(map[string]int)
			}
			of[pubkey] = len(f.older)
		}
	}
	return of
}

// pendingOf asks for the pending offers of somebody.
func pendingOf(author string) nostr.Filter {
	return nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{author}, Tags: nostr.TagMap{"s": {"pending"}}}
}

func isPending(ev *nostr.Event) bool {
	return ev.Kind == kindOrder && ev.Tags.FindWithValue("s", "pending") != nil
}

// outdone reports whether an offer is older than those that are kept. One that its author has not signed is none, nor one that is
// kept, of the same second as the oldest.
func (m *Mirror) outdone(ctx context.Context, ev *nostr.Event) bool {
	if !isPending(ev) {
		return false
	}
	of := func() (f *followed, known bool) {
		if f = m.followed[ev.PubKey]; f != nil {
			_, known = f.older[idOf(ev.ID)]
		}
		return f, known
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f, known := of()
	if f == nil || int64(ev.CreatedAt) > f.floor {
		return false
	}
	if !known {
		m.mu.Unlock()
		has, err := m.relay.Has(ctx, ev.ID)
		is := err == nil && !has && signed(ev)
		m.mu.Lock()
		if f, _ = of(); !is || f == nil {
			return false
		}
		f.leave(idOf(ev.ID), int64(ev.CreatedAt))
	}
	return true
}

// leave remembers an offer that is not kept, with its created_at.
func (f *followed) leave(id reconcile.ID, at int64) {
	if f.older == nil {
		f.older = make(map[reconcile.ID]int64)
	}
	if len(f.older) < maxOlder {
		f.older[id] = at
	}
}

// worth are those of a key's events that another relay has and that would be kept, as far as that is known.
func (m *Mirror) worth(pubkey string, ids []reconcile.ID) []reconcile.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[pubkey]
	if f == nil {
		return ids
	}
	return slices.DeleteFunc(ids, func(id reconcile.ID) bool { _, is := f.older[id]; return is })
}

// crowded reports whether an offer is one too many for a moment, beside others that are here or about to be stored.
func (m *Mirror) crowded(ev *nostr.Event) bool {
	if m.cfg.MaxOffers == 0 || !isPending(ev) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[ev.PubKey]
	return f.now() && f.offers+len(f.coming) >= m.mostOffers(f)+offersAtOnce
}

// makeRoom takes the oldest away until there is room for an offer. Others that are about to be stored it waits for: they would
// be too many together, for as long as a disk that is slow takes.
func (m *Mirror) makeRoom(ctx context.Context, ev *nostr.Event) error {
	for end := time.Now().Add(crowdTime); ; {
		if err := m.thin(ctx, ev.PubKey); err != nil {
			return err
		}
		if !m.crowded(ev) || time.Now().After(end) {
			return nil
		}
		select {
		case <-time.After(crowdPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expect notes that an offer is about to be stored.
func (m *Mirror) expect(ev *nostr.Event) {
	if !isPending(ev) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followed[ev.PubKey]; f != nil {
		if f.coming == nil {
			f.coming = make(map[string]struct{})
		}
		f.coming[ev.ID] = struct{}{}
	}
}

// notCome notes that it was not stored.
func (m *Mirror) notCome(ev *nostr.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followed[ev.PubKey]; f != nil {
		delete(f.coming, ev.ID)
	}
}

// offered counts an offer that was stored, wherever it came from.
func (m *Mirror) offered(ev *nostr.Event) {
	if !isPending(ev) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.followed[ev.PubKey]
	if f == nil {
		return
	}
	delete(f.coming, ev.ID)
	if f.offers++; f.offers > m.mostOffers(f) {
		select {
		case m.crowd <- struct{}{}:
		default:
		}
	}
}

// thinOut takes away what is too much soon after it was stored, whatever way it came, until ctx ends.
func (m *Mirror) thinOut(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.crowd:
		}
		var keys []string
		m.mu.Lock()
		for pubkey, f := range m.followed {
			if f.offers > m.mostOffers(f) || !f.now() {
				keys = append(keys, pubkey)
			}
		}
		m.mu.Unlock()
		for _, pubkey := range keys {
			if err := m.thin(ctx, pubkey); err != nil && ctx.Err() == nil {
				m.log.Error("take away offers that are too many", "pubkey", pubkey, "error", err)
			}
		}
	}
}

// thin counts the pending offers of a followed key and takes away all but the newest.
func (m *Mirror) thin(ctx context.Context, pubkey string) error {
	m.thinning.Lock()
	defer m.thinning.Unlock()
	m.mu.Lock()
	f := m.followed[pubkey]
	before, most := 0, math.MaxInt
	if f != nil {
		before, most = f.offers, m.mostOffers(f)
	}
	m.mu.Unlock()
	if most == math.MaxInt {
		return nil
	}
	all, err := m.relay.Items(ctx, pendingOf(pubkey), math.MaxInt32)
	if err != nil {
		return err
	}
	var floor int64 // 0: there is room
	over := len(all) - most
	if over >= 0 {
		if most > 0 {
			floor = int64(all[over].Created) // of the oldest that stays
		}
		for chunk := range slices.Chunk(all[:over], idsAtOnce) {
			ids := make([]reconcile.ID, len(chunk))
			for i := range chunk {
				ids[i] = chunk[i].ID
			}
			err = errors.Join(err, m.relay.Remove(ctx, ids...))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.offers += min(len(all), most) - before // others may have come meanwhile
	if over < 0 && len(f.older) > -over {    // for as many of those that were left out
		left := slices.Sorted(maps.Values(f.older))
		floor = left[len(left)-1+over]
	}
	f.floor = floor
	maps.DeleteFunc(f.older, func(_ reconcile.ID, at int64) bool { return at > floor })
	if most == 0 {
		return err // they may come again when it is followed again
	}
	for _, item := range all[:max(over, 0)] {
		f.leave(item.ID, int64(item.Created))
	}
	if now := m.cfg.Now(); over > 0 && now.Sub(f.told) >= tellLeftOut {
		f.told = now
		m.log.Warn("left out the oldest offers of a followed key, which has more than are kept beside those of the others (federation.max_offers)", "pubkey", pubkey, "offers", len(f.older), "kept", most)
	}
	return err
}
