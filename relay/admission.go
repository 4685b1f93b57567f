package relay

import (
	"slices"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip40"
)

// setOf is nil when there are no values.
func setOf[K comparable](values []K) map[K]bool {
	if values == nil {
		return nil
	}
	set := make(map[K]bool, len(values))
	for _, value := range values {
		set[value] = true
	}
	return set
}

// denied reports whether settings or administrators refuse the events of a key, and why.
func (r *Relay) denied(pubkey string) (why string, yes bool) {
	if r.deny[pubkey] {
		return "", true
	}
	why, yes = r.management.now().Pubkeys[pubkey]
	return why, yes
}

// listed reports whether a key may publish here.
func (r *Relay) listed(pubkey string) bool {
	if !r.cfg.OnlyAllowed || r.allow[pubkey] || r.trusted(pubkey) {
		return true
	}
	_, yes := r.management.now().Allowed[pubkey]
	return yes
}

// trusted reports whether a key is the node's, an administrator's or a followed Mostro's.
func (r *Relay) trusted(pubkey string) bool {
	return pubkey == r.cfg.Pubkey || slices.Contains(r.cfg.Admins, pubkey) || r.cfg.Followed != nil && r.cfg.Followed(pubkey)
}

// takes reports whether events of a kind are taken.
func (r *Relay) takes(kind int) bool {
	switch set := r.management.now(); {
	case set.Kinds[kind]:
		return false
	case set.Taken[kind], r.kinds == nil:
		return true
	}
	return r.kinds[kind]
}

// full reports whether there are more events than may be, by more than is removed again soon, or more index.
func (r *Relay) full() bool {
	return r.store.Len() >= r.cfg.Limits.Events+r.cfg.Limits.Events/eventsSlack || r.overIndex()
}

// storedOf is how many events of a key are stored.
func (r *Relay) storedOf(pubkey string) int {
	author, err := parseKey(pubkey)
	if err != nil {
		return 0 // the event was refused long before
	}
	return r.store.CountOf(author)
}

// overIndex reports whether the index takes more memory than it may even for kinds that are always in it.
func (r *Relay) overIndex() bool {
	_, _, bytes := r.store.Indexed()
	return bytes > r.cfg.Limits.IndexBytes
}

// suspect raises an alarm about an event that the node's own key has signed and that comes from
// outside, unless it is something that the node has published once. Somebody else may have the key.
func (r *Relay) suspect(ev *nostr.Event) {
	if !r.alarms.Allow() || r.verify("", ev) != "" {
		return
	}
	if at := nip40.GetExpiration(ev.Tags); at >= 0 && int64(at) <= r.store.opts.Now().Unix() {
		return // not kept, so it cannot be told whether it was published
	}
	f := nostr.Filter{Kinds: []int{ev.Kind}, Authors: []string{ev.PubKey}, Since: &ev.CreatedAt, Limit: 1}
	if d := ev.Tags.GetD(); nostr.IsAddressableKind(ev.Kind) {
		f.Tags = nostr.TagMap{"d": {d}}
	}
	if nostr.IsReplaceableKind(ev.Kind) || nostr.IsAddressableKind(ev.Kind) {
		if found, err := r.Query(r.ctx, f); err != nil || len(found) > 0 {
			return // an older version of what is stored, or the same
		}
	}
	r.log.Error("an event that this node did not publish is signed by its key: the key may be stolen",
		"id", ev.ID, "kind", ev.Kind, "created_at", int64(ev.CreatedAt), "remedy", "if nobody else runs with this key, stop the node and give it a new one")
}
