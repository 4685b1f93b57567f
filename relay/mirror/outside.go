package mirror

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip40"

	"mostro/relay/reconcile"
)

// publishOut sends the answers that wait for an outside relay, which come first, since somebody waits for them, and
// the node's public events. It asks the relay for nothing: not every relay gives out what it takes.
func (p *peer) publishOut(ctx context.Context, l *link) error {
	pruned, again := time.Now(), time.Now()
	for pause := firstRetry; ctx.Err() == nil; {
		if time.Since(pruned) > resyncEvery {
			p.delays.prune()
			pruned = time.Now()
		}
		slow, err := p.sendReplies(ctx, l)
		more := false
		if err == nil && !slow {
			more, slow, err = p.sendQueued(ctx, l)
		}
		// What was sent before comes behind what was not, but not for ever.
		if err == nil && !slow && (!more || time.Since(again) > mostAgain) {
			again = time.Now()
			more, slow, err = p.sendAgain(ctx, l, more)
		}
		switch {
		case err != nil:
			return err
		case slow:
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, mostRetry)
			continue
		}
		pause = firstRetry
		if more {
			continue
		}
		if err := p.emptied(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-p.out.wake:
		case <-time.After(p.delays.idle()):
		}
	}
	return nil
}

// compareOut keeps an outside relay equal: it finds out now and then what the relay lacks, for publishOut to send. To one
// that does not answer, and of which that was never found out since the start, all is sent once, or all that it may lack.
func (p *peer) compareOut(ctx context.Context, l *link) error {
	for ctx.Err() == nil {
		again, err := p.repair(ctx, l)
		var closed *ClosedError
		switch {
		case err == nil:
			p.filled = true
		case !p.filled && (errors.As(err, &closed) || errors.Is(err, errNoAnswer)):
			if bad := p.queueAll(ctx); bad != nil {
				return bad
			}
			p.filled = true
			return err
		default:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
	return nil
}

// sendQueued publishes some of what is queued and was not sent yet. more says that there was some, slow
// that the relay wants less of all.
func (p *peer) sendQueued(ctx context.Context, l *link) (more, slow bool, err error) {
	evs := p.delays.fresh(p.out.all, sentAtOnce)
	if len(evs) == 0 {
		if some, err := p.load(ctx); !some || err != nil {
			return false, false, err
		}
		evs = p.delays.fresh(p.out.all, sentAtOnce)
	}
	slow, err = p.sendPublic(ctx, l, evs)
	return true, slow, err
}

// load reads some of the events of which only the ids are queued, and reports whether there were any.
func (p *peer) load(ctx context.Context) (some bool, err error) {
	ids, since := p.out.more()
	evs, err := p.m.relay.Get(ctx, ids...)
	if err != nil {
		p.out.lack(ids, since)
		return false, err
	}
	for i := range evs { // those that are still there
		p.out.put(&evs[i], since)
	}
	return len(ids) > 0, nil
}

func (p *peer) sendPublic(ctx context.Context, l *link, evs []*nostr.Event) (slow bool, err error) {
	return p.send(ctx, l, evs, p.out.done, func(ev *nostr.Event, _ string) {
		delete(p.delays.of, ev.ID)
		p.out.refused(ev)
	})
}

// sendAgain sends some of what is due again, answers first. more is true when it was or there was some.
func (p *peer) sendAgain(ctx context.Context, l *link, was bool) (more, slow bool, err error) {
	replies, err := p.dueReplies()
	if err != nil {
		return was, false, err
	}
	if replies = p.delays.paced(replies, againAtOnce); len(replies) > 0 {
		was = true
		if slow, err = p.sendStored(ctx, l, replies); err != nil || slow {
			return was, slow, err
		}
	}
	if evs := p.delays.paced(p.delays.due(p.out.all), againAtOnce); len(evs) > 0 {
		was = true
		slow, err = p.sendPublic(ctx, l, evs)
	}
	return was, slow, err
}

// send publishes events, and calls done for those that the relay has taken, and never for those that it will never take by
// its rules. slow says that it wants less of all for a while. An error is for the whole connection.
func (p *peer) send(ctx context.Context, l *link, evs []*nostr.Event, done func(*nostr.Event), never func(ev *nostr.Event, why string)) (slow bool, err error) {
	for i, answer := range l.publishAll(ctx, evs...) {
		ev := evs[i]
		var refused *RefusedError
		switch {
		case answer == nil:
			p.published.Add(1)
			p.delays.taken(ev.ID)
			done(ev)
		case errors.As(answer, &refused) && strings.HasPrefix(refused.Reason, "rate-limited"):
			p.cause(there + refused.Reason)
			p.refusal(refused.Reason)
			slow = true
		case refused != nil && passing(refused.Reason):
			p.cause(there + refused.Reason)
			p.refusal(refused.Reason)
			if prefixed(refused.Reason) {
				p.delays.again(ev.ID)
			} else {
				p.delays.probe(ev.ID) // in words of its own it may say as well that it will never take it
			}
		case refused != nil:
			p.rejections.Add(1)
			p.cause(there + refused.Reason)
			p.refusal(refused.Reason)
			never(ev, refused.Reason)
		case errors.Is(answer, errNoOK):
			p.cause(there + errNoOK.Error())
			p.refusal(l.complaint(errNoOK).Error())
			p.delays.again(ev.ID)
		case ctx.Err() == nil:
			return false, fmt.Errorf("publish event %s: %w", ev.ID, answer)
		}
	}
	return slow, nil
}

// maxRejected is how many events are remembered that a relay will not take.
const maxRejected = 10_000

// passing reports whether a refusal may be another one in a while: also one in words without a prefix that would say
// what kind it is (NIP-01).
func passing(reason string) bool {
	word, _, _ := strings.Cut(reason, ":")
	return !prefixed(reason) || slices.Contains([]string{"rate-limited", "error", "auth-required"}, word)
}

// prefixed reports whether a reason begins with a word that says what kind it is.
func prefixed(reason string) bool {
	word, _, is := strings.Cut(reason, ":")
	return is && word != "" && !strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' })
}

// repair finds out which of the node's public events the relay lacks, and queues them. What waits and the relay has, since
// its OK was lost, waits no more. again is after which time it is worth while to do so again.
func (p *peer) repair(ctx context.Context, l *link) (again time.Duration, err error) {
	m := p.m
	waiting := p.out.compare()
	defer p.out.compared()
	f := p.own()
	d, err := l.differ(ctx, f, maxItems, m.relay.Items)
	var refused *RefusedError
	again = resyncEvery
	switch {
	case err == nil:
		p.negentropy.Store(true)
	case errors.Is(err, errNoNegentropy), errors.Is(err, reconcile.ErrVersion), errors.As(err, &refused):
		again = rewalkEvery
		if d.Have, err = p.lacks(ctx, l, f); err != nil {
			return again, fmt.Errorf("compare own events: %w", err)
		}
	default:
		return again, fmt.Errorf("compare own events: %w", err)
	}
	lacks := make(map[string]struct{}, len(d.Have))
	for _, id := range d.Have {
		lacks[hex.EncodeToString(id[:])] = struct{}{}
	}
	for _, ev := range waiting {
		if _, is := lacks[ev.ID]; !is {
			p.out.done(ev)
		}
	}
	m.keepsAgain(ctx, &p.out, lacks)
	p.out.lack(p.out.again(d.Have), m.cfg.Now())
	return again, nil
}

// own asks for the node's public events.
func (p *peer) own() nostr.Filter {
	return nostr.Filter{Authors: []string{p.m.cfg.Pubkey}, Kinds: mostroKinds}
}

// queueAll queues the node's public events: all of them once in fullEvery, else those that have come about since all
// were sent.
func (p *peer) queueAll(ctx context.Context) error {
	began := p.m.cfg.Now()
	w, err := p.walked(p.m.cfg.Pubkey)
	if err != nil {
		return err
	}
	f := p.own()
	if began.Unix()-w.Full >= int64(fullEvery/time.Second) {
		w.Full = began.Unix()
	} else {
		since := nostr.Timestamp(w.At - int64(overlap/time.Second))
		f.Since = &since
	}
	all, err := p.m.relay.Items(ctx, f, math.MaxInt32)
	if err != nil {
		return err
	}
	ids := make([]reconcile.ID, len(all))
	for i := range all {
		ids[len(all)-1-i] = all[i].ID // the newest first
	}
	p.out.lack(ids, began)
	w.At = began.Unix()
	p.queued.Store(&w)
	return nil
}

// emptied notes that the relay has all that was queued by queueAll.
func (p *peer) emptied() error {
	w := p.queued.Load()
	if w == nil {
		return nil
	}
	if n, _ := p.out.waits(); n > 0 || !p.queued.CompareAndSwap(w, nil) {
		return nil
	}
	return p.m.state.setWalked(p.url, p.m.cfg.Pubkey, *w)
}

// lacks finds out by ids which own events a relay without negentropy lacks, the newest first.
func (p *peer) lacks(ctx context.Context, l *link, f nostr.Filter) (lacks []reconcile.ID, err error) {
	own, err := p.m.relay.Items(ctx, f, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	missing := make(map[reconcile.ID]struct{}, len(own)) // not all that is there: how much that is, the relay chooses
	for i := range own {
		missing[own[i].ID] = struct{}{}
	}
	if _, err := l.walk(ctx, f, 0, func(ev *nostr.Event) { delete(missing, idOf(ev.ID)) }); err != nil {
		return nil, err
	}
	for _, item := range slices.Backward(own) {
		if _, is := missing[item.ID]; is {
			lacks = append(lacks, item.ID)
		}
	}
	return lacks, nil
}

// Publish stores own events and sees to it that they get to outside relays: public ones to all,
// answers to where messages of their recipient have come from. It can be repeated.
func (m *Mirror) Publish(ctx context.Context, evs ...nostr.Event) error {
	// Answers are in the outbox before they are in the store: a crash in between sends them twice,
	// which is harmless, and the other way round it would lose them.
	sent := make(map[string]struct{})
	if err := m.post(evs, sent); err != nil {
		return err
	}
	if err := m.relay.Publish(ctx, evs...); err != nil {
		return err
	}
	// A way that has been found in between has not been shown these (bring).
	if err := m.post(evs, sent); err != nil {
		return err
	}
	for _, url := range m.cfg.Outside {
		if _, ok := sent[url]; ok {
			m.wake(url)
		}
	}
	return nil
}

// post puts answers into the outboxes, those that are not posted yet; it notes rows and relays in posted.
func (m *Mirror) post(evs []nostr.Event, posted map[string]struct{}) error {
	rows := make(map[string][]byte)
	for i := range evs {
		if evs[i].Kind != kindMessage && evs[i].Kind != kindWrap {
			continue
		}
		for tag := range evs[i].Tags.FindAll("p") {
			if tag[1] == m.cfg.Pubkey {
				m.marks.heard(nameOf(&evs[i])) // an answer to its operator is no message to the node when it comes back
			}
			ways, err := m.routes.of(tag[1])
			if err != nil {
				return err
			}
			for _, way := range ways {
				row := outboxRow(way.URL, &evs[i])
				if _, twice := posted[row]; twice || !slices.Contains(m.cfg.Outside, way.URL) {
					continue
				}
				rows[row] = m.waiting(&evs[i])
				posted[row], posted[way.URL] = struct{}{}, struct{}{}
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return m.state.set(rows)
}

// waiting is the value of an event's row in an outbox.
func (m *Mirror) waiting(ev *nostr.Event) []byte {
	return append(encodeTime(m.cfg.Now()), ev.String()...)
}

// wake lets the publishing duty of a relay look into its outbox.
func (m *Mirror) wake(url string) {
	for _, p := range m.list() {
		if p.url == url {
			p.out.stir()
		}
	}
}

// sendReplies sends the answers in the outbox of the relay that were not sent yet. slow says that the relay wants less of
// all for a while.
func (p *peer) sendReplies(ctx context.Context, l *link) (slow bool, err error) {
	fresh := func(id string) bool { return !p.delays.sent(id) }
	for after := ""; ctx.Err() == nil && !slow; {
		evs, bad, err := p.m.state.waiting(p.url, after, sentAtOnce, fresh)
		if err == nil {
			err = p.m.dropReplies(p.url, bad)
		}
		if err != nil {
			return false, err
		}
		if len(evs) == 0 {
			break
		}
		after = outboxRow(p.url, evs[len(evs)-1])
		if slow, err = p.sendStored(ctx, l, evs); err != nil {
			return false, err
		}
	}
	return slow, nil
}

// sendStored sends answers of the outbox, and takes away what the relay has confirmed. What it
// does not take for now does not hold up what is behind it, and what it refuses by its rules is tried again every hour:
// somebody waits for it, and the node's account there may be renewed.
func (p *peer) sendStored(ctx context.Context, l *link, evs []*nostr.Event) (slow bool, err error) {
	rows := make(map[string][]byte)
	done := func(ev *nostr.Event) { rows[outboxRow(p.url, ev)] = nil }
	slow, err = p.send(ctx, l, evs, done, func(ev *nostr.Event, why string) {
		if at := nip40.GetExpiration(ev.Tags); at >= 0 && at <= nostr.Timestamp(p.m.cfg.Now().Unix()) {
			done(ev)
		} else if p.delays.refused(ev.ID) {
			p.m.log.Warn("an outside relay refuses answers to traders, who may read nothing else; they are tried again every hour",
				"relay", p.url, "reason", why)
		}
	})
	return slow, errors.Join(err, p.m.state.set(rows))
}

// dueReplies are answers of the outbox that are to be sent again, a few that have waited longest for it. Only they are
// read: what a relay refuses can be much, and stays for long.
func (p *peer) dueReplies() ([]*nostr.Event, error) {
	var due []string
	if _, _, err := p.m.state.waiting(p.url, "", 1, func(id string) bool {
		if p.delays.isDue(id) {
			due = append(due, id)
		}
		return false
	}); err != nil || len(due) == 0 {
		return nil, err
	}
	due = p.delays.longest(due)
	evs, _, err := p.m.state.waiting(p.url, "", len(due), func(id string) bool { return slices.Contains(due, id) })
	slices.SortStableFunc(evs, func(a, b *nostr.Event) int { return slices.Index(due, a.ID) - slices.Index(due, b.ID) })
	return evs, err
}

// dropReplies takes rows out of the outbox that cannot be read, so that they do not hold up the others.
func (m *Mirror) dropReplies(url string, bad []string) error {
	rows := make(map[string][]byte)
	for _, row := range bad {
		rows[row] = nil
	}
	if len(rows) == 0 {
		return nil
	}
	m.log.Error("alarm: answers that wait for an outside relay cannot be read and are dropped; who reads this relay still has them",
		"relay", url, "answers", len(rows))
	return m.state.set(rows)
}

// trimOutbox bounds what waits for relays that are away, or that the settings do not name any more.
func (m *Mirror) trimOutbox() {
	gone, err := m.state.trim(func(url string) bool { return slices.Contains(m.cfg.Outside, url) }, m.past(), maxOutbox)
	if err != nil {
		m.log.Error("bound the replies that wait for outside relays", "error", err)
	}
	for url, n := range gone {
		m.log.Warn("replies that an outside relay has not taken are dropped", "relay", url, "replies", n)
	}
}
