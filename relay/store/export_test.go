package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestExportImport: what is exported can be imported, again and into another store, and lines
// that are no events of their authors are refused.
func TestExportImport(t *testing.T) {
	clock := newClock()
	from, to := openTest(t, Options{Now: clock.now}), openTest(t, Options{Now: clock.now})
	key := nostr.GeneratePrivateKey()
	var evs []*nostr.Event
	for i := range importBatch + 20 {
		ev := &nostr.Event{Kind: 1, CreatedAt: start, Content: fmt.Sprintf("line %d\n\u2028", i), Tags: nostr.Tags{}}
		if i < 5 || i == importBatch {
			if err := ev.Sign(key); err != nil {
				t.Fatal(err)
			}
		} else {
			ev = unsigned(person(1), 1, start, ev.Content)
		}
		evs = append(evs, ev)
		mustAdd(t, from, ev, Stored)
	}
	var jsonl bytes.Buffer
	if err := from.Export(t.Context(), &jsonl, func(int, int) {}); err != nil {
		t.Fatal(err)
	}
	text := jsonl.String() + "\n{}\nnot JSON\n" + strings.Replace(evs[0].String(), "line 0", "line X", 1)
	var refused []int
	count := func(line int, why error) { refused = append(refused, line) }
	sum, err := to.Import(t.Context(), strings.NewReader(text), anything, func(Imported) {}, count)
	lines := len(evs) + 4
	want := Imported{Lines: lines, Stored: 6, Refused: lines - 7}
	if diff := cmp.Diff(want, sum); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if len(refused) != want.Refused || refused[0] != 6 || refused[len(refused)-1] != lines {
		t.Errorf("%d lines refused, from %d to %d", len(refused), refused[0], refused[len(refused)-1])
	}
	for _, ev := range append(evs[:5:5], evs[importBatch]) {
		if got := ids(t, to, nostr.Filter{IDs: []string{ev.ID}}); len(got) != 1 {
			t.Errorf("event %s was not imported", ev.ID)
		}
	}
	sum, err = to.Import(t.Context(), strings.NewReader(jsonl.String()), anything, func(Imported) {}, func(int, error) {})
	if sum.Known != 6 || sum.Stored != 0 || err != nil {
		t.Errorf("again: %+v, %v", sum, err)
	}
	// What is longer than an event can be is one line that is refused, and what comes behind it is taken.
	long := strings.Repeat("x", 3*longestLine)
	gone := unsigned(person(1), 1, start, "")
	if err := gone.Sign(key); err != nil {
		t.Fatal(err)
	}
	refused = nil
	sum, err = to.Import(t.Context(), strings.NewReader(long+"\n"+gone.String()+"\r\n"+long), anything, func(Imported) {}, count)
	if diff := cmp.Diff(Imported{Lines: 3, Stored: 1, Refused: 2}, sum); diff != "" || err != nil || !slices.Equal(refused, []int{1, 3}) {
		t.Error(diff, err, refused)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err = to.Import(stopped, strings.NewReader(strings.Repeat("\n", 10*importBatch)), anything, func(Imported) {}, count); !errors.Is(err, context.Canceled) {
		t.Errorf("an import that was stopped: %v", err)
	}
}

func anything(*nostr.Event) error { return nil }

// TestImportChecks: what would be served as something else than was signed is not imported, nor what
// the check is against.
func TestImportChecks(t *testing.T) {
	s := openTest(t, Options{Now: newClock().now})
	line := func(content string) string {
		ev := &nostr.Event{Kind: 1, CreatedAt: start, Content: content, Tags: nostr.Tags{}}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		return ev.String() + "\n"
	}
	text := line("good") + strings.Replace(line("broken \xff"), `\ufffd`, "\xff", 1) + line("refused")
	var why []string
	sum, err := s.Import(t.Context(), strings.NewReader(text), func(ev *nostr.Event) error {
		if ev.Content == "refused" {
			return errors.New("blocked: I say so")
		}
		return nil
	}, func(Imported) {}, func(line int, err error) { why = append(why, fmt.Sprint(line, err)) })
	if diff := cmp.Diff([]string{"2 the line is not UTF-8", "3 blocked: I say so"}, why); diff != "" || sum.Stored != 1 || err != nil {
		t.Error(diff, sum, err)
	}
}
