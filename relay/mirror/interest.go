package mirror

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// interest knows whose mail, or which conversations, are fetched from the relays of followed Mostros,
// on disk.
type interest struct {
	state *state
	table byte
	now   func() time.Time

	mu      sync.Mutex
	seen    map[mailbox]time.Time
	dirty   map[mailbox]struct{} // not on disk
	changed chan struct{}        // closed and made anew when a mailbox is added
}

// mailbox is a key here and the followed Mostro that writes to it, "" for any of them.
type mailbox struct{ key, mostro string }

func openInterest(st *state, table byte, now func() time.Time) (*interest, error) {
	in := &interest{
		state: st, table: table, now: now, seen: make(map[mailbox]time.Time), dirty: make(map[mailbox]struct{}),
		changed: make(chan struct{}),
	}
	err := st.each(table, nil, func(row [][]byte, value []byte) error {
		in.seen[mailbox{string(row[0]), string(row[1])}] = decodeTime(value)
		return nil
	})
	return in, err
}

// add notes a sign of life. It reports whether the mailbox is new.
func (in *interest) add(box mailbox) (fresh bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	last, known := in.seen[box]
	if known && now.Sub(last) < time.Hour {
		return false
	}
	if !known && len(in.seen) >= maxKeys {
		return false
	}
	in.seen[box], in.dirty[box] = now, struct{}{}
	if !known {
		in.wake()
	}
	return !known
}

// stir lets whoever fetches look again.
func (in *interest) stir() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.wake()
}

func (in *interest) wake() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// has reports whether mail of a Mostro to a key is fetched.
func (in *interest) has(key string, mostros []string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.seen[mailbox{key, ""}]; ok {
		return true
	}
	for _, mostro := range mostros {
		if _, ok := in.seen[mailbox{key, mostro}]; ok {
			return true
		}
	}
	return false
}

// keys lists the keys whose mail by one of the Mostros is fetched, the last seen first, and a
// channel that is closed when there are others.
func (in *interest) keys(mostros []string) ([]string, <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var boxes []mailbox
	for box := range in.seen {
		if box.mostro == "" || slices.Contains(mostros, box.mostro) {
			boxes = append(boxes, box)
		}
	}
	slices.SortFunc(boxes, func(a, b mailbox) int {
		if c := in.seen[b].Compare(in.seen[a]); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	var keys []string
	twice := make(map[string]struct{})
	for _, box := range boxes {
		if _, ok := twice[box.key]; !ok && len(keys) < keysPerPeer {
			twice[box.key] = struct{}{}
			keys = append(keys, box.key)
		}
	}
	return keys, in.changed
}

// keep writes down what is new, and forgets what has shown no sign of life for long.
func (in *interest) keep(ctx context.Context, log *slog.Logger) {
	for end := false; !end; {
		select {
		case <-ctx.Done():
			end = true
		case <-time.After(time.Second):
		}
		in.mu.Lock()
		rows := make(map[string][]byte)
		for box := range in.dirty {
			rows[string(stateRow(in.table, box.key, box.mostro))] = encodeTime(in.seen[box])
		}
		clear(in.dirty)
		for box, at := range in.seen {
			if in.now().Sub(at) > keysKept {
				rows[string(stateRow(in.table, box.key, box.mostro))] = nil
				delete(in.seen, box)
			}
		}
		in.mu.Unlock()
		if len(rows) == 0 {
			continue
		}
		if err := in.state.set(rows); err != nil {
			log.Error("note whose mail is fetched", "error", err)
		}
	}
}
