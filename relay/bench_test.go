package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkMessageToOK measures from an event sent to its OK, over real connections with a
// synced store, and reports the percentiles.
func BenchmarkMessageToOK(b *testing.B) {
	none := func(context.Context, *nostr.Event) error { return nil }
	for _, clients := range []int{1, 50} {
		for _, to := range []string{"store", "escrow"} {
			b.Run(fmt.Sprintf("to=%s/clients=%d", to, clients), func(b *testing.B) {
				_, url := start(b, Config{Dir: b.TempDir(), Receive: none})
				recipient := publicKey(b, nostr.GeneratePrivateKey())
				if to == "escrow" {
					recipient = publicKey(b, nodeKey)
				}
				alice := nostr.GeneratePrivateKey()
				frames := make([]string, b.N)
				for i := range frames {
					ev := signed(b, alice, nostr.Event{Kind: 14, Content: fmt.Sprintf("%0800d", i), Tags: nostr.Tags{{"p", recipient}}})
					frames[i] = `["EVENT",` + ev.String() + `]`
				}
				took := make([]time.Duration, b.N)
				b.ResetTimer()
				var work sync.WaitGroup
				for c := range clients {
					w := dial(b, url)
					work.Go(func() {
						for i := c; i < b.N; i += clients {
							began := time.Now()
							w.write(frames[i])
							if parts := w.next(); string(parts[2]) != "true" {
								b.Errorf("answer %s", parts)
							}
							took[i] = time.Since(began)
						}
					})
				}
				work.Wait()
				b.StopTimer()
				slices.Sort(took)
				b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// BenchmarkPublish measures what the node publishes itself, with a synced store, singly and many
// at a time as the escrow does under load.
func BenchmarkPublish(b *testing.B) {
	for _, atOnce := range []int{1, 64} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			r, _ := start(b, Config{Dir: b.TempDir()})
			evs := make([]nostr.Event, b.N)
			for i := range evs {
				evs[i] = signed(b, nodeKey, nostr.Event{Kind: 14, Content: fmt.Sprintf("%0800d", i), Tags: nostr.Tags{{"p", publicKey(b, nodeKey)}}})
			}
			b.ResetTimer()
			for part := range slices.Chunk(evs, atOnce) {
				if err := r.Publish(b.Context(), part...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
