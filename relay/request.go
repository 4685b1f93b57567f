package relay

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// handle answers one message of the client.
func (s *session) handle(message []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			s.relay.logPanic(fault)
			s.send(noticeFrame("error: this message could not be handled"))
		}
	}()
	req, err := parseRequest(message)
	if err != nil {
		s.send(noticeFrame("invalid: " + err.Error()))
		return
	}
	switch req.label {
	case "EVENT":
		s.onEvent(req.parts[0])
	case "REQ":
		s.onReq(req.parts)
	case "CLOSE":
		s.onClose(req.parts[0])
	case "COUNT":
		if id, ok := s.subID(req.parts[0]); ok {
			s.send(closedFrame(id, "unsupported: this relay does not count"))
		}
	case "AUTH":
		s.send(noticeFrame("unsupported: this relay asks nobody to authenticate"))
	default:
		s.send(noticeFrame("unsupported: this relay knows EVENT, REQ and CLOSE"))
	}
}

func (s *session) onEvent(raw json.RawMessage) {
	var ev nostr.Event
	if err := ev.UnmarshalJSON(raw); err != nil {
		s.send(noticeFrame("invalid: the event cannot be read"))
		return
	}
	ok, reason := s.relay.ingest(s.ctx, &ev)
	s.send(okFrame(ev.ID, ok, reason))
}

// subID reads a subscription id, and tells the client when it is not one.
func (s *session) subID(raw json.RawMessage) (string, bool) {
	var id string
	most := s.relay.cfg.Limits.SubIDLength
	if err := json.Unmarshal(raw, &id); err != nil || id == "" || utf8.RuneCountInString(id) > most {
		s.send(noticeFrame(fmt.Sprintf("invalid: a subscription id is a string of 1 to %d characters", most)))
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
		delete(s.subs, id)
	}
}

func (s *session) onReq(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	filters, err := s.filters(id, parts[1:])
	if err != nil {
		s.drop(id)
		s.send(closedFrame(id, err.Error()))
		return
	}
	sub := &subscription{session: s, prefix: eventPrefix(id), filters: filters}
	seq := s.relay.subscribe(sub, s.subs[id])
	s.subs[id] = sub
	if err := s.sendStored(sub, seq); err != nil {
		s.drop(id)
		s.send(closedFrame(id, reason(err.Error(), "error")))
		return
	}
	s.send(eoseFrame(id))
}

// filters reads and checks the filters of a REQ. The error is for the client.
func (s *session) filters(id string, parts []json.RawMessage) ([]filter, error) {
	limits := s.relay.cfg.Limits
	switch {
	case s.subs[id] == nil && len(s.subs) >= limits.Subscriptions:
		return nil, fmt.Errorf("rate-limited: %d subscriptions are open, close one first", len(s.subs))
	case len(parts) == 0:
		return nil, fmt.Errorf("invalid: REQ needs a filter")
	case len(parts) > limits.Filters:
		return nil, fmt.Errorf("invalid: REQ has %d filters, at most %d are taken", len(parts), limits.Filters)
	}
	filters := make([]filter, len(parts))
	for i, part := range parts {
		var plain nostr.Filter
		if err := plain.UnmarshalJSON(part); err != nil || part[0] != '{' {
			return nil, fmt.Errorf("invalid: filter %d cannot be read", i+1)
		}
		var err error
		if filters[i], err = compile(plain, limits); err != nil {
			return nil, err
		}
	}
	return filters, nil
}

// sendStored sends what was committed up to seq and matches sub, filter by filter, each event
// once.
func (s *session) sendStored(sub *subscription, seq uint64) error {
	sent := make(map[*record]struct{})
	now := s.relay.store.now().Unix()
	for i := range sub.filters {
		f := &sub.filters[i]
		want := func(rec *record) bool {
			if rec.seq > seq || rec.expired(now) || !f.reveals(rec.kind, rec.author, s.relay.node) {
				return false
			}
			_, twice := sent[rec]
			sent[rec] = struct{}{}
			return !twice
		}
		left := s.relay.cfg.Limits.ResultBytes
		send := func(ev *nostr.Event) bool {
			frame := eventFrame(sub.prefix, encodeEvent(ev))
			left -= len(frame)
			return left >= 0 && s.send(frame)
		}
		if err := s.relay.store.answer(s.ctx, f, want, send); err != nil {
			return err
		}
	}
	return nil
}
