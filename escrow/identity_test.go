package escrow

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// elsewhere is a node that is on another network, with the key that its seed has on both.
type elsewhere struct{ lightning.Node }

func (n elsewhere) Info(ctx context.Context) (lightning.Info, error) {
	info, err := n.Node.Info(ctx)
	info.Network = "another network"
	return info, err
}

// M39: whatever lies on a Lightning node, or may, binds the store to it, and to its network.
func TestM39WhatBinds(t *testing.T) {
	const slashed = "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m"
	for name, c := range map[string]struct {
		play  string
		binds bool
	}{
		"an open hold invoice":      {"alice new sell sats=100000\n bob take invoice=99700", true},
		"held sats":                 {"alice new sell sats=100000\n bob take invoice=99700\n alice pay", true},
		"an owed payout":            {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release", true},
		"an owed development fee":   {"dev-fee ppm=300000 to=dev@ln.example\n server down\n alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release", true},
		"a bond that is asked for":  {"bonds apply=take\n alice new buy sats=100000\n bob take", true},
		"a bond that is held":       {"bonds apply=make\n alice new sell sats=100000\n alice pay", true},
		"a share that is owed":      {slashed, true},
		"a cancel that is not done": {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob cancel\n node down\n alice cancel", true},
		"a row that is broken":      {"alice new sell sats=100000\n bob take invoice=99700\n BREAK", true},
		"nothing yet":               {"alice new sell sats=100000", false},
		"what has ended":            {"alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n alice release", false},
		"a share that was paid":     {slashed + "\n alice claim invoice=500\n wait 1m", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			play, breaks := strings.CutSuffix(c.play, "\n BREAK")
			w.play(t, play)
			w.node.Start()
			if breaks {
				id := w.order(args{})
				w.check(w.e.db.Update(func(txn *badger.Txn) error { return txn.Set(rowKey(tableOrder, id), []byte(`{"status":17}`)) }))
			}
			for which, other := range map[string]lightning.Node{"another node": w.net.Node("another"), "another network": elsewhere{w.node}} {
				cfg := w.cfg
				cfg.Node = other
				e := newEngine(cfg, w.e.db)
				err := e.Meet(context.Background())
				if errors.Is(err, ErrWrongNode) != c.binds || (err != nil) != c.binds {
					t.Errorf("%s: %v", which, err)
				}
			}
			cfg := w.cfg
			e := newEngine(cfg, w.e.db)
			w.check(e.Meet(context.Background()))
		})
	}
}

// M39: another node that answers late is asked for nothing meanwhile: it knows of no invoice, so what is to be canceled at
// the right one would count as gone.
func TestM39NoCallBeforeTheNodeIsKnown(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.cfg, w.e.db)
	e.inline = true
	r := &row{Call: &order.Call{Do: order.CancelHold, Hash: order.Hash{1}}}
	if _, err := e.call(t.Context(), r); !errors.Is(err, errLater) {
		t.Errorf("before the node is known: %v", err)
	}
	e.askNode(t.Context())
	if _, err := e.call(t.Context(), r); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
