package mirror

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// A Mostro may be followed no more in the middle of trades with clients here, by a command or because the settings name it
// no longer. Their messages are carried for leftKept all the same, both ways; its offers go at once. After that whoever
// writes to it is told so: a message that was kept here would look as if it had arrived.
//
// Each Mostro that was ever followed is a row for ever, and so is each key that the node itself has had: who writes to an old one
// is told the same.
//
//	m 0 key              former, or 1 where an earlier version has written it
const tableMostro = 'm'

// former is what is kept of a Mostro that is or was followed.
type former struct {
	Relays []string `json:"relays,omitempty"` // that the operator has named
	Until  int64    `json:"until,omitempty"`  // messages are carried, unix seconds; 0 = it is followed, or has just been found not to be
}

// errLeft answers messages to a Mostro that is followed no more and cannot be reached from here.
var errLeft = errors.New("restricted: this relay does not follow this Mostro any more and cannot bring it the message: connect to a relay of that Mostro")

// now reports whether a key is followed, which one that messages are only still carried for is not.
func (f *followed) now() bool { return f != nil && f.left.IsZero() }

// takes reports whether events of a kind are taken from other relays. Of one that is followed no more they are messages, and
// where it can be reached.
func (f *followed) takes(kind int) bool {
	return f.now() || kind == kindMessage || kind == kindRelayList
}

// Unfollow ends copying. The public events of the key are refused from now on and its offers are taken away; messages of a
// Mostro are carried for leftKept, and stay private.
func (m *Mirror) Unfollow(pubkey string) error {
	m.mu.Lock()
	f := m.followed[pubkey]
	platform := f != nil && f.Platform != ""
	if platform {
		delete(m.followed, pubkey)
	}
	m.change()
	m.mu.Unlock()
	if f == nil || platform {
		return nil
	}
	return m.leave(pubkey, f.Relays)
}

// leave goes on carrying a Mostro's messages for a while.
func (m *Mirror) leave(pubkey string, relays []string) error {
	until := m.cfg.Now().Add(leftKept)
	if err := m.remember(pubkey, former{relays, until.Unix()}); err != nil {
		return err
	}
	m.stay(pubkey, relays, until)
	m.log.Info("a Mostro is followed no more: its offers go, messages of its trades are carried on", "pubkey", pubkey, "until", until)
	return nil
}

// stay keeps a Mostro among those whose messages are carried.
func (m *Mirror) stay(pubkey string, relays []string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.followed[pubkey]; f != nil {
		f.left, f.floor, f.older = until, 0, nil
	} else {
		m.followed[pubkey] = &followed{
			Followed: Followed{Pubkey: pubkey, Relays: relays}, moves: rate.NewLimiter(rate.Every(moveEvery), moveBurst), left: until,
		}
	}
	m.change()
	select {
	case m.crowd <- struct{}{}:
	default:
	}
}

// leaveOthers is for those that were followed before this start and are not now. The node's own key may be one of them.
func (m *Mirror) leaveOthers() error {
	now := m.cfg.Now()
	if err := m.remember(m.cfg.Pubkey, former{Until: 1}); err != nil {
		return err
	}
	for pubkey, was := range m.formerly {
		switch {
		case m.Followed(pubkey):
		case was.Until == 0:
			if err := m.leave(pubkey, was.Relays); err != nil {
				return err
			}
		case was.Until > now.Unix():
			m.stay(pubkey, was.Relays, time.Unix(was.Until, 0))
		}
	}
	return nil
}

// endLeft carries no more what has been carried for long enough.
func (m *Mirror) endLeft() {
	now := m.relay.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for pubkey, f := range m.followed {
		if !f.now() && !now.Before(f.left) {
			delete(m.followed, pubkey)
			m.change()
		}
	}
}

// remember notes for ever that a Mostro is or was followed.
func (m *Mirror) remember(pubkey string, is former) error {
	m.mu.Lock()
	was, known := m.formerly[pubkey]
	m.mu.Unlock()
	if known && was.Until == is.Until && slices.Equal(was.Relays, is.Relays) {
		return nil
	}
	if err := m.state.set(map[string][]byte{string(stateRow(tableMostro, pubkey)): marshal(is)}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.formerly[pubkey] = is
	return nil
}

func (m *Mirror) loadFormerly() error {
	return m.state.each(tableMostro, nil, func(row [][]byte, value []byte) error {
		var was former
		if string(value) != "\x01" {
			if err := unmarshal(value, &was); err != nil {
				return err
			}
		}
		m.formerly[string(row[0])] = was
		return nil
	})
}

// Formerly reports whether a Mostro is followed or ever was, or is or was the node itself (relay.Config.Formerly).
func (m *Mirror) Formerly(pubkey string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, is := m.formerly[pubkey]
	return is
}
