package escrow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"
)

// op is one operation on the money store. plan reads what it needs and says what to write;
// it changes nothing itself, so it may run again when a batch has to be split, and its
// failure touches nobody else's writes.
type op struct {
	plan func(*badger.Txn, *writes) error
	done chan error // buffered
	// blame is the order that a defect in plan is held against, "" for none, unless plan finds
	// another: a bond stands for one order after the other.
	blame string
}

// errCommit ends the engine: nobody knows whether the transaction is on disk.
var errCommit = errors.New("commit to the money store, outcome unknown")

// submit hands an operation to the writer and waits for it to be on disk.
func (e *Engine) submit(ctx context.Context, blame string, plan func(*badger.Txn, *writes) error) error {
	o := &op{plan: plan, done: make(chan error, 1), blame: blame}
	if e.inline {
		if err := e.commit([]*op{o}); err != nil {
			return err
		}
		return <-o.done
	}
	select {
	case e.ops <- o:
	case <-e.stop:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-e.stop:
		// The writer empties its queue before it ends; what is in it is still answered.
		select {
		case err := <-o.done:
			return err
		case <-e.gone:
		}
		select { // both may be there, and what was done must not be called undone
		case err := <-o.done:
			return err
		default:
			return ErrStopped
		}
	}
}

// write is the one writer: it drains the queue into one transaction after the other.
func (e *Engine) write() error {
	defer close(e.gone)
	for {
		batch := make([]*op, 0, maxBatch)
		select {
		case o := <-e.ops:
			batch = append(batch, o)
		case <-e.stop:
			select {
			case o := <-e.ops:
				batch = append(batch, o)
			default:
				return nil
			}
		}
		for len(batch) < maxBatch {
			select {
			case o := <-e.ops:
				batch = append(batch, o)
				continue
			default:
			}
			break
		}
		if err := e.commit(batch); err != nil {
			e.halt()
			return err
		}
	}
}

// commit writes a batch in one transaction, or in two halves where it is too big for one.
func (e *Engine) commit(batch []*op) error {
	if err := e.space.allow(); err != nil {
		return err
	}
	txn := e.db.NewTransaction(true)
	defer txn.Discard()
	seq := e.seq
	e.claims = claims{} // what came before is in the live set
	results := make([]error, len(batch))
	var after []func()
	var written []*badger.Entry
	for i, o := range batch {
		var w writes
		results[i] = e.plan(txn, o, &w)
		err := set(txn, &w)
		if errors.Is(err, badger.ErrTxnTooBig) {
			txn.Discard() // with the part of it that did fit
			e.seq, e.claims = seq, claims{}
			if len(batch) == 1 {
				o.done <- errors.New("error: the request is too large")
				return nil
			}
			if err := e.commit(batch[:len(batch)/2]); err != nil {
				return err
			}
			return e.commit(batch[len(batch)/2:])
		}
		if err != nil {
			return fmt.Errorf("write to the money store: %w", err)
		}
		after, written = append(after, w.after...), append(written, w.entries...)
		e.claims.add(w.claims)
	}
	if err := e.around(written, txn.Commit); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	for _, f := range after {
		f()
	}
	e.claims = claims{}
	for i, o := range batch {
		o.done <- results[i]
	}
	return nil
}

// plan runs an operation's plan. A panic in it is that operation's error and nobody else's, and
// what is written then is that its order is held back.
func (e *Engine) plan(txn *badger.Txn, o *op, w *writes) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &defect{fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
		if err == nil {
			return
		}
		blame := cmp.Or(w.blame, o.blame)
		*w = writes{}
		var d *defect
		if !errors.As(err, &d) {
			return
		}
		cause := err.Error()
		e.log.Error("an order is held back after a defect", "order", blame, "error", cause)
		err = errDefect
		if blame != "" {
			// Held: it stays as it is until an operator has looked; all others go on. It leaves the
			// live set after what the same batch did to it before.
			err = errHeld
			w.mark(rowKey(tableHeld, blame), []byte(cause))
			w.then(func() { e.live.drop(blame) })
		}
	}()
	return o.plan(txn, w)
}

// defect is an error that must not happen: an invariant that broke, a row that does not decode.
type defect struct{ err error }

func (d *defect) Error() string { return d.err.Error() }
func (d *defect) Unwrap() error { return d.err }

// errDefect answers who ran into a defect; what it was is for the operator's log alone.
var errDefect = errors.New("error: the node cannot handle this; its operator is told")

// errHeld answers whoever writes about an order that is held back.
var errHeld = errors.New("error: this order is held back for the operator to look at")

func set(txn *badger.Txn, w *writes) error {
	for _, k := range w.deletes {
		if err := txn.Delete(k); err != nil {
			return err
		}
	}
	for _, entry := range w.entries {
		if err := txn.SetEntry(entry); err != nil {
			return err
		}
	}
	return nil
}
