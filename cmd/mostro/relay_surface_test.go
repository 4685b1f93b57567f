package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// surface is one part of the relay that a stranger reaches: what bounds it, what an operator can set about it, and
// what attacks it.
type surface struct {
	name     string
	limit    string   // in words, with the defaults
	settings []string // keys, without "relay." when they are of the relay
	fixed    string   // what of it no setting changes, and why
	tests    []string // in any package; "Test/name" is a case of one
}

// surfaces lists all of them. Whoever adds one adds a line.
var surfaces = []surface{
	{"slow handshakes and headers", "5 s for headers, 10 s for a request, 8 KiB of headers, 2,000 half-open, 5,000 sessions",
		[]string{"max_header_seconds", "max_handshake_seconds", "max_header_bytes", "max_half_open", "max_connections"},
		"a minute to read an answer, two between requests: pages are short",
		[]string{"TestC3SlowHandshakes", "TestC3SlowBodies", "TestC3ConnectionsOfOneAddress", "TestC3Requests", "FuzzSocket",
			"TestC3Floods/handshakes at a byte a second", "TestC3Floods/bodies at a byte a second", "TestC3Floods/half-open sessions"}},
	{"dead sessions", "75 s without a sign of life, for which each is asked every 30", []string{"max_silence_seconds"}, "",
		[]string{"TestC3DeadSessions", "TestC3Floods/half-open sessions"}},
	{"frames and messages", "128 KiB a message, 1,000 fragments, control frames of 125 bytes and 100 in 10 s, 64 MiB on their way in of all",
		[]string{"max_message_bytes", "max_fragments", "max_all_messages_bytes"}, "control frames (RFC 6455); 30 s for a message",
		[]string{"TestC3Frames", "TestC3Announced", "TestC3RandomBytes", "TestC3LongMessages", "TestC3LongMessagesEnd", "TestC1MessageSize",
			"TestC3Floods/announced gigabytes", "TestC3Floods/parts of one byte", "TestC3Floods/long messages without end"}},
	{"compression", "off", nil, "a compressed kilobyte can be a hundred megabytes, and a relay without it lacks nothing",
		[]string{"TestC3Frames", "TestC3Floods/compressed frames"}},
	{"outgoing queue", "4 MiB, counting 64 bytes more for each frame, or 5 s of live events (a book of 5,000 is more than 512 messages); 256 MiB of stored ones of all", []string{"max_queue_bytes", "max_queue_seconds", "max_all_queues_bytes"},
		"10 s for one write", []string{"TestC1SlowReader", "TestC1SlowReaderOfStored", "TestC3QueueTime", "TestC3QueuesTogether", "TestC3QueuesOfOthers", "TestC3AnswersInParts",
			"TestC3Floods/readers that do not read", "TestC3Floods/big events to readers that do not read"}},
	{"subscriptions, filters, values", "50 subscriptions (one for each trade key), 10 filters, 500 values a list, 6 tag names (offers are asked for by five), names of 64, limit 5,000 (a whole book) of 16 MiB; 10,000 values a connection",
		[]string{"max_subscriptions", "max_filters", "max_filter_values", "max_filter_tags", "max_subid_length", "default_limit", "book_limit", "max_limit",
			"max_subscription_values", "max_all_subscriptions", "max_comparisons"}, "",
		[]string{"TestC3FilterExplosion", "TestC3SubscriptionValues", "TestC3KeptMessages", "TestC3AllSubscriptions", "TestC3Comparisons", "TestC3ComparedOnce", "TestC3LongComparisons", "TestC3SearchesCount", "TestC1SubscriptionCap", "TestC3StrictFilters",
			"TestC3Floods/20,000 filters", "TestC3Floods/wide filters", "TestC3Floods/like subscriptions, and events for them", "TestC3Floods/wide subscriptions, and long events for them"}},
	{"time of a query", "2 s a request, less when it is taken back, turns of 2 ms, 16 MiB an answer, 200,000 events a reconciliation", []string{"max_query_milliseconds", "max_result_bytes",
		"max_negentropy_sessions", "max_negentropy_events", "max_all_negentropy_events"}, "the length of a turn: longer ones keep others waiting, shorter ones cost more than they do",
		[]string{"TestC3QueryTime", "TestC3RequestTime", "TestC3Withdrawn", "TestC3Turns", "TestC3LeastWorked", "TestC3NewAddresses", "TestC3Refusals", "TestC3NegentropyTogether", "TestQueryEnds", "TestC3StepsEnd", "TestC3CoolPlaces", "TestC3ColdRemoved",
			"TestC3Floods/everything from 16 addresses", "TestC3Floods/everything, on a hundred connections", "TestC3Floods/everything, from a new address each time", "TestC3Floods/counting everything", "TestC3Floods/negentropy", "TestC3Floods/searches"}},
	{"signatures", "last and once, after shape, size, proof of work, what is known, rates; as many at once as processors, 64 events a connection",
		[]string{"events_per_second", "events_burst", "duplicates_per_second", "duplicates_burst", "key_events_per_second", "key_events_burst"},
		"the pool: with one processor less the relay takes a fifth less, and addresses take turns",
		[]string{"TestCheckSigned", "TestPolicies", "TestRateByIP", "TestRateByKey", "TestRateOfTags", "TestC3Decryptions", "TestC3Floods/forged signatures", "TestC3Floods/known events", "TestC3Floods/gift wraps to the node from 16 addresses",
			"TestC3Floods/logins whose signatures must be checked, from 16 addresses"}},
	{"proof of work", "0 bits, 0 of a first contact; the committed target counts", []string{"min_pow", "mostro.pow", "mostro.pow_first_contact"}, "",
		[]string{"TestPolicies", "TestMessagesToTheEscrow"}},
	{"authentication", "the address of the settings, 32 bytes of challenge a connection, 10 min, 64 keys", []string{"url", "max_auth_age_seconds", "max_auth_keys"}, "",
		[]string{"TestC3Auth", "TestC3PeerAmongKeys", "TestC1ForwardedHeaders", "TestC3Floods/logins"}},
	{"reads of messages and gift wraps", "to parties and who names one, on output, on every path", []string{"private_reads", "federation.replicas"}, "",
		[]string{"TestC3Leaks", "TestC3LeaksOnSockets", "TestC1PrivateReads", "TestEphemeralGiftWraps"}},
	{"who talks to whom", "no counts, no difference between what is there and what is not", []string{"private_reads"}, "",
		[]string{"TestC3WhoTalksToWhom"}},
	{"deletions", "by the author, gift wraps by the recipient, none of the node's trades; they last; 5,000 at once and 1,000 an hour an address, 2,000,000 remembered",
		[]string{"deletions_per_hour", "deletions_burst", "max_deletions"}, "who may delete what (NIP-09, NIP-62)",
		[]string{"TestForget", "TestForgetInterrupted", "TestC3DeletionsAndRoom", "TestDeletions", "TestC3Deletions", "TestC1StrangersDeletion", "TestC1DeletedStaysDeleted", "TestVanish", "TestCrash", "TestDifferential",
			"TestC3Floods/deletions of what is not there", "TestC3Floods/requests to vanish"}},
	{"replaceable events", "900 s in the future, orders 60 s; the lowest id of one second; the node's own only from inside",
		[]string{"max_future_seconds", "max_order_future_seconds", "max_age_days", "max_gift_wrap_age_days"}, "",
		[]string{"TestC3FutureAndPast", "TestC3StolenKey", "TestC1ConcurrentRevisions", "TestVersionsAtOnce", "TestDifferential"}},
	{"hex and JSON", "lower case, exact lengths, no key twice, 2,000 tags of 64 KiB, 65,535 characters", []string{"max_event_tags", "max_tag_bytes",
		"max_content_characters", "max_content_by_kind", "max_indexed_tags"}, "four arrays and objects in each other: deeper ones are in no event or filter, and are read up to 100 deep to tell for which event they are refused",
		[]string{"TestC3StrictEvents", "TestC3StrictFilters", "TestC3Depth", "TestC3ServedBytes", "TestC3Padded", "TestServedText", "TestC3Messages", "TestSplitArrayDepth", "FuzzMessage"}},
	{"forwarded addresses", "from listed proxies only; IPv6 by /64; 100,000 addresses are remembered", []string{"trusted_proxies"}, "",
		[]string{"TestC3TrustedProxies", "TestC1ForwardedHeaders", "TestRateByIPForgets"}},
	{"storage", "2,000,000 events, 10,000 a key, by kind and age, 1 GiB of index, 2 GiB of disk free",
		[]string{"max_events", "max_events_per_key", "profile", "only_allowed", "allow_pubkeys", "deny_pubkeys", "retention", "index_memory_mib", "max_index_memory_mib", "min_free_mib", "min_free_percent"}, "of messages, while they are a quarter of all, 2,000 at once and 10,000 a day an address: the settings bound what is kept, this shares it out",
		[]string{"TestSpace", "TestFullDisk", "TestDiskFills", "TestC3StoreLimits", "TestIndexGivesBack", "TestMigrateFullDisk", "TestC3MessagesTakeRoom", "TestC3Rations", "TestC3IndexMemory", "TestImportLeavesRoom", "TestRetention", "TestKindsOfAProfile", "TestOnlyAllowed"}},
	{"pages", "a description, a page, management for administrators with 64 KiB of body; nothing of a request comes back", []string{"admin.pubkeys"}, "",
		[]string{"TestC3Headers", "TestC3Requests", "TestC3HalfHandshakes", "TestManagementAuthorization", "TestAuthorizationOnce", "TestBannedGoes", "TestC3CutEarly", "FuzzManagement", "FuzzAuthorization", "TestC3Floods/calls to the management"}},
	{"what other Mostros send", "all verified, only what they sign about trades, 200,000 events and 256 MiB a key", []string{"federation.follow", "federation.max_events", "federation.max_mib"}, "",
		[]string{"TestC3LyingPeer", "TestC3Rollback", "TestC3Storage", "TestC3Flood", "TestC3Large", "TestC3Keys", "TestC3Future", "TestC3FarFuture", "TestC3Silent", "TestC3SlowFrames",
			"TestC3Negentropy", "TestC3NegentropyRefused", "TestC3LargePages", "TestC3FalseCopies", "TestC3Copied", "TestC3Deletions", "TestC3MailFlood", "TestC3Reviews", "TestC3ReviewsRoom", "TestC3Talk",
			"FuzzFrame"}},
	{"what clients have brought to other Mostros", "the newest 1,000 messages of a conversation are compared, 200 at once and then one a second brought; an address has 500 keys; the book of everybody is made once in 2 s",
		nil, "who follows others pays for what their clients ask", []string{"TestC3TalkMemory", "TestC3StrictTalk", "TestC3Direct", "TestC3KeysOfOneAddress", "TestC3PlacesAttack", "TestC3PlacesCarried",
			"TestC3Offers", "TestC3OffersUnread"}},
}

