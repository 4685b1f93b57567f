package relay

import (
	"encoding/hex"
	"encoding/json"
	"errors"

	"mostro/relay/reconcile"
)

// reconciling is an open negentropy session of a client (NIP-77). Its items stay as they were
// when it was opened.
type reconciling struct {
	items  reconcile.Set
	rounds int

	total *shares // items of all sessions of all clients
	from  string
	taken int // of total
}

func (n *reconciling) close() { n.total.give(n.from, n.taken) }

// add takes an item, unless all sessions together have too many. They count while they are being
// collected: many sessions can be at it at the same time.
func (n *reconciling) add(item reconcile.Item) bool {
	if len(n.items) >= n.taken {
		if !n.total.take(n.from, negReserve) {
			return false
		}
		n.taken += negReserve
	}
	n.items = append(n.items, item)
	return true
}

func negErrorFrame(id, reason string) []byte { return frame("NEG-ERR", id, reason) }

var (
	errTooManySets  = errors.New("rate-limited: too many negentropy sessions are open, close one first")
	errTooManyItems = errors.New("blocked: too many events match, ask for a shorter time")
	errTooManySteps = errors.New("blocked: too many rounds")
)

func (s *session) onNegOpen(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	s.dropSet(id)
	if len(parts) < 3 {
		s.refuse(negErrorFrame(id, "invalid: NEG-OPEN needs a filter and a message"))
		return
	}
	filters, err := s.asks(id, parts[1:2], true)
	if err == nil {
		var set *reconciling
		if set, err = s.collect(id, &filters[0]); err == nil {
			s.sets[id] = set
			s.reconcile(id, set, parts[2])
			return
		}
	}
	if !errors.Is(err, errWithdrawn) {
		s.refuse(negErrorFrame(id, reason(err.Error(), "error")))
	}
}

// collect takes what f may find into a new session.
func (s *session) collect(id string, f *ask) (*reconciling, error) {
	r := s.relay
	most := r.cfg.Limits.NegItems
	if len(s.sets) >= r.cfg.Limits.NegSessions {
		return nil, errTooManySets
	}
	set, room := &reconciling{total: r.negItems, from: s.from}, true
	clock := s.budget("NEG-CLOSE", id)
	defer clock.cancel()
	err := s.eachStored(clock, f, most+1, func(rec *record) bool {
		room = set.add(reconcile.Item{Created: uint64(rec.created), ID: rec.id})
		return room
	})
	switch {
	case err != nil:
	case !room:
		err = errTooManySets
	case len(set.items) > most:
		err = errTooManyItems
	}
	if err != nil {
		set.close()
		return nil, err
	}
	set.items.Sort()
	return set, nil
}

func (s *session) onNegMessage(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	set := s.sets[id]
	if set == nil || len(parts) < 2 {
		s.refuse(negErrorFrame(id, "closed: there is no such negentropy session"))
		return
	}
	s.reconcile(id, set, parts[1])
}

func (s *session) reconcile(id string, set *reconciling, raw json.RawMessage) {
	answer, err := set.step(raw, s.relay.cfg.Limits.MessageBytes)
	if err != nil {
		s.dropSet(id)
		s.refuse(negErrorFrame(id, reason(err.Error(), "invalid")))
		return
	}
	s.send(frame("NEG-MSG", id, answer))
}

func (n *reconciling) step(raw json.RawMessage, messageBytes int) (string, error) {
	if n.rounds++; n.rounds > maxNegRounds {
		return "", errTooManySteps
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", errors.New("invalid: the message is not a string")
	}
	message, err := hex.DecodeString(text)
	if err != nil {
		return "", errors.New("invalid: the message is not hex")
	}
	answer, err := n.items.Answer(message, messageBytes/4)
	return hex.EncodeToString(answer), err
}

func (s *session) onNegClose(raw json.RawMessage) {
	if id, ok := s.subID(raw); ok {
		s.dropSet(id)
	}
}

func (s *session) dropSet(id string) {
	if set := s.sets[id]; set != nil {
		set.close()
		delete(s.sets, id)
	}
}
