package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	"mostro/relay"
	"mostro/relay/store"
)

// RelaySettings say what the relay is, whom it serves and how much of everything it gives. The
// limits are the relay's own type, so that what is set, enforced and advertised is one value.
type RelaySettings struct {
	Listen      string
	URL         string
	Description string
	Contact     string
	Icon        string

	Reads          relay.PrivateReads
	Profile        string
	OnlyAllowed    bool
	Allow, Deny    []string // public keys, hex
	TrustedProxies []netip.Prefix

	EventsPerSecond, EventsBurst       int64
	KeyEventsPerSecond, KeyEventsBurst int64
	DuplicatesPerSecond                int64
	DeletionsPerHour, DeletionsBurst   int64

	MaxAgeDays, MaxWrapAgeDays int64
	QueryMilliseconds          int64
	QueueSeconds               int64
	MaxFuture, MaxOrderFuture  int64 // seconds
	MinFreeMiB, MinFreePercent int64
	HeaderSeconds              int64
	HandshakeSeconds           int64
	SilenceSeconds             int64
	AuthSeconds                int64
	IndexMiB, MaxIndexMiB      int64
	Retention                  []relay.Retention
	ContentOf                  map[int]int // bytes, by kind
	Limits                     relay.Limits
}

func (s *RelaySettings) keys() []key {
	l := &s.Limits
	return []key{
		{"relay.listen", &hostValue{to: &s.Listen}, `"127.0.0.1:7000"`, "",
			"Address that the relay serves on. Put a TLS proxy in front of it for the world."},
		{"relay.url", &urlValue{&s.URL, []string{"wss", "ws"}}, `""`, "",
			"Public address of the relay, as clients dial it: wss://... Told to clients in kind 10002, and what they authenticate to. Empty: ws://<relay.listen>."},
		{"relay.description", &textValue{to: &s.Description, max: maxText}, `"Nostr relay with a built-in escrow for bitcoin trades"`, "", "Of the relay (NIP-11)."},
		{"relay.contact", &textValue{to: &s.Contact, max: maxText}, `""`, "", "Of the operator, an address (NIP-11)."},
		{"relay.icon", &textValue{to: &s.Icon, max: maxText}, `""`, "", "Address of a picture of the relay (NIP-11)."},

		{"relay.private_reads", &readsValue{&s.Reads}, `"default"`, "",
			"Who reads messages and gift wraps (kinds 4, 14, 1059, 21059). default: whoever names a recipient or an author who is no Mostro, as today's clients do, and whoever authenticates as a party. strict: only who authenticates as a party; today's clients then get no messages. open: everybody reads everything; today's push servers need it."},
		{"relay.profile", &choiceValue{&s.Profile, policies.Profiles()}, `"open"`, "",
			"Kinds of events that are taken. market: what trading needs, and nothing else that fills a disk. open: all that is meant for relays."},
		{"relay.only_allowed", &boolValue{&s.OnlyAllowed}, "false", "",
			"Takes events only from the keys in allow_pubkeys, from those that an administrator has allowed (NIP-86), from administrators and from followed Mostros. Messages and gift wraps are taken from everybody: each trade has its own keys."},
		{"relay.allow_pubkeys", &pubkeysValue{&s.Allow}, "[]", "", "For only_allowed. npub1... or hex."},
		{"relay.deny_pubkeys", &pubkeysValue{&s.Deny}, "[]", "", "Keys whose events are refused. npub1... or hex. Administrators can ban more while the node runs (NIP-86)."},
		{"relay.trusted_proxies", &networksValue{&s.TrustedProxies}, "[]", "",
			"Addresses or networks, such as \"127.0.0.1\" or \"10.0.0.0/8\", of proxies in front of the relay, whose X-Forwarded-For says who the client is. From all others such headers are ignored. Without it all clients behind a proxy share one address, and its rates."},

		{"relay.events_per_second", &intValue{&s.EventsPerSecond, 1, 1_000_000}, "50", "events", "That one address, for IPv6 one /64, may send, on average."},
		{"relay.events_burst", &intValue{&s.EventsBurst, 1, 1_000_000}, "500", "events", "That one address may send at once."},
		{"relay.key_events_per_second", &intValue{&s.KeyEventsPerSecond, 1, 1_000_000}, "20", "events", "That one key may publish, on average. Followed Mostros may publish more."},
		{"relay.key_events_burst", &intValue{&s.KeyEventsBurst, 1, 1_000_000}, "300", "events", "That one key may publish at once."},
		{"relay.duplicates_per_second", &intValue{&s.DuplicatesPerSecond, 1, 1_000_000}, "200", "events", "That are stored already and that one address may send again, on average."},
		{"relay.duplicates_burst", number(&l.DuplicatesBurst, 1, 1_000_000), "5000", "events", "The same, at once."},
		{"relay.deletions_per_hour", &intValue{&s.DeletionsPerHour, 1, 10_000_000}, "1000", "deletions", "Ids and addresses that one address may delete, on average, also such that are not here: that they are deleted is remembered."},
		{"relay.deletions_burst", &intValue{&s.DeletionsBurst, 1, 10_000_000}, "5000", "deletions", "The same, at once."},
		{"relay.min_pow", number(&l.MinPow, 0, 40), "0", "bits", "Proof of work (NIP-13) of every event, at most mostro.pow: today's clients mine for the node only, as many bits as that says."},

		{"relay.max_connections", number(&l.Connections, 1, 1_000_000), "5000", "connections", "Open at once, over all clients. When there are more, the address that has most of them loses its oldest."},
		{"relay.max_half_open", number(&l.HalfOpen, 10, 1_000_000), "2000", "connections", "That are no sessions: without a whole request, idle, or reading a page. When there are more, the address that has most of them loses its oldest."},
		{"relay.max_header_seconds", &intValue{&s.HeaderSeconds, 1, 600}, "5", "seconds", "In which the headers of a request come, also those that ask for a session."},
		{"relay.max_handshake_seconds", &intValue{&s.HandshakeSeconds, 1, 600}, "10", "seconds", "In which a whole request comes, and in which the answer that begins a session is taken."},
		{"relay.max_header_bytes", number(&l.HeaderBytes, 5000, 1<<20), "8192", "bytes", "First line and headers of a request. Proxies with long cookies may need more."},
		{"relay.max_silence_seconds", &intValue{&s.SilenceSeconds, 2, 3600}, "75", "seconds", "Without a sign of life, after which a client is taken for gone. Each is asked for one twice in that time."},
		{"relay.max_queue_bytes", number(&l.QueueBytes, 64<<10, 1<<30), "4194304", "bytes", "That wait for one client to read, 64 more for each frame than it has. One that lets more pile up is cut off."},
		{"relay.max_queue_seconds", &intValue{&s.QueueSeconds, 1, 3600}, "5", "seconds", "In which a client reads the new events that wait for it. One that takes longer is cut off: it would go on with a book of the past. Answers to its own requests it may read as slowly as it wants."},
		{"relay.max_all_queues_bytes", number(&l.AllQueuesBytes, 1<<20, 1<<40), "268435456", "bytes", "Stored events that wait for all clients to read. When there are more, each client of an address that has more than a sixteenth of it gets little at a time; when there are twice as many, those clients are cut off for which most waits."},

		{"relay.max_message_bytes", number(&l.MessageBytes, 16<<10, 512<<10), "131072", "bytes", "Largest message of a client."},
		{"relay.max_fragments", number(&l.Fragments, 1, 100_000), "1000", "fragments", "That one message comes in."},
		{"relay.max_all_messages_bytes", number(&l.AllMessagesBytes, 1<<20, 1<<40), "67108864", "bytes", "Messages over 8 KiB that are on their way in, of all clients. When there are more, only addresses that have less than a sixteenth of it may send such messages."},
		{"relay.max_subscriptions", number(&l.Subscriptions, 20, 10_000), "50", "subscriptions",
			"Open at once on one connection. Clients in the field use up to 20, and some one more for each key that they trade with."},
		{"relay.max_subscription_values", number(&l.SubscriptionValues, 1000, 10_000_000), "10000", "values",
			"In all subscriptions of one connection: ids, keys, kinds and tag values, and combinations of them by which events are found. Each needs some hundred bytes."},
		{"relay.max_all_subscriptions", number(&l.AllSubscriptions, 50, 10_000_000), "100000", "subscriptions",
			"Open at once on all connections. When there are more, only addresses that have less than a sixteenth of it may open more."},
		{"relay.max_comparisons", number(&l.Comparisons, 50, 10_000_000), "2000", "subscriptions",
			"Of one address, with which one new event is compared. Connections of an address that has more that could want the event are cut off: they would hold it up for all. Raise it when all clients come through one address, as with Tor."},
		{"relay.max_subid_length", number(&l.SubIDLength, 1, 256), "64", "characters", "Of a subscription's name."},
		{"relay.max_filters", number(&l.Filters, 1, 1000), "10", "filters", "In one request."},
		{"relay.max_filter_values", number(&l.FilterValues, 100, 10_000), "500", "values", "In one list of a filter. Clients name all their trade keys in one."},
		{"relay.max_filter_tags", number(&l.FilterTags, 1, 52), "6", "tag names", "In one filter. Clients ask for offers by five at once: s, k, f, z and y."},
		{"relay.default_limit", number(&l.Results, 1, 100_000), "500", "events", "Stored events for a filter without a limit."},
		{"relay.book_limit", number(&l.BookResults, 1, 100_000), "5000", "events", "The same for filters that ask only for orders, messages or gift wraps: clients ask for all of them."},
		{"relay.max_limit", number(&l.MaxResults, 1, 100_000), "5000", "events", "Most that a filter's own limit can ask for. One number for all kinds, since clients are told one (NIP-11), so that it is at least relay.book_limit; what an answer takes is bounded by relay.max_result_bytes."},
		{"relay.max_result_bytes", number(&l.ResultBytes, 128<<10, 1<<30), "16777216", "bytes", "Stored events for one filter; the oldest are left out."},
		{"relay.max_query_milliseconds", &intValue{&s.QueryMilliseconds, 10, 600_000}, "2000", "milliseconds", "Work for one request, without the time in which the client reads."},
		{"relay.max_auth_keys", number(&l.AuthKeys, 1, 10_000), "64", "keys", "That authenticate on one connection."},
		{"relay.max_auth_age_seconds", &intValue{&s.AuthSeconds, 10, 86_400}, "600", "seconds", "How far the time of a login (NIP-42) may be from this machine's, back or ahead."},
		{"relay.max_negentropy_sessions", number(&l.NegSessions, 0, 1000), "4", "sessions", "Open at once on one connection (NIP-77)."},
		{"relay.max_negentropy_events", number(&l.NegItems, 1, 10_000_000), "200000", "events", "In one such session."},
		{"relay.max_all_negentropy_events", number(&l.AllNegItems, 1000, 1_000_000_000), "2000000", "events", "In all such sessions together, of 40 bytes each. When there are more, only addresses that have less than a sixteenth of it may open sessions."},

		{"relay.max_event_tags", number(&l.EventTags, 100, 10_000), "2000", "tags", "Of one event."},
		{"relay.max_indexed_tags", number(&l.IndexedTags, 10, 10_000), "100", "tags", "Of one message, gift wrap, profile, relay list or event of a Mostro. These are always indexed in memory, where each tag takes some hundred bytes."},
		{"relay.max_tag_bytes", number(&l.TagBytes, 1000, 250_000), "65535", "bytes", "Of all tags of one event."},
		{"relay.max_content_characters", number(&l.ContentLength, 1000, 250_000), "65535", "characters", "Content of one event. Messages of trades need up to 12288."},
		{"relay.max_content_by_kind", &contentValue{&s.ContentOf}, "[]", "bytes", "Shorter contents for some kinds: \"0: 16384\" gives profiles 16 KiB."},
		{"relay.max_age_days", &intValue{&s.MaxAgeDays, 3, 36_500}, "3650", "days", "How old an event may be that comes in."},
		{"relay.max_gift_wrap_age_days", &intValue{&s.MaxWrapAgeDays, 3, 36_500}, "3", "days", "The same for gift wraps, which clients date back by up to two days."},
		{"relay.max_future_seconds", &intValue{&s.MaxFuture, 60, 86_400}, "900", "seconds", "How far in the future an event may be that comes in."},
		{"relay.max_order_future_seconds", &intValue{&s.MaxOrderFuture, 1, 86_400}, "60", "seconds", "The same for orders, ratings, terms and disputes of followed Mostros: the one with the latest time counts."},

		{"relay.retention", &retentionValue{&s.Retention}, `["4,14,1059: 90"]`, "days",
			"How long events of some kinds are kept, after their time: \"4,14,1059: 90\". \"*\" stands for all kinds that no other entry names. The node's own events stay as long as [expiration] says, and messages of running trades until they end. Messages are kept 30 days at least, [] keeps everything."},
		{"relay.max_events", number(&l.Events, 1000, 1_000_000_000), "2000000", "events",
			"Kept altogether; each needs some 300 bytes of memory, or more of the disk (see relay.index_memory_mib). When there are more, the oldest go, but none of this node, of followed Mostros or of the last 30 days' messages (the last 3 days' and those of its own trades, while messages are more than two thirds of all: then nothing else goes); when that is not enough, new ones from outside are refused."},
		{"relay.max_events_per_key", number(&l.EventsPerKey, 100, 1_000_000_000), "10000", "events", "Kept of one key. Followed Mostros may have more."},
		{"relay.max_deletions", number(&l.Deletions, 10, 1_000_000_000), "2000000", "deletions",
			"Remembered altogether, of about 100 bytes of disk each, so that nothing deleted comes back. When there are more, those of the oldest events are forgotten, and events from outside that are as old are refused from then on. Those of the last days stay (relay.max_gift_wrap_age_days and one more); when they alone are twice as many, deletions are refused."},
		{"relay.index_memory_mib", &intValue{&s.IndexMiB, 1, 1_000_000}, "256", "MiB",
			"Memory for the index of stored events. When it is full, the oldest are indexed on disk, where they are found more slowly; never orders, messages, profiles and what else a trade needs, so that these may take more."},
		{"relay.max_index_memory_mib", &intValue{&s.MaxIndexMiB, 1, 1_000_000}, "1024", "MiB",
			"Memory of the index, for what is always in it too, above which events from outside are refused and the oldest go, but none of those that relay.max_events keeps."},
		{"relay.min_free_mib", &intValue{&s.MinFreeMiB, 0, 100_000_000}, "2048", "MiB",
			"Free space of the disk below which events from outside, new orders and takes are refused; running trades go on. With less than 96 MiB, when a reserve of 192 is used up too, the node ends and says so. 0 leaves it to relay.min_free_percent."},
		{"relay.min_free_percent", &intValue{&s.MinFreePercent, 0, 100}, "0", "per cent",
			"The same as a part of the disk; the larger of the two counts. It is off because a tenth of the disk of a Bitcoin node is more than any store needs. With 0 for both nothing is ever refused, and a full disk kills the node."},
	}
}

