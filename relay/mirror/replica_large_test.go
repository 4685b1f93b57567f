package mirror

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestReplicaLarge: a new replica becomes equal to a primary that has more events than one comparing may find lacking,
// whether the primary reconciles all of them in one go or in parts of time.
func TestReplicaLarge(t *testing.T) {
	const events, atOnce = 400, 60
	for name, inOneGo := range map[string]int{"in one go": 1000, "in parts": 40} {
		t.Run(name, func(t *testing.T) {
			listed := newPerson(t)
			p := newInstance(t, "primary")
			p.change = func(cfg *relay.Config) {
				cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
				cfg.Limits = relay.DefaultLimits()
				cfg.Limits.NegItems = inOneGo
			}
			p.start()
			for i := range events {
				p.publish(p.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(7200*(i%20)+i)))
			}
			r, replica, _ := startReplica(t, p, listed, t.TempDir(), freeAddress(t), func(cfg *ReplicaConfig) { cfg.atOnce = atOnce })
			eventually(t, "it is ready", replica.Ready)
			if !bytes.Equal(everything(t, r), everything(t, p.relay)) {
				t.Error("the replica has something else than the primary")
			}
		})
	}
}
