package escrow

import (
	"context"
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
