package mirror

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// The tests in this file are about limits and refusals of relays of other makes, as they were seen at
// real ones (see TestForeign).

// abroad starts a node, in a world without waiting, that has to do with a scripted relay.
func abroad(t *testing.T, p *plain, change func(a *instance, url string)) (a *instance, url string) {
	t.Helper()
	c := newCable()
	p.listens = c.listen
	p.listen(t, "")
	url = "ws://relay.test"
	a = newInstance(t, "a")
	a.listen, a.cfg.Dial = newCable().listen, c.dial
	change(a, url)
	a.start()
	return a, url
}

func publishes(a *instance, url string) { a.cfg.Outside = []string{url} }

func follows(who person) func(*instance, string) {
	return func(a *instance, url string) {
		a.cfg.Follow = append(a.cfg.Follow, Followed{Pubkey: who.public, Relays: []string{url}})
	}
}

// refuses is a relay that answers some events in its own way, or not at all ("").
type refuses struct {
	mu   sync.Mutex
	by   map[string][]any // answer after the label, by event id
	sent map[string]int   // how often each event came
}

func (r *refuses) manner() manner {
	return func(say func(...any), label string, parts []json.RawMessage) bool {
		var ev nostr.Event
		if label != "EVENT" || json.Unmarshal(parts[0], &ev) != nil {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent[ev.ID]++
		answer, refused := r.by[ev.ID]
		if len(answer) > 0 {
			say(answer...)
		}
		return refused
	}
}

func (r *refuses) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[id]
}

// TestForeignRefusals: events that a relay does not take for now, and says nothing or anything about,
// hold up neither the others nor the connection, and are sent again, but not all the time.
func TestForeignRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := idlePlain(50)
		r := &refuses{by: make(map[string][]any), sent: make(map[string]int)}
		p.manner = r.manner
		a, url := abroad(t, p, publishes)
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		trader := newPerson(t)
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
		var odd, good []nostr.Event
		for i := range 2 * sentAtOnce {
			odd = append(odd, a.offer(t, fmt.Sprint("odd", i), 0), a.message(t, trader.public, fmt.Sprint("odd", i)))
		}
		for i := range 5 {
			good = append(good, a.offer(t, fmt.Sprint("good", i), nostr.Now()+1), a.message(t, trader.public, fmt.Sprint("good", i)))
		}
		r.mu.Lock()
		for i := range odd {
			switch i % 3 {
			case 0:
				r.by[odd[i].ID] = []any{"OK", odd[i].ID, false, "error: unknown"}
			case 1:
				r.by[odd[i].ID] = []any{"NOTICE", "event exceeded max size"}
			case 2:
				r.by[odd[i].ID] = nil
			}
		}
		r.mu.Unlock()
		began := time.Now()
		a.publish(odd...)
		a.publish(good...)
		for i := range good {
			eventuallyFor(t, 2*time.Minute, "the others are there", func() bool { return p.has(good[i].ID) })
		}
		t.Logf("the others are there after %s", time.Since(began))
		time.Sleep(time.Hour)
		h := a.health(url)
		t.Logf("in an hour: %d connections, the first sent %d times, %v", h.Sessions, r.count(odd[0].ID), h.RefusedBy)
		for i := range odd {
			if n := r.count(odd[i].ID); n < 3 || n > 130 {
				t.Errorf("event %d was sent %d times in an hour", i, n)
			}
		}
		if h.Sessions > 40 || h.Waiting != len(odd) {
			t.Errorf("health %+v", h)
		}
		// The trouble is over.
		r.mu.Lock()
		clear(r.by)
		r.mu.Unlock()
		eventuallyFor(t, time.Minute, "all are there", func() bool { return a.health(url).Waiting == 0 })
		for i := range odd {
			if !p.has(odd[i].ID) {
				t.Fatalf("event %d is not there", i)
			}
		}
	})
}

