package mirror

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestForeignStrfry: a relay that does as strfry does is a peer, also with as many keys and conversations as a relay is asked
// for. strfry itself was not there to be run.
func TestForeignStrfry(t *testing.T) {
	relay := func(t *testing.T) (p *plain, over *atomic.Int64) {
		t.Parallel()
		p, over = idlePlain(500), new(atomic.Int64)
		p.manner = likeStrfry(p, over)
		p.listen(t, freeAddress(t))
		return p, over
	}
	t.Run("messages", func(t *testing.T) {
		p, _ := relay(t)
		foreignCourse(t, p.url, true)
	})
	t.Run("books", func(t *testing.T) {
		p, _ := relay(t)
		booksCourse(t, &foreign{url: p.url, wraps: true, stop: func() { p.stop() }, start: func() { p.listen(t, p.url[len("ws://"):]) }}, 600)
	})
	t.Run("many keys", func(t *testing.T) {
		p, over := relay(t)
		a, b := newInstance(t, "a"), newPerson(t)
		a.cfg.Follow, a.cfg.Outside = []Followed{{Pubkey: b.public, Relays: []string{p.url}}}, []string{p.url}
		a.start()
		keys := claims(t, a.mirror.interest, b, "mail ", 0, keysPerPeer)
		claims(t, a.mirror.talks, b, "talk ", 0, keysPerPeer)
		arrives := func(key person) {
			t.Helper()
			mail := b.message(t, key.public, "for you")
			p.publish(mail)
			eventually(t, "mail is here", func() bool { return a.has(mail.ID) })
		}
		arrives(keys[0])
		arrives(keys[len(keys)-1])
		for range 5 {
			fresh := claims(t, a.mirror.interest, b, "later ", 0, mailSlack/2)
			claims(t, a.mirror.talks, b, "later ", 0, mailSlack/2)
			arrives(fresh[0])
		}
		if n := over.Load(); n > 0 {
			t.Errorf("%d subscriptions were too many", n)
		}
	})
}

// likeStrfry makes a relay that differs from plain as strfry does by its source, with its defaults: it names limits and ends the
// connection at a frame above them, refuses what is too late or replaced in words of its own, and complains in a NOTICE. A
// subscription beyond the 20th, counted by over, is answered with what is stored, and told then that it does not stand.
func likeStrfry(p *plain, over *atomic.Int64) func() manner {
	const frame, event, subs, negFrame, ahead = 131_072, 65_536, 20, 500_000, 900
	negotiate := negotiatesBy(p, negFrame)
	p.about = fmt.Sprintf(`{"supported_nips":[1,2,4,9,11,22,28,40,70,77],"negentropy":1,"software":"git+https://github.com/hoytech/strfry.git",
		"limitation":{"max_message_length":%d,"max_subscriptions":%d,"max_limit":%d}}`, frame, subs, p.limit)
	return func() manner {
		rest := negotiate()
		open := make(map[string]struct{})
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			size := len(label) + 5
			for _, part := range parts {
				size += len(part) + 1
			}
			if size > frame {
				p.cut()
				return true
			}
			switch id := string(parts[0]); label {
			case "EVENT":
				return p.answersLikeStrfry(say, parts[0], event, ahead)
			case "REQ":
				if open[id] = struct{}{}; len(open) <= subs {
					return false
				}
				delete(open, id)
				over.Add(1)
				for _, part := range parts[1:] {
					var f nostr.Filter
					_ = json.Unmarshal(part, &f)
					evs := p.all(f)
					for _, ev := range evs[:min(len(evs), p.limit)] {
						say("EVENT", parts[0], ev)
					}
				}
				say("EOSE", parts[0])
				say("NOTICE", "ERROR: too many concurrent REQs")
				return true
			case "CLOSE":
				delete(open, id)
				return false
			case "NEG-OPEN", "NEG-MSG", "NEG-CLOSE":
				return rest(say, label, parts)
			}
			say("NOTICE", "ERROR: bad msg: unknown cmd")
			return true
		}
	}
}

// answersLikeStrfry answers an event that is not taken.
func (p *plain) answersLikeStrfry(say func(...any), raw json.RawMessage, event int, ahead int64) bool {
	var ev nostr.Event
	_ = json.Unmarshal(raw, &ev)
	p.mu.Lock()
	old, has := p.stored[ev.PubKey+place(&ev)]
	p.mu.Unlock()
	switch {
	case len(raw) > event:
		say("OK", ev.ID, false, fmt.Sprintf("invalid: event too large: %d", len(raw)))
	case int64(ev.CreatedAt) > time.Now().Unix()+ahead:
		say("OK", ev.ID, false, "invalid: created_at too late")
	case has && old.ID == ev.ID:
		say("OK", ev.ID, true, "duplicate: have this event")
	case has && old.CreatedAt >= ev.CreatedAt:
		say("OK", ev.ID, false, "replaced: have newer event")
	default:
		return false
	}
	return true
}
