package mirror

import (
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
