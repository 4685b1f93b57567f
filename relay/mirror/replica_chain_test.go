package mirror

import (
	"errors"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestReplicaOfReplica: a replica whose primary is a replica, another one or itself by whatever address, ends and says so. It
// would wait for ever, and each of its clients with it.
func TestReplicaOfReplica(t *testing.T) {
	listed, a, address := newPerson(t), newInstance(t, "a"), freeAddress(t)
	a.start()
	startReplica(t, a, listed, t.TempDir(), address)
	r := NewReplica(ReplicaConfig{Primary: "ws://" + address, Node: a.public, Sign: func(ev *nostr.Event) error { return ev.Sign(listed.secret) }})
	own, err := relay.Open(relay.Config{Pubkey: a.public})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close(t.Context())
	if err := r.Attach(own); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, ErrReplica) {
		t.Error(err)
	}
}
