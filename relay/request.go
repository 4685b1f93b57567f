package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// handle answers one message of the client.
func (s *session) handle(message []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			s.relay.logPanic(fault)
			s.refuse(noticeFrame("error: this message could not be handled"))
		}
	}()
	req, err := parseRequest(message)
	if err != nil {
		s.refuse(noticeFrame("invalid: " + err.Error()))
		return
	}
	if req.label == "EVENT" {
		s.onEvent(req.parts[0], message)
		return
	}
	s.aside(s.events.wait) // what a client sent before is done before
	switch req.label {
	case "REQ":
		s.onReq(req.parts)
	case "CLOSE":
		s.onClose(req.parts[0])
	case "COUNT":
		s.onCount(req.parts)
	case "NEG-OPEN":
		s.onNegOpen(req.parts)
	case "NEG-MSG":
		s.onNegMessage(req.parts)
	case "NEG-CLOSE":
		s.onNegClose(req.parts[0])
	case "AUTH":
		s.onAuth(req.parts[0])
	default:
		s.refuse(noticeFrame("unsupported: this relay knows EVENT, REQ, CLOSE, COUNT, AUTH and NEG-OPEN"))
	}
}

// onEvent takes an event, which lies in message.
func (s *session) onEvent(raw json.RawMessage, message []byte) {
	a := arrival{size: len(raw), hooks: s.hooks}
	id, err := readEvent(raw, &a.ev)
	switch {
	case err == nil:
		if a.next, a.ok, a.reason = s.relay.admit(s.hooks, s, &a.ev); a.next == toStore && isPlain(raw) && len(raw) <= plainBytes(&a.ev) {
			if a.raw = raw; cap(message)-len(raw) > len(raw)/6 {
				a.raw = bytes.Clone(raw) // the message has room to spare, which would be held with it
			}
		}
	case id == "":
		s.aside(s.events.wait)
		s.refuse(noticeFrame("invalid: " + err.Error()))
		return
	default:
		a.ev.ID, a.reason = id, "invalid: "+err.Error()
	}
	if a.next == toAnswer && !a.ok {
		s.refusals++
	}
	s.take(a)
}

// isPlain reports whether an event that has been checked can be served as it was written. Each reader must see the text in
// it that was signed: there are differences about escaped code units that are no character. Where there is one line for
// each event, it must stay one.
func isPlain(raw []byte) bool {
	return !bytes.Contains(raw, []byte(`\u`)) &&
		bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 && bytes.IndexByte(raw, '\t') < 0
}

// plainBytes is how long an event may be to be served as it was written: the text may be nearly all escapes, or have some
// spaces, but what bounds contents is not to be passed with them.
func plainBytes(ev *nostr.Event) int {
	const fields, escaped = 1 << 10, 2
	n := len(ev.Content)
	for _, tag := range ev.Tags {
		for _, element := range tag {
			n += len(element) + len(`"",[]`)
		}
	}
	return fields + escaped*n
}

// readEvent decodes an event of a client. The id is there whenever one can be made out.
func readEvent(raw json.RawMessage, ev *nostr.Event) (id string, err error) {
	if id, err = checkEvent(raw); err == nil {
		err = ev.UnmarshalJSON(raw)
	}
	if err != nil {
		return id, fmt.Errorf("the event cannot be read: %w", err)
	}
	return id, nil
}

// subID reads a subscription id, and tells the client when it is not one.
func (s *session) subID(raw json.RawMessage) (string, bool) {
	var id string
	most := s.relay.cfg.Limits.SubIDLength
	if err := json.Unmarshal(raw, &id); err != nil || id == "" || utf8.RuneCountInString(id) > most {
		s.refuse(noticeFrame(fmt.Sprintf("invalid: a subscription id is a string of 1 to %d characters", most)))
		return "", false
	}
	return id, true
}

func (s *session) onClose(raw json.RawMessage) {
	if id, ok := s.subID(raw); ok {
		s.drop(id)
	}
}

// drop ends a subscription, if there is one of that id.
func (s *session) drop(id string) {
	if sub := s.subs[id]; sub != nil {
		s.relay.unsubscribe(map[string]*subscription{id: sub})
		s.relay.opened.give(s.from, 1)
		delete(s.subs, id)
	}
}

