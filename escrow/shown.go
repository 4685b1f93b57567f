package escrow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// The book is published on change, so it is true as long as store and relay go on together. Either may be
// put back from a copy without the other: then the relay offers what the store does not know, or does not
// show what it has. So at each start the two are compared, and where they differ the store's word is
// published (I9).

// showBook compares until that was possible once.
func (e *Engine) showBook(ctx context.Context) {
	e.awaitNode(ctx) // which tells the network that orders are shown with
	for {
		shown, mended, err := e.compareBook(ctx)
		if err == nil {
			if mended > 0 {
				e.log.Warn("the public book was not that of the money store, as after a restore; it is published anew", "shown", shown, "mended", mended)
			}
			return
		}
		if ctx.Err() == nil {
			e.log.Warn("compare the public book with the money store, will try again", "error", err)
		}
		if !sleep(ctx, nodeEvery) {
			return
		}
	}
}

// compareBook publishes what the relay shows otherwise than the store has it.
func (e *Engine) compareBook(ctx context.Context) (shown, mended int, err error) {
	if e.cfg.Shown == nil {
		return 0, 0, nil
	}
	live, book := e.live.ids(), map[string]*nostr.Event{}
	err = e.cfg.Shown(ctx, func(ev nostr.Event) {
		if d := tagOf(&ev, "d"); book[d] == nil || book[d].CreatedAt < ev.CreatedAt {
			book[d] = &ev
		}
	})
	if err != nil {
		return 0, 0, err
	}
	shown = len(book)
	for _, id := range live {
		if _, there := book[id]; !there {
			book[id] = nil
		}
	}
	for _, id := range slices.Sorted(maps.Keys(book)) {
		differs, err := e.showAgain(ctx, id, book[id])
		if err != nil {
			return shown, mended, err
		}
		if differs {
			mended++
		}
	}
	return shown, mended, nil
}

// showAgain publishes an order as the store has it, or as canceled where it has none, unless the relay's
// event says so already; nil is none.
func (e *Engine) showAgain(ctx context.Context, id string, shown *nostr.Event) (differs bool, err error) {
	err = e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		differs = false
		held, err := has(txn, rowKey(tableHeld, id))
		if err != nil || held {
			return err // as it is, until an operator has looked
		}
		if waits, err := publishes(txn, id); err != nil || waits {
			return err
		}
		var o order.Order
		there, err := get(txn, rowKey(tableOrder, id), &o)
		if err != nil {
			e.log.Warn("show an order anew", "order", id, "error", err)
			return nil
		}
		book := order.Book(&o)
		switch {
		case shown == nil && (book == nil || book.Status != mostro.StatusPending && book.Status != mostro.StatusInProgress):
			return nil // nothing that readers miss
		case !there || book == nil:
			differs = true
			return e.publish(txn, w, lane(id, laneTells), e.withdrawn(*shown), id)
		}
		ev, err := e.bookEvent(txn, &o, book, e.now())
		if err != nil || shown != nil && sameOffer(shown, &ev) {
			return err
		}
		differs, ev.CreatedAt = true, nostr.Timestamp(e.now()) // also after one as ended that the store has forgotten
		if shown != nil {
			ev.CreatedAt = shown.CreatedAt
		}
		return e.publish(txn, w, lane(id, laneTells), ev, id)
	})
	return differs, err
}

// publishes tells whether an event of an order waits in the outbox: it is of the present, and comes.
func publishes(txn *badger.Txn, id string) (waits bool, err error) {
	err = scan(txn, append(rowKey(tableOutbox, lane(id, laneTells)), 0), true, func(_, value []byte) error {
		var r row
		waits = waits || json.Unmarshal(value, &r) == nil && r.Event != nil && r.Event.Kind == mostro.KindOrder
		return nil
	})
	return waits, err
}

// bookEvent is the public event of an order.
func (e *Engine) bookEvent(txn *badger.Txn, o *order.Order, book *mostro.BookOrder, at int64) (ev nostr.Event, err error) {
	if book.Status == mostro.StatusPending {
		if book.Rating, err = e.makerRating(txn, o, at); err != nil {
			return ev, err
		}
	}
	book.Expiration = book.ExpiresAt
	if book.Status != mostro.StatusPending {
		book.Expiration = at + int64(e.cfg.Settings.OrderDays)*86400
	}
	return mostro.OrderEvent(*book, e.instance()), nil
}

// withdrawn is the event of an order that the store does not know, as canceled.
func (e *Engine) withdrawn(shown nostr.Event) nostr.Event {
	ev := nostr.Event{Kind: shown.Kind, CreatedAt: shown.CreatedAt}
	for _, tag := range shown.Tags {
		switch {
		case len(tag) < 2 || tag[0] == "rating" || tag[0] == "source":
			continue
		case tag[0] == "s":
			tag = nostr.Tag{"s", string(mostro.StatusCanceled)}
		case tag[0] == "expiration":
			tag = nostr.Tag{"expiration", fmt.Sprint(e.now() + int64(e.cfg.Settings.OrderDays)*86400)}
		}
		ev.Tags = append(ev.Tags, tag)
	}
	return ev
}

// sameOffer tells that two events say the same of what a taker may rely on.
func sameOffer(a, b *nostr.Event) bool {
	for _, name := range []string{"s", "k", "f", "amt", "fa", "pm", "premium", "expires_at"} {
		if !slices.Equal(a.Tags.Find(name), b.Tags.Find(name)) {
			return false
		}
	}
	return true
}

func tagOf(ev *nostr.Event, name string) string {
	if tag := ev.Tags.Find(name); tag != nil {
		return tag[1]
	}
	return ""
}