// TestForeignSlow: a relay that takes few events a minute gets the answers to traders before the book.
func TestForeignSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := idlePlain(500)
		began := time.Now()
		taken := 0
		var mu sync.Mutex
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				var ev nostr.Event
				if label != "EVENT" || json.Unmarshal(parts[0], &ev) != nil {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				if float64(taken) > 60+time.Since(began).Seconds() {
					say("OK", ev.ID, false, "rate-limited: slow down")
					return true
				}
				taken++
				return false
			}
		}
		a, url := abroad(t, p, publishes)
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		var book []nostr.Event
		for i := range 400 {
			book = append(book, a.offer(t, fmt.Sprint(i), 0))
		}
		a.publish(book...)
		trader := newPerson(t)
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			time.Sleep(time.Minute)
			reply, said := a.message(t, trader.public, fmt.Sprint(i)), time.Now()
			a.publish(reply)
			eventually(t, "the answer is there", func() bool { return p.has(reply.ID) })
			if took := time.Since(said); took > mostRetry+time.Second {
				t.Errorf("an answer waited for %s", took)
			}
		}
		eventuallyFor(t, time.Hour, "the book is there", func() bool { return len(p.all(nostr.Filter{Kinds: []int{kindOrder}})) == len(book) })
		if h := a.health(url); h.Sessions != 1 {
			t.Errorf("%d connections", h.Sessions)
		}
	})
}

// negotiates gives plain negentropy.
func negotiates(p *plain) func() manner { return negotiatesBy(p, 4096) }

// negotiatesBy does so with answers of up to most bytes.
func negotiatesBy(p *plain, most int) func() manner {
	p.about = `{"supported_nips":[1,77]}`
	return func() manner {
		sets := make(map[string]reconcile.Set)
		return func(say func(...any), label string, parts []json.RawMessage) bool {
			id := string(parts[0])
			var message string
			switch label {
			case "NEG-OPEN":
				var f nostr.Filter
				_ = json.Unmarshal(parts[1], &f)
				var set reconcile.Set
				f.Limit = p.names
				for _, ev := range p.all(f) {
					set = append(set, reconcile.Item{Created: uint64(ev.CreatedAt), ID: idOf(ev.ID)})
				}
				set.Sort()
				sets[id] = set
				_ = json.Unmarshal(parts[2], &message)
			case "NEG-MSG":
				_ = json.Unmarshal(parts[1], &message)
			case "NEG-CLOSE":
				delete(sets, id)
				return true
			default:
				return false
			}
			b, _ := hex.DecodeString(message)
			if answer, err := sets[id].Answer(b, most); err == nil {
				say("NEG-MSG", parts[0], hex.EncodeToString(answer))
			}
			return true
		}
	}
}

// TestForeignFewIDs: a relay that knows negentropy and gives out fewer events at a time than it is
// asked for by id is read whole at once.
func TestForeignFewIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(7)
		p.manner = negotiates(p)
		var want []nostr.Event
		for i := range 500 {
			want = append(want, b.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(i)))
		}
		p.add(want...)
		a, url := abroad(t, p, follows(b))
		eventually(t, "the book is here", func() bool { return bytes.Equal(a.book(b.public), lines(want)) })
		if h := a.health(url); !h.Negentropy || h.Sessions != 1 {
			t.Errorf("health %+v", h)
		}
	})
}

// TestForeignUntil: a relay that takes until for the first second that is not asked for is read whole.
func TestForeignUntil(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(7)
		p.manner = func() manner {
			return func(_ func(...any), label string, parts []json.RawMessage) bool {
				for i := 1; label == "REQ" && i < len(parts); i++ {
					var f nostr.Filter
					if json.Unmarshal(parts[i], &f) == nil && f.Until != nil {
						*f.Until--
						parts[i], _ = json.Marshal(f)
					}
				}
				return false
			}
		}
		var want []nostr.Event
		for i := range 100 {
			want = append(want, b.offer(t, fmt.Sprint(i), nostr.Now()-5000+nostr.Timestamp(i/5)))
		}
		p.add(want...)
		a, url := abroad(t, p, follows(b))
		eventually(t, "the book is here", func() bool { return bytes.Equal(a.book(b.public), lines(want)) })
		if h := a.health(url); h.Gap {
			t.Errorf("health %+v", h)
		}
	})
}