func (s *session) onReq(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	filters, err := s.asks(id, parts[1:], false)
	if err == nil && s.subs[id] == nil && len(s.subs) >= s.relay.cfg.Limits.Subscriptions {
		err = fmt.Errorf("rate-limited: %d subscriptions are open, close one first", len(s.subs))
	}
	size := 0
	if err == nil {
		size, err = s.roomFor(id, filters)
	}
	if err == nil && s.subs[id] == nil && !s.relay.opened.take(s.from, 1) {
		err = errors.New("rate-limited: too many subscriptions of all clients are open, and many of them from your address")
	}
	if err != nil {
		s.drop(id)
		s.refuse(closedFrame(id, err.Error()))
		return
	}
	sub := &subscription{session: s, prefix: eventPrefix(id), filters: filters, size: size}
	seq := s.relay.subscribe(sub, s.subs[id])
	s.subs[id] = sub
	switch err := s.sendStored(id, sub, seq); {
	case errors.Is(err, errWithdrawn):
		return // it goes with the message that says so
	case err != nil:
		s.drop(id)
		s.refuse(closedFrame(id, reason(err.Error(), "error")))
		return
	}
	s.send(eoseFrame(id))
}

var errTooSlow = errors.New("error: answering takes too long, ask for less")

// budget is the time that one request may take, without the time in which it waits for its
// client to read or for its turn.
type budget struct {
	ctx    context.Context // ends with the budget
	cancel context.CancelFunc
	end    time.Time
	asked  int

	label, id string    // of the message that takes the request back
	looked    time.Time // for that message
	withdrawn bool
}

// budget begins the time for a request of an id, which a message with the label takes back.
func (s *session) budget(label, id string) *budget {
	now := time.Now()
	b := &budget{end: now.Add(s.relay.cfg.Limits.QueryTime), label: label, id: id, looked: now}
	b.ctx, b.cancel = context.WithCancel(s.ctx)
	return b
}

// left reports whether there is time left. It looks at the clock now and then.
func (b *budget) left() bool {
	if b.asked++; b.asked%256 == 0 && time.Now().After(b.end) {
		b.cancel()
	}
	return b.ctx.Err() == nil
}

// pause returns what a search calls between two steps: it lets others have their turns, and looks
// at the clock, since a search can be long and find nothing, and whether the client still wants it.
func (b *budget) pause(s *session) func() {
	return func() {
		b.end = b.end.Add(s.yield())
		now := time.Now()
		if now.After(b.end) {
			b.cancel()
		}
		if now.Sub(b.looked) < lookEvery {
			return
		}
		if b.looked = now; s.withdrawn(b.label, b.id) {
			b.withdrawn = true
			b.cancel()
		}
	}
}

// spent is the error for a client whose query took too long, unless its session has ended, or that
// wants no answer any more.
func (b *budget) spent(session context.Context) error {
	switch {
	case b.withdrawn:
		return errWithdrawn
	case b.ctx.Err() != nil && session.Err() == nil:
		return errTooSlow
	}
	return nil
}

// sendStored sends what was committed up to seq and matches sub, filter by filter, each event
// once. Each filter has a limit of its own: what it finds is the same with and without the others.
func (s *session) sendStored(id string, sub *subscription, seq uint64) error {
	r := s.relay
	var sent map[key]struct{}
	if len(sub.filters) > 1 {
		sent = make(map[key]struct{})
	}
	authed := s.keys.Load()
	clock := s.budget("CLOSE", id)
	defer clock.cancel()
	for i := range sub.filters {
		f := &sub.filters[i]
		want := func(rec *record) bool {
			return rec.seq <= seq &&
				(f.words == nil || isSearched(rec.kind)) && r.shown(f, rec, authed) && clock.left()
		}
		left, bytes := f.limit, r.cfg.Limits.ResultBytes
		send := func(rec *record, raw []byte) bool {
			clock.end = clock.end.Add(s.yield())
			if !f.findsRaw(raw) {
				return clock.left()
			}
			o := outgoing{op: opText, prefix: sub.prefix, body: raw}
			left--
			if bytes -= o.size(); bytes < 0 {
				return false
			}
			if _, twice := sent[rec.id]; twice {
				return left > 0
			}
			if sent != nil {
				sent[rec.id] = struct{}{}
			}
			waited, ok := s.sendTimed(o)
			clock.end = clock.end.Add(waited)
			return ok && left > 0
		}
		scan := f.filter
		if f.words != nil && f.limit > 0 {
			scan.limit = searchScan // a search reads more than it sends
		}
		if err := errors.Join(r.store.answer(clock.ctx, &scan, want, clock.pause(s), send), clock.spent(s.ctx)); err != nil {
			return err
		}
	}
	return nil
}
