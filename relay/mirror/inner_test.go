package mirror

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3InnerByName: a list of relays does not lead into the operator's own network by a name either; a relay there
// that he has named himself is used.
func TestC3InnerByName(t *testing.T) {
	listener := listenAt(t, "127.0.0.1:0")
	defer listener.Close()
	var dialled atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			conn.Close()
		}
	}()
	const url = "ws://relay.test" // its name alone does not show what it is
	b := newPerson(t)
	a := newInstance(t, "a")
	a.cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return Direct(ctx, network, listener.Addr().String()) // as the name resolves
	}
	a.cfg.Follow = []Followed{{Pubkey: b.public}}
	a.start()
	if a.mirror.mayFind(url + "/path?query") {
		t.Error("a list may choose what is asked")
	}
	a.publish(b.sign(t, nostr.Event{Kind: kindRelayList, Tags: nostr.Tags{{"r", url}}}))
	eventually(t, "it is not connected", func() bool { return a.health(url).Failures > 0 })
	if h := a.health(url); dialled.Load() > 0 || !strings.Contains(h.Error, errInner.Error()) {
		t.Errorf("an inner address was dialled %d times: %s", dialled.Load(), h.Error)
	}
	if err := a.mirror.Follow(Followed{Pubkey: b.public, Relays: []string{url}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what the operator has named is dialled", func() bool { return dialled.Load() > 0 })
}