// check checks values that depend on each other.
func (s *RelaySettings) check(wrong func(path, what, remedy string)) {
	above := func(path string, value int64, other string, most int64) {
		if value > most {
			wrong(path, fmt.Sprintf("is %d, above %s, %d", value, other, most), "lower it or raise the other")
		}
	}
	l := &s.Limits
	above("relay.max_order_future_seconds", s.MaxOrderFuture, "relay.max_future_seconds", s.MaxFuture)
	above("relay.max_gift_wrap_age_days", s.MaxWrapAgeDays, "relay.max_age_days", s.MaxAgeDays)
	above("relay.max_header_seconds", s.HeaderSeconds, "relay.max_handshake_seconds", s.HandshakeSeconds)
	above("relay.max_content_characters", int64(l.ContentLength), "relay.max_message_bytes", int64(l.MessageBytes))
	above("relay.index_memory_mib", s.IndexMiB, "relay.max_index_memory_mib", s.MaxIndexMiB)
	above("relay.default_limit", int64(l.Results), "relay.max_limit", int64(l.MaxResults))
	above("relay.book_limit", int64(l.BookResults), "relay.max_limit", int64(l.MaxResults))
}

// tradeContent is how many characters of content a message of a trade can have: 4 KiB of text, encrypted twice.
const tradeContent = 12 << 10

