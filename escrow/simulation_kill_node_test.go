package escrow

import (
	"context"
	"encoding/gob"
	"errors"
	"net"
	"sync"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// A node of a simulated network for a process of its own, so that it lives on when that process
// is killed: each call is one connection to a socket, on which a stream goes on.

type nodeCall struct {
	Method   string
	Hash     order.Hash
	Hold     lightning.HoldRequest
	Pay      lightning.PayRequest
	Preimage [32]byte
	Invoice  order.Invoice
	Amount   order.Msat
	Payee    string // of wallet calls
}

type nodeAnswer struct {
	Info    lightning.Info
	Balance lightning.Balance
	Hold    lightning.HoldInvoice
	Payment lightning.Payment
	Record  lightning.PaymentRecord
	Height  uint32
	Text    string
	End     bool // of the answers; Err says how
	Err     string
	Cause   int // 1 + index in nodeErrors
}

func nodeErrors() []error {
	return []error{lightning.ErrNotFound, lightning.ErrAlreadyCanceled, lightning.ErrAlreadySettled, lightning.ErrStillOpen, lightning.ErrRefused, lightning.ErrInFlight, lightning.ErrAlreadyPaid}
}

// nodeServer serves a network's nodes, and remembers which hashes it was asked about.
type nodeServer struct {
	net  *lightning.SimNetwork
	node *lightning.SimNode

	mu    sync.Mutex
	asked map[order.Hash]bool
}

func (s *nodeServer) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go s.answer(conn)
	}
}

func (s *nodeServer) answer(conn net.Conn) {
	defer conn.Close()
	var call nodeCall
	if gob.NewDecoder(conn).Decode(&call) != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the caller says no more: what comes is the end of his patience
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	out := gob.NewEncoder(conn)
	tell := func(a nodeAnswer) { _ = out.Encode(a) }
	end := nodeAnswer{End: true}
	if err := s.do(ctx, call, &end, tell); err != nil {
		end.Err = err.Error()
		for i, cause := range nodeErrors() {
			if errors.Is(err, cause) {
				end.Cause = i + 1
			}
		}
	}
	tell(end)
}

func (s *nodeServer) do(ctx context.Context, call nodeCall, end *nodeAnswer, tell func(nodeAnswer)) (err error) {
	switch call.Method {
	case "WatchHold", "Track":
		s.mu.Lock()
		s.asked[call.Hash] = true
		s.mu.Unlock()
	}
	switch call.Method {
	case "Info":
		end.Info, err = s.node.Info(ctx)
	case "Balance":
		end.Balance, err = s.node.Balance(ctx)
	case "OpenHold":
		end.Hold, err = s.node.OpenHold(ctx, call.Hold)
	case "Lookup":
		end.Hold, err = s.node.Lookup(ctx, call.Hash)
	case "Settle":
		err = s.node.Settle(ctx, order.NewPreimage(call.Preimage))
	case "Cancel":
		err = s.node.Cancel(ctx, call.Hash)
	case "WatchHold":
		err = s.node.WatchHold(ctx, call.Hash, func(h lightning.HoldInvoice) { tell(nodeAnswer{Hold: h}) })
	case "Track":
		err = s.node.Track(ctx, call.Hash, func(p lightning.Payment) { tell(nodeAnswer{Payment: p}) })
	case "Send":
		end.Payment, err = s.node.Send(ctx, call.Pay)
	case "Payments":
		err = s.node.Payments(ctx, func(r lightning.PaymentRecord) error { tell(nodeAnswer{Record: r}); return nil })
	case "CanRoute":
		err = s.node.CanRoute(ctx, call.Invoice, call.Amount)
	case "WatchBlocks":
		err = s.node.WatchBlocks(ctx, func(height uint32) { tell(nodeAnswer{Height: height}) })
	case "wallet invoice":
		end.Text = s.net.Node("payee").AddInvoice(lightning.SimInvoiceRequest{Amount: call.Amount, Expiry: 24 * time.Hour, CLTVDelta: 40})
	case "wallet hold invoice":
		end.Text, _ = s.net.Node("payee").AddHoldInvoice(call.Amount)
	case "wallet pays":
		_, err = s.net.Node("payer").PayHold(call.Payee)
	default:
		err = errors.New("no such call: " + call.Method)
	}
	return err
}

