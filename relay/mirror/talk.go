package mirror

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"

	"mostro/relay/reconcile"
)

// The two sides of a trade talk past the Mostro: in events (kind 14) by a key that only they know,
// which they find by their author. Nobody can tell which trade such a key belongs to. So what is
// known is only that a client here asks for events by it, and with which Mostros the same connection
// deals: the conversation is brought to the relays of those, and fetched from there. The Mostro's
// own clients are there. The one who carries a client's messages carries his conversations too, and
// nobody else has to.
//
// A client of an outside relay that trades with this node is there, so conversations of clients that
// deal with this node are brought to outside relays over which traders come.

// Arrived learns that a message has come over from another relay, which therefore has it. It refuses
// what a followed key publishes here itself when as much of it is kept as may be, and makes room for offers: the relay has no
// other limit for such keys (relay.Config.Verified).
func (m *Mirror) Arrived(ctx context.Context, ev *nostr.Event) (reject bool, msg string) {
	if ev.Kind == kindMessage {
		if isMirror(ctx) {
			m.crossed.Add(nameOf(ev), true)
		} else {
			m.crossed.Remove(nameOf(ev))
		}
	}
	if m.outdone(ctx, ev) {
		return true, older
	}
	if m.Followed(ev.PubKey) && ev.Kind != nostr.KindDeletion && ev.Kind != kindVanish && !nostr.IsEphemeralKind(ev.Kind) && !m.room(ctx, ev) {
		return true, crowded
	}
	if m.crowded(ev) {
		if err := m.thin(ctx, ev.PubKey); err != nil {
			return true, "error: take away older offers: " + err.Error()
		}
	}
	return false, ""
}

// Again learns that a client has published what was stored already. Anybody who has read a message elsewhere can bring it here first and
// say that he is a mirror, so what comes from one who does not is passed on all the same, once (relay.Federation.Again).
func (m *Mirror) Again(ctx context.Context, ev *nostr.Event) {
	if ev.Kind != kindMessage || isMirror(ctx) {
		return
	}
	if says, _ := m.crossed.Peek(nameOf(ev)); says && signed(ev) && m.crossed.Remove(nameOf(ev)) {
		m.passOn(ev)
	}
}

// dealings are the Mostros whose clients' conversations concern a peer.
func (p *peer) dealings() []string {
	if p.duties.outside && p.m.routes.over(p.url) {
		return append(p.duties.carried(), p.m.cfg.Pubkey)
	}
	return p.duties.carried()
}

// talking reports whether a key is that of a conversation that the peer is concerned with.
func (p *peer) talking(key string) bool {
	among := p.dealings()
	return len(among) > 0 && p.m.talks.has(key, among)
}

// slow reports whether a conversation has said too much for now to be carried.
func (m *Mirror) slow(key string) bool {
	limit, ok := m.talkers.Get(key)
	if !ok {
		limit = rate.NewLimiter(talkRate, talkBurst)
		if earlier, ok, _ := m.talkers.PeekOrAdd(key, limit); ok {
			limit = earlier
		}
	}
	return !limit.Allow()
}

// passOn brings a message of a conversation that a client has published here to the peers that it
// concerns. It does not wait.
func (m *Mirror) passOn(ev *nostr.Event) {
	if m.crossed.Contains(nameOf(ev)) {
		return
	}
	to := slices.DeleteFunc(m.list(), func(p *peer) bool { return !p.talking(ev.PubKey) })
	if len(to) == 0 {
		return
	}
	slow := m.slow(ev.PubKey)
	for _, p := range to {
		if slow || !p.talkNow.allow(ev) {
			p.unsaid.add(author(ev))
			continue
		}
		select {
		case p.said <- ev:
		default:
			p.unsaid.add(author(ev))
		}
	}
}

// talk fetches conversations of clients here with the peer's clients, and brings there what is
// missing.
func (p *peer) talk(ctx context.Context, l *link) error {
	return p.gather(ctx, l, &gathering{
		from: p.m.talks, filters: p.talkOf, past: talkPast, store: p.ingestTalk, rate: p.talkIn,
		among: p.dealings, old: p.levelTalks, missed: p.unsaid,
	})
}

