package mirror

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/nbd-wtf/go-nostr"
)

// state is what the mirror must not forget: how far it has read where, whose mail is fetched, and
// which replies still have to go to which relay. All events are in the relay's own store.
//
//	w 0 url 0 author     walked
//	k 0 key 0 mostro     unix seconds of the last sign of life, one more byte if proven; mostro "" = any
//	c 0 key 0 mostro     the same of the key of a conversation
//	p 0 key              a platform that is followed, or was before this start
//	r 0 key              routes: the outside relays over which its messages came
//	o 0 url 0 time id    since when this relay has not confirmed an event, and the event; time is the event's
type state struct{ db *badger.DB }

const (
	tableWalked = 'w'
	tableKey    = 'k'
	tableTalk   = 'c'
	tableRoute  = 'r'
	tableOutbox = 'o'

	stateTable = 8 << 20  // bytes of a memtable; rows are few
	stateLog   = 16 << 20 // bytes
)

// walked says up to when everything of an author was copied from a relay, in unix seconds.
type walked struct {
	At   int64 `json:"at"`   // beginning of the last walk that came to its end
	Full int64 `json:"full"` // the same, of one through all times
}

// route is a relay over which a key is answered.
type route struct {
	URL string `json:"url"`
	At  int64  `json:"at"` // unix seconds, about when it last came over it

	Bare bool `json:"bare,omitempty"` // what the key was told before has not been brought there yet
}

func openState(dir string, log *slog.Logger) (*state, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).
		WithInMemory(dir == "").WithSyncWrites(dir != "").WithDetectConflicts(false).
		WithMemTableSize(stateTable).WithNumMemtables(2).WithNumLevelZeroTables(1).WithNumLevelZeroTablesStall(2).
		WithCompression(options.None).WithBlockCacheSize(0).WithMetricsEnabled(false).WithValueLogFileSize(stateLog).
		WithLogger(quiet{log}))
	if err != nil {
		return nil, fmt.Errorf("open the mirror's state %q: %w", dir, err)
	}
	return &state{db}, nil
}

func (s *state) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the mirror's state: %w", err)
	}
	return nil
}

func stateRow(table byte, parts ...string) []byte {
	row := []byte{table}
	for _, part := range parts {
		row = append(append(row, 0), part...)
	}
	return row
}

// set writes rows in one synced transaction; a nil value deletes.
func (s *state) set(rows map[string][]byte) error {
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	for row, value := range rows {
		var err error
		if value == nil {
			err = batch.Delete([]byte(row))
		} else {
			err = batch.Set([]byte(row), value)
		}
		if err != nil {
			return fmt.Errorf("write the mirror's state: %w", err)
		}
	}
	if err := batch.Flush(); err != nil {
		return fmt.Errorf("write the mirror's state: %w", err)
	}
	return nil
}

// each visits the rows of a table that begin with parts, in order. A row is what follows.
func (s *state) each(table byte, parts []string, visit func(row [][]byte, value []byte) error) error {
	prefix := append(stateRow(table, parts...), 0)
	err := s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: true, PrefetchSize: 100})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			row := bytes.Split(it.Item().KeyCopy(nil)[len(prefix):], []byte{0})
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if err := visit(row, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the mirror's state: %w", err)
	}
	return nil
}

// get reads a row; nil when it is not there.
func (s *state) get(row string) (value []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(row))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			value, err = item.ValueCopy(nil)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the mirror's state: %w", err)
	}
	return value, nil
}

func (s *state) walked(url, author string) (w walked, err error) {
	value, err := s.get(string(stateRow(tableWalked, url, author)))
	if err != nil || value == nil {
		return w, err
	}
	if err := json.Unmarshal(value, &w); err != nil {
		return w, fmt.Errorf("read the mirror's state: %w", err)
	}
	return w, nil
}

func (s *state) setWalked(url, author string, w walked) error {
	value, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return s.set(map[string][]byte{string(stateRow(tableWalked, url, author)): value})
}

// waiting lists replies that a relay has not confirmed, those behind a row, "" for the first, that are wanted by their ids;
// others are not read. bad are rows that cannot be read.
func (s *state) waiting(url, after string, most int, wanted func(id string) bool) (evs []*nostr.Event, bad []string, err error) {
	prefix := append(stateRow(tableOutbox, url), 0)
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		from := prefix
		if after != "" {
			from = append([]byte(after), 0)
		}
		for it.Seek(from); it.Valid() && len(evs) < most; it.Next() {
			row, ev := string(it.Item().KeyCopy(nil)), new(nostr.Event)
			if !wanted(row[strings.LastIndexByte(row, ' ')+1:]) {
				continue
			}
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if ev.UnmarshalJSON(replyOf(value)) != nil || outboxRow(url, ev) != row {
				bad = append(bad, row)
			} else {
				evs = append(evs, ev)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the mirror's state: %w", err)
	}
	return evs, bad, nil
}

// waits is how many replies a relay has not confirmed, and since when the first has waited.
func (s *state) waits(url string) (n int, since time.Time, err error) {
	err = s.each(tableOutbox, []string{url}, func(_ [][]byte, value []byte) error {
		n++
		if len(replyOf(value)) < len(value) {
			since = earlier(since, decodeTime(value[:timeSize]))
		}
		return nil
	})
	return n, since, err
}

// trim takes out of the outbox what is for a relay that is not kept, what its event's time says is older than past, and
// of each relay what is more than most, the oldest first. It returns how many replies that were, by relay.
func (s *state) trim(kept func(url string) bool, past time.Time, most int) (map[string]int, error) {
	counts, gone := make(map[string]int), make(map[string]int)
	rows := make(map[string][]byte)
	prefix := append(stateRow(tableOutbox), 0)
	err := s.db.View(func(txn *badger.Txn) error {
		// Backwards, since the newest of each relay stay.
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
		defer it.Close()
		for it.Seek(append(slices.Clone(prefix), 0xff)); it.Valid() && len(rows) < trimmed; it.Next() {
			key := it.Item().KeyCopy(nil)
			url, rest, _ := strings.Cut(string(key[len(prefix):]), "\x00")
			at, _, _ := strings.Cut(rest, " ")
			second, err := strconv.ParseInt(at, 16, 64)
			counts[url]++
			if err != nil || !kept(url) || second < past.Unix() || counts[url] > most {
				rows[string(key)] = nil
				gone[url]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the mirror's state: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return gone, s.set(rows)
}

// trimmed is how many rows are taken out at once; the rest goes the next time.
const trimmed = 20_000

// replyOf is the event of a row of the outbox. Rows of earlier versions begin with it.
func replyOf(value []byte) []byte {
	if len(value) > timeSize && value[0] != '{' {
		return value[timeSize:]
	}
	return value
}

// outboxRow sorts by time: whoever reads a relay may take messages in the order in which they came.
func outboxRow(url string, ev *nostr.Event) string {
	return string(stateRow(tableOutbox, url, fmt.Sprintf("%010x %s", int64(ev.CreatedAt), ev.ID)))
}

const timeSize = 8 // bytes

func encodeTime(at time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
}

func decodeTime(value []byte) time.Time {
	if len(value) != timeSize {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
}

// quiet sends badger's complaints to a logger, and drops its chatter.
type quiet struct{ log *slog.Logger }

func (q quiet) Errorf(format string, args ...any)   { q.log.Error(fmt.Sprintf(format, args...)) }
func (q quiet) Warningf(format string, args ...any) { q.log.Warn(fmt.Sprintf(format, args...)) }
func (quiet) Infof(string, ...any)                  {}
func (quiet) Debugf(string, ...any)                 {}
