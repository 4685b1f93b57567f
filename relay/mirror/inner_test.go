package mirror

import (
	"context"
	"net"
	"net/netip"
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

// TestC3InnerAddresses: what somebody else names is dialled on the public internet only.
func TestC3InnerAddresses(t *testing.T) {
	for outer, addresses := range map[bool][]string{
		true: {"1.1.1.1", "100.63.255.255", "100.128.0.1", "223.255.255.255", "::ffff:8.8.8.8", "2606:4700::1111"},
		false: {
			"127.0.0.1", "10.1.1.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "0.1.2.3", "100.64.0.1", "100.100.100.200",
			"168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fd00::1", "ff02::1",
			"::ffff:100.100.100.200", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001::7f00:1",
		},
	} {
		for _, text := range addresses {
			if got := isOuterAddr(netip.MustParseAddr(text)); got != outer {
				t.Errorf("%s may be dialled: %v", text, got)
			}
		}
	}
	if conn, err := Direct(outward(t.Context()), "tcp", "100.100.100.200:1"); err == nil {
		conn.Close()
		t.Error("it was dialled")
	} else if !strings.Contains(err.Error(), errInner.Error()) {
		t.Error(err)
	}
}