// TestForeignBreaks: a relay that ends the connection at a word of negentropy is read by windows; so is
// one that says nothing to it, and neither is asked again and again.
func TestForeignBreaks(t *testing.T) {
	for _, kind := range []string{"breaks", "says nothing"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, p := newPerson(t), idlePlain(50)
				p.about = `{"name":"a relay that lists nothing"}`
				words := 0
				p.manner = func() manner {
					return func(_ func(...any), label string, _ []json.RawMessage) bool {
						if label == "NEG-OPEN" {
							words++
							if kind == "breaks" {
								p.cut()
							}
						}
						return strings.HasPrefix(label, "NEG")
					}
				}
				others := []person{newPerson(t), newPerson(t), newPerson(t)}
				offer := b.offer(t, "x", 0)
				p.add(offer)
				a, url := abroad(t, p, func(a *instance, url string) {
					publishes(a, url)
					for _, who := range append(others, b) {
						follows(who)(a, url)
					}
				})
				own := a.offer(t, "own", 0)
				a.publish(own)
				began := time.Now()
				eventually(t, "the book is here", func() bool { return a.has(offer.ID) })
				eventually(t, "the node's is there", func() bool { return p.has(own.ID) })
				eventually(t, "it is live", func() bool { return a.health(url).State == Live })
				t.Logf("%s: after %s, %d connections, %d words", kind, time.Since(began), a.health(url).Sessions, words)
				if h := a.health(url); words > 4 || h.Negentropy {
					t.Errorf("%d words of negentropy, health %+v", words, h)
				}
			})
		})
	}
}

// TestForeignQuestions: a relay that answers few questions a minute is read in the end.
func TestForeignQuestions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(20)
		asked, began := 0, time.Now()
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				if label != "REQ" {
					return false
				}
				if float64(asked) > 10+time.Since(began).Minutes()*10 {
					say("CLOSED", parts[0], "rate-limited: too many REQs")
					return true
				}
				asked++
				return false
			}
		}
		var want []nostr.Event
		for i := range 500 {
			want = append(want, b.offer(t, fmt.Sprint(i), nostr.Now()-nostr.Timestamp(i)))
		}
		p.add(want...)
		a, url := abroad(t, p, follows(b))
		eventuallyFor(t, 30*time.Minute, "the book is here", func() bool { return bytes.Equal(a.book(b.public), lines(want)) })
		t.Logf("after %s: %v", time.Since(began), a.health(url).RefusedBy)
		if h := a.health(url); h.Sessions != 1 {
			t.Errorf("%d connections, last error %s", h.Sessions, h.Error)
		}
	})
}

// TestForeignSmall: what is larger than a relay says that it takes is not sent there; it would end the
// connection.
func TestForeignSmall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const most = 16384
		b, p := newPerson(t), idlePlain(50)
		p.about = fmt.Sprintf(`{"supported_nips":[1],"limitation":{"max_message_length":%d}}`, most)
		p.manner = func() manner {
			return func(_ func(...any), label string, parts []json.RawMessage) bool {
				if len(label)+len(bytes.Join(asBytes(parts), []byte{','}))+5 > most {
					p.cut()
					return true
				}
				return false
			}
		}
		a, url := abroad(t, p, func(a *instance, url string) {
			publishes(a, url)
			follows(b)(a, url)
		})
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		for i := range 600 {
			a.mirror.interest.add(mailbox{newPerson(t).public, b.public}, claimantOf(fmt.Sprintf("203.0.%d.%d:1", i/250, i%250), false))
		}
		large := newPerson(t).message(t, b.public, strings.Repeat("x", most))
		if err := a.mirror.Carry(t.Context(), &large); err == nil || !strings.HasPrefix(err.Error(), "invalid: the relay takes messages of at most") {
			t.Errorf("a large message: %v", err)
		}
		client := newPerson(t)
		a.mirror.interest.add(mailbox{client.public, b.public}, claimant{from: near})
		offer, answer := a.offer(t, "x", 0), b.message(t, client.public, "an answer")
		a.publish(offer)
		p.add(answer)
		eventually(t, "an offer is there", func() bool { return p.has(offer.ID) })
		eventually(t, "an answer is here", func() bool { return a.has(answer.ID) })
		if h := a.health(url); h.Sessions != 1 {
			t.Errorf("%d connections: %s", h.Sessions, h.Error)
		}
	})
}

