package lnd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"mostro/escrow/lightning"
)

// slowServer has payments of the indexes 1 to count, and answers in time only for pages of up to most.
type slowServer struct {
	lnrpc.UnimplementedLightningServer
	count, most uint64
	calls       int
}

// ListPayments does as lnd: backwards from before an index, the oldest of a page first.
func (s *slowServer) ListPayments(_ context.Context, r *lnrpc.ListPaymentsRequest) (*lnrpc.ListPaymentsResponse, error) {
	s.calls++
	switch {
	case !r.Reversed || !r.IncludeIncomplete:
		return nil, status.Error(codes.InvalidArgument, "not what is expected")
	case r.MaxPayments > s.most:
		return nil, status.Error(codes.DeadlineExceeded, "too slow")
	}
	last := s.count
	if r.IndexOffset > 0 {
		last = r.IndexOffset - 1
	}
	first := last - min(last, r.MaxPayments) + 1
	answer := &lnrpc.ListPaymentsResponse{FirstIndexOffset: first, LastIndexOffset: last}
	for i := first; i <= last; i++ {
		answer.Payments = append(answer.Payments, &lnrpc.Payment{PaymentHash: fmt.Sprintf("%064x", i), PaymentIndex: i, Status: lnrpc.Payment_FAILED, CreationTimeNs: int64(i) * 1e9})
	}
	return answer, nil
}

// Payments are read once each, the newest first, also of a node that does not answer for a whole page
// in time; and no further than is wanted.
func TestPaymentsNewestFirst(t *testing.T) {
	for _, count := range []uint64{0, 1, 62, 63, 999, 1000, 1001, 2500} {
		server := &slowServer{count: count, most: 100}
		node := dialSlow(t, server)
		next := int64(count)
		if err := node.Payments(t.Context(), func(p lightning.PaymentRecord) error {
			if p.CreatedAt != next {
				t.Errorf("of %d payments %d comes where %d is due", count, p.CreatedAt, next)
			}
			next--
			return nil
		}); err != nil || next != 0 {
			t.Errorf("of %d payments %d are not read, %v", count, next, err)
		}
	}

	server := &slowServer{count: 100_000, most: recordPage}
	enough := errors.New("enough")
	if err := dialSlow(t, server).Payments(t.Context(), func(p lightning.PaymentRecord) error {
		if p.CreatedAt < 98_500 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || server.calls != 2 {
		t.Errorf("%d calls, %v", server.calls, err)
	}

	dead := &slowServer{count: 1}
	if err := dialSlow(t, dead).Payments(t.Context(), func(lightning.PaymentRecord) error { return nil }); err == nil || dead.calls > 10 {
		t.Errorf("a node that never answers is asked %d times, %v", dead.calls, err)
	}
}

func dialSlow(t *testing.T, s *slowServer) *Node {
	t.Helper()
	server := grpc.NewServer()
	lnrpc.RegisterLightningServer(server, s)
	listener := bufconn.Listen(1 << 20)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.Dial("passthrough:///lnd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return newNode(conn, conn.Close)
}

// ListInvoices does as lnd: forwards from after an index, or backwards from before one, the oldest of a page first. Each seventh was paid by AMP without being asked for: lnd
// shows no hash and no request for it.
func (s *slowServer) ListInvoices(_ context.Context, r *lnrpc.ListInvoiceRequest) (*lnrpc.ListInvoiceResponse, error) {
	if r.NumMaxInvoices > s.most {
		return nil, status.Error(codes.DeadlineExceeded, "too slow")
	}
	first, last := r.IndexOffset+1, min(s.count, r.IndexOffset+r.NumMaxInvoices)
	if r.Reversed {
		if last = s.count; r.IndexOffset > 0 {
			last = r.IndexOffset - 1
		}
		first = last - min(last, r.NumMaxInvoices) + 1
	}
	s.calls++
	answer := &lnrpc.ListInvoiceResponse{FirstIndexOffset: first}
	for i := first; i <= last; i++ {
		invoice := &lnrpc.Invoice{AddIndex: i, CreationDate: int64(i), State: lnrpc.Invoice_SETTLED}
		if invoice.IsAmp = i%7 == 0; !invoice.IsAmp {
			invoice.RHash = fmt.Appendf(nil, "%032d", i)
		}
		answer.Invoices, answer.LastIndexOffset = append(answer.Invoices, invoice), i
	}
	return answer, nil
}

// Invoices are read once each, the oldest first, also of a node that is slow, and those that have no hash.
func TestInvoicesOldestFirst(t *testing.T) {
	for _, count := range []uint64{0, 1, 6, 7, 999, 1000, 1001, 2500} {
		node := dialSlow(t, &slowServer{count: count, most: 100})
		var last, nameless int64
		if err := node.Invoices(t.Context(), func(r lightning.InvoiceRecord) error {
			if last++; r.CreatedAt != last {
				t.Errorf("of %d invoices %d comes where %d is due", count, r.CreatedAt, last)
			}
			if r.Hash.IsZero() {
				nameless++
			}
			return nil
		}); err != nil || last != int64(count) || nameless != int64(count/7) {
			t.Errorf("of %d invoices %d are read, %d without a hash, %v", count, last, nameless, err)
		}
	}
}

// The same, the newest first, and no further than is wanted.
func TestLatestInvoices(t *testing.T) {
	for _, count := range []uint64{0, 1, 62, 63, 999, 1000, 1001, 2500} {
		node := dialSlow(t, &slowServer{count: count, most: 100})
		next := int64(count)
		if err := node.LatestInvoices(t.Context(), func(r lightning.InvoiceRecord) error {
			if r.CreatedAt != next || r.Hash.IsZero() != (next%7 == 0) {
				t.Errorf("of %d invoices %d comes where %d is due", count, r.CreatedAt, next)
			}
			next--
			return nil
		}); err != nil || next != 0 {
			t.Errorf("of %d invoices %d are not read, %v", count, next, err)
		}
	}
	server := &slowServer{count: 100_000, most: recordPage}
	enough := errors.New("enough")
	if err := dialSlow(t, server).LatestInvoices(t.Context(), func(r lightning.InvoiceRecord) error {
		if r.CreatedAt < 98_500 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || server.calls != 2 {
		t.Errorf("%d calls, %v", server.calls, err)
	}
}
