package lnd

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mostro/escrow/lightning"
)

// answer is a text by which lnd v0.20 says that a call had no effect, or had it before.
type answer struct {
	code codes.Code
	text string // part of the message
	err  error
}

// invoiceAnswers are those of the calls about hold invoices.
func invoiceAnswers() []answer {
	return []answer{
		{codes.NotFound, "unable to locate invoice", lightning.ErrNotFound},
		{codes.Unknown, "unable to locate invoice", lightning.ErrNotFound},
		// A node that never had an invoice has no table to look into.
		{codes.Unknown, "there are no existing invoices", lightning.ErrNotFound},
		{codes.Unknown, "invoice still open", lightning.ErrStillOpen},
		{codes.Unknown, "invoice already canceled", lightning.ErrAlreadyCanceled},
		{codes.Unknown, "invoice already settled", lightning.ErrAlreadySettled},
		{codes.Unknown, "CLTV delta of", lightning.ErrRefused},
		{codes.Unknown, "memo too large", lightning.ErrRefused},
		{codes.Unknown, "payments of negative value", lightning.ErrRefused},
		{codes.Unknown, "invoice amount", lightning.ErrRefused},
		{codes.Unknown, "expiry of", lightning.ErrRefused},
	}
}

// paymentAnswers are those of the calls about payments. The refusals all come before lnd
// writes the payment down.
func paymentAnswers() []answer {
	return []answer{
		{codes.NotFound, "payment isn't initiated", lightning.ErrNotFound},
		{codes.AlreadyExists, "payment is in transition", lightning.ErrInFlight},
		{codes.AlreadyExists, "payment already exists", lightning.ErrInFlight},
		{codes.AlreadyExists, "invoice is already paid", lightning.ErrAlreadyPaid},
		{codes.Unknown, "invoice expired", lightning.ErrRefused},
		{codes.Unknown, "invoice not for current active network", lightning.ErrRefused},
		{codes.Unknown, "payment request must contain", lightning.ErrRefused},
		{codes.Unknown, "the AMP flag", lightning.ErrRefused},
		{codes.Unknown, "self-payments not allowed", lightning.ErrRefused},
		{codes.Unknown, "total time lock of", lightning.ErrRefused},
		{codes.Unknown, "cltv limit", lightning.ErrRefused},
	}
}

// routeAnswers say that there is no route. The graph may not know the last hops of a payee
// that gives hints, so the first counts for others only.
func routeAnswers() []answer {
	return []answer{
		{codes.Unknown, "unable to find a path to destination", errNoPath},
		{codes.Unknown, "insufficient local balance", lightning.ErrRefused},
		{codes.Unknown, "destination hop doesn't understand", lightning.ErrRefused},
		{codes.Unknown, "unknown required feature", lightning.ErrRefused},
		{codes.Unknown, "missing dependent feature", lightning.ErrRefused},
	}
}

// translate gives an error of a call its meaning. What none of the answers explains is
// returned as it is: its outcome is unknown.
func translate(ctx context.Context, err error, answers []answer) error {
	if err == nil {
		return nil
	}
	got, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch got.Code() {
	case codes.Canceled, codes.DeadlineExceeded:
		// gRPC puts the end of a context into its own words.
		if ended := ctx.Err(); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
		return err
	}
	for _, answer := range answers {
		if got.Code() == answer.code && strings.Contains(got.Message(), answer.text) {
			return fmt.Errorf("%w: %s", answer.err, got.Message())
		}
	}
	return err
}