// TestSurfaces: each surface has a limit, settings that there are or a reason for having none, and tests that there
// are; and each setting of the relay that bounds something is in the list.
func TestSurfaces(t *testing.T) {
	tests := sourceOfTests(t)
	defined := func(name string) bool { return strings.Contains(tests, "\nfunc "+name+"(") }
	var s Settings
	known, listed := map[string]bool{}, map[string]bool{}
	for _, k := range s.keys() {
		known[k.path] = true
	}
	for _, x := range surfaces {
		if x.limit == "" || len(x.tests) == 0 || len(x.settings) == 0 && x.fixed == "" {
			t.Errorf("%s lacks a limit, a test, or a setting and a reason for having none", x.name)
		}
		for _, path := range x.settings {
			if !strings.Contains(path, ".") {
				path = "relay." + path
			}
			if listed[path] = true; !known[path] {
				t.Errorf("%s: there is no setting %s", x.name, path)
			}
		}
		for _, name := range x.tests {
			name, one, _ := strings.Cut(name, "/")
			if !defined(name) || one != "" && !strings.Contains(tests, fmt.Sprintf("%q", one)) {
				t.Errorf("%s: there is no test %s %s", x.name, name, one)
			}
		}
	}
	said := []string{"relay.listen", "relay.description", "relay.contact", "relay.icon"} // not limits
	for _, k := range s.Relay.keys() {
		if !listed[k.path] && !slices.Contains(said, k.path) {
			t.Errorf("%s is in no surface", k.path)
		}
	}
}

// sourceOfTests is the text of all test files.
func sourceOfTests(t *testing.T) string {
	t.Helper()
	var all strings.Builder

	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