// remoteNode is the node as the process has it.
type remoteNode struct {
	socket string
	mu     sync.Mutex
	asked  map[order.Hash]bool // that have got an answer
}

var _ lightning.Node = (*remoteNode)(nil)

func (n *remoteNode) call(ctx context.Context, call nodeCall, seen func(nodeAnswer)) (nodeAnswer, error) {
	conn, err := net.Dial("unix", n.socket)
	if err != nil {
		return nodeAnswer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := gob.NewEncoder(conn).Encode(call); err != nil {
		return nodeAnswer{}, err
	}
	in := gob.NewDecoder(conn)
	for {
		var a nodeAnswer
		if err := in.Decode(&a); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return a, err
		}
		if call.Method == "WatchHold" || call.Method == "Track" {
			n.mu.Lock()
			n.asked[call.Hash] = true
			n.mu.Unlock()
		}
		switch {
		case a.Cause > 0:
			return a, errors.Join(nodeErrors()[a.Cause-1], errors.New(a.Err))
		case a.Err != "":
			return a, errors.New(a.Err)
		case a.End:
			return a, nil
		}
		seen(a)
	}
}

func (n *remoteNode) Info(ctx context.Context) (lightning.Info, error) {
	a, err := n.call(ctx, nodeCall{Method: "Info"}, nil)
	return a.Info, err
}

func (n *remoteNode) Balance(ctx context.Context) (lightning.Balance, error) {
	a, err := n.call(ctx, nodeCall{Method: "Balance"}, nil)
	return a.Balance, err
}

func (n *remoteNode) OpenHold(ctx context.Context, req lightning.HoldRequest) (lightning.HoldInvoice, error) {
	a, err := n.call(ctx, nodeCall{Method: "OpenHold", Hold: req}, nil)
	return a.Hold, err
}

func (n *remoteNode) Lookup(ctx context.Context, h order.Hash) (lightning.HoldInvoice, error) {
	a, err := n.call(ctx, nodeCall{Method: "Lookup", Hash: h}, nil)
	return a.Hold, err
}

func (n *remoteNode) Settle(ctx context.Context, p order.Preimage) error {
	_, err := n.call(ctx, nodeCall{Method: "Settle", Preimage: p.Bytes()}, nil)
	return err
}

func (n *remoteNode) Cancel(ctx context.Context, h order.Hash) error {
	_, err := n.call(ctx, nodeCall{Method: "Cancel", Hash: h}, nil)
	return err
}

func (n *remoteNode) WatchHold(ctx context.Context, h order.Hash, seen func(lightning.HoldInvoice)) error {
	_, err := n.call(ctx, nodeCall{Method: "WatchHold", Hash: h}, func(a nodeAnswer) { seen(a.Hold) })
	return err
}

func (n *remoteNode) Send(ctx context.Context, req lightning.PayRequest) (lightning.Payment, error) {
	a, err := n.call(ctx, nodeCall{Method: "Send", Pay: req}, nil)
	return a.Payment, err
}

func (n *remoteNode) Track(ctx context.Context, h order.Hash, seen func(lightning.Payment)) error {
	_, err := n.call(ctx, nodeCall{Method: "Track", Hash: h}, func(a nodeAnswer) { seen(a.Payment) })
	return err
}

func (n *remoteNode) CanRoute(ctx context.Context, invoice order.Invoice, amount order.Msat) error {
	_, err := n.call(ctx, nodeCall{Method: "CanRoute", Invoice: invoice, Amount: amount}, nil)
	return err
}

func (n *remoteNode) WatchBlocks(ctx context.Context, seen func(uint32)) error {
	_, err := n.call(ctx, nodeCall{Method: "WatchBlocks"}, func(a nodeAnswer) { seen(a.Height) })
	return err
}

func (n *remoteNode) Invoices(context.Context, func(lightning.InvoiceRecord) error) error { return nil }

func (n *remoteNode) LatestInvoices(context.Context, func(lightning.InvoiceRecord) error) error {
	return nil
}

func (n *remoteNode) Payments(ctx context.Context, seen func(lightning.PaymentRecord) error) error {
	var failed error
	_, err := n.call(ctx, nodeCall{Method: "Payments"}, func(a nodeAnswer) { failed = errors.Join(failed, seen(a.Record)) })
	return errors.Join(err, failed)
}
