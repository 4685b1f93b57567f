package client

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Used finds out which of the trade keys from first on, at most 50, the node has written to, by
// what the relay keeps. It needs no word of the node, so it also finds trades in full privacy.
func (c *Client) Used(ctx context.Context, first uint32, count int) ([]uint32, error) {
	if first == 0 || count < 1 || count > keysInInbox {
		return nil, fmt.Errorf("look for used trade keys: %d keys from index %d on", count, first)
	}
	keys, secrets, indices := make([]string, count), make(map[string]mostro.Secret), make(map[string]uint32)
	for i := range keys {
		key, err := mostro.DeriveKey(c.cfg.Keys.Mnemonic, first+uint32(i))
		if err != nil {
			return nil, fmt.Errorf("look for used trade keys: %w", err)
		}
		keys[i], secrets[key.Public()], indices[key.Public()] = key.Public(), key, first+uint32(i)
	}
	answered := make(chan []uint32, 1)
	var once sync.Once
	sub := c.link.subscribe(&subscription{filters: c.mail(keys), handle: func(events []*nostr.Event) {
		once.Do(func() {
			var used []uint32
			for _, ev := range events {
				to := ev.Tags.Find("p")
				if to == nil || indices[to[1]] == 0 || slices.Contains(used, indices[to[1]]) {
					continue
				}
				if _, err := mostro.OpenReply(ev, secrets[to[1]], c.node); err == nil {
					used = append(used, indices[to[1]])
				}
			}
			slices.Sort(used)
			answered <- used
		})
	}})
	defer c.link.unsubscribe(sub)
	select {
	case used := <-answered:
		return used, nil
	case <-c.link.done:
		return nil, fmt.Errorf("look for used trade keys: %w", ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("look for used trade keys: %w", c.link.because(ctx.Err()))
	}
}
