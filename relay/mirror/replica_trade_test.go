package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// replicaOfA starts a replica of A, which follows B, and says where it is.
func replicaOfA(t *testing.T, a *instance, listed person) (url string, r *Replica, stop func()) {
	t.Helper()
	address := freeAddress(t)
	_, r, stop = startReplica(t, a, listed, t.TempDir(), address)
	eventually(t, "the replica is equal", r.Ready)
	return "ws://" + address, r, stop
}

// TestReplicaTrade: a client of a replica trades with a Mostro that the primary follows, on both transports, and
// talks to the other side of the trade; nobody else there gets to see any of it.
func TestReplicaTrade(t *testing.T) {
	listed := newPerson(t)
	b, a := newInstance(t, "b"), newInstance(t, "a")
	handled := b.escrow()
	answers := b.receive
	b.receive = func(ctx context.Context, ev *nostr.Event) error {
		if ev.Content == "bad" {
			return errors.New("pow: 16 bits needed, 4 found")
		}
		return answers(ctx, ev)
	}
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.cfg.Replica = func(pubkey string) bool { return pubkey == listed.public }
	a.change = func(cfg *relay.Config) { cfg.Federation.Peer = a.cfg.Replica }
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	b.publish(b.info(t, 0))
	url, r, stop := replicaOfA(t, a, listed)
	eventually(t, "the replica knows B", func() bool { return r.Followed(b.public) })

	// Version 2: the answer comes to whoever has written, whether he asked before or after.
	for _, asks := range []string{"before", "after"} {
		trader, c := newPerson(t), dialClient(t, url)
		ask := func() {
			c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Authors: []string{b.public}, Tags: nostr.TagMap{"p": {trader.public}}})
		}
		hello := trader.message(t, b.public, "hello")
		if asks == "before" {
			ask()
			c.hear("EOSE")
		}
		if ok, reason := c.send(hello); !ok || handled(hello.ID) != 1 {
			t.Fatalf("the message is handled %d times: %s", handled(hello.ID), reason)
		}
		if asks == "after" {
			ask()
		}
		if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), "to "+hello.ID) {
			t.Errorf("answer %s", answer[2])
		}
	}
	// B's refusal is the client's answer, in its words.
	c := dialClient(t, url)
	if ok, reason := c.send(newPerson(t).message(t, b.public, "bad")); ok || reason != "pow: 16 bits needed, 4 found" {
		t.Errorf("what B refuses: %v %q", ok, reason)
	}

	// Version 1: a gift wrap tells its recipient only, and its answer is found by #p.
	wrapped := newPerson(t)
	c.say("REQ", "wraps", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {wrapped.public}}})
	c.hear("EOSE")
	wrap := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 40*3600, Tags: nostr.Tags{{"p", b.public}}})
	if ok, reason := c.send(wrap); !ok {
		t.Fatal(reason)
	}
	back := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 40*3600, Tags: nostr.Tags{{"p", wrapped.public}}})
	b.publish(back)
	if answer := c.hear("EVENT"); !strings.Contains(string(answer[2]), back.ID) {
		t.Errorf("answer %s", answer[2])
	}

	// The conversation of a trade at B: the seller is there, the buyer at the replica.
	key := newPerson(t)
	seller := talks(t, b, b.public, key, asksMessages)
	early := seller.tell("what the buyer is not there to hear")
	seller.hears(early)
	buyer := talks(t, &instance{t: t, address: strings.TrimPrefix(url, "ws://")}, b.public, key, asksMessages)
	buyer.hears(early)
	for i := range 3 {
		for j, pair := range [][2]talker{{buyer, seller}, {seller, buyer}} {
			said := pair[0].tell(fmt.Sprint("message ", i, j))
			pair[0].hears(said)
			pair[1].hears(said)
		}
	}

	// Others see nothing of it, at the replica as at the primary.
	for _, at := range []string{url, a.url()} {
		other := dialClient(t, at)
		for _, f := range []nostr.Filter{
			{Kinds: []int{14, 1059}}, {Kinds: []int{14}, Authors: []string{b.public}}, {IDs: []string{back.ID}},
			{Kinds: []int{14, 1059}, Tags: nostr.TagMap{"p": {newPerson(t).public}}},
		} {
			other.say("REQ", "spy", f)
			other.hear("EOSE")
		}
		if n := len(*other.unread); slices.ContainsFunc(*other.unread, func(parts []json.RawMessage) bool { return string(parts[0]) == `"EVENT"` }) {
			t.Errorf("%s shows others' messages: %d frames", at, n)
		}
	}

	// What comes while the replica or its primary is away is there afterwards, and after a start the primary is
	// told anew.
	stop()
	missed := newPerson(t).sign(t, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", wrapped.public}}})
	b.publish(missed)
	eventually(t, "the primary fetches it", func() bool { return a.has(missed.ID) })
	a.stop()
	a.start()
	url, _, _ = replicaOfA(t, a, listed)
	late := newPerson(t)
	d := dialClient(t, url)
	d.say("REQ", "late", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {wrapped.public, late.public}}})
	d.hear("EVENT")
	a.stop()
	a.start()
	eventually(t, "the primary knows the key", func() bool { return a.mirror.interest.has(late.public, nil) })
}

