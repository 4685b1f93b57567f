package escrow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// identity says on which Lightning node the money of this store lies.
type identity struct {
	Pubkey  string `json:"pubkey"`
	Network string `json:"network"`
}

// ErrWrongNode means that the Lightning node is not the one on which this store has escrows or
// owes payouts. Another node would answer "not found" to all of it.
var ErrWrongNode = errors.New("this is another Lightning node")

// Meet asks the Lightning node who it is, before Run, and returns ErrWrongNode when it is
// another. A node that does not answer is asked again by Run, which then ends with the error.
func (e *Engine) Meet(ctx context.Context) error {
	info, err := e.cfg.Node.Info(ctx)
	if err != nil {
		return nil
	}
	_, err = e.recognize(info)
	return err
}

// recognize compares a node with the one that the store knows; fresh says that the store is
// to note it.
func (e *Engine) recognize(info lightning.Info) (fresh bool, err error) {
	is := identity{info.Pubkey, info.Network}
	var was identity
	if err := e.db.View(func(txn *badger.Txn) error { _, err := get(txn, []byte{tableLightning}, &was); return err }); err != nil {
		return false, err
	}
	switch {
	case was == is:
		return false, nil
	case was == identity{}:
		return true, nil
	}
	bound, err := e.bound()
	if err != nil {
		return false, err
	}
	if bound == "" {
		return true, nil // nothing lies there any more
	}
	return false, fmt.Errorf("%w: %s on %s, but the escrow of order %s lies on %s on %s", ErrWrongNode,
		is.Pubkey, is.Network, bound, was.Pubkey, was.Network)
}

// bound finds an order that has a live hold invoice or an unpaid payout on the node, itself or
// with a bond, or whose hold invoice is yet to be canceled there; "" = none. A row that does not
// decode may be one.
func (e *Engine) bound() (id string, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		canceling, err := cancels(txn)
		for owner := range canceling {
			id = owner
		}
		lost, lostErr := lostCalls(txn)
		for owner, keys := range lost {
			id = cmp.Or(id, owner, fmt.Sprintf("%q", keys[0]))
		}
		err = first(err, lostErr)
		if err != nil || id != "" {
			return err
		}
		err = scan(txn, []byte{tableBonds, 0}, false, func(key, _ []byte) error {
			parts := bytes.Split(key, []byte{0}) // j, order, bond
			var b order.Bond
			_, err := get(txn, rowKey(tableBond, string(parts[2])), &b)
			if owed, conditional := b.Ledger.Owes(); err != nil || b.Held() || b.State == order.BondRequested || owed+conditional > 0 {
				id = string(parts[1])
			}
			return nil
		})
		if err != nil || id != "" {
			return err
		}
		return scan(txn, []byte{tableLive, 0}, false, func(key, _ []byte) error {
			var o order.Order
			_, err := get(txn, rowKey(tableOrder, string(key[2:])), &o)
			if owed, conditional := o.Ledger.Owes(); err != nil || o.Escrow.State.Live() || owed+conditional > 0 {
				id = string(key[2:])
			}
			return nil
		})
	})
	return id, err
}

// nodeKnown is errLater until the node has said who it is. M39: it may be another one, which knows of no invoice and no
// payment: what is to be canceled there would count as gone.
func (e *Engine) nodeKnown() error {
	if e.node.info().Pubkey == "" {
		return fmt.Errorf("the Lightning node has not said yet who it is: %w", errLater)
	}
	return nil
}

// meet is what askNode does with each new node that answers.
func (e *Engine) meet(ctx context.Context, info lightning.Info) error {
	is := identity{info.Pubkey, info.Network}
	if e.met == is {
		return nil
	}
	fresh, err := e.recognize(info)
	if errors.Is(err, ErrWrongNode) {
		select {
		case e.fatal <- err:
		default:
		}
	}
	if err == nil && fresh {
		err = e.submit(ctx, "", func(_ *badger.Txn, w *writes) error { return w.set([]byte{tableLightning}, is) })
	}
	if err == nil {
		e.met = is
	}
	return err
}
