// Package lightning is what the escrow needs of a Lightning node, in a handful of calls.
//
// Node is the interface; package lnd talks to a real one, Sim is the simulated one that
// tests use. Sim is unfriendly on demand, and stays honest because package contract runs
// the same cases on both. This package knows hashes, amounts and block heights; it knows
// nothing of orders, users or Nostr.
package lightning

import (
	"context"
	"errors"
	"time"

	"mostro/escrow/order"
)

// Errors that a Node returns, wrapped in the chain of what it was doing. Everything else
// (a deadline, a lost connection, LND starting up) means "unknown": the call may or may
// not have had its effect.
var (
	ErrNotFound        = errors.New("not known to the node")
	ErrAlreadyCanceled = errors.New("hold invoice already canceled")
	ErrAlreadySettled  = errors.New("hold invoice already settled")
	ErrStillOpen       = errors.New("hold invoice not paid yet")
	// ErrRefused means that the node will never carry this request out as it stands (bad
	// or expired invoice, self-payment, amount mismatch); no HTLC was sent for it. An invoice
	// that was paid earlier and has expired since is refused too: only Track tells.
	ErrRefused = errors.New("refused by the node")
	// ErrInFlight and ErrAlreadyPaid answer a Send for a hash the node already pays or paid.
	ErrInFlight    = errors.New("payment is in flight")
	ErrAlreadyPaid = errors.New("invoice is already paid")
)

// HoldState is the state of a hold invoice at the node: LND's four.
type HoldState string

const (
	Open     HoldState = "open"
	Accepted HoldState = "accepted" // the payer's HTLCs are locked in
	Settled  HoldState = "settled"  // the preimage is safe in the node and goes to the payer
	Canceled HoldState = "canceled"
)

// Final tells whether the state never changes again.
func (s HoldState) Final() bool { return s == Settled || s == Canceled }

// HoldRequest asks for a hold invoice.
type HoldRequest struct {
	Hash      order.Hash
	Amount    order.Msat
	Memo      string
	CLTVDelta uint32        // blocks that the last hop must leave; lnd: at least 18
	Expiry    time.Duration // life of the invoice while unpaid; lnd does not apply it once accepted
}

// HoldInvoice is a hold invoice as the node has it.
type HoldInvoice struct {
	Hash       order.Hash
	Invoice    string // BOLT11
	State      HoldState
	Amount     order.Msat // asked
	AmountPaid order.Msat // sum of the accepted or settled HTLCs; may exceed Amount (lnd has no upper bound)
	// ExpiryHeight is the lowest expiry height of the HTLCs that are held, 0 when none are.
	// lnd cancels the invoice by itself holdexpirydelta blocks before it.
	ExpiryHeight uint32
	CLTVDelta    uint32
	ExpiresAt    time.Time
	// Existed is said by OpenHold alone: the node had it before it was asked.
	Existed bool
}

// PayRequest sends a payment to a BOLT11 invoice.
type PayRequest struct {
	Invoice   string
	Amount    order.Msat // what the payee is to get; must equal the invoice's amount unless that has none
	FeeLimit  order.Msat // routing fee over all parts; 0 = only free routes
	CLTVLimit uint32     // most blocks that an HTLC of ours may be locked
	MaxParts  uint32
	Timeout   time.Duration // until the last attempt starts; an HTLC in flight may hang longer
}

// PaymentState is the state of a payment at the node.
type PaymentState string

const (
	InFlight  PaymentState = "in-flight"
	Succeeded PaymentState = "succeeded"
	Failed    PaymentState = "failed" // definitively; only this frees the liability
)

// Payment is an outgoing payment as the node has it. The preimage that proves it stays there:
// nobody here needs it.
type Payment struct {
	Hash       order.Hash
	State      PaymentState
	Amount     order.Msat
	RoutingFee order.Msat
	Reason     string // why it failed, in the node's words
}

// Info is the node's view of itself and of the chain.
type Info struct {
	Pubkey     string
	Alias      string
	Version    string
	CommitHash string
	Network    string // "mainnet", "testnet", "signet", "regtest", "simnet"
	URIs       []string
	Height     uint32
	Synced     bool // synced to the chain
	TipTime    time.Time
}

// Balance is what the node's active channels can move now.
type Balance struct {
	Local  order.Msat // spendable by us
	Remote order.Msat // receivable by us
	// ActiveChannels bounds the HTLCs that can be held: lnd takes 483 a channel.
	ActiveChannels int
}

// Node is a Lightning node. Every call takes a context whose deadline the caller sets; all
// methods may be called from many goroutines.
type Node interface {
	Records

	Info(ctx context.Context) (Info, error)
	Balance(ctx context.Context) (Balance, error)

	// OpenHold makes a hold invoice. Asking again for the same hash returns the invoice
	// that exists, in whatever state it is: lnd refuses the second time for ever, so
	// implementations look it up.
	OpenHold(ctx context.Context, req HoldRequest) (HoldInvoice, error)
	// Lookup returns ErrNotFound for a hash without a hold invoice.
	Lookup(ctx context.Context, hash order.Hash) (HoldInvoice, error)
	// Settle is idempotent. ErrStillOpen, ErrAlreadyCanceled, ErrNotFound.
	Settle(ctx context.Context, preimage order.Preimage) error
	// Cancel is idempotent. ErrAlreadySettled, ErrNotFound.
	Cancel(ctx context.Context, hash order.Hash) error
	// WatchHold calls seen with the present state and with each later one, and returns nil
	// after a final state. It returns ErrNotFound for an unknown hash (lnd's stream would
	// just wait), and any other error when the stream dies: the caller watches again.
	WatchHold(ctx context.Context, hash order.Hash, seen func(HoldInvoice)) error

	// Send hands a payment to the node and returns its state as soon as the node has
	// acknowledged it; the payment goes on when ctx ends. ErrRefused, ErrInFlight,
	// ErrAlreadyPaid; any other error means unknown.
	Send(ctx context.Context, req PayRequest) (Payment, error)
	// Track is to payments what WatchHold is to invoices. ErrNotFound: never sent, or
	// forgotten by the node.
	Track(ctx context.Context, hash order.Hash, seen func(Payment)) error
	// CanRoute asks for a route to the payee of an invoice without sending anything. A
	// nil error means that there is one, or that the graph cannot tell (private payee
	// with route hints). ErrRefused: there is none.
	CanRoute(ctx context.Context, invoice order.Invoice, amount order.Msat) error

	// WatchBlocks calls seen with the present height and with each new one until the
	// stream dies.
	WatchBlocks(ctx context.Context, seen func(height uint32)) error
}
