package escrow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// manyOrders is how many orders a node has after years.
const manyOrders = 100_000

// fillStore puts orders that have ended well into a store in a folder, each with its ledger, what is
// left of its history and its marks, and into the books of a node.
func fillStore(b *testing.B, orders int) (*Engine, audit.Node) {
	cfg := newWorld(b).cfg
	cfg.Dir = filepath.Join(b.TempDir(), "escrow")
	e, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	node := audit.Node{Invoices: map[order.Hash]lightning.InvoiceRecord{}, Payments: map[order.Hash]lightning.PaymentRecord{}}
	batch := e.db.NewWriteBatch()
	put := func(key []byte, v any) {
		data, err := json.Marshal(v)
		if err == nil {
			err = batch.Set(key, data)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range orders {
		id := fmt.Sprintf("%08x-d5f4-47e6-bd97-3504baea9c23", i)
		in, out := Preimage(cfg.EscrowSecret, id, 1).Hash(), order.Hash{byte(i), byte(i >> 8), byte(i >> 16), 1}
		key := fmt.Sprintf("%064x", i)
		o := order.Order{ID: id, Rev: 9, Kind: mostro.Sell, Status: mostro.StatusSuccess, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer",
			Amount: 100_000, Fee: 300, Terms: cfg.Settings.Terms, CreatedAt: int64(i), Buyer: order.Party{Trade: key, Identity: key}, Seller: order.Party{Trade: key, Identity: key},
			Escrow: order.Escrow{Attempt: 1, Hash: in, State: order.EscrowSettled, Paid: 100_300_000},
			Payout: order.Payout{State: order.PayoutPaid, Hash: out, Tries: 1},
			Ledger: order.Ledger{{Kind: order.OwedBuyer, State: order.Paid, Amount: 99_700_000, Routing: 1000, Hash: out, At: int64(i)},
				{Kind: order.SettledIn, State: order.Booked, Amount: 100_300_000, Hash: in, At: int64(i)}, {Kind: order.NodeFee, State: order.Booked, Amount: 600_000, At: int64(i)}}}
		put(rowKey(tableOrder, id), o)
		put(rowKey(tablePast, id), map[string]string{"past": key})
		put(rowKey(tableHash, out.String()), id)
		put(rowKey(tableStamp, "38383", id), i)
		node.Invoices[in] = lightning.InvoiceRecord{HoldInvoice: lightning.HoldInvoice{Hash: in, State: lightning.Settled, Amount: 100_300_000, AmountPaid: 100_300_000}, Memo: order.EscrowMemo(&o)}
		node.Payments[out] = lightning.PaymentRecord{Payment: lightning.Payment{Hash: out, State: lightning.Succeeded, Amount: 99_700_000, RoutingFee: 1000}}
	}
	if err := batch.Flush(); err != nil {
		b.Fatal(err)
	}
	return e, node
}

// peak measures the most memory in use while f runs, beyond what was in use before.
func peak(b *testing.B, f func()) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most, done := m.HeapInuse, atomic.Uint64{}, make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapInuse))
			}
		}
	}()
	f()
	close(done)
	<-ended
	b.ReportMetric(float64(max(most.Load(), before)-before)/(1<<20), "peak-MiB")
}

// BenchmarkBooks measures what an operator does with the books of a node after years: an audit, a
// full backup, one of what has changed since, and a restore. A tenth of the orders must take about
// a tenth of the time.
func BenchmarkBooks(b *testing.B) {
	for _, orders := range []int{manyOrders / 10, manyOrders} {
		e, node := fillStore(b, orders)
		derive := func(id string, attempt uint32) order.Hash { return e.preimage(id, attempt).Hash() }
		run := func(name string, f func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/%d", name, orders), func(b *testing.B) { peak(b, func() { f(b) }) })
		}
		var full bytes.Buffer
		next, err := e.Backup(&full, Chain{})
		if err != nil {
			b.Fatal(err)
		}
		run("audit", func(b *testing.B) {
			for b.Loop() {
				var accounts []audit.Account
				if err := e.Books(func(a audit.Account) error { accounts = append(accounts, a); return nil }); err != nil {
					b.Fatal(err)
				}
				if r := audit.Compare(accounts, node, derive, 0, 0); !r.Agrees() || len(r.Lines) != orders {
					b.Fatalf("%d lines, %d differences", len(r.Lines), len(r.Differences))
				}
			}
		})
		run("backup", func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Backup(io.Discard, Chain{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		run("increment", func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Backup(io.Discard, next); err != nil {
					b.Fatal(err)
				}
			}
		})
		run("restore", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := Restore(filepath.Join(b.TempDir(), fmt.Sprint("escrow", i)), StoreKey{}, bytes.NewReader(full.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
