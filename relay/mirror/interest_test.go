package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// testInterest is an interest in memory, and its clock.
func testInterest(t *testing.T) (*interest, *time.Time) {
	t.Helper()
	now := time.Now()
	st, err := openState("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.close() })
	in, err := openInterest(st, tableKey, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return in, &now
}

// anyKey wants a key from an address.
func anyKey(in *interest, from, key string, proven bool) bool {
	return in.add(mailbox{key, ""}, claimantOf(from, proven))
}

// TestC3Keys: whoever fills all places for keys whose mail is fetched, with as many addresses as it takes, shuts
// nobody out, and mail for a key that had to go is no fault of the relay that was asked for it.
func TestC3Keys(t *testing.T) {
	in, now := testInterest(t)
	evil := func(i int) (from, key string) {
		return fmt.Sprintf("198.51.%d.1", i/keysPerAddress), fmt.Sprint("evil ", i)
	}
	for i := range maxKeys {
		from, key := evil(i)
		anyKey(in, from, key, true)
	}
	if len(in.seen) != maxKeys {
		t.Fatalf("%d keys are kept, the attack is not one", len(in.seen))
	}
	*now = now.Add(time.Minute)
	honest := mailbox{"honest", ""}
	if !anyKey(in, "192.0.2.1", honest.key, false) || len(in.seen) != maxKeys {
		t.Errorf("a key is shut out, %d are kept", len(in.seen))
	}
	for i := range maxKeys {
		if _, key := evil(i); !in.has(key, nil) {
			t.Errorf("mail for %s, which was asked for, would count as bad", key)
		}
	}
}

// TestC3KeysOfOneAddress: one address, whatever it proves and however long it goes on, has its share of places; all
// others have theirs, at once and after a restart.
func TestC3KeysOfOneAddress(t *testing.T) {
	in, now := testInterest(t)
	var honest []string
	for i := range keysPerPeer - keysPerPeer/10 { // with what one address may have before others, as many as a relay is asked for
		key := fmt.Sprint("honest ", i)
		honest = append(honest, key)
		if !anyKey(in, fmt.Sprintf("203.0.%d.%d", i/250, i%250), key, i%2 == 0) {
			t.Fatalf("%s is not taken", key)
		}
	}
	serve := func(least int) {
		t.Helper()
		keys, _ := in.keys([]string{"b"})
		if len(keys) > keysPerPeer {
			t.Errorf("a relay is asked for %d keys", len(keys))
		}
		asked := make(map[string]bool)
		for _, key := range keys {
			asked[key] = true
		}
		served := 0
		for _, key := range honest {
			if asked[key] {
				served++
			}
		}
		if served < least {
			t.Errorf("of %d honest keys %d are asked for, want %d", len(honest), served, least)
		}
	}
	serve(len(honest))
	wanted := 0
	attack := func(proven bool) {
		for range 200 {
			*now = now.Add(time.Minute)
			for range 100 {
				wanted++
				anyKey(in, fmt.Sprintf("2001:db8::%x", wanted%0xffff), fmt.Sprint("evil ", wanted), proven)
			}
		}
	}
	attack(false)
	serve(len(honest))
	attack(true)
	serve(len(honest))
	// Keys that others use do not become his, to be lost among his own.
	for _, key := range honest {
		anyKey(in, "2001:db8::1", key, false)
	}
	attack(false)
	serve(len(honest))
	if n := len(in.groups[claimantOf("2001:db8::1", false).from]); n != keysPerAddress {
		t.Errorf("one address has %d places, want %d", n, keysPerAddress)
	}
	rows := make(map[string][]byte)
	for box, last := range in.seen {
		value := encodeTime(last.at)
		if last.proven {
			value = append(value, 1)
		}
		rows[string(stateRow(tableKey, box.key, box.mostro))] = value
	}
	if err := in.state.set(rows); err != nil {
		t.Fatal(err)
	}
	again, err := openInterest(in.state, tableKey, in.now)
	if err != nil {
		t.Fatal(err)
	}
	in = again
	// What the attacker had is told from others no more, but is no more than that.
	serve(len(honest) - keysPerAddress)
	attack(true)
	serve(len(honest) - keysPerAddress)
}

// TestInterestMonth: a key is kept for thirty days after its last sign of life, over starts, and then forgotten, on disk
// too.
func TestInterestMonth(t *testing.T) {
	const day = 24 * time.Hour
	dir, now := t.TempDir(), time.Now()
	var st *state
	var in *interest
	start := func() {
		t.Helper()
		var err error
		if st, err = openState(dir, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if in, err = openInterest(st, tableKey, func() time.Time { return now }); err != nil {
			t.Fatal(err)
		}
	}
	// keep writes down and forgets what is due, and ends at once.
	keep := func() {
		ctx, end := context.WithCancel(t.Context())
		end()
		in.keep(ctx, slog.New(slog.DiscardHandler), func() time.Time { return now.Add(-keysKept) })
	}
	again := func() {
		t.Helper()
		keep()
		if err := st.close(); err != nil {
			t.Fatal(err)
		}
		start()
	}
	asked := func(want ...string) {
		t.Helper()
		keep()
		keys, _ := in.keys([]string{"b"})
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			t.Errorf("the keys are %v, want %v", keys, want)
		}
	}
	start()
	anyKey(in, "192.0.2.1", "once", false)
	anyKey(in, "192.0.2.1", "again", true)
	asked("again", "once")
	now = now.Add(20 * day)
	anyKey(in, "192.0.2.1", "again", true)
	again()
	now = now.Add(10*day - time.Hour)
	again()
	asked("again", "once")
	now = now.Add(2 * time.Hour)
	asked("again")
	again()
	asked("again")
	now = now.Add(20*day - 2*time.Hour)
	asked("again")
	now = now.Add(2 * time.Hour)
	again()
	asked()
	rows := 0
	if err := st.each(tableKey, nil, func([][]byte, []byte) error { rows++; return nil }); err != nil || rows != 0 {
		t.Errorf("%d keys are on disk (%v)", rows, err)
	}
	// Who comes back is known again.
	anyKey(in, "192.0.2.1", "once", false)
	asked("once")
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
}

// TestInterestProof: of one address, the key that somebody holds comes first and goes last, and it goes with
// who proves it.
func TestInterestProof(t *testing.T) {
	in, now := testInterest(t)
	anyKey(in, "192.0.2.1", "asked", false)
	anyKey(in, "192.0.2.1", "held", true)
	for i := range keysPerAddress {
		*now = now.Add(time.Minute)
		anyKey(in, "192.0.2.1", fmt.Sprint(i), false)
	}
	if keys, _ := in.keys(nil); keys[0] != "held" || slices.Contains(keys, "asked") && len(keys) > keysPerAddress {
		t.Errorf("first %s of %d", keys[0], len(keys))
	}
	box := mailbox{"held", ""}
	anyKey(in, "192.0.2.2", "held", false)
	if in.seen[box].from != claimantOf("192.0.2.1", true).from {
		t.Error("who has proven nothing has taken a key over")
	}
	anyKey(in, "192.0.2.2", "held", true)
	if in.seen[box].from != claimantOf("192.0.2.2", true).from || len(in.groups["192.0.2.2/32"]) != 1 {
		t.Error("the key does not go with who proves to hold it")
	}
	for address, want := range map[string]string{
		"127.0.0.1": near, "::1": near, "10.1.2.3": near, "": near, "::ffff:192.168.0.1": near,
		"::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:0:1:ffff::1": "2001:db8:0:1::/64",
	} {
		if got := claimantOf(address, false).from; got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}

// TestInterestWrites: what could not be written down is written when the disk takes it again.
func TestInterestWrites(t *testing.T) {
	in, now := testInterest(t)
	anyKey(in, "192.0.2.1", "forgotten", true)
	if err := in.write(now.Add(-keysKept)); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(keysKept + time.Hour)
	anyKey(in, "192.0.2.1", "kept", true)
	long := strings.Repeat("x", 1<<17) // longer than a row may be
	anyKey(in, "192.0.2.1", long, true)
	if err := in.write(now.Add(-keysKept)); err == nil {
		t.Fatal("all of it was written")
	}
	in.forget(mailbox{long, ""})
	delete(in.dirty, mailbox{long, ""})
	if err := in.write(now.Add(-keysKept)); err != nil {
		t.Fatal(err)
	}
	again, err := openInterest(in.state, tableKey, in.now)
	if err != nil || len(again.seen) != 1 || !again.seen[mailbox{"kept", ""}].proven {
		t.Errorf("after a start: %v (%v)", again.seen, err)
	}
}

// dialFrom is a client behind a proxy that the relay trusts.
func dialFrom(t *testing.T, url, address string) client {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(url, http.Header{"X-Forwarded-For": {address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{t, conn, new([][]json.RawMessage)}
}

// TestC3PlacesAttack: one attacker with many connections, over real sockets, wants more keys than a relay is
// asked for; people who asked before and who ask after him get their mail live.
func TestC3PlacesAttack(t *testing.T) {
	a, b := newInstance(t, "a"), newInstance(t, "b")
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.change = func(cfg *relay.Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	var people []person
	arrives := func(address string, proves bool) {
		p, c := newPerson(t), dialFrom(t, a.url(), address)
		people = append(people, p)
		if proves {
			var challenge string
			if err := json.Unmarshal(c.hear("AUTH")[1], &challenge); err != nil {
				t.Fatal(err)
			}
			c.say("AUTH", p.sign(t, nostr.Event{Kind: 22242, Tags: nostr.Tags{{"relay", a.url()}, {"challenge", challenge}}}))
			c.hear("OK")
		}
		c.say("REQ", "mail", nostr.Filter{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": {p.public}}})
		c.hear("EOSE")
	}
	arrives("203.0.113.1", false)
	arrives("203.0.113.2", true)
	const network = "2001:db8:0:1:"
	for i := range 6 * keysPerPeer / 200 {
		c := dialFrom(t, a.url(), fmt.Sprintf("%s:%x", network, i+1))
		keys := make([]string, 200)
		for k := range keys {
			keys[k] = fmt.Sprintf("%064x", 1+i*200+k) // no point of the curve is needed to ask
		}
		c.say("REQ", "mail", nostr.Filter{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": keys}})
		c.hear("EOSE")
		c.Close()
	}
	arrives("203.0.113.3", false)
	// The attacker's neighbour, at his very address, who proves who he is.
	arrives(network+":ffff", true)
	a.mirror.interest.mu.Lock()
	held := len(a.mirror.interest.groups[claimantOf(network+":1", false).from])
	a.mirror.interest.mu.Unlock()
	if held != keysPerAddress {
		t.Errorf("the attacker has %d places, want %d", held, keysPerAddress)
	}
	for i, p := range people {
		mail := b.message(t, p.public, "for you")
		b.publish(mail)
		eventually(t, fmt.Sprintf("mail for person %d arrives", i), func() bool { return a.has(mail.ID) })
	}
}

// carriedFrom is A, which follows B's Mostro, and a client of another address at it.
func carriedFrom(t *testing.T) (a, b *instance, c client) {
	t.Helper()
	a, b = newInstance(t, "a"), newInstance(t, "b")
	b.escrow()
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.change = func(cfg *relay.Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	return a, b, dialFrom(t, a.url(), "203.0.113.1")
}

// TestC3PlacesCarried: a key that writes to a followed Mostro has a place among those of its client's address, not among
// those of everybody near.
func TestC3PlacesCarried(t *testing.T) {
	a, b, c := carriedFrom(t)
	for range 3 {
		if ok, reason := c.send(newPerson(t).message(t, b.public, "hello")); !ok {
			t.Fatal(reason)
		}
	}
	in := a.mirror.interest
	in.mu.Lock()
	defer in.mu.Unlock()
	if his, others := len(in.groups["203.0.113.1/32"]), len(in.groups[near]); his != 3 || others != 0 {
		t.Errorf("%d places of his address, %d of those who are near", his, others)
	}
}

// TestClientOfManyKeys: a client that asks for the mail of all its trade keys, and for their conversations, can go on to trade
// with a new one.
func TestClientOfManyKeys(t *testing.T) {
	_, b, c := carriedFrom(t)
	keys := make([]string, 200)
	for i := range keys {
		keys[i] = newPerson(t).public
	}
	for name, f := range map[string]nostr.Filter{
		"mail of the Mostro": {Kinds: []int{kindMessage}, Authors: []string{b.public}, Tags: nostr.TagMap{"p": keys}},
		"gift wraps":         {Kinds: []int{kindWrap}, Tags: nostr.TagMap{"p": keys}},
		"conversations":      {Kinds: []int{kindMessage}, Authors: keys[:talksPerClient]},
	} {
		c.say("REQ", name, f)
		c.hear("EOSE")
	}
	if ok, reason := c.send(newPerson(t).message(t, b.public, "new-order")); !ok {
		t.Error(reason)
	}
}
