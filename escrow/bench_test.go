package escrow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// BenchmarkApply counts events applied a second, each answered after its transaction is
// synced to a real folder: one after the other, and 256 in flight. "sealed" also seals the
// reply and signs the public event of each, as the tell workers do in a node.
//
//	go test ./escrow -run '^$' -bench Apply -benchtime 3s
func BenchmarkApply(b *testing.B) {
	for _, inFlight := range []int{1, 256} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) { benchApply(b, inFlight, false) })
	}
	b.Run("inflight=256/sealed", func(b *testing.B) { benchApply(b, 256, true) })
}

func benchApply(b *testing.B, inFlight int, sealed bool) {
	var published atomic.Int64
	cfg := benchConfig(b, func(_ context.Context, events ...nostr.Event) error {
		published.Add(int64(len(events)))
		return nil
	})
	e, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Add(1)
	go func() { defer done.Done(); e.write() }()
	workers := 0
	if sealed {
		workers = e.sealers()
	}
	for range workers {
		done.Add(1)
		go func() { defer done.Done(); e.tellWorker(ctx) }()
	}
	kind := mostro.SmallOrder{Kind: mostro.Sell, Amount: 100_000, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer"}
	var n atomic.Int64
	var clients sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for range inFlight {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				so := kind
				key := benchKeys[i%int64(len(benchKeys))]
				ev := order.Event{
					ID: fmt.Sprint(i), On: order.EventName(mostro.NewOrder), At: began.Unix(), Seed: newSeed(), Sender: key, Identity: key,
					Transport: 2, Message: &mostro.Message{Action: mostro.NewOrder, Payload: &mostro.Payload{Order: &so}},
				}
				err := e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
					got := mostro.Received{Sender: key, Transport: mostro.NIP44}
					if done, err := e.markSeen(txn, w, ev.ID, got); done || err != nil {
						return err
					}
					return e.stepOrder(txn, w, ev, nil)
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	clients.Wait()
	for sealed && published.Load() < int64(2*b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
	cancel()
	e.work.close()
	e.halt()
	done.Wait()
	e.Close()
}

// benchKeys are trade keys; some hundred, so that conversation keys are not all cached.
var benchKeys = func() (keys []string) {
	for i := range 500 {
		keys = append(keys, secretFor(fmt.Sprint("bench", i)).Public())
	}
	return keys
}()

func benchConfig(b testing.TB, publish func(context.Context, ...nostr.Event) error) Config {
	key := secretFor("mostro")
	net := lightning.NewSimNetwork(lightning.SimConfig{})
	return Config{
		Dir: b.TempDir(), Key: key, Node: net.Node("mostro"), Settings: testSettings(), Publish: publish,
		Instance: mostro.Instance{Pubkey: key.Public(), Name: "Bench", RelayURLs: []string{"wss://relay.example"}},
		Prices:   func(string) (order.Price, bool) { return order.Price{PerBTC: 50_000_000_000}, true },
	}
}

// fill puts orders into the store as steps do, without what they tell: n in all, of which
// mine belong to one identity; live says that each holds sats, and not that it has ended.
func fill(b *testing.B, e *Engine, n, mine int, live bool) (identity string, ids []string) {
	identity = secretFor("much traded").Public()
	status := mostro.StatusPending
	if live {
		status = mostro.StatusActive
	}
	for done := 0; done < n; {
		var batch []*op
		for ; done < n && len(batch) < maxBatch; done++ {
			i := done
			o := order.Order{
				ID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i), Rev: 1, Kind: mostro.Sell, Status: status,
				FiatCode: "USD", FiatAmount: 50, PaymentMethod: "bank transfer", Amount: 100_000, Fee: 300,
				Terms: e.cfg.Settings.Terms, CreatedAt: e.now(), ExpiresAt: e.now() + 86400,
				Seller: order.Party{Trade: benchKeys[i%len(benchKeys)], Identity: benchKeys[i%len(benchKeys)]},
			}
			if live {
				o.Buyer, o.TakenAt = order.Party{Trade: benchKeys[(i+1)%len(benchKeys)], Identity: benchKeys[(i+1)%len(benchKeys)]}, o.CreatedAt
				o.Escrow = order.Escrow{Attempt: 1, Hash: e.preimage(o.ID, 1).Hash(), State: order.EscrowAccepted, Paid: o.SellerPays().Msat(), ExpiryHeight: 1 << 30}
			}
			if i < mine {
				o.Seller = order.Party{Trade: benchKeys[i%len(benchKeys)], Identity: identity, Index: int64(i + 1)}
				if i < 10 {
					ids = append(ids, o.ID)
				}
			}
			batch = append(batch, &op{done: make(chan error, 1), plan: func(txn *badger.Txn, w *writes) error {
				if err := e.keep(txn, w, &order.Order{}, &o, order.Event{At: o.CreatedAt}, order.Facts{}, order.Out{}); err != nil {
					return err
				}
				if !live && i >= mine {
					ended := o
					ended.Rev, ended.Status = 2, mostro.StatusSuccess
					var w2 writes
					if err := e.keep(txn, &w2, &o, &ended, order.Event{At: o.CreatedAt}, order.Facts{}, order.Out{}); err != nil {
						return err
					}
					w.deletes, w.entries, w.after = append(w.deletes, w2.deletes...), append(w.entries, w2.entries...), append(w.after, w2.after...)
				}
				return nil
			}})
		}
		if err := e.commit(batch); err != nil {
			b.Fatal(err)
		}
	}
	return identity, ids
}

// BenchmarkQueries asks what users ask, with 100,000 orders stored: restore-session of a user
// with 1,000 live orders, and orders for 10 ids.
//
//	go test ./escrow -run '^$' -bench Queries
func BenchmarkQueries(b *testing.B) {
	e, err := Open(benchConfig(b, func(context.Context, ...nostr.Event) error { return nil }))
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	identity, ids := fill(b, e, 100_000, 1000, false)
	for name, c := range map[string]struct {
		q       query
		payload *mostro.Payload
	}{
		"restore-session": {(*Engine).queryRestore, nil},
		"orders":          {(*Engine).queryOrders, &mostro.Payload{IDs: ids}},
	} {
		b.Run(name, func(b *testing.B) {
			ev := order.Event{Sender: identity, Identity: identity, Message: &mostro.Message{Payload: c.payload}}
			for b.Loop() {
				err := e.db.View(func(txn *badger.Txn) error {
					var w writes
					tells, reason, err := c.q(e, txn, &w, ev)
					if err == nil && (reason != "" || len(tells) == 0) {
						err = fmt.Errorf("answer %q", reason)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart starts an engine with 10,000 live orders, each with sats held, until it is
// ready: the node has been asked about every one of them. "ms-to-open" is the part before Run.
//
//	go test ./escrow -run '^$' -bench Start -benchtime 3x
func BenchmarkStart(b *testing.B) {
	const orders = 10_000
	cfg := benchConfig(b, func(context.Context, ...nostr.Event) error { return nil })
	e, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, e, orders, 0, true)
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
	var opening time.Duration
	for b.Loop() {
		began := time.Now()
		e, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		opening += time.Since(began)
		if n := len(e.live.ids()); n != orders {
			b.Fatalf("%d live orders", n)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		for e.live.unasked() > 0 || !e.node.ready() {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		stop()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(opening.Milliseconds())/float64(b.N), "ms-to-open")
}

// unasked counts the orders about which the node has not spoken yet.
func (l *liveSet) unasked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.orders {
		if !o.hold.IsZero() && !o.asked {
			n++
		}
	}
	return n
}
