package lnd

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mostro/escrow/lightning"
)

// TestTranslate holds what the contract test cannot bring about: answers that prove nothing
// stay unknown, also when they come in the words of another call. The known ones are checked
// against real nodes there.
func TestTranslate(t *testing.T) {
	all := append(append(invoiceAnswers(), paymentAnswers()...), routeAnswers()...)
	known := []error{
		lightning.ErrNotFound, lightning.ErrAlreadyCanceled, lightning.ErrAlreadySettled, lightning.ErrStillOpen,
		lightning.ErrRefused, lightning.ErrInFlight, lightning.ErrAlreadyPaid, errNoPath,
	}
	for _, test := range []struct {
		err  error
		want error // nil = unknown
	}{
		{status.Error(codes.Unknown, "there are no existing invoices"), lightning.ErrNotFound},
		{status.Error(codes.Unknown, "the RPC server is in the process of starting up, but not yet ready to accept calls"), nil},
		{status.Error(codes.Unknown, "wallet locked, unlock it to enable full RPC access"), nil},
		{status.Error(codes.Unknown, "permission denied"), nil},
		{status.Error(codes.Unknown, "unable to locate payment"), nil},
		{status.Error(codes.Unimplemented, "unknown service invoicesrpc.Invoices"), nil},
		{status.Error(codes.NotFound, "unable to find a path to destination"), nil},
		{status.Error(codes.Unavailable, "invoice already settled"), nil},
		{status.Error(codes.Internal, "stream terminated by RST_STREAM"), nil},
		{status.Error(codes.DeadlineExceeded, "context deadline exceeded"), nil},
		{errors.New("payment is in transition"), nil},
		{io.EOF, nil},
	} {
		got := translate(t.Context(), test.err, all)
		if test.want != nil && !errors.Is(got, test.want) {
			t.Errorf("%v becomes %v, want %v", test.err, got, test.want)
		}
		for _, err := range known {
			if err != test.want && errors.Is(got, err) {
				t.Errorf("%v becomes %v, which means %q", test.err, got, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := translate(ctx, status.Error(codes.Canceled, "context canceled"), all); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the context becomes %v", err)
	}
}
