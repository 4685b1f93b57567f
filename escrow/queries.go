package escrow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// A query answers a message that is not about one order: with tells, or with a reason why
// not. It reads; only solvers write.
type query func(e *Engine, txn *badger.Txn, w *writes, ev order.Event) ([]order.Tell, mostro.Reason, error)

var queries = map[mostro.Action]query{
	mostro.Orders:         (*Engine).queryOrders,
	mostro.RestoreSession: (*Engine).queryRestore,
	mostro.LastTradeIndex: (*Engine).queryLastIndex,
	mostro.AdminAddSolver: (*Engine).queryAddSolver,
}

func (e *Engine) query(ctx context.Context, id string, got mostro.Received, ev order.Event, q query) error {
	// What takes long is read outside the writer, in a snapshot of its own.
	var found writes
	var tells []order.Tell
	var reason mostro.Reason
	err := e.db.View(func(txn *badger.Txn) (err error) {
		tells, reason, err = q(e, txn, &found, ev)
		return err
	})
	if err != nil {
		return fmt.Errorf("error: answer %s: %w", ev.On, err)
	}
	if reason != "" {
		tells = []order.Tell{order.Refusal(ev.Sender, *ev.Message, reason, e.level(nil, ev.Identity) != order.NoSolver)}
	}
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		done, err := e.markSeen(txn, w, id, got)
		if done || err != nil {
			return err
		}
		w.entries = append(w.entries, found.entries...)
		for i, t := range tells {
			if err := e.answer(txn, w, ev, t, laneOf(ev), i); err != nil {
				return err
			}
		}
		return nil
	})
}

// reply is the answer to the sender of a message.
func reply(ev order.Event, w mostro.Wrapper, payload *mostro.Payload) order.Tell {
	return order.Tell{To: ev.Sender, Message: mostro.Message{
		Wrapper: w, RequestID: ev.Message.RequestID, Action: ev.Message.Action, Payload: payload,
	}}
}

// queryOrders returns orders of the sender's identity, in the order in which they were asked
// for; too many are cut off, and what one message cannot hold. Mobile gives a restore up when one is missing.
func (e *Engine) queryOrders(txn *badger.Txn, _ *writes, ev order.Event) ([]order.Tell, mostro.Reason, error) {
	ids := ev.Message.Payload.IDs
	if most := e.cfg.Settings.MaxOrders; most > 0 && len(ids) > most {
		ids = ids[:most]
	}
	var found []mostro.SmallOrder
	room := answerRoom(ev)
	for _, id := range ids {
		var o order.Order
		ok, err := get(txn, rowKey(tableOrder, id), &o)
		if err != nil {
			return nil, "", err
		}
		if ok && (o.Buyer.Identity == ev.Identity || o.Seller.Identity == ev.Identity) {
			small := order.Small(&o, o.Amount)
			order.ShowKeys(&small, &o, ev.Identity)
			if room -= quotedBytes(small); room < 0 {
				break
			}
			found = append(found, small)
		}
	}
	if len(found) == 0 {
		return nil, mostro.NotFound, nil
	}
	return []order.Tell{reply(ev, mostro.WrapOrder, &mostro.Payload{Orders: found})}, "", nil
}

// quotedBytes is what a line of a list takes up in a message of version 1, which is quoted in another one.
func quotedBytes(line any) int {
	b, _ := json.Marshal(line) // plain fields
	b, _ = json.Marshal(string(b))
	return len(b) - 2 + 1 // without the outer quotes, with a comma
}

func (e *Engine) queryLastIndex(txn *badger.Txn, _ *writes, ev order.Event) ([]order.Tell, mostro.Reason, error) {
	var u user
	ok, err := get(txn, rowKey(tableUser, ev.Identity), &u)
	switch {
	case err != nil:
		return nil, "", err
	case !ok:
		return nil, mostro.NotFound, nil
	case u.LastIndex == 0:
		return nil, mostro.InvalidTradeIndex, nil
	}
	t := reply(ev, mostro.WrapRestore, nil)
	t.Message.TradeIndex = &u.LastIndex
	return []order.Tell{t}, "", nil
}

// Solver is a person who may take disputes.
type Solver struct {
	Pubkey string      `json:"pubkey"` // identity key
	Level  order.Level `json:"level"`
	Since  int64       `json:"since"`
}

