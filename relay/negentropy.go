package relay

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync/atomic"

	"mostro/relay/reconcile"
)

// reconciling is an open negentropy session of a client (NIP-77). Its items stay as they were
// when it was opened.
type reconciling struct {
	items  reconcile.Set
	rounds int
	total  *atomic.Int64 // items of all sessions of all clients
}

func (n *reconciling) close() { n.total.Add(-int64(len(n.items))) }

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
		s.send(negErrorFrame(id, "invalid: NEG-OPEN needs a filter and a message"))
		return
	}
	filters, err := s.asks(id, parts[1:2], true)
	if err == nil {
		var set *reconciling
		if set, err = s.collect(&filters[0]); err == nil {
			s.sets[id] = set
			s.reconcile(id, set, parts[2])
			return
		}
	}
	s.send(negErrorFrame(id, reason(err.Error(), "error")))
}

// collect takes what f may find into a new session.
func (s *session) collect(f *ask) (*reconciling, error) {
	r := s.relay
	most := r.cfg.Limits.NegItems
	if len(s.sets) >= r.cfg.Limits.NegSessions || r.negItems.Load() >= int64(maxNegItems) {
		return nil, errTooManySets
	}
	set := &reconciling{total: &r.negItems}
	err := s.eachStored(f, most+1, func(rec *record) {
		set.items = append(set.items, reconcile.Item{Created: uint64(rec.created), ID: rec.id})
	})
	if err != nil {
		return nil, err
	}
	if len(set.items) > most {
		return nil, errTooManyItems
	}
	set.items.Sort()
	r.negItems.Add(int64(len(set.items)))
	return set, nil
}

func (s *session) onNegMessage(parts []json.RawMessage) {
	id, ok := s.subID(parts[0])
	if !ok {
		return
	}
	set := s.sets[id]
	if set == nil || len(parts) < 2 {
		s.send(negErrorFrame(id, "closed: there is no such negentropy session"))
		return
	}
	s.reconcile(id, set, parts[1])
}

func (s *session) reconcile(id string, set *reconciling, raw json.RawMessage) {
	answer, err := set.step(raw, s.relay.cfg.Limits.MessageBytes)
	if err != nil {
		s.dropSet(id)
		s.send(negErrorFrame(id, reason(err.Error(), "invalid")))
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
