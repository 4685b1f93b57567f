package policies

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

const (
	id    = "00000000000000000000000000000000000000000000000000000000000000ff"
	alice = "a000000000000000000000000000000000000000000000000000000000000001"
	node  = "b000000000000000000000000000000000000000000000000000000000000002"
)

// noon is the time in tests.
var noon = time.Unix(1_800_000_000, 0)

func clock() time.Time { return noon }

// event is a well-formed event, changed by change. Its id and signature fit nothing.
func event(change func(ev *nostr.Event)) *nostr.Event {
	ev := &nostr.Event{
		ID: id, PubKey: alice, Sig: strings.Repeat("c", 128),
		Kind: 1, CreatedAt: nostr.Timestamp(noon.Unix()),
	}
	change(ev)
	return ev
}

func same(*nostr.Event) {}

func TestPolicies(t *testing.T) {
	shape := Shape(ShapeLimits{Tags: 3, TagBytes: 20, ContentLength: 10})
	window := TimeWindow(72*time.Hour, 15*time.Minute, clock)
	expired := NotExpired(clock)
	own := OwnKey(node)
	only := func(kinds ...int) Policy {
		return Kinds(func(kind int) bool { return slices.Contains(kinds, kind) })
	}
	marketOnly, err := Profile("market")
	if err != nil {
		t.Fatal(err)
	}
	market, notForRelays := only(marketOnly...), NotForRelays()
	authors := func(allow, deny []string) Policy {
		return Authors(func(pubkey string) (string, bool) { return "spam", slices.Contains(deny, pubkey) },
			func(pubkey string) bool { return allow == nil || slices.Contains(allow, pubkey) })
	}
	wraps := TimeWindow(time.Hour, time.Minute, clock, 1059)
	isAlice, isNode := func(pubkey string) bool { return pubkey == alice }, func(pubkey string) bool { return pubkey == node }
	orders, trusting := ForeignOrders(isAlice, func(string) bool { return false }), ForeignOrders(isAlice, isNode)
	room := func(full bool, stored int) Policy {
		return Room(func() bool { return full }, func(string) int { return stored }, 3, func(pubkey string) bool { return pubkey == node })
	}
	kept := NotOutlived([]Retention{{For: 2 * time.Hour}, {Kinds: []int{1, 4}, For: time.Hour}}, clock)
	sizes := Sizes(map[int]int{0: 3})
	kind := func(kind int) func(*nostr.Event) { return func(ev *nostr.Event) { ev.Kind = kind } }
	pow := PowToEscrow(node, func(pubkey string) bool { return pubkey == alice }, 4, 8)
	to := func(kind int, pubkey string, tags ...nostr.Tag) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			ev.Kind, ev.PubKey, ev.Tags = kind, pubkey, append(nostr.Tags{{"p", node}}, tags...)
		}
	}
	reviews := Reviews(func(ev *nostr.Event) bool { return ev.Tags.FindWithValue("sig", "good") != nil })
	review := func(d, sig string) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			if to(31986, alice, nostr.Tag{"d", d})(ev); sig != "" {
				ev.Tags = append(ev.Tags, nostr.Tag{"sig", sig})
			}
		}
	}
	// worked gives the event an id that starts as given and goes on with ones.
	worked := func(change func(*nostr.Event), id, target string) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			change(ev)
			ev.ID = id + strings.Repeat("1", 64-len(id))
			ev.Tags = append(ev.Tags, nostr.Tag{"nonce", "7", target})
		}
	}
	for _, c := range []struct {
		name   string
		policy Policy
		change func(ev *nostr.Event)
		want   string // start of the message, "" = taken
	}{
		{"shape: well formed", shape, same, ""},
		{"shape: upper-case id", shape, func(ev *nostr.Event) { ev.ID = strings.ToUpper(id) }, "invalid: id"},
		{"shape: short id", shape, func(ev *nostr.Event) { ev.ID = id[1:] }, "invalid: id"},
		{"shape: long pubkey", shape, func(ev *nostr.Event) { ev.PubKey += "aa" }, "invalid: pubkey"},
		{"shape: upper-case pubkey", shape, func(ev *nostr.Event) { ev.PubKey = strings.ToUpper(alice) }, "invalid: pubkey"},
		{"shape: not hex", shape, func(ev *nostr.Event) { ev.PubKey = "g" + alice[1:] }, "invalid: pubkey"},
		{"shape: long signature", shape, func(ev *nostr.Event) { ev.Sig += "00" }, "invalid: sig"},
		{"shape: no signature", shape, func(ev *nostr.Event) { ev.Sig = "" }, "invalid: sig"},
		{"shape: negative kind", shape, func(ev *nostr.Event) { ev.Kind = -1 }, "invalid: kind"},
		{"shape: highest kind", shape, func(ev *nostr.Event) { ev.Kind = 39_999 }, ""},
		{"shape: kind of more than 16 bits", shape, func(ev *nostr.Event) { ev.Kind = 65_536 }, "invalid: kind"},
		{"shape: kind that wraps to 1059", shape, func(ev *nostr.Event) { ev.Kind = 65_536 + 1059 }, "invalid: kind"},
		{"shape: negative time", shape, func(ev *nostr.Event) { ev.CreatedAt = -1 }, "invalid: created_at"},
		{"shape: time of 33 bits", shape, func(ev *nostr.Event) { ev.CreatedAt = math.MaxUint32 + 1 }, "invalid: created_at"},
		{"shape: longest content", shape, func(ev *nostr.Event) { ev.Content = "0123456789" }, ""},
		{"shape: longest content in characters", shape, func(ev *nostr.Event) { ev.Content = "0123456789"[1:] + "語" }, ""},
		{"shape: long content in characters", shape, func(ev *nostr.Event) { ev.Content = "0123456789語" }, "invalid: content has 11 characters"},
		{"shape: long content", shape, func(ev *nostr.Event) { ev.Content = "0123456789a" }, "invalid: content"},
		{"shape: broken UTF-8", shape, func(ev *nostr.Event) { ev.Content = "\xff" }, "invalid: content"},
		{"shape: many tags", shape, func(ev *nostr.Event) { ev.Tags = make(nostr.Tags, 4) }, "invalid: event has 4 tags"},
		{"shape: empty tag", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{}} }, "invalid: a tag has no elements"},
		{"shape: null tag", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{nil} }, "invalid: a tag has no elements"},
		{"shape: d without value", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"d"}} }, "invalid: the d tag"},
		{"shape: empty d", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"d", ""}} }, ""},
		{"shape: many elements", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{make(nostr.Tag, 256)} }, "invalid: a tag has 256 elements"},
		{"shape: long tags", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"t", strings.Repeat("x", 20)}} }, "invalid: tags have 21 bytes"},
		{"shape: broken UTF-8 in a tag", shape, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"t", "\xc3\x28"}} }, "invalid: a tag is not"},

		{"room: a key with less than its share", room(false, 2), same, ""},
		{"room: a key with its share", room(false, 3), same, "rate-limited: 3 events of this key are stored"},
		{"room: full", room(true, 0), same, "error: this relay is full"},
		{"room: full, not kept", room(true, 9), kind(20_001), ""},
		{"room: full, a trusted key", room(true, 9), func(ev *nostr.Event) { ev.PubKey = node }, ""},
		{"room: full, a deletion", room(true, 9), func(ev *nostr.Event) { ev.Kind, ev.Tags = 5, nostr.Tags{{"e", id}} }, ""},
		{"room: full, a deletion of nothing", room(true, 9), func(ev *nostr.Event) { ev.Kind, ev.Tags = 5, nostr.Tags{{"e"}, {"p", id}} }, "error: "},
		{"room: full, a request to vanish", room(true, 9), kind(62), ""},
		{"retention: in time", kept, func(ev *nostr.Event) { ev.CreatedAt -= 3600 }, ""},
		{"retention: too old", kept, func(ev *nostr.Event) { ev.CreatedAt -= 3601 }, "invalid: created_at is too old, events of kind 1 are kept 3600 seconds"},
		{"retention: another kind", kept, func(ev *nostr.Event) { ev.Kind, ev.CreatedAt = 7, ev.CreatedAt-7200 }, ""},
		{"retention: another kind, too old", kept, func(ev *nostr.Event) { ev.Kind, ev.CreatedAt = 7, ev.CreatedAt-7201 }, "invalid: created_at is too old, events are kept 7200 seconds"},
		{"retention: for ever", NotOutlived(nil, clock), func(ev *nostr.Event) { ev.CreatedAt = 0 }, ""},
		{"banned: this event", Banned(func(one string) (string, bool) { return "spam", one == id }), same, "blocked: this event is banned here: spam"},
		{"banned: without a reason", Banned(func(one string) (string, bool) { return "", one == id }), same, "blocked: this event is banned here"},
		{"banned: another event", Banned(func(one string) (string, bool) { return "spam", one == alice }), same, ""},
		{"kinds: listed", only(1, 7), same, ""},
		{"kinds: not listed", only(7), same, "blocked: this relay does not take kind 1"},
		{"market: note", market, same, "blocked: this relay does not take kind 1"},
		{"market: order", market, kind(38383), ""},
		{"market: message", market, kind(14), ""},
		{"market: wrap", market, kind(1059), ""},
		{"market: relays of a client", market, kind(10002), ""},
		{"market: video", market, kind(21), "blocked: "},
		{"market: login", market, kind(22242), "blocked: "},
		{"for relays: note", notForRelays, same, ""},
		{"for relays: login", notForRelays, kind(22242), "invalid: "},
		{"window of wraps: other kind", wraps, func(ev *nostr.Event) { ev.CreatedAt -= 3601 }, ""},
		{"window of wraps: old", wraps, func(ev *nostr.Event) { ev.Kind, ev.CreatedAt = 1059, ev.CreatedAt-3601 }, "invalid: created_at is too old, at most 3600"},
		{"window of wraps: in it", wraps, func(ev *nostr.Event) { ev.Kind, ev.CreatedAt = 1059, ev.CreatedAt-3600 }, ""},
		{"window of wraps: future", wraps, func(ev *nostr.Event) { ev.Kind, ev.CreatedAt = 1059, ev.CreatedAt+61 }, "invalid: created_at is in the future"},
		{"authors: denied", authors(nil, []string{alice}), same, "blocked: events of this key are not taken here: spam"},
		{"authors: not denied", authors(nil, []string{node}), same, ""},
		{"authors: allowed", authors([]string{alice}, nil), same, ""},
		{"authors: not allowed", authors([]string{node}, nil), same, "restricted: "},
		{"authors: not allowed, message", authors([]string{node}, nil), kind(14), ""},
		{"authors: allowed and denied", authors([]string{alice}, []string{alice}), kind(1059), "blocked: "},
		{"orders: followed", orders, kind(38383), ""},
		{"orders: note of a stranger", orders, to(1, node), ""},
		{"orders: first", orders, to(38383, node), "blocked: kind 38383"},
		{"orders: last", orders, to(38386, node), "blocked: kind 38386"},
		{"orders: beyond", orders, to(38387, node), ""},
		{"orders: development fee", orders, to(8383, node), "blocked: kind 8383"},
		{"orders: rates", orders, to(30078, node, nostr.Tag{"d", "mostro-rates"}), "blocked: exchange rates"},
		{"orders: rates behind another name", orders, to(30078, node, nostr.Tag{"d", "app"}, nostr.Tag{"d", "mostro-rates"}), "blocked: exchange rates"},
		{"orders: rates of a followed one", orders, to(30078, alice, nostr.Tag{"d", "mostro-rates"}), ""},
		{"orders: rates of a trusted one", trusting, to(30078, node, nostr.Tag{"d", "mostro-rates"}), ""},
		{"orders: of one whose rates are trusted", trusting, to(38383, node), "blocked: kind 38383"},
		{"orders: a user's settings", orders, to(30078, node, nostr.Tag{"d", "app"}), ""},
		{"orders: a user's profile", orders, to(0, node), ""},
		{"orders: a user's relays", orders, to(10002, node), ""},
		{"reviews: proven", reviews, review(node+":2026-W01:"+alice, "good"), ""},
		{"reviews: false proof", reviews, review(node+":2026-W01:"+alice, "bad"), "invalid: the review has no proof"},
		{"reviews: no proof", reviews, review(node+":x:"+alice, ""), "invalid: the review has no proof"},
		{"reviews: of a coordinator", reviews, review("name:1", "good"), ""},
		{"reviews: of a coordinator, false proof", reviews, review("name:1", "bad"), "invalid: the review has no proof"},
		{"reviews: of something else", reviews, review("31990:"+node+":1:nip-01", ""), ""},
		{"reviews: another kind", reviews, func(ev *nostr.Event) { review(node+":x:"+alice, "bad")(ev); ev.Kind = 31987 }, ""},
		{"sizes: longest", sizes, func(ev *nostr.Event) { ev.Kind, ev.Content = 0, "abc" }, ""},
		{"protected", NotProtected(), func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"t"}, {"-"}} }, "restricted: "},
		{"not protected", NotProtected(), func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"t", "-"}} }, ""},
		{"tags: as many as there may be", Tags(2, 0), func(ev *nostr.Event) { ev.Kind, ev.Tags = 0, nostr.Tags{{"a"}, {"b"}} }, ""},
		{"tags: too many", Tags(2, 0), func(ev *nostr.Event) { ev.Kind, ev.Tags = 0, nostr.Tags{{"a"}, {"b"}, {"c"}} }, "invalid: event has 3 tags"},
		{"tags: too many, of another kind", Tags(2, 0), func(ev *nostr.Event) { ev.Kind, ev.Tags = 1, nostr.Tags{{"a"}, {"b"}, {"c"}} }, ""},
		{"sizes: too long", sizes, func(ev *nostr.Event) { ev.Kind, ev.Content = 0, "abcd" }, "invalid: content has 4 bytes"},
		{"sizes: another kind", sizes, func(ev *nostr.Event) { ev.Content = "abcd" }, ""},
		{"not for relays: note", NotForRelays(), same, ""},
		{"not for relays: seal", NotForRelays(), to(13, alice), "invalid: kind 13"},
		{"not for relays: login", NotForRelays(), to(22242, alice), "invalid: kind 22242"},

		{"window: now", window, same, ""},
		{"window: oldest", window, func(ev *nostr.Event) { ev.CreatedAt -= 72 * 3600 }, ""},
		{"window: too old", window, func(ev *nostr.Event) { ev.CreatedAt -= 72*3600 + 1 }, "invalid: created_at is too old"},
		{"window: furthest future", window, func(ev *nostr.Event) { ev.CreatedAt += 900 }, ""},
		{"window: future", window, func(ev *nostr.Event) { ev.CreatedAt += 901 }, "invalid: created_at is in the future"},
		{"expiration: ahead", expired, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"expiration", "1800000001"}} }, ""},
		{"expiration: now", expired, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"expiration", "1800000000"}} }, "invalid: the event has expired"},
		{"expiration: zero", expired, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"expiration", "0"}} }, "invalid: the event has expired"},
		{"expiration: not a time", expired, func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"expiration", "soon"}} }, ""},

		{"own key: others", own, to(14, alice), ""},
		{"own key: order", own, to(38383, node), "blocked: events of this node"},
		{"own key: admin message", own, to(14, node), ""},
		{"own key: reply", own, func(ev *nostr.Event) { to(14, node)(ev); ev.Tags = nostr.Tags{{"p", alice}} }, "blocked: events of this node"},
		{"own key: admin message to two", own, to(14, node, nostr.Tag{"p", alice}), "blocked: events of this node"},
		{"own key: gift wrap", own, to(1059, node), "blocked: events of this node"},

		{"pow: not a message", pow, to(1, alice), ""},
		{"pow: message to another", pow, func(ev *nostr.Event) { ev.Kind, ev.Tags = 14, nostr.Tags{{"p", alice}} }, ""},
		{"pow: known without work", pow, to(14, alice), "pow: 4 bits needed, 0 found"},
		{"pow: known", pow, worked(to(14, alice), "0f", "4"), ""},
		{"pow: stranger with too little", pow, worked(to(14, id), "0f", "4"), "pow: 8 bits needed, 4 found"},
		{"pow: stranger", pow, worked(to(14, id), "00f", "8"), ""},
		{"pow: luck beyond the target", pow, worked(to(14, id), "00f", "5"), "pow: 8 bits needed, 5 found"},
		{"pow: target beyond the work", pow, worked(to(14, alice), "0f", "20"), "pow: 4 bits needed, 0 found"},
		{"pow: gift wrap of a known key", pow, worked(to(1059, alice), "0f", "4"), "pow: 8 bits needed, 4 found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reject, msg := c.policy(t.Context(), event(c.change))
			if reject != (c.want != "") || !strings.HasPrefix(msg, c.want) {
				t.Errorf("reject %v %q, want %q", reject, msg, c.want)
			}
		})
	}
}

