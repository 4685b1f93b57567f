package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// startReplica starts a replica of an instance. stop ends it.
func startReplica(t testing.TB, primary *instance, who person, dir, address string, change ...func(*ReplicaConfig)) (r *relay.Relay, replica *Replica, stop func()) {
	t.Helper()
	key, err := Dial(Direct).PrimaryKey(t.Context(), primary.url())
	if err != nil || key != primary.public {
		t.Fatalf("the primary's key is %s (%v)", key, err)
	}
	cfg := ReplicaConfig{Primary: primary.url(), Node: key, Sign: func(ev *nostr.Event) error { return ev.Sign(who.secret) }}
	for _, f := range change {
		f(&cfg)
	}
	replica = NewReplica(cfg)
	r, err = relay.Open(relay.Config{Dir: dir, Pubkey: key, ServiceURL: "ws://" + address, Followed: replica.Followed, Formerly: replica.Formerly,
		ReadPolicies: []relay.ReadPolicy{replica.Asked},
		Federation:   relay.Federation{Forward: replica.Forward, Primary: primary.url(), Stored: replica.Stored, Hidden: replica.Hidden}})
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Attach(r); err != nil {
		t.Fatal(err)
	}
	replica.Serve()
	listener := listenAt(t, address)
	server := r.Server()
	go server.Serve(listener)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { replica.Run(ctx); close(ran) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		<-ran
		server.Close()
		closing, end := context.WithTimeout(context.Background(), patience)
		defer end()
		if err := r.Close(closing); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return r, replica, stop
}

// everything is all that a relay has, as it would be served.
func everything(t testing.TB, r *relay.Relay) []byte {
	t.Helper()
	evs, err := r.All(context.Background(), nostr.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return lines(evs)
}

// TestReplica: a replica has all that its primary has, messages too, and shows them by the same
// rule; what clients publish there is answered as the primary does.
func TestReplica(t *testing.T) {
	listed := newPerson(t)
	p := newInstance(t, "primary")
	p.receive = func(_ context.Context, ev *nostr.Event) error {
		if ev.Content == "bad" {
			return errors.New("invalid: no such order")
		}
		return nil
	}
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
		cfg.Limits = relay.DefaultLimits()
		cfg.Limits.NegItems = 40 // so that it takes several parts
	}
	followed := newPerson(t)
	p.cfg.Follow = []Followed{{Pubkey: followed.public}}
	p.start()
	alice, bob := newPerson(t), newPerson(t)
	mail := p.message(t, alice.public, "to alice")
	p.publish(mail, p.info(t, 0), followed.info(t, 0), followed.message(t, alice.public, "to alice from elsewhere"))
	for i := range 100 {
		p.publish(p.offer(t, string(rune('a'+i%26))+string(rune('a'+i/26)), nostr.Now()-nostr.Timestamp(86400*(i%9))-1))
	}
	dir, address := t.TempDir(), freeAddress(t)
	r, replica, stop := startReplica(t, p, listed, dir, address)
	eventually(t, "the replica is equal", replica.Ready)
	equal := func() bool { return bytes.Equal(everything(t, r), everything(t, p.relay)) }
	if !equal() {
		t.Fatal("the replica has something else than the primary")
	}

	c := dialClient(t, "ws://"+address)
	count := func(f nostr.Filter) (n int) {
		c.say("REQ", "q", f)
		for {
			var parts []json.RawMessage
			if err := c.ReadJSON(&parts); err != nil {
				t.Fatal(err)
			}
			switch string(parts[0]) {
			case `"EVENT"`:
				n++
			case `"EOSE"`, `"CLOSED"`:
				return n
			}
		}
	}
	for _, read := range []struct {
		f    nostr.Filter
		want int
	}{
		{nostr.Filter{Kinds: []int{14}, Tags: nostr.TagMap{"p": {alice.public}}}, 2},
		{nostr.Filter{Kinds: []int{14}, Authors: []string{followed.public}}, 0}, // which the primary follows
		{nostr.Filter{Kinds: []int{14}, Tags: nostr.TagMap{"p": {bob.public}}}, 0},
		{nostr.Filter{Kinds: []int{14}}, 0},
		{nostr.Filter{IDs: []string{mail.ID}}, 0},
		{nostr.Filter{Kinds: []int{14}, Authors: []string{p.public}}, 0}, // the node's key is everybody's to know
		{nostr.Filter{Kinds: []int{kindInfo}}, 2},
	} {
		if n := count(read.f); n != read.want {
			t.Errorf("%v finds %d, want %d", read.f, n, read.want)
		}
	}

	// Live, both ways.
	offer := p.offer(t, "live", 0)
	p.publish(offer)
	eventually(t, "a live event is there", func() bool { has, _ := r.Has(t.Context(), offer.ID); return has })
	note := alice.sign(t, nostr.Event{Kind: 1, Content: "by a client of the replica"})
	if ok, reason := c.send(note); !ok {
		t.Error(reason)
	}
	if !p.has(note.ID) {
		t.Error("OK true before the primary has it")
	}
	eventually(t, "it comes back", func() bool { has, _ := r.Has(t.Context(), note.ID); return has })
	if ok, reason := c.send(alice.message(t, p.public, "bad")); ok || reason != "invalid: no such order" {
		t.Errorf("the primary's refusal: %v %q", ok, reason)
	}
	if ok, reason := c.send(alice.message(t, p.public, "good")); !ok {
		t.Error(reason)
	}

	// The primary forgets something, and the replica is away.
	stop()
	if err := p.relay.Remove(t.Context(), idOf(note.ID)); err != nil {
		t.Fatal(err)
	}
	p.publish(p.offer(t, "live", nostr.Now()+1))
	r, replica, _ = startReplica(t, p, listed, dir, address)
	eventually(t, "it is equal again", func() bool { return replica.Ready() && equal() })

	// Without the primary nothing is taken, and all is served.
	p.stop()
	c = dialClient(t, "ws://"+address)
	if ok, reason := c.send(alice.sign(t, nostr.Event{Kind: 1})); ok || !strings.HasPrefix(reason, "error: ") {
		t.Errorf("without the primary: %v %q", ok, reason)
	}
	if n := count(nostr.Filter{Kinds: []int{kindInfo}}); n != 2 {
		t.Error("nothing is served without the primary")
	}
	if n := count(nostr.Filter{Kinds: []int{14}, Authors: []string{followed.public}}); n != 0 {
		t.Error("after a start a Mostro's messages are everybody's")
	}
}

// TestReplicaUnlisted: who is not listed gets no messages, however it asks.
func TestReplicaUnlisted(t *testing.T) {
	p := newInstance(t, "primary")
	p.start()
	mail := p.message(t, newPerson(t).public, "private")
	p.publish(mail, p.info(t, 0))
	r, replica, _ := startReplica(t, p, newPerson(t), t.TempDir(), freeAddress(t))
	eventually(t, "it knows that it is not listed", func() bool { return replica.ready.Load() && replica.Unlisted() })
	if replica.Ready() {
		t.Error("it is ready without messages")
	}
	p.publish(p.message(t, newPerson(t).public, "live and private"), p.offer(t, "x", 0))
	eventually(t, "the offer is there", func() bool {
		evs, err := r.All(t.Context(), nostr.Filter{Kinds: []int{kindOrder}})
		return err == nil && len(evs) == 1
	})
	if evs, err := r.All(t.Context(), nostr.Filter{Kinds: []int{14}}); err != nil || len(evs) > 0 {
		t.Errorf("%d messages came to somebody who is not listed (%v)", len(evs), err)
	}
}

// TestReplicaStale: without its primary a replica goes on being ready for a while, and not for ever; it is again when it
// is equal again.
func TestReplicaStale(t *testing.T) {
	listed := newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	var later atomic.Int64
	address := freeAddress(t)
	r, replica, _ := startReplica(t, p, listed, t.TempDir(), address, func(cfg *ReplicaConfig) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	eventually(t, "it is equal", replica.Ready)
	later.Store(int64(time.Hour))
	if !replica.Ready() || replica.Lost() != 0 {
		t.Error("it is stale though its primary is there")
	}
	p.stop()
	eventually(t, "it notices", func() bool { return replica.Lost() > 0 })
	later.Add(int64(staleAfter - time.Minute))
	if !replica.Ready() {
		t.Errorf("after %s without its primary it is not ready", replica.Lost())
	}
	later.Add(int64(2 * time.Minute))
	if replica.Ready() {
		t.Errorf("after %s without its primary it is ready", replica.Lost())
	}
	c := dialClient(t, "ws://"+address)
	c.say("REQ", "q", nostr.Filter{Kinds: []int{kindInfo}})
	c.hear("EOSE")
	p.start()
	missed := p.offer(t, "x", 0)
	p.publish(missed)
	eventually(t, "it is ready again", func() bool { return replica.Ready() && replica.Lost() == 0 })
	eventually(t, "and has what was missed", func() bool { has, err := r.Has(t.Context(), missed.ID); return has && err == nil })
}
