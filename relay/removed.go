package relay

import (
	"context"
	"slices"
)

// Removed begins a frame that goes to replicas only: ["REMOVED", ID, ...] names events that were taken away here and of
// which no event says so, such as those that are banned. A replica that did not hear it finds out when it compares.
const Removed = "REMOVED"

const removedAtOnce = 256 // ids in one such frame

// remove takes events away without a trace, and lets the replicas know.
func (r *Relay) remove(ctx context.Context, ids ...key) error {
	if err := r.store.Remove(ctx, ids...); err != nil {
		return err
	}
	peers := r.peers()
	if len(peers) == 0 {
		return nil
	}
	for chunk := range slices.Chunk(ids, removedAtOnce) {
		// Between two commits: what has come back since is told after it has gone.
		r.store.sync(func() {
			parts := []any{Removed}
			for _, id := range chunk {
				if !r.store.has(id) {
					parts = append(parts, id.String())
				}
			}
			if len(parts) == 1 {
				return
			}
			body := frame(parts...)
			for _, s := range peers {
				s.sendLive(outgoing{op: opText, body: body})
			}
		})
	}
	return nil
}

// peers are the connections of replicas.
func (r *Relay) peers() (peers []*session) {
	if r.cfg.Federation.Peer == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.sessions {
		if r.isPeer(s.keys.Load()) {
			peers = append(peers, s)
		}
	}
	return peers
}