func asBytes(parts []json.RawMessage) (all [][]byte) {
	for _, part := range parts {
		all = append(all, part)
	}
	return all
}

// TestForeignFewFilters: a relay that has no room for a subscription beside the one that it is to take the place of
// gets them one after the other; mail of all keys comes, gift wraps too, on one connection.
func TestForeignFewFilters(t *testing.T) {
	for _, reason := range []string{"error: too many concurrent REQs", "rate-limited: close some first"} {
		t.Run(reason, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, p := newPerson(t), idlePlain(500)
				refused := 0
				p.manner = func() manner {
					open := make(map[string]int) // filters for recipients, by subscription
					return func(say func(...any), label string, parts []json.RawMessage) bool {
						id := string(parts[0])
						delete(open, id)
						if label != "REQ" {
							return false
						}
						n, all := 0, 0
						for _, part := range parts[1:] {
							if bytes.Contains(part, []byte(`"#p"`)) && (bytes.Contains(part, []byte("[1059]")) || bytes.Contains(part, []byte("[14]"))) {
								n++
							}
						}
						for _, some := range open {
							all += some
						}
						if n > 0 && n+all > 3 {
							refused++
							say("CLOSED", parts[0], reason)
							return true
						}
						open[id] = n
						return false
					}
				}
				a, url := abroad(t, p, follows(b))
				eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
				wrap := func(to person) nostr.Event {
					ev := newPerson(t).sign(t, nostr.Event{Kind: 1059, CreatedAt: nostr.Now() - 3600, Tags: nostr.Tags{{"p", to.public}}})
					p.publish(ev)
					return ev
				}
				var keys []person
				for i := range 5 {
					key := newPerson(t)
					keys = append(keys, key)
					past := wrap(key)
					wrap(key)
					a.mirror.interest.add(mailbox{key.public, b.public}, claimant{from: fmt.Sprint(i)})
					eventually(t, "what was stored is here", func() bool { return a.has(past.ID) })
					time.Sleep(2 * time.Second)
					for _, key := range keys {
						live := wrap(key)
						eventually(t, "what comes live is here", func() bool { return a.has(live.ID) })
					}
				}
				if h := a.health(url); h.Sessions != 1 || refused == 0 {
					t.Errorf("refused %d times, health %+v", refused, h)
				}
			})
		})
	}
}

// TestForeignBusy: a relay that refuses a question once, because it is busy, is asked for the mail of all keys again.
func TestForeignBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, p := newPerson(t), idlePlain(500)
		var busy atomic.Bool
		p.manner = func() manner {
			return func(say func(...any), label string, parts []json.RawMessage) bool {
				if label == "REQ" && busy.Load() && bytes.Contains(parts[1], []byte(`"#p"`)) {
					say("CLOSED", parts[0], "rate-limited: slow down")
					return true
				}
				return false
			}
		}
		a, url := abroad(t, p, follows(b))
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
		mailOf := func(name string) nostr.Event {
			key := claims(t, a.mirror.interest, b, name, 0, 1)[0]
			mail := b.message(t, key.public, "for you")
			p.publish(mail)
			return mail
		}
		first := mailOf("first")
		eventually(t, "mail is here", func() bool { return a.has(first.ID) })
		busy.Store(true)
		second := mailOf("second")
		time.Sleep(time.Minute)
		busy.Store(false)
		third := mailOf("third")
		eventuallyFor(t, 2*mostMissed, "the mail of all is here", func() bool { return a.has(second.ID) && a.has(third.ID) })
		if h := a.health(url); h.Sessions != 1 {
			t.Errorf("health %+v", h)
		}
	})
}
