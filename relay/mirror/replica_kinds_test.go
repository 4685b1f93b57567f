package mirror

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestReplicaKinds: what is not kept, what only its author may publish, and what takes others away goes over a replica as
// over its primary.
func TestReplicaKinds(t *testing.T) {
	listed, alice, bob := newPerson(t), newPerson(t), newPerson(t)
	p := newInstance(t, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	address := freeAddress(t)
	url := "ws://" + address
	r, replica, _ := startReplica(t, p, listed, t.TempDir(), address)
	eventually(t, "it is equal", replica.Ready)
	gone := func(id string) bool { has, err := r.Has(t.Context(), id); return err == nil && !has }

	// A gift wrap that is not kept.
	for _, pair := range [][2]string{{url, url}, {p.url(), url}, {url, p.url()}} {
		reader, writer := dialClient(t, pair[1]), dialClient(t, pair[0])
		reader.say("REQ", "live", nostr.Filter{Kinds: []int{21059}, Tags: nostr.TagMap{"p": {bob.public}}})
		reader.hear("EOSE")
		wrap := alice.sign(t, nostr.Event{Kind: 21059, Tags: nostr.Tags{{"p", bob.public}}})
		if ok, reason := writer.send(wrap); !ok {
			t.Error(reason)
		}
		if heard := reader.hear("EVENT"); !strings.Contains(string(heard[2]), wrap.ID) {
			t.Errorf("heard %s", heard[2])
		}
	}

	// What only its author may publish (NIP-70).
	own := alice.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{{"-"}}})
	c := dialClient(t, url)
	if ok, reason := c.send(own); ok || !strings.HasPrefix(reason, "auth-required: ") {
		t.Errorf("by anybody: %v %q", ok, reason)
	}
	var challenge string
	if err := json.Unmarshal(c.hear("AUTH")[1], &challenge); err != nil {
		t.Fatal(err)
	}
	c.say("AUTH", alice.sign(t, nostr.Event{Kind: 22242, Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}}))
	c.hear("OK")
	if ok, reason := c.send(own); !ok {
		t.Errorf("by its author: %s", reason)
	}
	eventually(t, "it comes back", func() bool { return !gone(own.ID) })

	// Deletions and requests to vanish.
	if ok, reason := c.send(alice.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", own.ID}}})); !ok {
		t.Error(reason)
	}
	eventually(t, "it is deleted", func() bool { return gone(own.ID) && !p.has(own.ID) })
	last := bob.sign(t, nostr.Event{Kind: 1, CreatedAt: nostr.Now() - 10})
	if ok, reason := c.send(last); !ok {
		t.Error(reason)
	}
	eventually(t, "it comes back", func() bool { return !gone(last.ID) })
	vanish := func(from string) nostr.Event {
		return bob.sign(t, nostr.Event{Kind: 62, Tags: nostr.Tags{{"relay", from}}})
	}
	if ok, reason := c.send(vanish(url)); ok || !strings.HasSuffix(reason, "name "+p.url()) {
		t.Errorf("a request to vanish from the replica: %v %q", ok, reason)
	}
	if ok, reason := c.send(vanish(p.url())); !ok {
		t.Errorf("a request to vanish from the primary: %s", reason)
	}
	eventually(t, "its author has vanished", func() bool { return gone(last.ID) && !p.has(last.ID) })
}