// from is the context of a connection from address, as khatru's accessors see it.
func from(ctx context.Context, address string) context.Context {
	ws := &khatru.WebSocket{Request: &http.Request{RemoteAddr: address}}
	//lint:ignore SA1029 khatru looks it up under this key
	return context.WithValue(ctx, 0, ws)
}

func TestRateByIP(t *testing.T) {
	limit := RateByIP(1e-9, 2, 100)
	var got []string
	for _, address := range []string{
		"192.0.2.1:1000", "192.0.2.1:2000", "192.0.2.1:3000", // the port does not matter
		"192.0.2.2:1000",
		"[2001:db8:0:1::1]:1", "[2001:db8:0:1::2]:1", "[2001:db8:0:1:ffff::3]:1", // one network
		"[2001:db8:0:2::1]:1",
		"[::ffff:192.0.2.2]:1", "[::ffff:192.0.2.2]:1", // the IPv4 address again
	} {
		reject, msg := limit(from(t.Context(), address), event(same))
		if reject && !strings.HasPrefix(msg, "rate-limited: ") {
			t.Errorf("message %q", msg)
		}
		got = append(got, fmt.Sprint(address, " ", reject))
	}
	want := []string{
		"192.0.2.1:1000 false", "192.0.2.1:2000 false", "192.0.2.1:3000 true",
		"192.0.2.2:1000 false",
		"[2001:db8:0:1::1]:1 false", "[2001:db8:0:1::2]:1 false", "[2001:db8:0:1:ffff::3]:1 true",
		"[2001:db8:0:2::1]:1 false",
		"[::ffff:192.0.2.2]:1 false", "[::ffff:192.0.2.2]:1 true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for range 10 {
		if reject, msg := limit(t.Context(), event(same)); reject {
			t.Errorf("an event from inside was refused: %s", msg)
		}
	}
}

