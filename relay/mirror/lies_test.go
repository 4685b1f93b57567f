package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestC3LyingPeer: a relay of a followed Mostro can send anything, and nothing of it gets in: false
// signatures, altered events, events of the node, of strangers and of kinds that were not asked
// for, versions from the future. What is true among it does. Then the connection is given up.
func TestC3LyingPeer(t *testing.T) {
	a := newInstance(t, "a")
	b, stranger := newPerson(t), newPerson(t)
	good := b.offer(t, "good", 0)
	forged := b.offer(t, "forged", 0)
	forged.Sig = good.Sig
	altered := b.offer(t, "altered", 0)
	altered.Content = "altered"
	claimed := stranger.offer(t, "claimed", 0)
	claimed.PubKey = b.public
	claimed.ID = claimed.GetID()
	lies := []nostr.Event{
		forged, altered, claimed,
		a.offer(t, "of the node", 0), stranger.offer(t, "a stranger's", 0),
		b.sign(t, nostr.Event{Kind: 1, Content: "not asked for"}),
		b.sign(t, nostr.Event{Kind: 14, Tags: nostr.Tags{{"p", stranger.public}}}),
		b.offer(t, "from the future", nostr.Now()+3600),
	}
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			for _, ev := range slices.Concat([]nostr.Event{good}, lies, lies, lies) {
				say("EVENT", parts[0], ev)
			}
			say("EOSE", parts[0])
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	eventually(t, "what is true got in", func() bool { return a.has(good.ID) })
	eventually(t, "the peer is given up", func() bool {
		h := a.health(url)
		return h.State == Waiting && strings.Contains(h.Error, "false or were not asked for")
	})
	for _, ev := range lies {
		if a.has(ev.ID) {
			t.Errorf("got in: %s", ev.String())
		}
	}
	h := a.health(url)
	if h.Ahead == 0 || h.Retry.Sub(h.Since) < badRetry/3 {
		t.Errorf("health: %+v", h)
	}
	for _, word := range []string{"signature", "id", "unasked", "future"} {
		if h.RefusedFor[Cause{Word: word}] == 0 {
			t.Errorf("nothing was refused for its %s: %v", word, h.RefusedFor)
		}
	}
}

// TestC3Rollback: a relay that lost its last hours gives out old versions; the newest stays.
func TestC3Rollback(t *testing.T) {
	b := newPerson(t)
	old, young := b.offer(t, "x", nostr.Now()-100), b.offer(t, "x", nostr.Now()-50)
	p := newPlain(t, 100, freeAddress(t))
	p.add(young)
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "the offer came", func() bool { return a.has(young.ID) })
	address := strings.TrimPrefix(p.url, "ws://")
	p.stop()
	rolled := newPlain(t, 100, address)
	rolled.add(old)
	eventually(t, "A has seen the old version", func() bool { h := a.health(p.url); return h.State == Live && h.Sessions > 1 })
	if a.has(old.ID) || !a.has(young.ID) {
		t.Error("an old version came back")
	}
}

// TestC3Storage: of one followed key only so much is kept; what is replaced makes room.
func TestC3Storage(t *testing.T) {
	b := newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	for i := range 30 {
		p.add(b.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(i)))
	}
	a := newInstance(t, "a")
	a.cfg.MaxEvents = 20
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}
	a.start()
	eventually(t, "it is full", func() bool { h := a.health(p.url); return h.State == Live && h.Full && h.Refused > 0 })
	events, _, err := a.relay.Count(t.Context(), nostr.Filter{Authors: []string{b.public}})
	if err != nil || events > 20 || events < 15 {
		t.Errorf("%d events are kept, want at most 20 (%v)", events, err)
	}
}

// TestC3Flood: a relay that floods is read no faster than the rate says, and others are served.
func TestC3Flood(t *testing.T) {
	b := newPerson(t)
	flood := make([]nostr.Event, 300)
	for i := range flood {
		flood[i] = b.offer(t, "x", nostr.Now()-nostr.Timestamp(1000-i))
	}
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			say("EOSE", parts[0])
			for range 100 {
				for _, ev := range flood {
					say("EVENT", parts[0], ev)
				}
			}
		}
	})
	c := newInstance(t, "c")
	c.start()
	c.publish(c.offer(t, "calm", 0))
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}, {Pubkey: c.public, Relays: []string{c.url()}}}
	a.start()
	eventually(t, "the flood is being read", func() bool { return a.health(url).Known > 100 })
	live := c.offer(t, "live", 0)
	c.publish(live)
	eventually(t, "others are served", func() bool { return a.has(live.ID) })
	if h := a.health(url); h.Stored+h.Known > liveBurst+liveBurst {
		t.Errorf("health: %+v", h)
	}
}

// TestC3FalseCopies: a relay that sends a message with a false signature before the true one comes, or another one under
// its id, silences nobody: neither who writes to the node over another relay, nor who writes to another Mostro from
// here, nor who talks to the other side of a trade.
func TestC3FalseCopies(t *testing.T) {
	a, c, b, key := newInstance(t, "a"), newInstance(t, "c"), newPerson(t), newPerson(t)
	toA, toC, said := newPerson(t).message(t, a.public, "to A"), newPerson(t).message(t, c.public, "to C"), key.message(t, newPerson(t).public, "said")
	same, other := func(ev nostr.Event) nostr.Event { ev.Sig = said.Sig; return ev }, func(ev nostr.Event) nostr.Event { ev.Content = "false"; return ev }
	lie := said
	lie.Sig = toA.Sig
	heard := make(chan string, 100)
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		switch label {
		case "REQ":
			var f nostr.Filter
			_ = json.Unmarshal(parts[1], &f)
			switch {
			case slices.Contains(f.Tags["p"], a.public):
				for _, ev := range []nostr.Event{same(toA), other(toA), same(toC), other(toC)} {
					say("EVENT", parts[0], ev)
				}
			case slices.Contains(f.Authors, key.public):
				say("EVENT", parts[0], lie)
			}
			say("EOSE", parts[0])
		case "EVENT":
			var ev nostr.Event
			_ = json.Unmarshal(parts[0], &ev)
			heard <- ev.ID
			say("OK", ev.ID, true, "")
		}
	})
	p := newPlain(t, 10, "127.0.0.1:0")
	byA, byC := a.escrow(), c.escrow()
	c.start()
	a.cfg.Outside = []string{url, p.url}
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}, {Pubkey: c.public, Relays: []string{c.url()}}}
	a.start()
	talking := talks(t, a, b.public, key, asksMessages)
	eventually(t, "all lies were heard", func() bool { h := a.health(url); return h.Refused >= 4 && h.Bad > 0 })
	eventually(t, "all are connected", func() bool { return a.health(p.url).State == Live && a.health(c.url()).State == Live })

	p.add(toA)
	eventually(t, "a message to the node over another relay is handled", func() bool { return byA(toA.ID) == 1 })
	if ok, reason := dialClient(t, a.url()).send(toC); !ok || byC(toC.ID) != 1 {
		t.Errorf("a message to another Mostro: %v %q, handled %d times", ok, reason, byC(toC.ID))
	}
	if ok, reason := talking.send(said); !ok {
		t.Error(reason)
	}
	eventually(t, "the other side hears what is said", func() bool {
		select {
		case id := <-heard:
			return id == said.ID
		default:
			return false
		}
	})
}
