package escrow

import (
	"context"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// book is the newest event of each order that the world's relay has.
func (w *world) book() map[string]nostr.Event {
	newest := map[string]nostr.Event{}
	for _, ev := range w.events {
		if ev.Kind == mostro.KindOrder && newest[tagOf(&ev, "d")].CreatedAt < ev.CreatedAt {
			newest[tagOf(&ev, "d")] = ev
		}
	}
	return newest
}

// shows lets the engine see what the relay shows, as serve does.
func (w *world) shows() {
	w.cfg.Shown = func(_ context.Context, seen func(nostr.Event)) error {
		for _, ev := range w.book() {
			if s := tagOf(&ev, "s"); s == string(mostro.StatusPending) || s == string(mostro.StatusInProgress) {
				seen(ev)
			}
		}
		return nil
	}
	w.e.cfg.Shown = w.cfg.Shown
}

// compares lets the engine compare, and checks how much it publishes anew.
func (w *world) compares(t *testing.T, want int) {
	t.Helper()
	if _, mended, err := w.e.compareBook(t.Context()); err != nil || mended != want {
		t.Errorf("%d orders are shown anew, want %d: %v", mended, want, err)
	}
	w.settle()
	if _, mended, err := w.e.compareBook(t.Context()); err != nil || mended != 0 {
		t.Errorf("a second time %d orders are shown anew: %v", mended, err)
	}
}

// isBook checks that the relay shows every order as the store has it, and nothing else as open.
func (w *world) isBook(t *testing.T) {
	t.Helper()
	for id, ev := range w.book() {
		want := mostro.StatusCanceled // what the store does not know
		if o, there, err := w.e.Order(id); err != nil {
			t.Fatal(err)
		} else if there {
			want = order.Book(&o).Status
		}
		if got := tagOf(&ev, "s"); got != string(want) {
			t.Errorf("%s is shown as %s, and is %s", w.name(id), got, want)
		}
	}
}

// I9: after a restore beside a newer relay, beside an older one and beside an empty one, the book is the
// store's at once.
func TestI9BookAfterARestore(t *testing.T) {
	const before = "alice new sell sats=100000\n fay new buy sats=90000\n gus new sell sats=80000\n hal new sell sats=70000\n bob take order=A invoice=99700"
	t.Run("a newer relay", func(t *testing.T) {
		w := inFolder(t)
		w.play(t, before)
		full, _ := w.backup(Chain{})
		w.play(t, "wait 10m\n carol new sell sats=60000\n gus cancel order=C\n dave take order=D\n carol new buy sats=50000\n erin take order=F")
		w.shows()
		w.compares(t, 0)
		w.restoreFrom(full)
		// C and D are offered again; E and F, which the store does not know, are withdrawn.
		w.compares(t, 4)
		w.isBook(t)
	})
	t.Run("an older relay", func(t *testing.T) {
		w := inFolder(t)
		w.play(t, before)
		old := w.events[:len(w.events):len(w.events)]
		w.play(t, "wait 10m\n carol new sell sats=60000\n gus cancel order=C\n dave take order=D")
		w.shows()
		w.events = old
		w.compares(t, 3)
		w.isBook(t)
	})
	t.Run("an empty relay", func(t *testing.T) {
		w := inFolder(t)
		w.play(t, before+"\n gus cancel order=C")
		w.shows()
		w.events = nil
		w.compares(t, 3)
		w.isBook(t)
		if n := len(w.book()); n != 3 {
			t.Errorf("%d orders are shown", n)
		}
	})
	t.Run("an event that is on its way", func(t *testing.T) {
		w := inFolder(t)
		w.shows()
		w.deaf = true
		w.play(t, "alice new sell sats=100000")
		if _, mended, err := w.e.compareBook(t.Context()); err != nil || mended != 0 {
			t.Errorf("%d orders are shown anew, %v", mended, err)
		}
	})
}