// TestRateOfTags: an event with many tags counts for several, and one with more than the burst has is
// taken from whoever has sent nothing lately.
func TestRateOfTags(t *testing.T) {
	policy := RateByKey(0.0001, 10, 10)
	send := func(pubkey string, tags int) bool {
		reject, _ := policy(context.Background(), &nostr.Event{PubKey: pubkey, Tags: make(nostr.Tags, tags)})
		return !reject
	}
	for i, want := range []bool{true, true, false} {
		if got := send("a", 80); got != want { // 5 of 10
			t.Errorf("event %d of 80 tags: %v", i, got)
		}
	}
	if !send("b", 2000) || send("b", 0) {
		t.Error("2,000 tags are not all that one may send at once")
	}
	for range 10 {
		if !send("c", 19) {
			t.Error("an event of 19 tags counts more than once")
		}
	}
}

func TestRateByKey(t *testing.T) {
	limit := RateByKey(1e-9, 2, 100)
	var got []bool
	for _, pubkey := range []string{alice, alice, node, alice, node} {
		reject, msg := limit(t.Context(), event(func(ev *nostr.Event) { ev.PubKey = pubkey }))
		if reject && !strings.HasPrefix(msg, "rate-limited: ") {
			t.Errorf("message %q", msg)
		}
		got = append(got, reject)
	}
	if diff := cmp.Diff([]bool{false, false, false, true, false}, got); diff != "" {
		t.Error(diff)
	}
}

