package mirror

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/fiatjaf/khatru"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// marks knows the messages that have crossed, by id.
type marks struct {
	mu       sync.Mutex
	there    *lru.Cache[string, time.Time] // arrived, or failed at that time
	underway map[string]struct{}
}

func newMarks() *marks {
	there, _ := lru.New[string, time.Time](marksKept) // fails only for a size below 1
	return &marks{there: there, underway: make(map[string]struct{})}
}

var (
	errUnderway = errors.New("error: this message is on its way already")
	errTooSoon  = errors.New("rate-limited: the Mostro could not be reached a moment ago, send it again in a while")
)

// begin marks a message as being on its way. done is true when it has arrived before.
func (k *marks) begin(id string) (done bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if failed, known := k.there.Get(id); known {
		if failed.IsZero() {
			return true, nil
		}
		if time.Since(failed) < carryAgain {
			return false, errTooSoon
		}
	}
	if _, ok := k.underway[id]; ok {
		return false, errUnderway
	}
	k.underway[id] = struct{}{}
	return false, nil
}

func (k *marks) end(id string, arrived bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.underway, id)
	if arrived {
		k.there.Add(id, time.Time{})
	} else {
		k.there.Add(id, time.Now())
	}
}

// heard marks an id, and reports whether it was marked before.
func (k *marks) heard(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, _ := k.there.ContainsOrAdd(id, time.Time{})
	return known
}

func (k *marks) forget(id string) { k.there.Remove(id) }

// Asked learns from a client's filter whose mail it waits for. It refuses nothing
// (relay.ReadPolicy).
func (m *Mirror) Asked(ctx context.Context, f nostr.Filter) (reject bool, msg string) {
	if len(f.Tags["p"]) == 0 || !m.followsMostros() || !slices.Contains(f.Kinds, kindMessage) && !slices.Contains(f.Kinds, kindWrap) {
		return false, ""
	}
	from := []string{""}
	if len(f.Authors) > 0 && !slices.Contains(f.Kinds, kindWrap) {
		from = slices.DeleteFunc(slices.Clone(f.Authors), func(author string) bool { return !m.mostro(author) })
	} else if isMirror(ctx) {
		return false, "" // else all who follow each other would ask each other for the mail of everybody, for ever
	}
	for _, mostro := range from {
		for _, key := range f.Tags["p"] {
			if nostr.IsValidPublicKey(key) && key != m.cfg.Pubkey && !m.Followed(key) {
				m.learn(ctx, mailbox{key, mostro})
			}
		}
	}
	return false, ""
}

// learn adds a mailbox, as long as the connection that it comes from has not added too many.
func (m *Mirror) learn(ctx context.Context, box mailbox) {
	conn := khatru.GetConnection(ctx)
	if conn == nil {
		m.interest.add(box)
		return
	}
	added, _ := m.clients.Get(conn.Challenge)
	if added < keysPerClient && m.interest.add(box) {
		m.clients.Add(conn.Challenge, added+1)
	}
}

// isMirror reports whether the one who asks is another relay's mirror, which asks for its clients.
func isMirror(ctx context.Context) bool {
	conn := khatru.GetConnection(ctx)
	return conn != nil && conn.Request.Header.Get("User-Agent") == agent
}

var errUnreachable = errors.New("error: this Mostro cannot be reached from here now, send it again in a while")

var errSilent = errors.New("error: the relay of this Mostro has not answered and may have the message or not, send it again in a while")

// Carries reports whether messages to a key are carried: those to followed Mostros
// (relay.Federation.Carries).
func (m *Mirror) Carries(pubkey string) bool { return m.mostro(pubkey) }

// Carry brings a message to the followed Mostro that is its only recipient
// (relay.Federation.Carry). Its answer is that of the Mostro's relay.
func (m *Mirror) Carry(ctx context.Context, ev *nostr.Event) error {
	to := ev.Tags.Find("p")
	if to == nil {
		return errUnreachable
	}
	if ev.Kind == kindMessage {
		m.learn(ctx, mailbox{ev.PubKey, to[1]})
	}
	done, err := m.marks.begin(ev.ID)
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
	m.marks.end(ev.ID, err == nil)
	return err
}

// carryNow sends a message to the relays of a Mostro, one after the other, until one has taken it or
// refused it for good. tried is false when none is connected.
func (m *Mirror) carryNow(ctx context.Context, mostro string, ev *nostr.Event) (tried bool, err error) {
	err = errUnreachable
	for _, p := range m.list() {
		l := p.link.Load()
		if l == nil || !slices.Contains(p.duties.mostros, mostro) {
			continue
		}
		tried = true
		answer := l.publish(ctx, ev)
		var refused *RefusedError
		switch {
		case answer == nil:
			p.carriedTo.Add(1)
			return true, nil
		case errors.As(answer, &refused):
			err = refused
			if !passing(refused.Reason) {
				return true, err
			}
		default:
			err = errSilent
		}
	}
	return tried, err
}

