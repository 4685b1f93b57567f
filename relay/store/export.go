package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

const (
	importBatch  = 512
	exportBuffer = 1 << 20
	longestLine  = 2 * maxEvent // bytes of an import
)

// Export writes all events to w, a line of JSON each (JSONL, as other relays write it), in the
// order in which they were stored. Progress is told the number of lines now and then, and the
// number of all events.
func (s *Store) Export(ctx context.Context, w io.Writer, progress func(done, total int)) error {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if !s.open {
		return ErrClosed
	}
	out := bufio.NewWriterSize(w, exportBuffer)
	done, total := 0, s.Len()
	err := s.scan([]byte{rowEvent}, func(_, raw []byte) error {
		if done++; done%progressEvery == 0 {
			progress(done, total)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if _, err := out.Write(raw); err != nil {
			return err
		}
		return out.WriteByte('\n')
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("export events: %w", err)
	}
	progress(done, total)
	return nil
}

// Imported says what became of the lines of an import.
type Imported struct {
	Lines   int
	Stored  int
	Known   int // stored already, or overtaken by something newer, deleted or expired
	Refused int // not an event, or id or signature do not fit
}

// Import reads lines of JSON from r, checks the id and signature of each, and stores what is
// new and what check has nothing against; it may be asked for several at once. refused is told each line that is not taken, by its number from 1. An error ends the
// import; what was read before it is stored.
func (s *Store) Import(ctx context.Context, r io.Reader, check func(*nostr.Event) error, progress func(Imported), refused func(line int, why error)) (Imported, error) {
	var sum Imported
	in := bufio.NewReaderSize(r, exportBuffer)
	var broken error
	for broken == nil {
		var lines [][]byte
		first := sum.Lines + 1
		for len(lines) < importBatch {
			line, err := readLine(in)
			if broken = err; err != nil && len(line) == 0 {
				break
			}
			sum.Lines++
			lines = append(lines, line)
		}
		items, numbers, errs := verifyAll(lines, check)
		for i, err := range errs {
			if err != nil {
				sum.Refused++
				refused(first+i, err)
			}
		}
		for i, out := range s.Add(ctx, items...) {
			switch out.Status {
			case Stored:
				sum.Stored++
			case Failed:
				if err := errors.Join(s.Err(), ctx.Err()); err != nil || errors.Is(out.Err, ErrFull) || errors.Is(out.Err, ErrClosed) {
					return sum, fmt.Errorf("import line %d: %w", first+numbers[i], errors.Join(out.Err, err))
				}
				sum.Refused++
				refused(first+numbers[i], out.Err)
			case TooOld:
				sum.Refused++
				refused(first+numbers[i], errors.New("it is too old: what was deleted then is not remembered"))
			default:
				sum.Known++
			}
		}
		progress(sum)
		if broken == nil {
			broken = ctx.Err() // else nobody would notice among lines of which none is taken
		}
	}
	if broken != io.EOF {
		return sum, fmt.Errorf("import line %d: %w", sum.Lines+1, broken)
	}
	return sum, nil
}

// readLine reads a line. Of one that is longer than events are it gives the beginning, as long as makes that known.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for more := true; more && err == nil; {
		var part []byte
		part, more, err = in.ReadLine()
		line = append(line, part[:min(len(part), longestLine+1-len(line))]...)
	}
	return line, err
}

// verifyAll decodes and checks lines on all processors. Empty lines are passed over.
func verifyAll(lines [][]byte, check func(*nostr.Event) error) (items []Item, numbers []int, errs []error) {
	evs := make([]*nostr.Event, len(lines))
	errs = make([]error, len(lines))
	var workers sync.WaitGroup
	count := runtime.GOMAXPROCS(0)
	for w := range count {
		workers.Go(func() {
			for i := w; i < len(lines); i += count {
				if len(bytes.TrimSpace(lines[i])) > 0 {
					evs[i], errs[i] = verify(lines[i], check)
				}
			}
		})
	}
	workers.Wait()
	for i, ev := range evs {
		if ev != nil {
			items, numbers = append(items, Item{Event: ev}), append(numbers, i)
		}
	}
	return items, numbers, errs
}

func verify(line []byte, check func(*nostr.Event) error) (*nostr.Event, error) {
	if len(line) > longestLine {
		return nil, fmt.Errorf("the line is longer than %d bytes", longestLine)
	}
	if !utf8.Valid(line) { // decoders keep what encoders replace, and the id fits no more
		return nil, errors.New("the line is not UTF-8")
	}
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(line); err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	// Checked first: what is not hex of this length is not for the verifier.
	if _, err := describe(ev); err != nil {
		return nil, err
	}
	if err := check(ev); err != nil {
		return nil, err
	}
	if len(ev.Sig) != 128 || !ev.CheckID() {
		return nil, errors.New("the id does not fit the event")
	}
	if ok, _ := ev.CheckSignature(); !ok {
		return nil, errors.New("the signature does not fit the event")
	}
	return ev, nil
}
