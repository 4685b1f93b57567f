package lightning

import "context"

// InvoiceRecord is an invoice in a node's own books, of whatever kind: the escrow's hold
// invoices and everything else that the node was ever asked to be paid. What was paid without being
// asked for may have no hash (lnd: AMP); it is zero then.
type InvoiceRecord struct {
	HoldInvoice
	Memo      string
	CreatedAt int64 // unix seconds
	SettledAt int64 // unix seconds, 0 until then
	// Hold tells that somebody else than the node decides whether it is settled. Once it is, lnd
	// does not tell it from an ordinary invoice: then it is false.
	Hold bool
}

// PaymentRecord is an outgoing payment in a node's own books, whoever sent it.
type PaymentRecord struct {
	Payment
	CreatedAt int64 // unix seconds
}

// Records are a node's own books. They are long: nothing that holds up a trade may wait for all of
// them. An error of seen ends the reading and is returned.
type Records interface {
	// Invoices are told oldest first.
	Invoices(ctx context.Context, seen func(InvoiceRecord) error) error
	// LatestInvoices are the same, told newest first. One that is made meanwhile may be left out.
	LatestInvoices(ctx context.Context, seen func(InvoiceRecord) error) error
	// Payments are told newest first, those that failed and those in flight too. One that is sent
	// meanwhile may be left out.
	Payments(ctx context.Context, seen func(PaymentRecord) error) error
}
