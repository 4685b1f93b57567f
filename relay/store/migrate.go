package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"
)

// The first releases kept events with eventstore's Badger backend. Its rows are bodies under
// prefix 0 with a number of 4 bytes, indexes under 1 to 8, and its version under 255.
const (
	firstBody    = 0
	firstIndexes = 8
	firstVersion = 255
	firstKeySize = 5
)

// migrate moves the events of the first format and notes the present one. It can be interrupted
// anywhere: how far it has come is written with what was moved, since rows that are moved again would not find what
// they found (a version would come back that one replaced which has been deleted since). The old rows go last, of
// them the bodies, by which a start sees that there is something to do. A row that cannot be read is kept under rowUnread.
func (s *Store) migrate() error {
	total, unread := 0, 0
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{firstBody}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			total++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	if total > 0 {
		// What a move that was cut has left of these is looked at only later.
		s.tombstones, s.vanished = true, true
		if unread, err = s.moveBodies(total); err != nil {
			return err
		}
		prefixes := [][]byte{{firstVersion}}
		for p := byte(firstBody + 1); p <= firstIndexes; p++ {
			prefixes = append(prefixes, []byte{p})
		}
		for _, rows := range [][][]byte{prefixes, {{firstBody}}} {
			if err := s.db.DropPrefix(rows...); err != nil {
				return fmt.Errorf("remove rows of the first format: %w", err)
			}
			s.opts.Progress("migrate", total, total)
		}
		s.log.Info("events moved to the present format", "events", total-unread, "kept_aside", unread)
	}
	return s.db.Update(func(txn *badger.Txn) error {
		return errors.Join(txn.Delete([]byte{rowMoved}), txn.Set([]byte{rowFormat}, secondValue(formatNumber)))
	})
}

func (s *Store) moveBodies(total int) (unread int, err error) {
	b := newBatch(s)
	done := 0
	flush := func() error {
		if err := b.write(); err != nil {
			return err
		}
		b.silent = true
		b.show()
		b = newBatch(s)
		s.opts.Progress("migrate", done, total)
		return nil
	}
	s.opts.Progress("migrate", done, total)
	var moved []byte
	if err := s.scan([]byte{rowMoved}, func(_, key []byte) error { moved = bytes.Clone(key); return nil }); err != nil {
		return 0, err
	}
	err = s.scan([]byte{firstBody}, func(key, value []byte) error {
		done++
		if bytes.Compare(key, moved) <= 0 {
			return nil
		}
		b.moved = bytes.Clone(key)
		p, err := prepareFirst(key, value)
		if err != nil {
			unread++
			s.log.Error("move event", "row", hex.EncodeToString(key), "error", err)
			return s.db.Update(func(txn *badger.Txn) error {
				return txn.Set(append([]byte{rowUnread}, key...), append([]byte(nil), value...))
			})
		}
		if out := b.add(p); out.Err != nil {
			return out.Err
		}
		if !b.room() {
			return flush()
		}
		return nil
	})
	if err != nil {
		return unread, err
	}
	return unread, flush()
}

func prepareFirst(key, value []byte) (*addition, error) {
	if len(key) != firstKeySize {
		return nil, errors.New("the key has a wrong length")
	}
	ev, err := decodeFirst(value)
	if err != nil {
		return nil, err
	}
	if !ev.CheckID() {
		return nil, errors.New("the id does not fit the event")
	}
	return prepare(&Item{Event: ev, Own: true})
}

var errShort = errors.New("the row is too short")

// decodeFirst reads a body of the first format: id, key, signature, time (4 bytes), kind (2),
// content (after 2 bytes of length), number of tags (2), and for each tag the number of its items
// (1) and the items (after 2 bytes of length, and with a zero behind).
func decodeFirst(b []byte) (*nostr.Event, error) {
	const head = 32 + 32 + 64 + 4 + 2
	if len(b) < head {
		return nil, errShort
	}
	ev := &nostr.Event{
		ID: hex.EncodeToString(b[:32]), PubKey: hex.EncodeToString(b[32:64]), Sig: hex.EncodeToString(b[64:128]),
		CreatedAt: nostr.Timestamp(binary.BigEndian.Uint32(b[128:])), Kind: int(binary.BigEndian.Uint16(b[132:])),
	}
	b = b[head:]
	text := func() (string, bool) {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return "", false
		}
		n := int(binary.BigEndian.Uint16(b))
		s := string(b[2 : 2+n])
		b = b[2+n:]
		return s, true
	}
	var ok bool
	if ev.Content, ok = text(); !ok || len(b) < 2 {
		return nil, errShort
	}
	tags := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	ev.Tags = make(nostr.Tags, tags)
	for i := range ev.Tags {
		if len(b) < 1 {
			return nil, errShort
		}
		items := int(b[0])
		b = b[1:]
		ev.Tags[i] = make(nostr.Tag, items)
		for k := range ev.Tags[i] {
			if ev.Tags[i][k], ok = text(); !ok || len(b) < 1 {
				return nil, errShort
			}
			b = b[1:]
		}
	}
	return ev, nil
}