func (p *peer) talkOf(keys []string) []nostr.Filter {
	return []nostr.Filter{{Kinds: []int{kindMessage}, Authors: keys}}
}

// sendSaid publishes what clients say.
func (p *peer) sendSaid(ctx context.Context, l *link) error {
	for {
		select {
		case ev := <-p.said:
			if err := p.say(ctx, l, ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// say publishes one message of a conversation at the peer. What it does not take for now is looked for in a while.
func (p *peer) say(ctx context.Context, l *link, ev *nostr.Event) error {
	err := l.publish(ctx, ev)
	var refused *RefusedError
	switch {
	case err == nil:
		p.carriedTo.Add(1)
	case errors.As(err, &refused):
		p.refusal(refused.Reason)
		if strings.HasPrefix(refused.Reason, "rate-limited") || strings.HasPrefix(refused.Reason, "error") {
			p.unsaid.add(author(ev))
		}
	case errors.Is(err, errNoOK):
		p.refusal(err.Error())
		p.unsaid.add(author(ev))
	case ctx.Err() == nil:
		return err
	}
	return nil
}

// levelTalks makes conversations equal here and there, as far back as clients ask. Of what is here, which anybody
// chooses, only ids are in memory, as many of a conversation as could be of use, and what is brought a few at a time.
func (p *peer) levelTalks(ctx context.Context, l *link, keys []string, take func(*nostr.Event)) error {
	since := nostr.Timestamp(p.m.cfg.Now().Add(-talkPast).Unix())
	for chunk := range slices.Chunk(keys, l.keysAtOnce()) {
		lacks := make(map[reconcile.ID]struct{}) // not all that is there: how much that is, the relay chooses
		here := make(map[string]reconcile.Set)   // by key, in the order in which it was said
		for _, key := range chunk {
			own := p.talkOf([]string{key})[0]
			own.Since = &since
			said, err := p.m.relay.Newest(ctx, own, talkLevelled)
			if err != nil {
				return err
			}
			here[key] = said
			for _, item := range said {
				lacks[item.ID] = struct{}{}
			}
		}
		_, err := l.walkMost(ctx, p.talkOf(chunk)[0], int64(since), course{mostOld, unhurried, l.fetchOnce}, func(ev *nostr.Event) {
			delete(lacks, idOf(ev.ID))
			take(ev)
		})
		if err != nil {
			return err
		}
		for _, key := range chunk {
			var bring []reconcile.ID
			for _, item := range here[key] {
				if _, lacking := lacks[item.ID]; lacking && !p.m.slow(key) {
					bring = append(bring, item.ID)
				}
			}
			if err := p.sayStored(ctx, l, bring); err != nil {
				return err
			}
		}
	}
	return nil
}

// sayStored publishes stored messages of a conversation in their order.
func (p *peer) sayStored(ctx context.Context, l *link, ids []reconcile.ID) error {
	for some := range slices.Chunk(ids, sentAtOnce) {
		evs, err := p.m.relay.Get(ctx, some...)
		if err != nil {
			return err
		}
		slices.SortStableFunc(evs, func(a, b nostr.Event) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
		for i := range evs {
			if p.talkOut.Wait(ctx) != nil {
				return nil
			}
			if err := p.say(ctx, l, &evs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// ingestTalk stores messages of conversations.
func (p *peer) ingestTalk(ctx context.Context, evs []*nostr.Event) error {
	var bad error
	good := evs[:0]
	for _, ev := range evs {
		switch {
		case ev.Kind != kindMessage || ev.PubKey == p.m.cfg.Pubkey || !p.talking(ev.PubKey):
			bad = cmp.Or(bad, p.strike(ev, unasked))
		default:
			if ev.CheckID() { // else it has no claim to its name
				p.m.crossed.ContainsOrAdd(nameOf(ev), false) // it is not to be passed on
			}
			good = append(good, ev)
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
