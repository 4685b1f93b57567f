package main

import (
	"fmt"
	"strings"
	"testing"
)

// probe is something that ended, fooled, filled or held up a relay on khatru, eventstore and go-nostr, or one of the
// others in the field.
type probe struct {
	what  string
	tests []string // that do it to this relay; "Test/name" is a case of one, and "... text" one in its table
	none  string   // why there is nothing to test here
}

// probes are all of them: first what strangers did to a relay from outside, then what its parts did by themselves. Whoever finds
// one adds a line.
var probes = []probe{
	// Probed from outside.
	{"a d tag without a value ends the process", []string{"TestC1EmptyDTag"}, ""},
	{"messages are read past a gate by ids, by everything, by other tags, by a kind that wraps around", []string{"TestC1PrivateReads", "TestC3Leaks"}, ""},
	{"messages are read by ids in upper case", []string{"TestC1IDPrefixes", "TestC3Messages"}, ""},
	{"messages are read by the beginning of an id, with zeros behind it", []string{"TestC1IDPrefixes"}, ""},
	{"messages are counted", []string{"TestCount", "TestC3WhoTalksToWhom"}, ""},
	{"messages are read live by a filter with limit 0, which no policy is asked about", []string{"TestC1PrivateReads", "TestC1LimitZeroIsAsked"}, ""},
	{"a stranger deletes what he has not written, by id or by an address of the future", []string{"TestC1StrangersDeletion", "TestC3Deletions"}, ""},
	{"what was deleted comes back", []string{"TestC1DeletedStaysDeleted", "TestForget", "TestCrash"}, ""},
	{"an event of the last second of 32 bits wins for ever", []string{"TestC1Shape ... last second of 32 bit", "TestC3FutureAndPast"}, ""},
	{"a time of 33 bits, a kind of 17, a content of 70 kB", []string{"TestC1Shape ... time of 33 bits", "TestC1Shape ... kind 66595", "TestC1Shape ... content of 70 kB"}, ""},
	{"kind -1 is taken and wraps around", []string{"TestC1Shape ... kind -1"}, ""},
	{"a key in upper case is taken and served in lower case", []string{"TestC1Shape ... upper-case pubkey", "TestC3ServedBytes"}, ""},
	{"what has expired is taken and served", []string{"TestC1Shape ... expired", "Test2b11Expiration"}, ""},
	{"20,000 filters in one request all run", []string{"TestC3FilterExplosion", "TestC3Floods/20,000 filters"}, ""},
	{"a subscription of the same name 500 times", []string{"TestC1SameSubscriptionID"}, ""},
	{"names of subscriptions of 300 kB, as numbers, empty", []string{"TestC1MessageSize", "TestC1Frames"}, ""},
	{"100,000 arrays in each other; kinds as 1059.0, 1.059e3, 1e20", []string{"TestC1Frames ... [\"EVENT\",{\"kind\":1.059e3}]"}, ""},
	{"the name of a message is written with escapes", []string{"TestC1EscapedLabels"}, ""},
	{"one who does not read stops all publishers, also when he sends signs of life", []string{"TestC1SlowReader", "TestC3Floods/readers that do not read"}, ""},
	{"a login for another address is relayed, with a forged header", []string{"TestC3Auth"}, ""},
	{"2,000 messages at once are handled in another order", []string{"TestC1Order", "TestC3OnePacket"}, ""},
	{"64 versions of one address at once", []string{"TestC1ConcurrentRevisions", "TestVersionsAtOnce"}, ""},

	// Read in the code.
	{"subscriptions are walked while they change", []string{"TestDifferential", "Test2b9StoredAndLive"}, ""}, // with the race detector
	{"X-Forwarded-For is believed, and fills the memory of rates", []string{"TestC1ForwardedHeaders", "TestC3TrustedProxies", "TestRateByIPForgets"}, ""},
	{"a challenge is short", []string{"TestC3Auth"}, ""},
	{"one connection holds one key", []string{"TestC3Auth"}, ""},
	{"a call to the management without a u tag, or of any size", []string{"TestManagementAuthorization", "TestC3Requests"}, ""},
	{"ids and keys are compared by 8 bytes", []string{"TestC1IDPrefixes"}, ""},
	{"a reconciliation loads millions of events", []string{"TestC3NegentropyTogether", "TestC3Floods/negentropy"}, ""},
	{"a description or page shows what a request says", []string{"TestC3Headers"}, ""},
	{"a collection of old values brings deleted rows back", nil, "no part collects them: events are rows of Badger's tree, and nobody calls RunValueLogGC"},

	// One frame that ends the process.
	{"C1, C4: a tag with fewer elements than are read", []string{"TestC1EmptyDTag", "TestC1Shape ... tag without elements", "TestPublishAndRead"}, ""},
	{"C2: a message of negentropy that is no array", []string{"TestC1Frames ... ,\"FOO\"", "FuzzMessage"}, ""},
	{"C3: a bound of negentropy whose length overflows", []string{"TestC1Frames", "TestC1ReconcileBadMessages"}, ""},
	{"a key or signature that is too long for libsecp256k1", []string{"TestC1Shape ... pubkey of 33 bytes", "TestC1Shape ... signature of 65 bytes"}, ""},

	// Wrong answers.
	{"b1: an address deletes its neighbors", []string{"Test2b1AddressNeighbors"}, ""},
	{"b2: a tag finds those that begin with it", []string{"Test2b2TagPrefixes"}, ""},
	{"b3: ids make the rest of a filter void", []string{"Test2b3IDsWithMore"}, ""},
	{"b4: an event comes once for each value", []string{"Test2b4OnceEach"}, ""},
	{"b5: a deletion is not remembered", []string{"TestC1DeletedStaysDeleted"}, ""},
	{"b5: a deletion is deleted", []string{"TestC1DeletedStaysDeleted"}, ""},
	{"b5: a deletion by address does not work for replaceable kinds and empty d tags", []string{"TestC1DeletedStaysDeleted", "TestC3Deletions"}, ""},
	{"b5: a recipient cannot delete his gift wraps", []string{"TestC1DeletedStaysDeleted"}, ""},
	{"b5: a deletion goes past bans and rates", []string{"Test2b5RefusedDeletions"}, ""},
	{"b6: each event costs a look at all deletions", []string{"Test2b6ManyDeletions"}, ""},
	{"b7: old versions and known events are sent out again", []string{"Test2b7StaleAndDuplicate"}, ""},
	{"b8: a name used again gives two subscriptions, and a refused filter half of one", []string{"TestC1SameSubscriptionID"}, ""},
	{"b8: there are as many subscriptions as one wants", []string{"TestC1SubscriptionCap", "TestC3AllSubscriptions", "TestC3SubscriptionValues"}, ""},
	{"b9: something is lost or doubled between stored and live", []string{"Test2b9StoredAndLive", "TestDifferential"}, ""},
	{"b9: messages of one client overtake each other", []string{"TestC1Order", "TestC3OnePacket"}, ""},
	{"b10: an event that comes eight times at once is stored twice", []string{"Test2b10ConcurrentDuplicates", "TestVersionsAtOnce"}, ""},
	{"b10: the newest of several versions at once is refused", []string{"TestC1ConcurrentRevisions", "TestVersionsAtOnce"}, ""},
	{"b11: expired events are served until a sweep, which holds the others up", []string{"Test2b11Expiration", "TestRestartKeepsExpiry"}, ""},
	{"b12: kinds from 40,000 on replace each other", []string{"Test2b12HighKinds"}, ""},
	{"b12: an event of 65,535 characters or bytes of tags cannot be stored", []string{"TestC1Shape", "Test2b12LongTags"}, ""},
	{"b13: sketches are empty", []string{"TestCountSketches", "TestSketchOffset"}, ""},
	{"b13: a COUNT that is refused gets a NOTICE and a zero", []string{"Test2b13RefusedCount", "TestSubscriptionIDInPolicies"}, ""},
	{"b13: counting everything decodes everything", []string{"TestC3QueryTime", "TestC3Floods/counting everything"}, ""},
	{"b14: a name that needs escapes gives empty frames", []string{"TestC1EscapedSubscriptionID"}, ""},
	{"b14: a description or a session only for one spelling of a header", []string{"TestInformation", "TestUpgradeSpellings"}, ""},
	{"b15: a connection ends twice", []string{"TestDisconnectEndsSubscriptions", "TestConnectionCap"}, ""},
	{"b16: the end loses what is being written, or uses a closed store", []string{"TestCloseFinishesWork", "TestCloseGivesUp", "TestClosed"}, ""},
	{"b17: a broken answer ends like a whole one", []string{"Test2b17BrokenAnswers", "TestDamage"}, ""},

	// What costs too much.
	{"a query by p, s, f or y reads a whole kind", []string{"BenchmarkStored", "TestSides"}, ""},
	{"each event is compared with each subscription, and encoded for each", []string{"BenchmarkLive", "TestC3Comparisons"}, ""},
	{"authors times kinds is one search each", []string{"TestC3SubscriptionValues", "TestC3Floods/wide filters"}, ""},
	{"a search stays open while a slow reader reads", []string{"TestC1SlowReaderOfStored", "TestReadWhileCooling"}, ""},
	{"each message is a process of its own", []string{"TestC3FilterExplosion"}, ""},
	{"the limits that are told are not held", []string{"TestLimitsAsTold"}, ""},
	{"compression, sonic, LMDB, its sane defaults", nil, "none of them is used: TestC3Frames refuses compressed frames, and rates are settings"},
}

// TestProbes: each probe has a test that there is.
func TestProbes(t *testing.T) {
	tests := sourceOfTests(t)
	seen := make(map[string]bool)
	for _, p := range probes {
		if seen[p.what] || len(p.tests) == 0 && p.none == "" {
			t.Errorf("%s: twice, or without a test and a reason", p.what)
		}
		seen[p.what] = true
		for _, name := range p.tests {
			if !hasTest(tests, name) {
				t.Errorf("%s: there is no test %s", p.what, name)
			}
		}
	}
}

// hasTest reports whether the text of all tests has one of that name, with the case or the words that it is to have.
func hasTest(tests, name string) bool {
	name, words, _ := strings.Cut(name, " ... ")
	name, one, _ := strings.Cut(name, "/")
	_, after, found := strings.Cut(tests, "\nfunc "+name+"(")
	switch {
	case !found:
		return false
	case one != "":
		return strings.Contains(tests, fmt.Sprintf("%q", one))
	}
	body, _, _ := strings.Cut(after, "\n}\n")
	return strings.Contains(body, words)
}