// fetchMail subscribes to messages for clients here at the relay of followed Mostros.
func (p *peer) fetchMail(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := newIntake(ctx)
	stored := make(chan error, 1)
	go func() {
		err := in.run(p.ingestMail)
		stored <- err
		if err != nil {
			cancel()
		}
	}()
	ended := make(chan error, 1)
	take := func(ev *nostr.Event) {
		if p.letters.Wait(ctx) == nil {
			in.take(ev)
		}
	}
	asked := make(map[string]struct{}) // keys that are subscribed
	var chunks []*mailChunk
	for {
		keys, changed := p.m.interest.keys(p.duties.mostros)
		fresh := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { _, ok := asked[key]; return ok })
		if len(asked)+len(fresh) > keysPerPeer+mailSlack {
			// Some of those that are subscribed have shown no sign of life for long: begin anew.
			for _, c := range chunks {
				if err := l.unsubscribe(c.sub); err != nil {
					return err
				}
			}
			clear(asked)
			chunks, fresh = nil, keys
		}
		for _, key := range fresh {
			asked[key] = struct{}{}
		}
		for rest := fresh; len(rest) > 0; {
			if len(chunks) == 0 || len(chunks[len(chunks)-1].keys) >= keysPerReq {
				chunks = append(chunks, newMailChunk(take, ended))
			}
			last := chunks[len(chunks)-1]
			n := min(len(rest), keysPerReq-len(last.keys))
			if err := last.extend(l, p, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if err := p.fetchOldMail(ctx, l, fresh, in.take); err != nil {
			return err
		}
		select {
		case <-changed:
		case err := <-ended:
			return err
		case err := <-stored:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// fetchOldMail gets messages that are older than what a subscription asks for, once for each key.
func (p *peer) fetchOldMail(ctx context.Context, l *link, keys []string, take func(*nostr.Event)) error {
	if now := p.m.cfg.Now(); now.Sub(p.mailAt) > mailPast/2 {
		p.oldMail = make(map[string]struct{}) // it has been away for long
	}
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { _, ok := p.oldMail[key]; return ok })
	for chunk := range slices.Chunk(keys, keysPerReq) {
		for _, f := range p.mailOf(chunk) {
			if err := l.fetch(ctx, f, take); err != nil {
				return err
			}
		}
		for _, key := range chunk {
			p.oldMail[key] = struct{}{}
		}
	}
	p.mailAt = p.m.cfg.Now()
	return nil
}

// mailOf asks for messages to keys here.
func (p *peer) mailOf(keys []string) []nostr.Filter {
	tags := nostr.TagMap{"p": keys}
	return []nostr.Filter{
		{Kinds: []int{kindMessage}, Authors: p.duties.mostros, Tags: tags},
		{Kinds: []int{kindWrap}, Tags: tags},
	}
}

// mailChunk is one subscription for the mail of some keys.
type mailChunk struct {
	sub  *sub
	keys []string
}

func newMailChunk(take func(*nostr.Event), ended chan<- error) *mailChunk {
	return &mailChunk{sub: &sub{
		event: take,
		end: func(err error) {
			if err != nil {
				select {
				case ended <- err:
				default:
				}
			}
		},
	}}
}

// extend adds keys to the subscription.
func (c *mailChunk) extend(l *link, p *peer, keys []string) error {
	c.keys = append(c.keys, keys...)
	// Gift wraps are dated back by up to two days (NIP-59), also those that come live.
	since := nostr.Timestamp(p.m.cfg.Now().Add(-mailPast).Unix())
	filters := p.mailOf(c.keys)
	for i := range filters {
		filters[i].Since = &since
	}
	if c.sub.id == "" {
		return l.subscribe(c.sub, filters...)
	}
	return l.ask(c.sub, filters...)
}

// ingestMail stores messages for clients here.
func (p *peer) ingestMail(ctx context.Context, evs []*nostr.Event) error {
	var bad error
	good := evs[:0]
	for _, ev := range evs {
		if p.expected(ev) {
			good = append(good, ev)
		} else {
			bad = cmp.Or(bad, p.strike(ev, "it was not asked for"))
		}
	}
	for i, t := range p.m.relay.Take(ctx, p.url, good) {
		if t.New {
			p.carriedIn.Add(1)
		}
		bad = cmp.Or(bad, p.count(good[i], t))
	}
	return bad
}

// expected reports whether an event is a message that was asked for.
func (p *peer) expected(ev *nostr.Event) bool {
	if ev.Kind != kindWrap && (ev.Kind != kindMessage || !slices.Contains(p.duties.mostros, ev.PubKey)) {
		return false
	}
	for tag := range ev.Tags.FindAll("p") {
		if p.m.interest.has(tag[1], p.duties.mostros) {
			return true
		}
	}
	return false
}

// idOf reads an id that has been checked.
func idOf(text string) (id reconcile.ID) {
	_, _ = hex.Decode(id[:], []byte(text))
	return id
}

// marshal encodes a row of plain fields, which cannot fail.
func marshal(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }
