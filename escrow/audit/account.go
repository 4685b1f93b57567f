// Package audit compares what the escrow's books say with what the Lightning node says.
//
// The books are accounts: one for each order, with the entries of its ledger, its hold invoice
// and every payment hash that was ever recorded for it. The node's side is its own list of
// invoices and payments. Compare is a pure function of the two; it trusts neither. What it
// reports is of three sorts:
//
//   - a difference: the two contradict each other, or the books themselves, by a millisat or
//     more. Money is wrong, or somebody has to look.
//   - news: the node has gone further than the books, in a way in which the escrow has yet to
//     hear of it. A running escrow hears within a minute, a stopped one when it starts.
//   - a liability: what is owed now, to whom, since when and why it is not paid.
//
// The package must not know how rows are stored, nor LND's types; it writes nothing.
package audit

import (
	"slices"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Account is what the books say of one order, or of one bond.
type Account struct {
	ID string `json:"id"`
	// Order is the order that a bond stands for; "" for an order itself.
	Order     string        `json:"order,omitempty"`
	Status    mostro.Status `json:"status,omitempty"`
	CreatedAt int64         `json:"created_at,omitempty"`
	Ledger    order.Ledger  `json:"ledger,omitempty"`
	// Subsidy is what the payments may cost beyond what came in.
	Subsidy order.Msat `json:"subsidy,omitempty"`
	Hold    Hold       `json:"hold"`
	// Canceling are hold invoices that the node is yet to be asked to cancel.
	Canceling []order.Hash `json:"canceling,omitempty"`
	Payout    Payout       `json:"payout"`
	DevFee    *Payout      `json:"dev_fee,omitempty"` // where the payment of the development fee stands
	// Broken says why the order is held back, or cannot be read; "" = it is well.
	Broken string `json:"broken,omitempty"`
	// Unread: nothing but ID and Broken is known.
	Unread bool `json:"unread,omitempty"`
	// Stray: this is no account, but a payment of the node that the store does not know.
	Stray *Stray `json:"stray,omitempty"`
}

// Stray is a payment of the node over which the escrow asks its operator; Own: he has said that it
// has nothing to do with the escrow.
type Stray struct {
	Hash   order.Hash `json:"hash"`
	Amount order.Msat `json:"amount"`
	Own    bool       `json:"own,omitempty"`
}

// Hold is the present hold invoice of an order.
type Hold struct {
	Attempt uint32            `json:"attempt,omitempty"` // earlier attempts were canceled
	Hash    order.Hash        `json:"hash"`
	State   order.EscrowState `json:"state,omitempty"`
	Paid    order.Msat        `json:"paid,omitempty"`
	Since   int64             `json:"since,omitempty"` // of the sats being held
	// Invoice is the BOLT11 text of one that may have brought sats. It is signed by the Lightning node that
	// made it, and so says at which one they are.
	Invoice string `json:"invoice,omitempty"`
}

// Payout is where the payment to the buyer stands, or that of the development fee.
type Payout struct {
	State   order.PayoutState `json:"state,omitempty"`
	Hash    order.Hash        `json:"hash"`             // of the present try
	Claims  []order.Hash      `json:"claims,omitempty"` // every hash that was ever recorded, and is this order's alone
	Tries   int64             `json:"tries,omitempty"`
	Asked   int64             `json:"asked,omitempty"`
	NextTry int64             `json:"next_try,omitempty"`
	Since   int64             `json:"since,omitempty"`
}

// Of makes the account of an order. broken is why it is held back.
func Of(o *order.Order, broken string) Account {
	e := o.Escrow
	a := Account{
		ID: o.ID, Status: o.Status, CreatedAt: o.CreatedAt, Ledger: o.Ledger, Subsidy: o.Terms.RoutingSubsidy.Msat(), Broken: broken,
		Hold:   Hold{Attempt: e.Attempt, Hash: e.Hash, State: e.State, Paid: e.Paid, Since: e.AcceptedAt},
		Payout: payoutOf(o.Payout, order.Claims(o)),
	}
	a.Hold.keep(e)
	if o.DevFee != nil {
		claims := o.DevFee.Payout.Hashes()
		a.Payout.Claims = slices.DeleteFunc(slices.Clone(a.Payout.Claims), func(h order.Hash) bool { return slices.Contains(claims, h) })
		fee := payoutOf(o.DevFee.Payout, claims)
		a.DevFee = &fee
	}
	return a
}

// OfBond makes the account of a bond. broken is why its order is held back.
func OfBond(b *order.Bond, broken string) Account {
	h := b.Hold
	a := Account{
		ID: b.ID, Order: b.Order, Status: mostro.Status("bond " + string(b.State)), CreatedAt: b.CreatedAt, Ledger: b.Ledger,
		Subsidy: b.Terms.RoutingSubsidy.Msat(), Broken: broken,
		Hold:   Hold{Attempt: h.Attempt, Hash: h.Hash, State: h.State, Paid: h.Paid, Since: h.AcceptedAt},
		Payout: payoutOf(b.Payout, b.Claims()),
	}
	a.Hold.keep(h)
	return a
}

// keep keeps the text of a hold invoice in which there are sats, or were.
func (h *Hold) keep(e order.Escrow) {
	if e.AcceptedAt != 0 || e.State == order.EscrowSettled {
		h.Invoice = e.Invoice
	}
}

func payoutOf(p order.Payout, claims []order.Hash) Payout {
	return Payout{State: p.State, Hash: p.Hash, Claims: claims, Tries: p.Tries, Asked: p.Asked, NextTry: p.NextTry, Since: p.Since}
}

// Node is what the Lightning node says of itself.
type Node struct {
	Pubkey   string
	Alias    string
	Network  string
	Invoices map[order.Hash]lightning.InvoiceRecord
	// Nameless is what it was paid without a payment hash, by who asked nobody.
	Nameless Tally
	Payments map[order.Hash]lightning.PaymentRecord
}
