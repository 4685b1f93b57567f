package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"

	"mostro/policies"
	events "mostro/relay/store"
)

// Retention is how long events of some kinds are kept.
type Retention = policies.Retention

// retain removes what has been kept long enough, rule by rule.
func (r *Relay) retain(ctx context.Context) error {
	named := r.namedKinds()
	for _, rule := range r.cfg.Retention {
		until := nostr.Timestamp(r.store.opts.Now().Add(-rule.For).Unix() - 1)
		var old []key
		f := nostr.Filter{Kinds: rule.Kinds, Until: &until}
		opts := events.QueryOptions{Visible: func(_ int, m *events.Meta) bool {
			return m.Author != r.node && (rule.Kinds != nil || !named[m.Kind])
		}}
		err := r.store.Query(ctx, []nostr.Filter{f}, opts, func(found events.Found) bool {
			if !r.needed(&found) {
				old = append(old, found.ID)
			}
			return len(old) < maxRetired
		})
		if err != nil {
			return fmt.Errorf("find events that have been kept long enough: %w", err)
		}
		if err := r.retire(ctx, old); err != nil {
			return fmt.Errorf("remove events that have been kept long enough: %w", err)
		}
	}
	return nil
}

func (r *Relay) retire(ctx context.Context, old []key) error {
	for chunk := range slices.Chunk(old, retiredAtOnce) {
		if err := r.remove(ctx, chunk...); err != nil {
			return err
		}
	}
	return nil
}

func (r *Relay) namedKinds() map[int]bool {
	named := make(map[int]bool)
	for _, rule := range r.cfg.Retention {
		for _, kind := range rule.Kinds {
			named[kind] = true
		}
	}
	return named
}

// makeRoom removes the oldest events when there are more than the limit, or more than the index has
// memory for (then of kinds that are always in memory). When none may go, new ones are refused. now is the time that is
// believed.
func (r *Relay) makeRoom(ctx context.Context, now time.Time) error {
	for ctx.Err() == nil {
		over, kinds := r.store.Len()-r.cfg.Limits.Events, []int(nil)
		if over <= 0 && r.overIndex() {
			over, kinds = r.store.Len()/eventsSlack+1, events.AlwaysInMemory()
		}
		if over <= 0 {
			return nil
		}
		old, err := r.spare(ctx, now, min(over, maxRetired), kinds)
		if err == nil {
			err = r.retire(ctx, old)
		}
		if err != nil {
			return fmt.Errorf("make room for events: %w", err)
		}
		if len(old) == 0 {
			r.log.Warn("the event store is full of what must stay", "events", r.store.Len(), "limit", r.cfg.Limits.Events)
			return nil
		}
		r.log.Info("made room for events", "removed", len(old))
	}
	return nil
}

// spare lists up to n of the oldest events of some kinds (nil = all) that may go for others: none of the node or of
// followed Mostros, and no messages that could belong to a trade that is under way. Where messages are more than two thirds of
// all, somebody floods the relay with them: then none but messages go, else a flood of them would have all that others
// have published removed for it; and they go sooner where it is known which ones trades need, at last those of the node, which answers
// whoever floods it.
func (r *Relay) spare(ctx context.Context, now time.Time, n int, kinds []int) ([]key, error) {
	all, stay := r.store.Len(), wrapsStay
	if kinds != nil {
		all = r.store.CountOfKinds(kinds...)
	}
	flooded := 3*r.store.CountOfKinds(messageKinds...) > 2*all
	if flooded && r.cfg.Running != nil {
		stay = floodedStay
	}
	young := now.Add(-stay).Unix()
	mayGo := func(m *events.Meta) bool {
		if m.Author == r.node || r.writesToAll(m.Author) {
			return false
		}
		if isPrivate(m.Kind) {
			return m.CreatedAt < young
		}
		return !flooded && (kinds == nil || slices.Contains(kinds, m.Kind))
	}
	if !flooded || r.cfg.Running == nil {
		return r.store.Oldest(ctx, n, mayGo)
	}
	if r.vain.holds(now) {
		return nil, nil
	}
	looked, soon, answered := 0, now.Add(answersLeft).Unix(), now.Add(-outcomesStay).Unix()
	for _, mayGo := range []func(*events.Meta) bool{
		mayGo,
		func(m *events.Meta) bool { return r.wrote(m) && m.ExpiresAt > 0 && m.ExpiresAt < soon },
		func(m *events.Meta) bool { return r.wrote(m) && m.CreatedAt < answered },
	} {
		old, more, err := r.spareUnneeded(ctx, n, mayGo)
		if err != nil || len(old) > 0 {
			return old, err
		}
		looked += more
	}
	r.vain = vainLook{now, looked}
	return nil, nil
}

// wrote reports whether an event is a message of the node under its own key.
func (r *Relay) wrote(m *events.Meta) bool { return m.Author == r.node && isPrivate(m.Kind) }

// vainLook is a look at messages that trades could need, and did, all of them. Each is read from disk for it, and whoever
// floods the relay can have them be of an order of his: the more there were, the longer the next one waits.
type vainLook struct {
	at   time.Time
	many int
}

// holds reports whether it is too early for another one. It is not for a clock that was put back.
func (v *vainLook) holds(now time.Time) bool {
	ago := now.Sub(v.at)
	return ago >= 0 && ago < min(time.Duration(v.many/neededAtOnce)*vainWait, vainMost)
}

// spareUnneeded is spare where it takes a look at the events themselves to know which ones trades need: at ever more of them,
// until there are enough others. It says how many it has looked at.
func (r *Relay) spareUnneeded(ctx context.Context, n int, mayGo func(*events.Meta) bool) (rest []key, looked int, err error) {
	for most := n + neededAtOnce; ; most *= 2 {
		skip := looked
		old, err := r.store.Oldest(ctx, most, func(m *events.Meta) bool {
			if !mayGo(m) {
				return false
			}
			skip--
			return skip < 0
		})
		if err == nil && len(old) > 0 {
			looked += len(old)
			end := len(old) < most
			old, err = r.unneeded(ctx, old)
			if rest = append(rest, old...); err == nil && len(rest) < n && !end {
				continue
			}
		}
		return rest[:min(n, len(rest))], looked, err
	}
}

// unneeded leaves out those events that are needed.
func (r *Relay) unneeded(ctx context.Context, ids []key) (rest []key, err error) {
	for chunk := range slices.Chunk(ids, retiredAtOnce) {
		var f nostr.Filter
		for _, id := range chunk {
			f.IDs = append(f.IDs, id.String())
		}
		needed := make(map[key]bool)
		if err := r.store.Query(ctx, []nostr.Filter{f}, events.QueryOptions{}, func(found events.Found) bool {
			needed[found.ID] = r.needed(&found)
			return true
		}); err != nil {
			return nil, err
		}
		for _, id := range chunk {
			if !needed[id] {
				rest = append(rest, id)
			}
		}
	}
	return rest, nil
}

// flooded reports whether messages could soon take the room of all else: little is left, and most of what is stored is
// messages.
func (r *Relay) flooded() bool {
	all, limits := r.store.Len(), r.cfg.Limits
	if _, _, bytes := r.Indexed(); bytes > limits.IndexBytes/5*4 {
		all = r.store.CountOfKinds(events.AlwaysInMemory()...)
	} else if all <= limits.Events/5*4 {
		return false
	}
	return 2*r.store.CountOfKinds(messageKinds...) > all
}

// messageKinds are the private ones that are stored.
var messageKinds = []int{nostr.KindEncryptedDirectMessage, nostr.KindDirectMessage, nostr.KindGiftWrap}

// needed reports whether an event stays however old it is, because it is a message of a running
// trade. That it is of the node says nothing: it writes to everybody.
func (r *Relay) needed(found *events.Found) bool {
	if r.cfg.Running == nil || !isPrivate(found.Kind) {
		return false
	}
	ev, err := found.Event()
	if err != nil {
		return false
	}
	if ev.PubKey != r.cfg.Pubkey && r.cfg.Running(ev.PubKey) {
		return true
	}
	for tag := range ev.Tags.FindAll("p") {
		if r.cfg.Running(tag[1]) {
			return true
		}
	}
	return false
}

// retention is the part of the relay's description about it (NIP-11), with the number of all events that are kept.
func (r *Relay) retention() []*nip11.RelayRetentionDocument {
	var told []*nip11.RelayRetentionDocument
	others := &nip11.RelayRetentionDocument{Count: r.cfg.Limits.Events} // no kinds stand for all others
	for _, rule := range r.cfg.Retention {
		if rule.Kinds == nil {
			others.Time = int64(rule.For / time.Second)
			continue
		}
		doc := &nip11.RelayRetentionDocument{Time: int64(rule.For / time.Second)}
		for _, kind := range rule.Kinds {
			doc.Kinds = append(doc.Kinds, []int{kind, kind})
		}
		told = append(told, doc)
	}
	return append(told, others)
}
