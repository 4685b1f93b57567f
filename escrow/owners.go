package escrow

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/order"
)

// shownOwners is how many are named of those that a payment may have paid.
const shownOwners = 5

// DisownStray says that a stray is nobody's here, which cannot be taken back. Where an order owes
// just as much, or will, that pays it; only who is sure says so then.
func (e *Engine) DisownStray(ctx context.Context, h order.Hash, sure bool, reason string) error {
	owners, err := e.strayOwners(h)
	if err != nil {
		return err
	}
	if len(owners) > 0 && !sure {
		named := strings.Join(owners[:min(len(owners), shownOwners)], ", ")
		if more := len(owners) - shownOwners; more > 0 {
			named += fmt.Sprintf(" and %d others", more)
		}
		return fmt.Errorf("payment %s is over just as much as is owed, or may come to be, for %s, and no longer keeps that from being paid once it is your own: ask the payee, and if he was not paid say it again with --yes", h, named)
	}
	return e.ExplainStray(ctx, h, "", reason)
}

// strayOwners are the orders and bonds that a stray may have paid: they owe just as much, or will
// if their trade goes on, and were there when it was found.
func (e *Engine) strayOwners(h order.Hash) (ids []string, err error) {
	e.guards.mu.Lock()
	stray, there := e.guards.strays[h]
	e.guards.mu.Unlock()
	if !there {
		return nil, nil
	}
	over := func(dues []order.Due) bool {
		return slices.ContainsFunc(dues, func(d order.Due) bool { return d.Fits(stray.Amount) })
	}
	err = e.db.View(func(txn *badger.Txn) error {
		return eachLive(txn, func(o *order.Order) {
			if over(order.Dues(o)) || o.Escrow.State == order.EscrowAccepted && o.BuyerGets().Msat() == stray.Amount {
				ids = append(ids, o.ID)
			}
		}, func(b *order.Bond) {
			if over(b.Dues()) {
				ids = append(ids, b.ID)
			}
		})
	})
	return slices.DeleteFunc(ids, func(id string) bool {
		born, failed := e.born(id)
		err = first(err, failed)
		return born > stray.Found || longBefore(stray.At, born, e.now())
	}), err
}

// bornAfter tells that an order or a bond was born after a time.
func (e *Engine) bornAfter(id string, at int64) (bool, error) {
	born, err := e.born(id)
	return born > at, err
}
