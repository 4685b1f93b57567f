package mirror

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// marks knows the messages that have crossed, by name.
type marks struct {
	mu       sync.Mutex
	there    *lru.Cache[name, time.Time] // arrived, or failed at that time
	underway map[name]struct{}
}

// name is what only an event itself has, once its id is checked. An id is anybody's word: under that of a message on its
// way a liar can send another one, or the same with a false signature, before the true one comes.
type name [sha256.Size]byte

func nameOf(ev *nostr.Event) name { return sha256.Sum256([]byte(ev.ID + ev.Sig)) }

func newMarks() *marks {
	there, _ := lru.New[name, time.Time](marksKept) // fails only for a size below 1
	return &marks{there: there, underway: make(map[name]struct{})}
}

var (
	errUnderway = errors.New("error: this message is on its way already")
	errTooSoon  = errors.New("rate-limited: the Mostro could not be reached a moment ago, send it again in a while")
)

// begin marks a message as being on its way. done is true when it has arrived before.
func (k *marks) begin(of name) (done bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if failed, known := k.there.Get(of); known {
		if failed.IsZero() {
			return true, nil
		}
		if time.Since(failed) < carryAgain {
			return false, errTooSoon
		}
	}
	if _, ok := k.underway[of]; ok {
		return false, errUnderway
	}
	k.underway[of] = struct{}{}
	return false, nil
}

func (k *marks) end(of name, arrived bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.underway, of)
	if arrived {
		k.there.Add(of, time.Time{})
	} else {
		k.there.Add(of, time.Now())
	}
}

// heard marks a name, and reports whether it was marked before.
func (k *marks) heard(of name) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, _ := k.there.ContainsOrAdd(of, time.Time{})
	return known
}

// knows reports whether a name is marked.
func (k *marks) knows(of name) bool { return k.there.Contains(of) }

func (k *marks) forget(of name) { k.there.Remove(of) }

var errUnreachable = errors.New("error: this Mostro cannot be reached from here now, send it again in a while")

var errSilent = errors.New("error: the relay of this Mostro has not answered and may have the message or not, send it again in a while")

var errTooManyKeys = errors.New("rate-limited: answers to so many keys of one client cannot be fetched from this Mostro: connect to its relay, or send it again in a while")

// Carries reports whether messages to a key are Carry's: those to Mostros that are followed or ever were
// (relay.Federation.Carries).
func (m *Mirror) Carries(pubkey string) bool { return pubkey != m.cfg.Pubkey && m.Formerly(pubkey) }

// Carry brings a message to the followed Mostro that is its only recipient
// (relay.Federation.Carry). Its answer is that of the Mostro's relay.
func (m *Mirror) Carry(ctx context.Context, ev *nostr.Event) error {
	to := ev.Tags.Find("p")
	if to == nil {
		return errUnreachable
	}
	if !m.mostro(to[1]) {
		return errLeft
	}
	if !m.wrote(ctx, ev, to[1]) {
		return errTooManyKeys
	}
	done, err := m.marks.begin(nameOf(ev))
	if done || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, carryTime)
	defer cancel()
	// A connection that has just broken is up again in a moment.
	for end := time.Now().Add(carryWait); ; {
		var tried bool
		if tried, err = m.carryNow(ctx, to[1], ev); tried || time.Now().After(end) || ctx.Err() != nil {
			break
		}
		time.Sleep(carryPoll)
	}
	m.marks.end(nameOf(ev), err == nil)
	if err == errUnreachable && !m.Followed(to[1]) {
		return errLeft
	}
	return err
}

// carryNow sends a message to the relays of a Mostro, one after the other, until one has taken it or that of the Mostro's own
// key, which comes first, has refused it for good: others refuse by rules of their own. One that says nothing takes up no more
// than its part of the time. tried is false when none is connected.
func (m *Mirror) carryNow(ctx context.Context, mostro string, ev *nostr.Event) (tried bool, err error) {
	err = errUnreachable
	type way struct {
		p *peer
		l *link
	}
	var ways []way
	for _, p := range m.list() {
		if l := p.link.Load(); l != nil && slices.Contains(p.duties.carried(), mostro) {
			ways = append(ways, way{p, l})
		}
	}
	slices.SortStableFunc(ways, func(a, b way) int {
		switch {
		case a.l.node == mostro && b.l.node != mostro:
			return -1
		case b.l.node == mostro && a.l.node != mostro:
			return 1
		}
		return 0
	})
	for i, w := range ways {
		answer := w.l.publishWithin(ctx, len(ways)-i, ev)
		var refused *RefusedError
		switch {
		case answer == nil:
			w.p.carriedTo.Add(1)
			return true, nil
		case errors.As(answer, &refused):
			err = refused
			if w.l.node == mostro && !passing(refused.Reason) {
				return true, err
			}
		default:
			err = errSilent
		}
	}
	return len(ways) > 0, err
}

// publishWithin is publish in the first of so many equal parts of the time that is left.
func (l *link) publishWithin(ctx context.Context, parts int, ev *nostr.Event) error {
	if end, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(parts))
		defer cancel()
	}
	return l.publish(ctx, ev)
}

