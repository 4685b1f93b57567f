package mirror

import (
	"errors"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestReplicaListedNoMore: a replica that the primary does not know any more keeps the messages that it has: that they
// are not shown to it does not mean that they are gone. What is public and gone goes all the same.
func TestReplicaListedNoMore(t *testing.T) {
	listed, known := newPerson(t), true
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		known := known
		cfg.Federation.Peer = func(pubkey string) bool { return known && pubkey == listed.public }
	}
	p.start()
	mail, gone := p.message(t, newPerson(t).public, "private"), p.offer(t, "gone", 0)
	over := p.message(t, newPerson(t).public, "over")
	p.publish(mail, over, gone, p.info(t, 0))
	dir, address := t.TempDir(), freeAddress(t)
	_, replica, stop := startReplica(t, p, listed, dir, address)
	eventually(t, "it is equal", replica.Ready)
	stop()
	if err := p.relay.Remove(t.Context(), idOf(over.ID)); err != nil {
		t.Fatal(err)
	}
	r, replica, stop := startReplica(t, p, listed, dir, address)
	eventually(t, "it is equal again", replica.Ready)
	if has, err := r.Has(t.Context(), over.ID); err != nil || has {
		t.Errorf("a message that the primary has no more is there (%v)", err)
	}
	stop()
	if err := p.relay.Remove(t.Context(), idOf(gone.ID)); err != nil {
		t.Fatal(err)
	}
	p.stop()
	known = false
	p.start()
	r, replica, _ = startReplica(t, p, listed, dir, address)
	eventually(t, "it is level with what is public", func() bool { return replica.ready.Load() && replica.Unlisted() })
	if has, err := r.Has(t.Context(), mail.ID); err != nil || !has {
		t.Errorf("a message has been removed (%v)", err)
	}
	if has, err := r.Has(t.Context(), gone.ID); err != nil || has {
		t.Errorf("what is gone is there (%v)", err)
	}
}

// TestReplicaOtherAddress: a replica that was given another address of its primary than that has of itself cannot prove
// who it is there. It is told which one to use.
func TestReplicaOtherAddress(t *testing.T) {
	listed := newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	l, err := Dial(Direct).connect(t.Context(), strings.Replace(p.url(), "127.0.0.1", "localhost", 1), replicaAgent, func(ev *nostr.Event) error { return ev.Sign(listed.secret) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.awaitLogin(t.Context()); !errors.Is(err, errNoLogin) || !strings.Contains(err.Error(), p.url()) {
		t.Errorf("%v does not name %s", err, p.url())
	}
}
