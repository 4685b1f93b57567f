package mirror

import (
	"bytes"
	"testing"

	"mostro/relay"
)

// TestReplicaRemoved: what the primary takes away is gone from its replicas in a moment, whatever kind it is, and not
// only when they are compared; what comes back is there.
func TestReplicaRemoved(t *testing.T) {
	listed := newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	bad, mail, stays := p.offer(t, "bad", 0), p.message(t, newPerson(t).public, "private"), p.offer(t, "stays", 0)
	p.publish(bad, mail, stays, p.info(t, 0))
	r, replica, _ := startReplica(t, p, listed, t.TempDir(), freeAddress(t))
	eventually(t, "it is equal", replica.Ready)
	has := func(id string) bool {
		has, err := r.Has(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return has
	}
	if err := p.relay.Remove(t.Context(), idOf(bad.ID), idOf(mail.ID)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are gone", func() bool { return !has(bad.ID) && !has(mail.ID) })
	if !has(stays.ID) {
		t.Error("another event is gone too")
	}

	// One that comes and goes ends as the primary has it.
	for range 20 {
		p.publish(bad)
		if err := p.relay.Remove(t.Context(), idOf(bad.ID)); err != nil {
			t.Fatal(err)
		}
	}
	p.publish(bad)
	last := p.offer(t, "last", 0)
	p.publish(last)
	eventually(t, "all has come", func() bool { return has(last.ID) })
	if !has(bad.ID) {
		t.Error("what has come back is gone")
	}
}

// TestReplicaRemovedHoldsNobodyUp: a replica whose disk is slow hears its primary while it takes away what that has.
func TestReplicaRemovedHoldsNobodyUp(t *testing.T) {
	listed := newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	gone := p.offer(t, "gone", 0)
	p.publish(gone, p.info(t, 0))
	address := freeAddress(t)
	r, replica, _ := startReplica(t, p, listed, t.TempDir(), address)
	eventually(t, "it is equal", replica.Ready)

	replica.book.mu.Lock() // nothing that comes is stored
	locked := true
	defer func() {
		if locked {
			replica.book.mu.Unlock()
		}
	}()
	p.publish(newPerson(t).offer(t, "slow", 0))
	for range 20 {
		if err := p.relay.Remove(t.Context(), idOf(gone.ID)); err != nil {
			t.Fatal(err)
		}
		p.publish(gone)
	}
	if err := p.relay.Remove(t.Context(), idOf(gone.ID)); err != nil {
		t.Fatal(err)
	}
	who := newPerson(t)
	if ok, reason := dialClient(t, "ws://"+address).send(who.message(t, newPerson(t).public, "forwarded")); !ok {
		t.Errorf("the primary's answer is not heard: %s", reason)
	}
	replica.book.mu.Unlock()
	locked = false
	eventually(t, "it is gone", func() bool {
		has, err := r.Has(t.Context(), gone.ID)
		return err == nil && !has && bytes.Equal(everything(t, r), everything(t, p.relay))
	})
}
