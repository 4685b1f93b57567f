package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// talker is one side of a conversation, connected to one relay.
type talker struct {
	client
	key person // that both sides sign with
}

// asking is in which way a client asks for the mail of its trade: that of one Mostro, the same after
// its conversations, or gift wraps, which do not tell whose they are.
type asking int

const (
	asksMessages asking = iota
	asksChatFirst
	asksWraps
)

// talks connects somebody who trades with a Mostro and talks to the other side.
func talks(t testing.TB, at *instance, with string, key person, ask asking) talker {
	c := dialClient(t, at.url())
	mail := nostr.Filter{Kinds: []int{14}, Authors: []string{with}, Tags: nostr.TagMap{"p": {newPerson(t).public}}}
	if ask == asksWraps {
		mail.Kinds, mail.Authors = []int{1059}, nil
	}
	questions := []nostr.Filter{mail, {Kinds: []int{14}, Authors: []string{key.public}, Limit: 100}}
	if ask == asksChatFirst {
		slices.Reverse(questions)
	}
	for i, f := range questions {
		c.say("REQ", fmt.Sprint(i), f)
		c.hear("EOSE")
	}
	return talker{c, key}
}

func (s talker) sign(text string) nostr.Event {
	return s.key.message(s.TB, strings.Repeat("5", 64), text)
}

func (s talker) tell(text string) nostr.Event {
	s.Helper()
	ev := s.sign(text)
	if ok, reason := s.send(ev); !ok {
		s.Fatal(reason)
	}
	return ev
}

// hears waits for a message, and fails when another comes first or it comes twice.
func (s talker) hears(want nostr.Event) {
	s.Helper()
	var ev nostr.Event
	if err := json.Unmarshal(s.client.hear("EVENT")[2], &ev); err != nil {
		s.Fatal(err)
	}
	if ev.ID != want.ID {
		s.Errorf("heard %q, want %q", ev.Content, want.Content)
	}
}

// TestTalk: buyer and seller of a trade at B talk, one connected to A only, which follows B, the
// other to B; whoever speaks first, whether B follows A too or not, over a break and a restart. Each
// hears each message once, and nobody else's conversation goes anywhere.
func TestTalk(t *testing.T) {
	for _, mutual := range []bool{false, true} {
		for _, ask := range []asking{asksMessages, asksChatFirst, asksWraps} {
			t.Run(fmt.Sprintf("mutual %v, asks %d", mutual, ask), func(t *testing.T) {
				a, b := newInstance(t, "a"), newInstance(t, "b")
				a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{b.url()}}}
				if mutual {
					b.cfg.Follow = []Followed{{Pubkey: a.public, Relays: []string{a.url()}}}
				}
				b.start()
				a.start()
				eventually(t, "they are connected", func() bool {
					return a.health(b.url()).State == Live && (!mutual || b.health(a.url()).State == Live)
				})
				key := newPerson(t)
				seller := talks(t, b, b.public, key, ask)
				early := seller.tell("what the buyer is not there to hear")
				seller.hears(early) // its own
				buyer := talks(t, a, b.public, key, ask)
				buyer.hears(early)
				for i := range 5 {
					for j, pair := range [][2]talker{{buyer, seller}, {seller, buyer}} {
						said := pair[0].tell(fmt.Sprint("message ", i, j))
						pair[0].hears(said)
						pair[1].hears(said)
					}
				}
				// What is said while the relays do not reach each other comes later.
				a.stop()
				missed := seller.tell("while A is away")
				seller.hears(missed)
				a.start()
				buyer = talks(t, a, b.public, key, ask)
				eventually(t, "what was missed comes", func() bool { return a.has(missed.ID) })

				b.stop()
				late := buyer.tell("while B is away")
				b.start()
				eventually(t, "what could not be said there comes", func() bool { return b.has(late.ID) })
				eventually(t, "they are connected again", func() bool { return a.health(b.url()).State == Live })

				// A's own trades stay at A.
				own := talks(t, a, a.public, newPerson(t), asksMessages)
				private := own.tell("a trade with A")
				after := buyer.tell("after that")
				eventually(t, "what came after it is there", func() bool { return b.has(after.ID) })
				if b.has(private.ID) {
					t.Error("a conversation of A's own clients is at B")
				}
				if h := a.health(b.url()); h.Bad > 0 {
					t.Errorf("health: %+v", h)
				}
				if mutual && ask == asksMessages {
					if h := b.health(a.url()); h.CarriedTo > 0 {
						t.Errorf("B brings to A what A fetches: %+v", h)
					}
				}
			})
		}
	}
}