// checkTraders finds limits by which messages of traders would be refused, also those that release or cancel.
func (s *RelaySettings) checkTraders(pow int64, harms func(path, what, remedy string)) {
	const refused = ": messages of traders to this node would be refused, and trades stand still"
	if least := int64(s.Limits.MinPow); least > pow {
		harms("relay.min_pow", fmt.Sprintf("is %d, above mostro.pow, %d, which clients are told and mine%s", least, pow, refused), "raise mostro.pow as well")
	}
	if most := s.Limits.ContentLength; most < tradeContent {
		harms("relay.max_content_characters", fmt.Sprintf("is %d%s", most, refused), fmt.Sprintf("set it to %d or more, and shorten other kinds with relay.max_content_by_kind", tradeContent))
	}
	for _, kind := range []int{nostr.KindDirectMessage, nostr.KindGiftWrap} {
		if most, ok := s.ContentOf[kind]; ok && most < tradeContent {
			harms("relay.max_content_by_kind", fmt.Sprintf("gives kind %d %d bytes%s", kind, most, refused), fmt.Sprintf("give it %d or more", tradeContent))
		}
	}
}

// limits are the relay's limits as set.
func (s *RelaySettings) limits() relay.Limits {
	l := s.Limits
	l.DuplicatesPerSecond = float64(s.DuplicatesPerSecond)
	l.QueryTime = time.Duration(s.QueryMilliseconds) * time.Millisecond
	l.IndexBytes = int(s.MaxIndexMiB) << 20
	l.QueueTime = seconds(s.QueueSeconds)
	l.HeaderTime, l.HandshakeTime, l.AuthWindow = seconds(s.HeaderSeconds), seconds(s.HandshakeSeconds), seconds(s.AuthSeconds)
	l.Silence = seconds(s.SilenceSeconds)
	l.Past, l.WrapPast = days(s.MaxAgeDays), days(s.MaxWrapAgeDays)
	l.Future, l.OrderFuture = seconds(s.MaxFuture), seconds(s.MaxOrderFuture)
	return l
}

