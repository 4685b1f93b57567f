package client_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// BenchmarkAnswer measures the way of a message through a whole node: 50 clients, each over a
// WebSocket of its own, send new orders and wait until the answer has come over their
// subscription, which it does when it is on disk. A client sends the next when it has the
// answer, so the node always has 50 to do. Clients and node share the machine; what clients do
// before they send is not counted.
//
//	go test ./escrow/client -run '^$' -bench Answer -benchtime 5000x
func BenchmarkAnswer(b *testing.B) {
	for _, transport := range []mostro.Transport{mostro.NIP44, mostro.GiftWrap} {
		for _, clients := range []int{1, 50} {
			name := "v" + strconv.Itoa(transport.Version()) + "/clients=" + strconv.Itoa(clients)
			b.Run(name, func(b *testing.B) { benchAnswer(b, clients, client.Mode{Transport: transport}) })
		}
	}
}

func benchAnswer(b *testing.B, clients int, mode client.Mode) {
	w := newWorld(b, worldConfig{dir: b.TempDir()})
	door := w.door()
	var orders [][]client.Prepared
	for i := range clients {
		count := (b.N + i) / clients
		prepared, err := client.Prepare(w.person(strconv.Itoa(i), door).Client, sell(), mode, count)
		if err != nil {
			b.Fatal(err)
		}
		orders = append(orders, prepared)
	}
	took := make([][]time.Duration, clients)
	var all sync.WaitGroup
	b.ResetTimer()
	for i := range clients {
		all.Go(func() {
			for _, order := range orders[i] {
				began := time.Now()
				if err := order.Send(w.ctx); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(sorted) == 0 {
		return
	}
	share := func(of int) float64 {
		return float64(sorted[(len(sorted)-1)*of/100].Microseconds()) / 1000
	}
	b.ReportMetric(share(50), "p50-ms")
	b.ReportMetric(share(99), "p99-ms")
	b.ReportMetric(float64(len(sorted))/b.Elapsed().Seconds(), "answers/s")
}