func TestProfiles(t *testing.T) {
	for _, name := range Profiles() {
		if kinds, err := Profile(name); err != nil || (kinds == nil) != (name == "open") {
			t.Errorf("%s: %v, %v", name, kinds, err)
		}
	}
	if _, err := Profile("closed"); err == nil {
		t.Error("a profile that does not exist was accepted")
	}
}

func TestRateByIPForgets(t *testing.T) {
	const addresses = 20
	limiters := newLimiters[netip.Prefix](1e-9, 1, addresses)
	of := func(address string) *rate.Limiter {
		return limiters.of(network(netip.MustParseAddr(address)))
	}
	kept := of("192.0.2.1")
	for i := range addresses - 5 {
		of(fmt.Sprintf("198.51.100.%d", i))
	}
	if of("192.0.2.1") != kept {
		t.Error("an address was forgotten too early")
	}
	for i := range 5 * addresses {
		of(fmt.Sprintf("203.0.113.%d", i))
		if n := len(limiters.recent) + len(limiters.old); n > addresses {
			t.Fatalf("%d addresses are remembered, at most %d may be", n, addresses)
		}
	}
	if of("192.0.2.1") == kept {
		t.Error("an address was remembered for ever")
	}
}

// TestDeletions: what a deletion names counts, not the event, and one that names more than the burst is taken from
// whoever has deleted nothing lately.
func TestDeletions(t *testing.T) {
	limit := Deletions(1e-9, 10, 100)
	for i, c := range []struct {
		address    string
		kind, tags int
		want       bool
	}{
		{"192.0.2.1:1", 5, 6, true}, {"192.0.2.1:2", 5, 6, false}, {"192.0.2.1:1", 5, 4, true}, {"192.0.2.1:1", 62, 0, false},
		{"192.0.2.1:1", 1, 50, true}, {"192.0.2.2:1", 5, 500, true}, {"192.0.2.2:1", 5, 1, false}, {"", 5, 500, true}, {"", 5, 500, true},
		{"[2001:db8::1]:1", 5, 10, true}, {"[2001:db8::2]:1", 5, 1, false},
	} {
		ctx := t.Context()
		if c.address != "" { // else it comes from inside
			ctx = from(ctx, c.address)
		}
		reject, msg := limit(ctx, event(func(ev *nostr.Event) {
			ev.Kind = c.kind
			for i := range c.tags {
				ev.Tags = append(ev.Tags, nostr.Tag{"ea"[i%2 : i%2+1], id}, nostr.Tag{"k", "1"}, nostr.Tag{"e"})
			}
		}))
		if reject == c.want || reject && !strings.HasPrefix(msg, "rate-limited: ") {
			t.Errorf("%d, %s deletes %d: refused %v %q", i, c.address, c.tags, reject, msg)
		}
	}
}
