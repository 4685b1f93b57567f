package lnd

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// payable is an invoice of a simulated node: 1,000 sat on simnet.
func payable(t *testing.T) order.Invoice {
	t.Helper()
	network := lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})
	invoice, err := lightning.Decode(network.Node("bob").AddInvoice(lightning.SimInvoiceRequest{Amount: order.Sat(1000).Msat()}))
	if err != nil {
		t.Fatal(err)
	}
	return invoice
}

// TestDeadlines: lnd learns of a deadline in each call, the caller's own if there is one.
func TestDeadlines(t *testing.T) {
	var mu sync.Mutex
	var left []time.Duration // until the deadline of each call, as the server sees it
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		mu.Lock()
		defer mu.Unlock()
		deadline, ok := stream.Context().Deadline()
		if !ok {
			deadline = time.Now().Add(-time.Hour)
		}
		left = append(left, time.Until(deadline))
		return status.Error(codes.Unavailable, "for the test")
	}))
	listener := bufconn.Listen(1 << 16)
	go server.Serve(listener)
	defer server.Stop()
	conn, err := grpc.Dial("passthrough:///lnd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	node := newNode(conn, conn.Close)
	invoice := payable(t)
	preimage := order.NewPreimage([32]byte{1})

	for name, call := range map[string]func(ctx context.Context) error{
		"Info":      func(ctx context.Context) error { _, err := node.Info(ctx); return err },
		"Balance":   func(ctx context.Context) error { _, err := node.Balance(ctx); return err },
		"OpenHold":  func(ctx context.Context) error { _, err := node.OpenHold(ctx, lightning.HoldRequest{}); return err },
		"Lookup":    func(ctx context.Context) error { _, err := node.Lookup(ctx, preimage.Hash()); return err },
		"Settle":    func(ctx context.Context) error { return node.Settle(ctx, preimage) },
		"Cancel":    func(ctx context.Context) error { return node.Cancel(ctx, preimage.Hash()) },
		"WatchHold": func(ctx context.Context) error { return node.WatchHold(ctx, preimage.Hash(), nil) }, // looks up first
		"CanRoute":  func(ctx context.Context) error { return node.CanRoute(ctx, invoice, invoice.Amount) },
		"Send": func(ctx context.Context) error {
			_, err := node.Send(ctx, lightning.PayRequest{Invoice: invoice.Text, Amount: invoice.Amount})
			return err
		},
	} {
		own, cancel := context.WithTimeout(t.Context(), time.Hour)
		for _, test := range []struct {
			ctx      context.Context
			min, max time.Duration
		}{
			{t.Context(), 0, callTimeout},
			{own, 2 * callTimeout, time.Hour},
		} {
			left = nil
			if err := call(test.ctx); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v, want what the server answered", name, err)
			}
			if len(left) != 1 || left[0] <= test.min || left[0] > test.max {
				t.Errorf("%s: calls with deadlines in %v, want one between %v and %v", name, left, test.min, test.max)
			}
		}
		cancel()
	}
}