// fetchMail subscribes to messages for clients here at the relay of followed Mostros. Where no gift
// wraps are given out it is content with messages of the other kind.
func (p *peer) fetchMail(ctx context.Context, l *link) error {
	err := p.fetchMailBy(ctx, l, p.mailOf)
	if refusesWraps(err) {
		p.cause(there + "gift wraps: " + err.Error())
		err = p.fetchMailBy(ctx, l, func(keys []string) []nostr.Filter { return p.mailOf(keys)[:1] })
	}
	return err
}

func (p *peer) fetchMailBy(ctx context.Context, l *link, filters func(keys []string) []nostr.Filter) error {
	return p.gather(ctx, l, &gathering{
		from: p.m.interest, filters: filters, past: mailPast, store: p.ingestMail, rate: p.letters,
		among: p.duties.carried,
		old: func(ctx context.Context, l *link, keys []string, take func(*nostr.Event)) error {
			return p.fetchOldMail(ctx, l, keys, filters, take)
		},
		left: p.haveMail,
	})
}

// haveMail notes for which keys all mail up to now has come.
func (p *peer) haveMail(keys []string) {
	now := p.m.cfg.Now()
	for _, key := range keys {
		p.mailUntil[key] = now
	}
}

// fetchOldMail gets stored messages: all of them for a key of which none have come for long, else those that may have
// come meanwhile.
func (p *peer) fetchOldMail(ctx context.Context, l *link, keys []string, filters func([]string) []nostr.Filter, take func(*nostr.Event)) error {
	now := p.m.cfg.Now()
	maps.DeleteFunc(p.mailUntil, func(_ string, until time.Time) bool { return now.Sub(until) > mailPast/2 })
	var none, some []string
	for _, key := range keys {
		if _, ok := p.mailUntil[key]; ok {
			some = append(some, key)
		} else {
			none = append(none, key)
		}
	}
	if err := p.fetchMailSince(ctx, l, none, filters, 0, take); err != nil {
		return err
	}
	return p.fetchMailSince(ctx, l, some, filters, now.Add(-mailPast).Unix(), take)
}

func (p *peer) fetchMailSince(ctx context.Context, l *link, keys []string, filters func([]string) []nostr.Filter, since int64, take func(*nostr.Event)) error {
	for chunk := range slices.Chunk(keys, l.keysAtOnce()) {
		cut := false // it had more for them than is fetched at once
		for _, f := range filters(chunk) {
			// Page by page: a relay that gives out few would show the newest only, and gift wraps are dated back.
			n := 0
			_, err := l.walkMost(ctx, f, since, course{mostOld, unhurried, l.fetchOnce}, func(ev *nostr.Event) {
				n++
				take(ev)
			})
			if err != nil {
				return err
			}
			cut = cut || n >= mostOld
		}
		switch {
		case !cut:
			p.haveMail(chunk)
		case len(chunk) > 1: // a flood for one key hides what there is for the others
			for i := range chunk {
				if err := p.fetchMailSince(ctx, l, chunk[i:i+1], filters, since, take); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// mailOf asks for messages to keys here, those by the Mostros themselves and gift wraps.
func (p *peer) mailOf(keys []string) []nostr.Filter {
	tags := nostr.TagMap{"p": keys}
	return []nostr.Filter{
		{Kinds: []int{kindMessage}, Authors: p.duties.carried(), Tags: tags},
		{Kinds: []int{kindWrap}, Tags: tags},
	}
}

// ingestMail stores messages for clients here.
func (p *peer) ingestMail(ctx context.Context, evs []*nostr.Event) error {
	var bad error
	good := evs[:0]
	for _, ev := range evs {
		switch {
		case !p.expected(ev):
			bad = cmp.Or(bad, p.strike(ev, unasked))
		case ev.Kind == kindMessage && !p.m.room(ctx, ev):
			p.full.Store(true)
			p.refuse(crowded)
		default:
			good = append(good, ev)
		}
	}
	for i, t := range p.m.relay.Take(ctx, p.url, good) {
		if t.New {
			p.carriedIn.Add(1)
		} else if good[i].Kind == kindMessage {
			p.m.grow(good[i], -1)
		}
		bad = cmp.Or(bad, p.count(good[i], t))
	}
	return bad
}

// expected reports whether an event is a message that was asked for.
func (p *peer) expected(ev *nostr.Event) bool {
	if ev.Kind != kindWrap && (ev.Kind != kindMessage || !slices.Contains(p.duties.carried(), ev.PubKey)) {
		return false
	}
	for tag := range ev.Tags.FindAll("p") {
		if p.m.interest.has(tag[1], p.duties.carried()) {
			return true
		}
	}
	return false
}

// idOf reads an id. What is none, which another relay may send for one, is that of no event.
func idOf(text string) (id reconcile.ID) {
	if len(text) != 2*len(id) { // hex.Decode writes beyond the end
		return id
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return reconcile.ID{}
	}
	return id
}

// marshal encodes a row of plain fields, which cannot fail.
func marshal(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }
