package main

import (
	"fmt"
	"net"
	"net/url"
	"slices"

	"mostro/relay/mirror"
)

// checkOwn refuses a node that would trust, follow or copy to itself. Settings that were taken once go to harmful.
func (l *loaded) checkOwn(pubkey string) error {
	for path, list := range map[string][]mirror.Followed{"federation.follow": l.Federation.Follow, "federation.platforms": l.Federation.Platforms} {
		if slices.ContainsFunc(list, func(f mirror.Followed) bool { return f.Pubkey == pubkey }) {
			return l.problemOf(path, "names this node itself", "leave its own key out")
		}
	}
	if slices.Contains(l.Price.Nostr.Nodes, pubkey) {
		return l.problemOf("price.providers.nostr.trusted_nodes", "names this node itself", "leave its own key out")
	}
	harms := func(path, what, remedy string) {
		l.harmful = append(l.harmful, problem{l.origin[path], path, what, remedy})
	}
	if l.Federation.isReplica(pubkey) {
		harms("federation.replicas", "names this node itself", "name the key that the replica says when it starts; each has a data directory and a key of its own")
	}
	for _, address := range l.Nostr.Relays {
		if l.isOwn(address) {
			harms("nostr.relays", fmt.Sprintf("names this node's own relay, %.80s", address), "leave it out: its own relay always has its events")
		}
	}
	return nil
}

// isOwn tells whether an address of nostr.relays leads to this node's own relay.
func (s *Settings) isOwn(address string) bool {
	public := s.Relay.URL
	if relayAddress(&public) == nil && public == address {
		return true
	}
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	at := dialable(s.Relay.Listen)
	host, port, err := net.SplitHostPort(at)
	return u.Host == at || err == nil && u.Port() == port && loopback(host) && loopback(u.Hostname())
}
