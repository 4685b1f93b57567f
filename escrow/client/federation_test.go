package client_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
	"mostro/relay"
	"mostro/relay/mirror"
)

// elsewhere is the relay of another node, which follows that of nodeKey.
type elsewhere struct {
	*relay.Relay
	mirror *mirror.Mirror
	door   *door
}

// newElsewhere starts one. It copies and carries from and to the addresses; without any it takes
// what the node publishes there.
func newElsewhere(t testing.TB, relays ...string) *elsewhere {
	t.Helper()
	own, err := nostr.GetPublicKey(nostr.GeneratePrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	m, err := mirror.New(mirror.Config{Pubkey: own, Follow: []mirror.Followed{{Pubkey: nodeKey(t).Public(), Relays: relays}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := relay.Config{
		Pubkey: own, Followed: m.Followed, ReadPolicies: []relay.ReadPolicy{m.Asked},
		Federation: relay.Federation{Stored: m.Stored},
	}
	if len(relays) > 0 {
		cfg.Federation.Carry, cfg.Federation.Carries = m.Carry, m.Carries
	}
	r, err := relay.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Attach(r); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(r.Handler())
	stop := runMirror(m)
	t.Cleanup(func() {
		stop()
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.Close(closing); err != nil {
			t.Error(err)
		}
		server.Close()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &elsewhere{r, m, &door{url: "ws" + strings.TrimPrefix(server.URL, "http")}}
}

// waitInfo waits until the node's terms are there.
func (e *elsewhere) waitInfo(w *world) {
	w.Helper()
	w.until("the node's terms are there", func() bool {
		evs, err := e.Query(w.ctx, nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{w.key.Public()}})
		if err != nil {
			w.Fatal(err)
		}
		return len(evs) == 1
	})
}

// runMirror runs a mirror until stop, which waits for its end.
func runMirror(m *mirror.Mirror) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(ran)
	}()
	return func() {
		cancel()
		<-ran
	}
}

// TestTradeElsewhere: a whole trade with a node by people who are connected to another relay only:
// one that follows the node and carries their messages, or one that the node publishes to. The
// connection between the relays breaks in the middle.
func TestTradeElsewhere(t *testing.T) {
	for _, way := range []string{"carried", "outside"} {
		for name, transport := range map[string]mostro.Transport{"v1": mostro.GiftWrap, "v2": mostro.NIP44} {
			t.Run(way+"-"+name, func(t *testing.T) {
				var w *world
				var e *elsewhere
				cut := func() {}
				if way == "carried" {
					w = newWorld(t, worldConfig{})
					d := w.door()
					e = newElsewhere(t, d.url)
					cut = func() { d.cut(false) }
				} else {
					e = newElsewhere(t)
					w = newWorld(t, worldConfig{outside: []string{e.door.url}})
				}
				e.waitInfo(w)
				mode := client.Mode{Transport: transport}
				seller, buyer := w.person("seller", e.door), w.person("buyer", e.door)
				sold, _, err := seller.NewOrder(w.ctx, sell(), mode)
				if err != nil {
					t.Fatal(err)
				}
				var shown mostro.BookOrder
				w.until("the order is in the book there", func() bool {
					shown, err = buyer.Order(w.ctx, sold.OrderID())
					return err == nil
				})
				bought, answer := buyer.take(shown, "", mode)
				if answer.Action != mostro.AddInvoice {
					t.Fatalf("answer to the take: %s", answer.Action)
				}
				cut()
				// What cannot be carried just then is refused, and the buyer does it again.
				invoice := buyer.invoice(buyerGets)
				w.until("the invoice gets there", func() bool {
					_, err := bought.AddInvoice(w.ctx, invoice)
					if err != nil {
						t.Log(err)
						time.Sleep(100 * time.Millisecond)
					}
					return err == nil
				})
				seller.pay(w.must(sold.Wait(w.ctx, mostro.PayInvoice)))
				w.must(bought.Wait(w.ctx, mostro.HoldInvoicePaymentAccepted))
				w.finish(sold, bought)
				if seller.gain() != -sellerPays*1000 || buyer.gain() != buyerGets*1000 {
					t.Errorf("the seller has %d msat more, the buyer %d", seller.gain(), buyer.gain())
				}
			})
		}
	}
}