// TestTalkOutside: a client that is connected to an outside relay only trades with A and talks to one
// who is connected to A.
func TestTalkOutside(t *testing.T) {
	p := newPlain(t, 100, freeAddress(t))
	a := newInstance(t, "a")
	handled := a.escrow()
	a.cfg.Outside = []string{p.url}
	a.start()
	eventually(t, "A is connected", func() bool { return a.health(p.url).State == Live })
	key := newPerson(t)
	here := talks(t, a, a.public, key, asksMessages)
	first := here.tell("before anybody has come over that relay")
	here.hears(first)
	if p.has(first.ID) {
		t.Error("a conversation is at a relay over which nobody trades")
	}
	// The taker there.
	there := dialClient(t, p.url)
	take := newPerson(t).message(t, a.public, "take")
	if ok, reason := there.send(take); !ok {
		t.Fatal(reason)
	}
	eventually(t, "the message is handled", func() bool { return handled(take.ID) == 1 })
	eventually(t, "what was said before is there", func() bool { return p.has(first.ID) })
	there.say("REQ", "chat", nostr.Filter{Kinds: []int{14}, Authors: []string{key.public}})
	there.hear("EOSE")
	them := talker{there, key}
	them.hears(first)
	answer := them.tell("and there")
	here.hears(answer)
	second := here.tell("and here")
	here.hears(second)
	eventually(t, "it is there", func() bool { return p.has(second.ID) })
}

// TestC3Talk: a peer can send nothing into conversations that nobody here is in, and a relay that
// does not show messages by their authors is followed all the same.
func TestC3Talk(t *testing.T) {
	b, key, stranger := newPerson(t), newPerson(t), newPerson(t)
	offer := b.offer(t, "x", 0)
	mine, forged := key.message(t, stranger.public, "mine"), key.message(t, stranger.public, "forged")
	forged.Sig = mine.Sig
	strange := stranger.message(t, key.public, "of another conversation")
	var mu sync.Mutex
	shut := false
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label != "REQ" {
			return
		}
		var f nostr.Filter
		_ = json.Unmarshal(parts[1], &f)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case f.Kinds[0] == kindMessage && len(f.Tags) == 0 && shut:
			say("CLOSED", parts[0], "restricted: messages are for their recipients")
			return
		case f.Kinds[0] == kindMessage && len(f.Tags) == 0:
			for _, ev := range []nostr.Event{mine, forged, strange} {
				say("EVENT", parts[0], ev)
			}
		case slices.Contains(f.Kinds, kindOrder):
			say("EVENT", parts[0], offer)
		}
		say("EOSE", parts[0])
	})
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	talks(t, a, b.public, key, asksMessages)
	eventually(t, "what is true comes", func() bool { return a.has(mine.ID) })
	eventually(t, "the rest is bad", func() bool { return a.health(url).Bad > 1 })
	if a.has(forged.ID) || a.has(strange.ID) {
		t.Error("it got in")
	}
	a.stop()
	mu.Lock()
	shut = true
	mu.Unlock()
	a.start()
	eventually(t, "the peer is live", func() bool {
		h := a.health(url)
		return h.State == Live && h.RefusedBy["there: restricted: messages are for their recipients"] > 0
	})
	time.Sleep(50 * time.Millisecond)
	if h := a.health(url); h.State != Live || h.Sessions != 1 {
		t.Errorf("health: %+v", h)
	}
}

// TestTalkLimits: a connection adds no more conversations than it may, and one conversation says no
// more than it may.
func TestTalkLimits(t *testing.T) {
	a, b, _ := federated(t)
	c := dialClient(t, a.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Authors: []string{b.public}, Tags: nostr.TagMap{"p": {newPerson(t).public}}})
	c.hear("EOSE")
	for n := 0; n < keysPerClient+100; n += 200 {
		var keys []string
		for range 200 {
			keys = append(keys, newPerson(t).public)
		}
		c.say("REQ", "chat", nostr.Filter{Kinds: []int{14}, Authors: keys})
		c.hear("EOSE")
	}
	if keys, _ := a.mirror.talks.keys([]string{b.public}); len(keys) != keysPerClient-1 { // one is the mail
		t.Errorf("one connection added %d conversations, want %d", len(keys), keysPerClient-1)
	}
	loud := newPerson(t)
	buyer := talks(t, a, b.public, loud, asksMessages)
	for i := range talkBurst + 50 {
		buyer.tell(fmt.Sprint(i))
	}
	calm := talks(t, a, b.public, newPerson(t), asksMessages)
	said := calm.tell("calm")
	eventually(t, "others are heard", func() bool { return b.has(said.ID) })
	n, _, err := b.relay.Count(t.Context(), nostr.Filter{Authors: []string{loud.public}})
	if err != nil || n < talkBurst/2 || n > talkBurst+45 {
		t.Errorf("%d messages of one conversation went over (%v)", n, err)
	}
}