// space is the guard of the event store. Each minimum is one that the operator wants to hold, so the
// larger counts.
func (s *RelaySettings) space(reserve uint64) store.Space {
	return store.Space{Rule: policies.FreeSpace(uint64(s.MinFreeMiB)<<20, float64(s.MinFreePercent), reserve, store.CriticalFree), Reserve: reserve}
}

func days(n int64) time.Duration { return time.Duration(n) * 24 * time.Hour }

// number is a whole number that the relay keeps as an int.
func number(to *int, least, most int) value {
	return &numberValue{to: to, min: int64(least), max: int64(most)}
}

type numberValue struct {
	to       *int
	min, max int64
}

func (v *numberValue) set(l literal) error {
	n := int64(*v.to)
	err := (&intValue{&n, v.min, v.max}).set(l)
	*v.to = int(n)
	return err
}

func (v *numberValue) takes() string { return (&intValue{nil, v.min, v.max}).takes() }

// choiceValue is one of some words.
type choiceValue struct {
	to    *string
	words []string
}

func (v *choiceValue) set(l literal) error {
	if l.kind != aString || !slices.Contains(v.words, l.text) {
		return fmt.Errorf("is %.40s, want %s", quoted(l), v.takes())
	}
	*v.to = l.text
	return nil
}

func (v *choiceValue) takes() string { return strings.Join(v.words, " or ") }

