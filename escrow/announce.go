package escrow

import (
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// announceLane is the outbox lane of what the node says of itself.
const announceLane = "node/" + laneTells

// announce publishes who this node is (kind 0), where (10002) and on what terms (38385): at
// the start, whenever LND comes back or is another, and at intervals, because clients look
// only at fresh ones.
func (e *Engine) announce(ctx context.Context) {
	for {
		if err := e.announceNow(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("announce the node, will try again", "error", err)
		}
		select {
		case <-time.After(e.cfg.Settings.InfoInterval):
		case <-e.news:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) announceNow(ctx context.Context) error {
	in, lnd, s := e.instance(), e.node.info(), e.cfg.Settings
	info := s.Info
	info.LNDVersion, info.LNDPubkey, info.LNDCommitHash = lnd.Version, lnd.Pubkey, lnd.CommitHash
	info.LNDAlias, info.LNDURIs = lnd.Alias, lnd.URIs
	if lnd.Network != "" {
		info.LNDChains, info.LNDNetworks = []string{"bitcoin"}, []string{lnd.Network}
	}
	events := []nostr.Event{mostro.InfoEvent(info, in)}
	if len(in.RelayURLs) > 0 {
		events = append(events, mostro.RelayListEvent(in.RelayURLs))
	}
	if m := s.Metadata; m != (Metadata{}) {
		events = append(events, mostro.MetadataEvent(m.Name, m.About, m.Picture, m.Website, m.NIP05))
	}
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		for _, ev := range events {
			if err := e.publish(txn, w, announceLane, ev, in.Pubkey); err != nil {
				return err
			}
		}
		return nil
	})
}

// Publish puts a public event of the node out: durably queued when it returns nil, then stamped,
// signed and published like every other. It is meant for what only the wiring knows, such as
// prices.
func (e *Engine) Publish(ctx context.Context, event nostr.Event) error {
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		return e.publish(txn, w, announceLane, event, event.Tags.GetD())
	})
}
