package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"mostro/relay/mirror"
)

// FederationSettings name the other Mostros that this one has to do with.
type FederationSettings struct {
	Follow    []mirror.Followed
	Platforms []mirror.Followed
	Peers     []netip.Prefix
	Replicas  []string // public keys, hex

	OrphanedHours int64
	HideOrphaned  bool
	HideExpired   bool
	MaxEvents     int64
	MaxMiB        int64
	MaxOffers     int64
}

func (s *FederationSettings) keys() []key {
	return []key{
		{"federation.follow", &followValue{to: &s.Follow}, "[]", "",
			"Other Mostros, \"KEY\" or \"KEY@RELAY,RELAY\" with npub1... or hex and wss://... Their orders, ratings, terms, disputes, development fees and rates are copied from there, and taken here when they publish them; those of all others are refused (kinds 0 and 10002 are everybody's). Clients here can trade with them: messages are carried both ways. Without a relay, their own list (kind 10002) is looked for on the relays that are known, and they are followed to where they move. A relay that shows messages to their parties only (relay.private_reads = \"strict\") hands over no answers for clients here, unless it lists this node's key in federation.replicas."},
		{"federation.platforms", &followValue{to: &s.Platforms, named: true}, "[]", "",
			"Marketplaces of other kinds whose offers (NIP-69) are copied, \"NAME:KEY@RELAY\", such as lnp2pbot or robosats."},
		{"federation.peers", &networksValue{&s.Peers}, "[]", "",
			"Addresses or networks of followed Mostros and of replicas, which carry many people's messages: they are exempt from what limits one address, such as relay.events_per_second, and from pauses after what is refused, and a small part of what is done for them counts."},
		{"federation.replicas", &pubkeysValue{&s.Replicas}, "[]", "",
			"Keys of this node's replicas (mostro serve --replica-of), npub1... or hex. Who authenticates with one reads everything, messages too. With relay.private_reads = \"strict\" also the keys of other Mostros that carry messages for their clients, or these get no answers."},
		{"federation.orphaned_hours", &intValue{&s.OrphanedHours, 0, 8760}, "24", "hours",
			"Without news of a followed Mostro (kind 38385) for so long, its offers are orphaned. 0: never."},
		{"federation.hide_orphaned", &boolValue{&s.HideOrphaned}, "false", "",
			"Leaves orphaned offers out of what the relay answers and of the book of everybody (GET /offers). Else they are marked there."},
		{"federation.hide_expired", &boolValue{&s.HideExpired}, "false", "",
			"The same for offers of others whose time has passed and that are still kept."},
		{"federation.max_events", &intValue{&s.MaxEvents, 100, 10_000_000}, "200000", "events", "Kept of one followed key."},
		{"federation.max_mib", &intValue{&s.MaxMiB, 1, 100_000}, "256", "MiB", "Kept of one followed key."},
		{"federation.max_offers", &intValue{&s.MaxOffers, 10, 100_000}, "100", "offers",
			"Pending ones kept of one followed key in any case, the newest. More are kept as long as those of all, with the node's own, are no more than relay.default_limit: a plain question shows so many of the newest, whoever made them. Where they are more, who has few keeps them all and the others share the rest, so that nobody who is followed fills an answer at the others' expense. Of whom more are left out, mostro peers tells."},
	}
}

// checkRelays finds relays that cannot be reached, and keys that are two things at once.
func (s *Settings) checkRelays(wrong func(path, what, remedy string)) {
	for _, p := range s.Federation.Platforms {
		if slices.ContainsFunc(s.Federation.Follow, func(f mirror.Followed) bool { return f.Pubkey == p.Pubkey }) {
			wrong("federation.platforms", fmt.Sprintf("names %s, which federation.follow names as a Mostro", p.Pubkey), "leave it in one of them")
		}
	}
	if s.Network.Proxy != "" {
		return
	}
	check := func(path string, urls []string) {
		for _, text := range urls {
			if u, err := url.Parse(text); err == nil && strings.HasSuffix(u.Hostname(), ".onion") {
				wrong(path, fmt.Sprintf("names %.80s, an onion service, which only a proxy reaches", text), "set network.proxy, such as socks5h://127.0.0.1:9050")
			}
		}
	}
	check("nostr.relays", s.Nostr.Relays)
	for _, f := range s.Federation.Follow {
		check("federation.follow", f.Relays)
	}
	for _, f := range s.Federation.Platforms {
		check("federation.platforms", f.Relays)
	}
}

func (s *FederationSettings) policy() mirror.Policy {
	return mirror.Policy{
		OrphanedAfter: time.Duration(s.OrphanedHours) * time.Hour, HideOrphaned: s.HideOrphaned, HideExpired: s.HideExpired,
	}
}

// isReplica tells whether a key is that of a replica.
func (s *FederationSettings) isReplica(pubkey string) bool {
	return slices.Contains(s.Replicas, pubkey)
}

// peer is isReplica, nil without replicas: the relay asks about each key of a connection for each event that it sends there.
func (s *FederationSettings) peer() func(pubkey string) bool {
	if len(s.Replicas) == 0 {
		return nil
	}
	return s.isReplica
}

// relaysValue is a list of relays.
type relaysValue struct{ to *[]string }

func (v *relaysValue) set(l literal) error {
	urls, err := list(l)
	if err != nil {
		return err
	}
	for i := range urls {
		if err := relayAddress(&urls[i]); err != nil {
			return err
		}
	}
	*v.to = urls
	return nil
}

func (v *relaysValue) takes() string { return "" }

// relayAddress checks one address of a relay.
func relayAddress(address *string) error {
	one := urlValue{address, []string{"wss", "ws"}}
	if err := one.set(literal{kind: aString, text: *address}); err != nil || *address == "" {
		return fmt.Errorf("has %.80q, want an address that starts with wss:// or ws:// and has a host, no user and nothing after a question mark", *address)
	}
	*address = mirror.Address(*address)
	return nil
}

// followValue is a list of keys with the relays where they publish, after a name where the list is
// of platforms.
type followValue struct {
	to    *[]mirror.Followed
	named bool
}

func (v *followValue) set(l literal) error {
	items, err := list(l)
	if err != nil {
		return err
	}
	var all []mirror.Followed
	for _, item := range items {
		var f mirror.Followed
		rest := item
		if v.named {
			name, after, ok := strings.Cut(item, ":")
			if !ok || name == "" || strings.ContainsAny(name, "@/") || !strings.Contains(after, "@") {
				return fmt.Errorf("has %.80q, want NAME:KEY@RELAY", item)
			}
			if strings.EqualFold(name, "mostro") { // its offers would be shown as such that can be taken here
				return fmt.Errorf("has %.80q: a Mostro belongs into federation.follow", item)
			}
			f.Platform, rest = name, after
		}
		key, relays, listed := strings.Cut(rest, "@")
		var keys []string
		if err := (&pubkeysValue{&keys}).set(literal{kind: aList, items: []string{key}}); err != nil {
			return err
		}
		f.Pubkey = keys[0]
		if listed {
			for url := range strings.SplitSeq(relays, ",") {
				url = strings.TrimSpace(url)
				if err := relayAddress(&url); err != nil {
					return err
				}
				f.Relays = append(f.Relays, url)
			}
		}
		if slices.ContainsFunc(all, func(other mirror.Followed) bool { return other.Pubkey == f.Pubkey }) {
			return fmt.Errorf("names %s twice", key)
		}
		all = append(all, f)
	}
	*v.to = all
	return nil
}

func (v *followValue) takes() string { return "" }
