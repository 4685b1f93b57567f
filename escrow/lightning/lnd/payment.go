package lnd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnrpc/routerrpc"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// wakeTime is how long after its start lnd may still have no connection to peers that it will have.
const wakeTime = 2 * time.Minute

// splitParts is how many parts lnd makes of a payment at most unless told otherwise.
const splitParts = 16

// errNoPath is lnd's word that its graph has no path for an amount.
var errNoPath = errors.New("no path")

// Send hands a payment to lnd and returns at lnd's first word of it. lnd has written the
// payment down by then, and goes on with it when our stream ends.
func (n *Node) Send(ctx context.Context, req lightning.PayRequest) (lightning.Payment, error) {
	invoice, err := lightning.Decode(req.Invoice)
	if err != nil {
		return lightning.Payment{}, fmt.Errorf("send payment: %w: %w", lightning.ErrRefused, err)
	}
	payment, err := n.send(ctx, req, invoice)
	if err != nil {
		return lightning.Payment{}, fmt.Errorf("send payment %s: %w", invoice.Hash, err)
	}
	return payment, nil
}

func (n *Node) send(ctx context.Context, req lightning.PayRequest, invoice order.Invoice) (lightning.Payment, error) {
	if err := checkRequest(req, invoice); err != nil {
		return lightning.Payment{}, fmt.Errorf("%w: %w", lightning.ErrRefused, err)
	}
	request := &routerrpc.SendPaymentRequest{
		PaymentRequest: invoice.Text,
		FeeLimitMsat:   int64(req.FeeLimit),
		CltvLimit:      int32(req.CLTVLimit),
		MaxParts:       req.MaxParts,
		TimeoutSeconds: int32(req.Timeout / time.Second),
	}
	if invoice.Amount == 0 { // lnd refuses an amount beside the invoice's own
		request.AmtMsat = int64(req.Amount)
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	stream, err := n.router.SendPaymentV2(ctx, request)
	if err != nil {
		return lightning.Payment{}, translate(ctx, err, paymentAnswers())
	}
	update, err := stream.Recv()
	if err != nil {
		return lightning.Payment{}, translate(ctx, err, paymentAnswers())
	}
	return payment(update)
}

// checkRequest refuses what lnd would carry out in another sense, or not at all.
func checkRequest(req lightning.PayRequest, invoice order.Invoice) error {
	switch {
	case req.Amount <= 0:
		return errors.New("the amount must be given")
	case invoice.Amount != 0 && req.Amount != invoice.Amount:
		return fmt.Errorf("amount %d msat is not the invoice's %d", req.Amount, invoice.Amount)
	case req.FeeLimit < 0:
		return fmt.Errorf("fee limit %d msat is negative", req.FeeLimit)
	case req.Timeout != 0 && req.Timeout < time.Second || req.Timeout > maxPayTimeout:
		return fmt.Errorf("timeout %v is not between a second and %v", req.Timeout, maxPayTimeout)
	case req.CLTVLimit > maxCLTVLimit:
		return fmt.Errorf("CLTV limit %d is above %d blocks", req.CLTVLimit, maxCLTVLimit)
	}
	return nil
}

// Track follows a payment to its end.
func (n *Node) Track(ctx context.Context, hash order.Hash, seen func(lightning.Payment)) error {
	if err := n.track(ctx, hash, seen); err != nil {
		return fmt.Errorf("track payment %s: %w", hash, err)
	}
	return nil
}

func (n *Node) track(ctx context.Context, hash order.Hash, seen func(lightning.Payment)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := n.router.TrackPaymentV2(ctx, &routerrpc.TrackPaymentRequest{PaymentHash: hash[:]})
	if err != nil {
		return translate(ctx, err, paymentAnswers())
	}
	for {
		update, err := stream.Recv()
		if err != nil {
			return translate(ctx, err, paymentAnswers())
		}
		payment, err := payment(update)
		if err != nil {
			return err
		}
		seen(payment)
		if payment.State != lightning.InFlight {
			return nil
		}
	}
}

// payment reads a payment of lnd's. lnd says FAILED only when no HTLC is out any more.
func payment(update *lnrpc.Payment) (lightning.Payment, error) {
	hash, err := order.ParseHash(update.PaymentHash)
	if err != nil {
		return lightning.Payment{}, fmt.Errorf("read lnd's answer: %w", err)
	}
	payment := lightning.Payment{
		Hash:       hash,
		Amount:     order.Msat(update.ValueMsat),
		RoutingFee: order.Msat(update.FeeMsat),
	}
	switch update.Status {
	case lnrpc.Payment_INITIATED, lnrpc.Payment_IN_FLIGHT:
		payment.State = lightning.InFlight
	case lnrpc.Payment_FAILED:
		payment.State = lightning.Failed
		payment.Reason = update.FailureReason.String()
	case lnrpc.Payment_SUCCEEDED:
		payment.State = lightning.Succeeded
		preimage, err := hex.DecodeString(update.PaymentPreimage)
		if err != nil || len(preimage) != len(order.Hash{}) {
			return lightning.Payment{}, errors.New("read lnd's answer: a payment that succeeded has no preimage")
		}
	default:
		return lightning.Payment{}, fmt.Errorf("read lnd's answer: payment status %v", update.Status)
	}
	return payment, nil
}

// CanRoute asks lnd's graph; nothing is sent, not even a probe.
func (n *Node) CanRoute(ctx context.Context, invoice order.Invoice, amount order.Msat) error {
	if err := n.canRoute(ctx, invoice, amount); err != nil {
		return fmt.Errorf("find a route to %s: %w", invoice.Payee, err)
	}
	return nil
}

func (n *Node) canRoute(ctx context.Context, invoice order.Invoice, amount order.Msat) error {
	payee, err := hex.DecodeString(invoice.Payee)
	if err != nil {
		return fmt.Errorf("%w: payee: %w", lightning.ErrRefused, err)
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	err = n.estimate(ctx, payee, amount)
	if errors.Is(err, errNoPath) && !invoice.HasHints {
		if waking, err := n.waking(ctx); waking || err != nil {
			return err
		}
		// The estimate is for one part. Where a smaller part has a path, lnd may succeed by
		// splitting, and the graph cannot tell.
		err = n.estimate(ctx, payee, (amount+splitParts-1)/splitParts)
	}
	switch {
	case errors.Is(err, errNoPath) && invoice.HasHints:
		return nil
	case errors.Is(err, errNoPath):
		return fmt.Errorf("%w: %w", lightning.ErrRefused, err)
	}
	return err
}

// waking tells that lnd has just started and waits for peers: it has no paths over their channels yet.
func (n *Node) waking(ctx context.Context) (bool, error) {
	answer, err := n.main.ListChannels(ctx, &lnrpc.ListChannelsRequest{InactiveOnly: true})
	if err != nil {
		return false, translate(ctx, err, nil)
	}
	// lnd counts the lifetime of a channel anew at each start.
	return slices.ContainsFunc(answer.Channels, func(c *lnrpc.Channel) bool { return c.Lifetime < int64(wakeTime/time.Second) }), nil
}

// estimate looks for a path for an amount in one part. errNoPath, ErrRefused.
func (n *Node) estimate(ctx context.Context, payee []byte, amount order.Msat) error {
	_, err := n.router.EstimateRouteFee(ctx, &routerrpc.RouteFeeRequest{
		Dest:   payee,
		AmtSat: int64((amount + 999).Sat()), // lnd asks for whole sats, so the last is full
	})
	return translate(ctx, err, routeAnswers())
}
