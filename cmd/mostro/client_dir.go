package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// Names in the directory of a client.
const (
	clientDirName   = ".mostro-client"
	clientWordsFile = "mnemonic"
	clientStateFile = "trades.json"
	clientLockFile  = "lock"
)

const (
	lockRetry   = 20 * time.Millisecond // between two tries to get the lock
	leastPrefix = 4                     // digits of an order id that may stand for it
)

// clientDir holds the words, which are secret, and what goes with them: the trades begun so
// far. Every file is its owner's alone.
type clientDir string

// clientState is what a client must remember. What it loses restore finds again.
type clientState struct {
	// LastIndex is the highest trade index used, on any node. It is saved before the key is
	// used, so that no key has two trades.
	LastIndex uint32            `json:"last_index"`
	Nodes     map[string]string `json:"nodes,omitempty"` // node by relay, as first seen
	Trades    []clientTrade     `json:"trades,omitempty"`
}

// clientTrade is a trade that was begun.
type clientTrade struct {
	Index     uint32           `json:"index"`
	Order     string           `json:"order,omitempty"` // "" before the node has named it
	Side      string           `json:"side,omitempty"`  // buyer or seller, "" = not known
	Relay     string           `json:"relay"`
	Node      string           `json:"node"`                // hex
	Transport mostro.Transport `json:"transport,omitempty"` // 0 = the node's choice
	Private   bool             `json:"private,omitempty"`
	Parent    string           `json:"parent,omitempty"` // the range order whose rest this is
	Agreed    *client.Agreed   `json:"agreed,omitempty"` // nil = not known, as after a restore

	Review *mostro.ReviewProof `json:"review,omitempty"` // that the node has given, nil = none yet
}

func (t clientTrade) mode() client.Mode {
	return client.Mode{FullPrivacy: t.Private, Transport: t.Transport}
}

// findDir returns the directory, which need not exist.
func (o *clientOptions) findDir() (clientDir, error) {
	if o.dir != "" {
		abs, err := filepath.Abs(o.dir)
		if err != nil {
			return "", fmt.Errorf("find directory of the client: %w", err)
		}
		return clientDir(abs), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hint(fmt.Errorf("find home directory: %w", err), "name a directory with --dir")
	}
	return clientDir(filepath.Join(home, clientDirName)), nil
}

// openDir returns the directory, and makes it when it is not there.
func (o *clientOptions) openDir() (clientDir, error) {
	dir, err := o.findDir()
	if err != nil {
		return "", err
	}
	if err := refuseRootAsClient(dir, os.Geteuid()); err != nil {
		return "", err
	}
	return dir, openDataDir(string(dir))
}

func (d clientDir) path(name string) string { return filepath.Join(string(d), name) }

// words reads the mnemonic.
func (d clientDir) words() (string, error) {
	data, err := readSecretFile(d.path(clientWordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", hint(fmt.Errorf("there are no keys in %s", d),
			"make some: mostro client keys new", "or bring the twelve words of another client: mostro client keys import")
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

// keepWords stores a mnemonic where there is none yet.
func (d clientDir) keepWords(words string) error {
	path := d.path(clientWordsFile)
	err := writeNew(path, []byte(words+"\n"))
	if errors.Is(err, fs.ErrExist) {
		return hint(fmt.Errorf("%s exists already; keys are never overwritten", path),
			"use another --dir, or move this one away first if you are sure")
	}
	return err
}

func (d clientDir) load() (clientState, error) {
	state := clientState{Nodes: map[string]string{}}
	data, err := os.ReadFile(d.path(clientStateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil {
		return state, hint(fmt.Errorf("read trades: %w", err), "move "+d.path(clientStateFile)+" away, then: mostro client restore")
	}
	if state.Nodes == nil {
		state.Nodes = map[string]string{}
	}
	return state, nil
}

// locked runs change with the state, alone among all processes on this directory. What is to
// last, change saves.
func (d clientDir) locked(ctx context.Context, change func(state *clientState, save func() error) error) error {
	lock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	state, err := d.load()
	if err != nil {
		return err
	}
	return change(&state, func() error {
		data, err := json.MarshalIndent(state, "", "  ")
		if err != nil {
			return fmt.Errorf("encode trades: %w", err)
		}
		return writeWhole(d.path(clientStateFile), append(data, '\n'))
	})
}

func (d clientDir) lock(ctx context.Context) (*os.File, error) {
	for {
		file, err := tryLock(d.path(clientLockFile))
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("lock %s: %w", d, err)
		}
		select {
		case <-ctx.Done():
			return nil, hint(fmt.Errorf("another mostro client is using %s: %w", d, ctx.Err()), "wait for it, or use another --dir")
		case <-time.After(lockRetry):
		}
	}
}

// errLocked: somebody else has the lock.
var errLocked = errors.New("locked")

// find returns the trade that a user means: its number, its order's id, or the id's beginning.
func (s clientState) find(ref string) (clientTrade, error) {
	if number, err := strconv.ParseUint(ref, 10, 32); err == nil {
		if at := slices.IndexFunc(s.Trades, func(t clientTrade) bool { return t.Index == uint32(number) }); at >= 0 {
			return s.Trades[at], nil
		}
	}
	var found []clientTrade
	for _, t := range s.Trades {
		if t.Order == ref && ref != "" {
			return t, nil
		}
		if len(ref) >= leastPrefix && strings.HasPrefix(t.Order, strings.ToLower(ref)) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return clientTrade{}, hint(fmt.Errorf("no trade of yours is %q", ref), "see them: mostro client orders --all")
	}
	return clientTrade{}, hint(fmt.Errorf("%d trades of yours begin with %q", len(found), ref), "give more of the id")
}

// put adds a trade, or replaces the one of its index.
func (s *clientState) put(t clientTrade) {
	at := slices.IndexFunc(s.Trades, func(other clientTrade) bool { return other.Index == t.Index })
	if at < 0 {
		s.Trades = append(s.Trades, t)
		slices.SortFunc(s.Trades, func(a, b clientTrade) int { return int(a.Index) - int(b.Index) })
		return
	}
	s.Trades[at] = t
}

// drop forgets a trade that never came to be. Its index stays used.
func (s *clientState) drop(index uint32) {
	s.Trades = slices.DeleteFunc(s.Trades, func(t clientTrade) bool { return t.Index == index })
}
