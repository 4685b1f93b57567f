package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"

	events "mostro/relay/store"
)

// Retention is how long events of some kinds are kept, counted from their created_at. Keys cost
// nothing, so no quota by key keeps a disk from filling up.
type Retention struct {
	Kinds []int
	For   time.Duration
}

// retain removes what has been kept long enough, rule by rule.
func (r *Relay) retain(ctx context.Context) error {
	for _, rule := range r.cfg.Retention {
		until := nostr.Timestamp(r.store.opts.Now().Add(-rule.For).Unix() - 1)
		var old []key
		f := nostr.Filter{Kinds: rule.Kinds, Until: &until}
		err := r.store.Query(ctx, []nostr.Filter{f}, events.QueryOptions{}, func(found events.Found) bool {
			if !r.needed(&found) {
				old = append(old, found.ID)
			}
			return len(old) < maxRetired
		})
		if err != nil {
			return fmt.Errorf("find events that have been kept long enough: %w", err)
		}
		for chunk := range slices.Chunk(old, retiredAtOnce) {
			if err := r.store.Remove(ctx, chunk...); err != nil {
				return fmt.Errorf("remove events that have been kept long enough: %w", err)
			}
		}
	}
	return nil
}

// needed reports whether an event stays however old it is: the node's own have expirations where
// they need one, and messages of running trades are still to be read.
func (r *Relay) needed(found *events.Found) bool {
	if found.Author == r.node {
		return true
	}
	if r.cfg.Running == nil || !isPrivate(found.Kind) {
		return false
	}
	ev, err := found.Event()
	if err != nil {
		return false
	}
	if r.cfg.Running(ev.PubKey) {
		return true
	}
	for tag := range ev.Tags.FindAll("p") {
		if r.cfg.Running(tag[1]) {
			return true
		}
	}
	return false
}

// retention is the part of the relay's description about it (NIP-11).
func (r *Relay) retention() []*nip11.RelayRetentionDocument {
	var told []*nip11.RelayRetentionDocument
	for _, rule := range r.cfg.Retention {
		doc := &nip11.RelayRetentionDocument{Time: int64(rule.For / time.Second)}
		for _, kind := range rule.Kinds {
			doc.Kinds = append(doc.Kinds, []int{kind, kind})
		}
		told = append(told, doc)
	}
	return told
}
