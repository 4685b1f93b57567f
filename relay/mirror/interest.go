package mirror

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// interest knows whose mail, or which conversations, are fetched from the relays of followed Mostros,
// on disk.
type interest struct {
	state *state
	table byte
	now   func() time.Time

	mu      sync.Mutex
	seen    map[mailbox]time.Time
	dirty   map[mailbox]struct{} // not on disk, or not yet gone from there
	changed chan struct{}        // closed and made anew when a mailbox is added

	// forgotten are mailboxes for which relays may still send what they were asked for.
	forgotten *lru.Cache[mailbox, struct{}]
}

// mailbox is a key here and the followed Mostro that writes to it, "" for any of them.
type mailbox struct{ key, mostro string }

func openInterest(st *state, table byte, now func() time.Time) (*interest, error) {
	in := &interest{
		state: st, table: table, now: now, seen: make(map[mailbox]time.Time), dirty: make(map[mailbox]struct{}),
		changed: make(chan struct{}),
	}
	in.forgotten, _ = lru.New[mailbox, struct{}](maxKeys) // fails only for a size below 1
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
		in.forget(in.stale())
	}
	in.seen[box], in.dirty[box] = now, struct{}{}
	if !known {
		in.wake()
	}
	return !known
}

// stale is the one of some mailboxes that has shown no sign of life for longest. Whoever fills all
// places with his keys must not shut out everybody who comes later.
func (in *interest) stale() (stalest mailbox) {
	looked := 0
	for box, at := range in.seen { // in random order
		if looked == 0 || at.Before(in.seen[stalest]) {
			stalest = box
		}
		if looked++; looked == 50 {
			break
		}
	}
	return stalest
}

func (in *interest) forget(box mailbox) {
	delete(in.seen, box)
	in.dirty[box] = struct{}{}
	in.forgotten.Add(box, struct{}{})
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
	of := func(box mailbox) bool {
		_, ok := in.seen[box]
		return ok || in.forgotten.Contains(box)
	}
	return of(mailbox{key, ""}) || slices.ContainsFunc(mostros, func(mostro string) bool { return of(mailbox{key, mostro}) })
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
		for box, at := range in.seen {
			if in.now().Sub(at) > keysKept {
				in.forget(box)
			}
		}
		rows := make(map[string][]byte)
		for box := range in.dirty {
			var value []byte // of one that is forgotten
			if at, known := in.seen[box]; known {
				value = encodeTime(at)
			}
			rows[string(stateRow(in.table, box.key, box.mostro))] = value
		}
		clear(in.dirty)
		in.mu.Unlock()
		if len(rows) == 0 {
			continue
		}
		if err := in.state.set(rows); err != nil {
			log.Error("note whose mail is fetched", "error", err)
		}
	}
}
