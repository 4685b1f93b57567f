package mirror

import (
	"bytes"
	"log/slog"
	"sync/atomic"
	"testing"

	"mostro/relay"
)

// writer is told each line of a log.
type writer func(text []byte)

func (w writer) Write(text []byte) (int, error) { w(text); return len(text), nil }

// TestReplicaOfAnother: when the address of the primary comes to lead to another node, the replica keeps what it has, copies
// nothing of that node and forwards nothing to it, and goes on when its primary is back.
func TestReplicaOfAnother(t *testing.T) {
	listed := newPerson(t)
	a, b := newInstance(t, "a"), newInstance(t, "b")
	for _, i := range []*instance{a, b} {
		i.change = func(cfg *relay.Config) {
			cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
		}
	}
	b.address = a.address
	a.start()
	a.publish(a.info(t, 0), a.offer(t, "a", 0))
	var met atomic.Bool
	r, replica, _ := startReplica(t, a, listed, t.TempDir(), freeAddress(t), func(cfg *ReplicaConfig) {
		cfg.Logger = slog.New(slog.NewTextHandler(writer(func(text []byte) { met.Store(met.Load() || bytes.Contains(text, []byte(errAnother.Error()))) }), nil))
	})
	eventually(t, "the replica is equal", replica.Ready)
	was := everything(t, r)
	a.stop()
	eventually(t, "it is noticed", func() bool { return replica.Lost() > 0 })
	b.start()
	theirs := b.offer(t, "b", 0)
	b.publish(b.info(t, 0), theirs)
	eventually(t, "the replica has met the other node", met.Load)
	if replica.Connected() || !bytes.Equal(everything(t, r), was) {
		t.Errorf("connected: %v; it has\n%s", replica.Connected(), everything(t, r))
	}
	b.stop()
	a.start()
	more := a.offer(t, "more", 0)
	a.publish(more)
	eventually(t, "it goes on", func() bool {
		has, err := r.Has(t.Context(), more.ID)
		return err == nil && has && replica.Lost() == 0
	})
	if has, _ := r.Has(t.Context(), theirs.ID); has {
		t.Error("it has an offer of the other node")
	}
}
