package relay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
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

// BenchmarkQuery measures what clients ask most, with 100,000 events stored: 40% gift wraps for
// 2,000 keys, 30% notes, 30% orders.
func BenchmarkQuery(b *testing.B) {
	const events, keys = 100_000, 2000
	s, err := openStore("", slog.New(slog.DiscardHandler), time.Now, func(*nostr.Event) {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.close)
	pubkey := func(i int) string { return fmt.Sprintf("%064x", i+1) }
	for i := range events {
		ev := nostr.Event{PubKey: pubkey(i % keys), CreatedAt: nostr.Timestamp(1_700_000_000 + i), Content: fmt.Sprintf("%0800d", i), Sig: fmt.Sprintf("%0128x", i)}
		switch i % 10 {
		case 0, 1, 2, 3:
			ev.Kind, ev.PubKey, ev.Tags = 1059, pubkey(1_000_000+i), nostr.Tags{{"p", pubkey(i % keys)}}
		case 4, 5, 6:
			ev.Kind = 1
		default:
			ev.Kind, ev.PubKey = 38_383, pubkey(0)
			ev.Tags = nostr.Tags{{"d", strconv.Itoa(i)}, {"s", []string{"success", "canceled", "pending"}[i%1000/450]}, {"f", "USD"}, {"y", "mostro"}, {"z", "order"}}
		}
		ev.ID = ev.GetID()
		if _, err := s.add(b.Context(), &ev); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]nostr.Filter{
		"wraps-of-a-key":  {Kinds: []int{1059}, Tags: nostr.TagMap{"p": {pubkey(1)}}},
		"wraps-of-nobody": {Kinds: []int{1059}, Tags: nostr.TagMap{"p": {pubkey(keys)}}},
		"pending-orders":  {Kinds: []int{38_383}, Limit: 100, Tags: nostr.TagMap{"s": {"pending"}, "f": {"USD"}, "y": {"mostro"}}},
		"one-order":       {Kinds: []int{38_383}, Authors: []string{pubkey(0)}, Tags: nostr.TagMap{"d": {"99999"}}},
		"500-notes":       {Kinds: []int{1}},
		"5000-orders":     {Kinds: []int{38_383}},
	} {
		compiled, err := compile(f, DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			found := 0
			for b.Loop() {
				found = 0
				err := s.answer(b.Context(), &compiled, func(*record) bool { return true }, func(*nostr.Event) bool { found++; return true })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(found), "events")
		})
	}
}
