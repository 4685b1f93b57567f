package relay

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
)

// TestReports: a report (NIP-56) is kept and found by what and whom it reports, counted and sent out live, in both profiles. It
// does nothing by itself: anybody could take down anybody. An administrator who reads it bans the event or its author (NIP-86).
func TestReports(t *testing.T) {
	for _, profile := range policies.Profiles() {
		kinds, err := policies.Profile(profile)
		if err != nil {
			t.Fatal(err)
		}
		admin, mallory, alice := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
		_, url := start(t, Config{ServiceURL: serviceURL, Admins: []string{publicKey(t, admin)}, Kinds: kinds})
		w, _ := greet(t, url)
		live, _ := greet(t, url)
		scam := signed(t, mallory, nostr.Event{Kind: 0, Content: `{"name":"Mostro support"}`})
		if ok, reason := w.publish(scam); !ok {
			t.Fatal(reason)
		}
		live.write(`["REQ","reports",{"kinds":[1984],"#p":["` + scam.PubKey + `"]}]`)
		live.next()
		report := signed(t, alice, nostr.Event{Kind: 1984, Content: "not the real one", Tags: nostr.Tags{
			{"e", scam.ID, "impersonation"}, {"p", scam.PubKey, "impersonation"}, {"L", "social.nos.ontology"}, {"l", "NS-imp", "social.nos.ontology"}}})
		if ok, reason := w.publish(report); !ok {
			t.Fatalf("profile %s: %s", profile, reason)
		}
		if got := live.event(live.next()); got.ID != report.ID {
			t.Errorf("live: %s", got.ID)
		}
		for _, filter := range []string{
			`{"kinds":[1984]}`, `{"kinds":[1984],"#e":["` + scam.ID + `"]}`, `{"#p":["` + scam.PubKey + `"]}`, `{"kinds":[1984],"authors":["` + report.PubKey + `"]}`, `{"#l":["NS-imp"]}`,
		} {
			found := w.query(filter)
			if len(found) != 1 || found[0].String() != report.String() {
				t.Errorf("profile %s, %s: %v", profile, filter, found)
			}
			if n, _ := w.count(filter); n != 1 {
				t.Errorf("%s: counted %d", filter, n)
			}
		}
		if found := w.query(`{"ids":["` + scam.ID + `"]}`); len(found) != 1 {
			t.Error("a report took away what it reports")
		}
		if ok, reason := w.publish(signed(t, mallory, nostr.Event{Kind: 0, CreatedAt: nostr.Now() + 1})); !ok {
			t.Errorf("who is reported cannot publish: %s", reason)
		}
		// The reporter may take it back, and who is reported may not.
		w.publish(signed(t, mallory, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", report.ID}}}))
		if found := w.query(`{"kinds":[1984]}`); len(found) != 1 {
			t.Error("who was reported has deleted the report")
		}
		if status, _, fault := manage(t, url, admin, `{"method":"banpubkey","params":["`+scam.PubKey+`","reported"]}`, nil); status != 200 {
			t.Error(fault)
		}
		if _, reason := w.publish(signed(t, mallory, nostr.Event{Kind: 0, CreatedAt: nostr.Now() + 2})); !strings.HasPrefix(reason, "blocked: ") {
			t.Errorf("after the ban: %q", reason)
		}
		w.publish(signed(t, alice, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", report.ID}}}))
		if found := w.query(`{"kinds":[1984]}`); len(found) != 0 {
			t.Error("the reporter could not take it back")
		}
	}
}