// readsValue is a mode of private reads.
type readsValue struct{ to *relay.PrivateReads }

func (v *readsValue) set(l literal) error {
	if err := wants(aString, l); err != nil {
		return err
	}
	mode, err := relay.ParsePrivateReads(l.text)
	if err != nil {
		return fmt.Errorf("is %.40s, want %s", quoted(l), v.takes())
	}
	*v.to = mode
	return nil
}

func (v *readsValue) takes() string { return "default, strict or open" }

// networksValue is a list of addresses and networks.
type networksValue struct{ to *[]netip.Prefix }

func (v *networksValue) set(l literal) error {
	items, err := list(l)
	if err != nil {
		return err
	}
	var networks []netip.Prefix
	for _, item := range items {
		network, err := netip.ParsePrefix(item)
		if address, plain := netip.ParseAddr(item); plain == nil {
			address = address.Unmap().WithZone("")
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("has %.80q, want an address or a network such as \"10.0.0.0/8\"", item)
		case network.Bits() == 0:
			return fmt.Errorf("has %q: then anybody could claim any address", item)
		}
		networks = append(networks, network.Masked())
	}
	*v.to = networks
	return nil
}

func (v *networksValue) takes() string { return "" }

// byKinds reads "KINDS: NUMBER". nil kinds stand for "*".
func byKinds(text string, least, most int64) (kinds []int, n int64, err error) {
	left, right, ok := strings.Cut(text, ":")
	n, err = strconv.ParseInt(strings.TrimSpace(right), 10, 64)
	if !ok || err != nil || n < least || n > most {
		return nil, 0, fmt.Errorf("has %.80q, want KINDS: NUMBER with a number from %d to %d", text, least, most)
	}
	if strings.TrimSpace(left) == "*" {
		return nil, n, nil
	}
	for word := range strings.SplitSeq(left, ",") {
		kind, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
		if err != nil || slices.Contains(kinds, int(kind)) {
			return nil, 0, fmt.Errorf("has %.80q, want kinds as numbers, each once, with commas between them", text)
		}
		kinds = append(kinds, int(kind))
	}
	return kinds, n, nil
}

