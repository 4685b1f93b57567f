package mirror

import (
	"bytes"
	"os"
	"testing"

	"mostro/relay"
)

// TestReplicaGivesBack: a primary that has lost its event store has all again with the one of a replica, as mostro restore says,
// and its replicas keep what they have.
func TestReplicaGivesBack(t *testing.T) {
	listed, alice := newPerson(t), newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	p.publish(p.message(t, alice.public, "to alice"), p.info(t, 0), p.offer(t, "x", 0))
	dir, address := t.TempDir(), freeAddress(t)
	_, replica, stop := startReplica(t, p, listed, dir, address)
	eventually(t, "the replica is equal", replica.Ready)
	had := everything(t, p.relay)
	p.stop()
	stop()
	lost := p.dir + "/relay"
	if err := os.RemoveAll(lost); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(lost, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	p.start()
	r, replica, _ := startReplica(t, p, listed, dir, address)
	eventually(t, "the replica is equal again", replica.Ready)
	if !bytes.Equal(had, everything(t, p.relay)) || !bytes.Equal(had, everything(t, r)) {
		t.Error("something is missing")
	}
}