// TestC3ReplicaCarries: a Mostro that is away delays nobody who publishes over the same replica, and no more
// messages are on their way to it than may be.
func TestC3ReplicaCarries(t *testing.T) {
	listed, gone := newPerson(t), newPerson(t)
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: gone.public, Relays: []string{"ws://" + freeAddress(t)}}}
	a.cfg.Replica = func(pubkey string) bool { return pubkey == listed.public }
	a.change = func(cfg *relay.Config) { cfg.Federation.Peer = a.cfg.Replica }
	a.start()
	url, _, _ := replicaOfA(t, a, listed)
	const many = 200
	writers := make([]client, many)
	for i := range writers {
		writers[i] = dialClient(t, url)
		writers[i].say("EVENT", newPerson(t).message(t, gone.public, "hello"))
	}
	began := time.Now()
	note := newPerson(t).sign(t, nostr.Event{Kind: 1, Content: "meanwhile"})
	if ok, reason := dialClient(t, url).send(note); !ok {
		t.Fatal(reason)
	}
	if took := time.Since(began); took > carryWait*many/64 { // each would wait so long, one after another
		t.Errorf("publishing took %s", took)
	}
	var busy, away int
	for _, c := range writers {
		parts := c.hear("OK")
		var reason string
		if err := json.Unmarshal(parts[3], &reason); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(reason, "rate-limited: too many messages"):
			busy++
		case reason == errUnreachable.Error():
			away++
		default:
			t.Errorf("a message to a Mostro that is away: %q", reason)
		}
	}
	if busy == 0 || away < 64 || busy+away != many {
		t.Errorf("%d messages were refused at once and %d waited", busy, away)
	}
}

// TestC3ReplicaKeys: who only says that he is a replica has what one connection has, and nobody takes his word for what
// his clients have proven.
func TestC3ReplicaKeys(t *testing.T) {
	listed := newPerson(t)
	a, _, _ := federated(t)
	a.stop()
	a.cfg.Replica = func(pubkey string) bool { return pubkey == listed.public }
	a.start()
	l, err := Dial(Direct).connect(t.Context(), a.url(), replicaAgent, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for range keysPerClient + 100 {
		keys = append(keys, newPerson(t).public)
	}
	for chunk := range slices.Chunk(keys, keysPerReq) {
		if err := l.fetch(t.Context(), questionOf(false, "", true, chunk), func(*nostr.Event) {}); err != nil {
			t.Fatal(err)
		}
	}
	a.mirror.interest.mu.Lock()
	defer a.mirror.interest.mu.Unlock()
	if n := len(a.mirror.interest.seen); n != keysPerClient {
		t.Errorf("%d keys were learned from somebody who says that he is a replica, want %d", n, keysPerClient)
	}
	for box, s := range a.mirror.interest.seen {
		if s.proven || strings.HasPrefix(s.from, replicaFrom) {
			t.Fatalf("%v is taken for one of a replica's clients", box)
		}
	}
}

// TestReplicaTradeStrict: where messages are shown to their parties only, a client that has authenticated at the replica
// gets its answers there, and its key counts as proven at the primary; nobody else gets any.
func TestReplicaTradeStrict(t *testing.T) {
	listed := newPerson(t)
	b, a := newInstance(t, "b"), newInstance(t, "a")
	b.start()
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
	a.cfg.Replica, a.cfg.Strict = func(pubkey string) bool { return pubkey == listed.public }, true
	a.change = func(cfg *relay.Config) {
		cfg.Federation.Peer, cfg.PrivateReads = a.cfg.Replica, relay.ReadsStrict
	}
	a.start()
	eventually(t, "A is connected to B", func() bool { return a.health(b.url()).State == Live })
	address := freeAddress(t)
	url := "ws://" + address
	r, replica, _ := startReplica(t, a, listed, t.TempDir(), address, func(cfg *ReplicaConfig) { cfg.Strict = func() bool { return true } })
	r.SetPrivateReads(relay.ReadsStrict)
	eventually(t, "the replica is equal", replica.Ready)
	trader, key := newPerson(t), newPerson(t)
	enter := func(as ...person) client {
		c := dialClient(t, url)
		var challenge string
		if err := json.Unmarshal(c.hear("AUTH")[1], &challenge); err != nil {
			t.Fatal(err)
		}
		for _, who := range as {
			c.say("AUTH", who.sign(t, nostr.Event{Kind: 22242, Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}}))
			c.hear("OK")
		}
		return c
	}
	c := enter(trader, key)
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {trader.public}}})
	c.hear("EOSE")
	c.say("REQ", "chat", nostr.Filter{Kinds: []int{14}, Authors: []string{key.public}})
	c.hear("EOSE")
	spy := enter()
	spy.say("REQ", "chat", nostr.Filter{Kinds: []int{14, 1}, Authors: []string{key.public}})
	spy.hear("EOSE")
	eventually(t, "the primary knows that the key is held", func() bool {
		claims, _ := a.mirror.interest.claims(func(string) bool { return true })
		return slices.ContainsFunc(claims, func(c claim) bool { return c.box.key == trader.public && c.sign.proven })
	})
	mail := newPerson(t).sign(t, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", trader.public}}})
	said := key.message(t, trader.public, "of the conversation")
	b.publish(mail, said)
	for _, want := range []string{mail.ID, said.ID} {
		eventually(t, "it is at the replica", func() bool { has, err := r.Has(t.Context(), want); return err == nil && has })
	}
	heard := string(c.hear("EVENT")[2]) + string(c.hear("EVENT")[2])
	if !strings.Contains(heard, mail.ID) || !strings.Contains(heard, said.ID) {
		t.Errorf("the trader hears %s", heard)
	}
	spy.say("REQ", "again", nostr.Filter{Kinds: []int{14, 1059, 1}, Tags: nostr.TagMap{"p": {trader.public}}})
	spy.hear("EOSE")
	if slices.ContainsFunc(*spy.unread, func(parts []json.RawMessage) bool { return string(parts[0]) == `"EVENT"` }) {
		t.Error("somebody else hears it")
	}
}
