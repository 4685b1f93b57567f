package main

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/policies"
	"mostro/relay"
)

const (
	progressEvery = 2 * time.Second // of a long start
	reserveBytes  = 64 << 20        // of disk, given up for the node's own events when it is full
	shownAtOnce   = 5000            // orders of the book in one query
)

// relayConfig translates settings to what the relay takes. The functions in it are called from
// when the relay is open, before there is an engine.
func (n *node) relayConfig() (relay.Config, error) {
	s, pubkey := &n.cfg.settings.Relay, n.cfg.key.Public()
	kinds, err := policies.Profile(s.Profile)
	if err != nil {
		return relay.Config{}, err
	}
	name := n.cfg.settings.Mostro.Name
	if name == "" {
		name = "Mostro Relay"
	}
	told := time.Now()
	byKey := policies.RateByKey(float64(s.KeyEventsPerSecond), int(s.KeyEventsBurst), policies.DefaultRateAddresses)
	return relay.Config{
		Dir:            filepath.Join(n.cfg.dir, relayDir),
		Name:           name,
		Description:    s.Description,
		Contact:        s.Contact,
		Icon:           s.Icon,
		Pubkey:         pubkey,
		ServiceURL:     n.url,
		Version:        version,
		Limits:         s.limits(),
		Carriers:       n.cfg.settings.Federation.Peers,
		TrustedProxies: s.TrustedProxies,
		Admins:         append([]string{pubkey}, n.cfg.settings.Admin.Pubkeys...),
		Contents:       s.ContentOf,
		Kinds:          kinds,
		Deny:           s.Deny,
		Allow:          s.Allow,
		OnlyAllowed:    s.OnlyAllowed,
		PrivateReads:   s.Reads,
		Followed:       n.follows,
		Formerly:       n.mirror.Formerly,
		Retention:      s.Retention,
		Running:        n.running,
		Policies: []relay.Policy{
			policies.ForeignOrders(n.follows, func(pubkey string) bool { return slices.Contains(n.cfg.settings.Price.Nostr.Nodes, pubkey) }),
			policies.ExceptFrom(n.cfg.settings.Federation.Peers,
				policies.RateByIP(float64(s.EventsPerSecond), int(s.EventsBurst), policies.DefaultRateAddresses)),
			policies.ExceptFrom(n.cfg.settings.Federation.Peers,
				policies.Deletions(float64(s.DeletionsPerHour), int(s.DeletionsBurst), policies.DefaultRateAddresses)),
			policies.PowToEscrow(pubkey, n.known, int(n.cfg.settings.Mostro.Pow), int(n.cfg.settings.Mostro.PowFirstContact)),
		},
		Verified: []relay.Policy{func(ctx context.Context, ev *nostr.Event) (bool, string) {
			if n.follows(ev.PubKey) {
				return false, ""
			}
			return byKey(ctx, ev)
		}, policies.Reviews(provenReview), n.mirror.Arrived},
		ReadPolicies: []relay.ReadPolicy{n.mirror.Asked},
		Federation: relay.Federation{
			Carry: n.mirror.Carry, Carries: n.mirror.Carries, Again: n.mirror.Again, Stored: n.mirror.Stored, Hidden: n.mirror.Hidden,
			Peer: n.cfg.settings.Federation.peer(),
		},
		Receive:    func(ctx context.Context, ev *nostr.Event) error { return n.engine.Receive(ctx, ev) },
		IndexBytes: int(s.IndexMiB) << 20,
		Space:      s.space(reserveBytes),
		Progress: func(doing string, done, total int) {
			if time.Since(told) > progressEvery {
				told = time.Now()
				n.cfg.logger.Info("event store starts", "doing", doing, "events", done, "of", total)
			}
		},
		Logger: n.cfg.logger,
	}, nil
}

// known tells whether a key needs no proof of work of a first contact: keys of live trades,
// and administrators.
func (n *node) known(pubkey string) bool {
	return n.engine.Known(pubkey) || slices.Contains(n.cfg.settings.Admin.Pubkeys, pubkey)
}

// follows tells whether a key is that of a Mostro, or of another platform, that this one follows.
func (n *node) follows(pubkey string) bool { return n.mirror.Followed(pubkey) }

// running tells whether a key has a part in a trade that has not ended. Until the engine knows,
// any key may.
func (n *node) running(pubkey string) bool {
	engine := n.started.Load()
	return engine == nil || engine.Known(pubkey)
}

// shownOrders tells the events of the node's own book that readers are shown as open or under way.
func (n *node) shownOrders(ctx context.Context, seen func(nostr.Event)) error {
	told := map[string]bool{}
	f := nostr.Filter{
		Kinds: []int{mostro.KindOrder}, Authors: []string{n.cfg.key.Public()}, Limit: shownAtOnce,
		Tags: nostr.TagMap{"s": {string(mostro.StatusPending), string(mostro.StatusInProgress)}},
	}
	for {
		found, err := n.relay.Query(ctx, f)
		if err != nil {
			return err
		}
		news := false
		for _, ev := range found { // newest first; those of the last second come again
			if !told[ev.ID] {
				told[ev.ID], news = true, true
				seen(ev)
			}
			f.Until = &ev.CreatedAt
		}
		if !news {
			return nil
		}
	}
}
