package client_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// BenchmarkAnswer measures the way of a message through a whole node, from the client's send to
// the answer that has come over its subscription, which it does when it is on disk, and was
// opened and verified. 50 clients, each over a WebSocket of its own, send new orders in
// reputation mode, each with a trade key of its own. A client sends the next when it has the
// answer, so the node always has 50 to do: the worst that so many clients can be to it. Half of
// the wait is queueing behind the others, and goes away with the load; one client alone shows
// what is left.
//
// The node is a process of its own; it shares the machine with its clients. What clients do
// before they send is not counted. node-us and client-us are the processor time of each per
// answer: the part of the result that a busy machine changes least.
//
//	go test ./escrow/client -run '^$' -bench Answer -benchtime 5000x -tags libsecp256k1
func BenchmarkAnswer(b *testing.B) {
	for _, transport := range []mostro.Transport{mostro.NIP44, mostro.GiftWrap} {
		for _, clients := range []int{1, 50} {
			name := "v" + strconv.Itoa(transport.Version()) + "/clients=" + strconv.Itoa(clients)
			b.Run(name, func(b *testing.B) { benchAnswer(b, clients, client.Mode{Transport: transport}) })
		}
	}
}

// ordersOfClient is how many orders go over one connection, which may have only so many
// subscriptions; then another takes its turn.
const ordersOfClient = 1000

func benchAnswer(b *testing.B, clients int, mode client.Mode) {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	node := startNode(b, b.Name())
	orders := make([][]client.Prepared, clients)
	for i := range orders {
		for left := (b.N + i) / clients; left > 0; left -= ordersOfClient {
			prepared, err := client.Prepare(node.dial(ctx), sell(), mode, min(left, ordersOfClient))
			if err != nil {
				b.Fatal(err)
			}
			orders[i] = append(orders[i], prepared...)
		}
	}
	took := make([][]time.Duration, clients)
	var all sync.WaitGroup
	nodeCPU, ownCPU := cpu(b, node.pid), cpu(b, os.Getpid())
	b.ResetTimer()
	for i := range clients {
		all.Go(func() {
			for _, order := range orders[i] {
				began := time.Now()
				if err := order.Send(ctx); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	nodeCPU, ownCPU = cpu(b, node.pid)-nodeCPU, cpu(b, os.Getpid())-ownCPU
	sorted := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(sorted) == 0 {
		return
	}
	share := func(of int) float64 {
		return float64(sorted[(len(sorted)-1)*of/100].Microseconds()) / 1000
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(len(sorted)) }
	b.ReportMetric(share(50), "p50-ms")
	b.ReportMetric(share(99), "p99-ms")
	b.ReportMetric(float64(len(sorted))/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(each(nodeCPU), "node-us")
	b.ReportMetric(each(ownCPU), "client-us")
}