// solverLevels are the suffixes that admin-add-solver knows.
var solverLevels = map[string]order.Level{"": order.ReadWrite, "read-write": order.ReadWrite, "write": order.ReadWrite, "read": order.ReadOnly}

func (e *Engine) queryAddSolver(_ *badger.Txn, w *writes, ev order.Event) ([]order.Tell, mostro.Reason, error) {
	if e.level(nil, ev.Identity) != order.AdminKey {
		return nil, mostro.NotAuthorized, nil
	}
	who, level, _ := strings.Cut(*ev.Message.Payload.TextMessage, ":")
	pubkey, err := mostro.ParsePubkey(who)
	if err != nil {
		return nil, mostro.InvalidTextMessage, nil
	}
	as, ok := solverLevels[level]
	if !ok {
		return nil, mostro.InvalidParameters, nil
	}
	if err := w.set(rowKey(tableSolver, pubkey), Solver{Pubkey: pubkey, Level: as, Since: ev.At}); err != nil {
		return nil, "", err
	}
	t := reply(ev, mostro.WrapDispute, ev.Message.Payload)
	t.Message.ID = ev.Message.ID
	return []order.Tell{t}, "", nil
}

// SetSolver lets a person take disputes, or changes what he may do there.
func (e *Engine) SetSolver(ctx context.Context, pubkey string, level order.Level) error {
	if level != order.ReadOnly && level != order.ReadWrite {
		return errors.New("set solver: the level is read or read-write")
	}
	return e.submit(ctx, "", func(_ *badger.Txn, w *writes) error {
		return w.set(rowKey(tableSolver, pubkey), Solver{Pubkey: pubkey, Level: level, Since: e.now()})
	})
}

// RemoveSolver ends that. Disputes that he has taken can be taken by others: by admins, and
// by solvers who may decide if he might not.
func (e *Engine) RemoveSolver(ctx context.Context, pubkey string) error {
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		ok, err := has(txn, rowKey(tableSolver, pubkey))
		if err == nil && !ok {
			err = fmt.Errorf("remove solver: %s is none", pubkey)
		}
		w.delete(rowKey(tableSolver, pubkey))
		return err
	})
}

// Solvers lists everybody who was made a solver.
func (e *Engine) Solvers() (list []Solver, err error) {
	err = e.db.View(func(txn *badger.Txn) error {
		list, err = solvers(txn)
		return err
	})
	return list, err
}

func solvers(txn *badger.Txn) (list []Solver, err error) {
	err = scan(txn, []byte{tableSolver, 0}, true, func(key, value []byte) error {
		var s Solver
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("decode row %q: %w", key, err)
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// level is what an identity may do in disputes. Without a transaction it reads one of its own.
func (e *Engine) level(txn *badger.Txn, identity string) (level order.Level) {
	if identity == e.cfg.Key.Public() || slices.Contains(e.cfg.Settings.Admins, identity) {
		return order.AdminKey
	}
	read := func(txn *badger.Txn) error {
		var s Solver
		_, err := get(txn, rowKey(tableSolver, identity), &s)
		level = s.Level
		return err
	}
	var err error
	if txn != nil {
		err = read(txn)
	} else {
		err = e.db.View(read)
	}
	if err != nil {
		e.log.Error("read the rights of a solver, he has none for now", "error", err)
		return order.NoSolver
	}
	return level
}

// disputeKeys are who hears of a new dispute: the admins that the settings name, or the
// node's own key where they name none, and the solvers.
func (e *Engine) disputeKeys(txn *badger.Txn) ([]string, error) {
	keys := slices.Clone(e.cfg.Settings.Admins)
	if len(keys) == 0 {
		keys = []string{e.cfg.Key.Public()}
	}
	list, err := solvers(txn)
	for _, s := range list {
		if !slices.Contains(keys, s.Pubkey) {
			keys = append(keys, s.Pubkey)
		}
	}
	return keys, err
}

// orderOfDispute finds the order of a dispute, "" when there is no such dispute: the id of the
// order itself names none.
func (e *Engine) orderOfDispute(id string) (found string) {
	err := e.db.View(func(txn *badger.Txn) (err error) {
		found, err = text(txn, rowKey(tableDispute, id))
		return err
	})
	if err != nil {
		e.log.Error("look up a dispute, it is not found for now", "dispute", id, "error", err)
	}
	return found
}