// retentionValue is a list of "KINDS: DAYS".
type retentionValue struct{ to *[]relay.Retention }

const minMessageDays = 30 // longer than any trade is under way

func (v *retentionValue) set(l literal) error {
	items, err := list(l)
	if err != nil {
		return err
	}
	var rules []relay.Retention
	var named []int
	others := false
	for _, item := range items {
		kinds, n, err := byKinds(item, 1, 36_500)
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			switch {
			case slices.Contains(named, kind):
				return fmt.Errorf("names kind %d twice", kind)
			case n < minMessageDays && (kind == 4 || kind == 14 || kind == 1059):
				return fmt.Errorf("has %q: messages of running trades could be lost, want %d days or more for kind %d", item, minMessageDays, kind)
			}
		}
		if kinds == nil {
			if others {
				return errors.New(`names "*" twice`)
			}
			others = true
			if n < minMessageDays {
				return fmt.Errorf("has %q: want %d days or more for all others", item, minMessageDays)
			}
		}
		named = append(named, kinds...)
		rules = append(rules, relay.Retention{Kinds: kinds, For: days(n)})
	}
	*v.to = rules
	return nil
}

func (v *retentionValue) takes() string { return `list of "KINDS: DAYS"` }

// contentValue is a list of "KINDS: BYTES".
type contentValue struct{ to *map[int]int }

func (v *contentValue) set(l literal) error {
	items, err := list(l)
	if err != nil {
		return err
	}
	sizes := make(map[int]int)
	for _, item := range items {
		kinds, n, err := byKinds(item, 0, 250_000)
		if err != nil {
			return err
		}
		if kinds == nil {
			return fmt.Errorf("has %q: relay.max_content_characters is for all kinds", item)
		}
		for _, kind := range kinds {
			sizes[kind] = int(n)
		}
	}
	*v.to = sizes
	return nil
}

func (v *contentValue) takes() string { return `list of "KINDS: BYTES"` }
