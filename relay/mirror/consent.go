package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// What the operator has agreed to while the node runs is a row of its own:
//
//	f 0 key              Followed
const tableFollow = 'f'

// Agree follows somebody from now on, also after the next start. Who was followed before and comes back without relays is at
// those that were named then.
func (m *Mirror) Agree(f Followed) error {
	if m.configured(f.Pubkey) {
		return fmt.Errorf("%s is followed by the settings: change it there", f.Pubkey)
	}
	m.mu.Lock()
	if was := m.formerly[f.Pubkey]; was.Until != 0 && len(f.Relays) == 0 {
		f.Relays = was.Relays
	}
	m.mu.Unlock()
	if err := m.Follow(f); err != nil {
		return err
	}
	m.log.Info("a Mostro is followed by command", "pubkey", f.Pubkey, "relays", f.Relays)
	return m.state.set(map[string][]byte{string(stateRow(tableFollow, f.Pubkey)): marshal(f)})
}

// Disagree ends what Agree began, as Unfollow says.
func (m *Mirror) Disagree(pubkey string) error {
	switch {
	case m.configured(pubkey):
		return fmt.Errorf("%s is followed by the settings: take it out there, and start anew", pubkey)
	case !m.Followed(pubkey):
		return fmt.Errorf("%s is not followed", pubkey)
	}
	if err := m.state.set(map[string][]byte{string(stateRow(tableFollow, pubkey)): nil}); err != nil {
		return err
	}
	return m.Unfollow(pubkey)
}

func (m *Mirror) configured(pubkey string) bool {
	return slices.ContainsFunc(m.cfg.Follow, func(f Followed) bool { return f.Pubkey == pubkey })
}

// loadAgreed follows those to whom the operator has agreed before. Whom the settings name by now is theirs from then on: taken
// out there he is followed no more. The node may have moved to the key of one meanwhile.
func (m *Mirror) loadAgreed() error {
	own := string(stateRow(tableFollow, m.cfg.Pubkey))
	if was, err := m.state.get(own); err != nil {
		return err
	} else if was != nil {
		m.log.Warn("this node has the key of a Mostro that was followed by command, which ends that", "pubkey", m.cfg.Pubkey)
		if err := m.state.set(map[string][]byte{own: nil}); err != nil {
			return err
		}
	}
	over := make(map[string][]byte) // rows
	err := m.state.each(tableFollow, nil, func(_ [][]byte, value []byte) error {
		var f Followed
		if err := json.Unmarshal(value, &f); err != nil {
			return err
		}
		if m.configured(f.Pubkey) {
			over[string(stateRow(tableFollow, f.Pubkey))] = nil
			return nil
		}
		return m.Follow(f)
	})
	if err != nil || len(over) == 0 {
		return err
	}
	return m.state.set(over)
}

// Candidate is a Mostro that is not followed and has given news of itself on a relay that this node
// is connected to.
type Candidate struct {
	Pubkey string `json:"pubkey"`
	Name   string `json:"name,omitempty"` // as it says
	Relay  string `json:"relay"`          // where it was found
	At     int64  `json:"at"`             // unix seconds of its news
}

const maxCandidates = 200 // of one relay

// signed reports whether an event is what its author has signed. go-nostr does not look at the lengths, and with libsecp256k1
// ends the process at a longer key or signature.
func signed(ev *nostr.Event) bool {
	if len(ev.PubKey) != 64 || len(ev.Sig) != 128 || !ev.CheckID() {
		return false
	}
	ok, err := ev.CheckSignature()
	return ok && err == nil
}

// Candidates looks for Mostros on all connected relays, for the operator to choose from.
func (m *Mirror) Candidates(ctx context.Context) ([]Candidate, error) {
	var mu sync.Mutex
	found := make(map[string]Candidate)
	asked := m.askAll(ctx, func(p *peer, l *link) {
		said := 0 // whatever it is asked for
		l.fetchBriefly(ctx, nostr.Filter{Kinds: []int{kindInfo}, Limit: maxCandidates}, func(ev *nostr.Event) {
			if said++; said > maxCandidates || ev.Kind != kindInfo || ev.PubKey == m.cfg.Pubkey || m.Followed(ev.PubKey) || !signed(ev) {
				return
			}
			c := Candidate{Pubkey: ev.PubKey, Relay: p.url, At: int64(ev.CreatedAt)}
			if tag := ev.Tags.Find("y"); len(tag) > 2 {
				c.Name = tag[2]
			}
			mu.Lock()
			defer mu.Unlock()
			if found[c.Pubkey].At < c.At {
				found[c.Pubkey] = c
			}
		})
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if asked == 0 {
		return nil, errors.New("no other relay is connected, where Mostros could be found: name one in nostr.relays, or follow a Mostro that you know: mostro peers follow KEY@RELAY")
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Pubkey, b.Pubkey))
	}), nil
}
