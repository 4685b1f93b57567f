package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rules are what administrators have set. A value is not changed once others can see it.
type rules struct {
	Pubkeys   map[string]string // banned, with the reason
	Allowed   map[string]string // keys that may publish where only listed ones do
	Events    map[string]string
	Addresses map[string]string // IPv4 addresses and IPv6 networks
	Kinds     map[int]bool      // not taken
	Taken     map[int]bool      // beside those of the profile

	Name, Description, Icon string // instead of those from the settings, unless empty
}

func (s *rules) clone() *rules {
	c := *s
	c.Pubkeys, c.Allowed, c.Events, c.Addresses = maps.Clone(s.Pubkeys), maps.Clone(s.Allowed), maps.Clone(s.Events), maps.Clone(s.Addresses)
	c.Kinds, c.Taken = maps.Clone(s.Kinds), maps.Clone(s.Taken)
	return &c
}

// management keeps the rules in a file of their own beside the events.
type management struct {
	path    string // "" keeps them in memory
	current atomic.Pointer[rules]

	mu   sync.Mutex           // held while the rules change
	used map[string]time.Time // authorizations that have been used, and when
}

const managementFile = "management.json"

func openManagement(dir string) (*management, error) {
	m := &management{used: make(map[string]time.Time)}
	s := &rules{
		Pubkeys: make(map[string]string), Allowed: make(map[string]string), Events: make(map[string]string),
		Addresses: make(map[string]string), Kinds: make(map[int]bool), Taken: make(map[int]bool),
	}
	if dir != "" {
		m.path = filepath.Join(dir, managementFile)
		text, err := os.ReadFile(m.path)
		if err == nil {
			err = json.Unmarshal(text, s)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read what administrators have set in %s: %w", m.path, err)
		}
	}
	m.current.Store(s)
	return m, nil
}

// now are the rules as they are.
func (m *management) now() *rules { return m.current.Load() }

// change makes new rules, first on disk.
func (m *management) change(f func(*rules)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.now().clone()
	f(s)
	if max(len(s.Pubkeys), len(s.Allowed), len(s.Events), len(s.Addresses)) > maxRules {
		return fmt.Errorf("error: there are %d rules of this sort already", maxRules)
	}
	if m.path != "" {
		// The values always encode.
		text, _ := json.MarshalIndent(s, "", "\t")
		if err := writeWhole(m.path, text); err != nil {
			return fmt.Errorf("error: save the rules: %w", err)
		}
	}
	m.current.Store(s)
	return nil
}

// writeWhole replaces a file, synced, so that a crash leaves the old one or the new one.
func writeWhole(path string, text []byte) error {
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	if err = errors.Join(err, next.Sync(), next.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// list gives rules of one sort in the form of NIP-86.
func (m *management) list(name string, of func(*rules) map[string]string) []map[string]string {
	listed := []map[string]string{}
	sort := of(m.now())
	for _, value := range slices.Sorted(maps.Keys(sort)) {
		listed = append(listed, map[string]string{name: value, "reason": sort[value]})
	}
	return listed
}

// rename is a method that changes a text of the relay's description.
func (m *management) rename(set func(*rules, string)) managementMethod {
	return func(_ context.Context, p params) (any, error) {
		var text string
		if err := p.at(0, &text); err != nil {
			return nil, err
		}
		return true, m.change(func(s *rules) { set(s, shorten(text)) })
	}
}

// first reports whether an authorization is used for the first time. Those that have become too
// old to be good are forgotten.
func (m *management) first(id string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.used, func(_ string, at time.Time) bool { return now.Sub(at) > 2*httpAuthWindow+2*time.Second }) // times are whole seconds
	if _, again := m.used[id]; again || len(m.used) >= maxRules {
		return false
	}
	m.used[id] = now
	return true
}
