package client

import (
	"errors"
	"fmt"
	"strings"

	"mostro/escrow/mostro"
)

var (
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("the client is closed")
	// ErrNoAnswer: the relay has taken the request, so it stands, but the node's answer did
	// not come in time. It comes as a message of the trade.
	ErrNoAnswer = errors.New("the request is accepted, the node has not answered it yet")
	// ErrNoInfo: the relay has no terms (kind 38385) of the node.
	ErrNoInfo = errors.New("the relay knows nothing of this node")
	// ErrNotInBook: the relay has no such order of the node.
	ErrNotInBook = errors.New("the node has no such order")
	// ErrOver: the trade has ended without what was waited for.
	ErrOver = errors.New("the trade has ended")
)

// unsentError is what went wrong before anything was sent.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// stands tells whether a request that ended with err may count with the node.
func stands(err error) bool {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.unsure()
	}
	return !errors.As(err, new(*CantDoError)) && !errors.As(err, new(unsentError))
}

// CantDoError is the node's refusal of a request.
type CantDoError struct {
	Action mostro.Action
	Reason mostro.Reason
	Words  string // of the node, to who makes or takes an order; "" = none
}

func (e *CantDoError) Error() string {
	text := fmt.Sprintf("the node refuses %s: %s", e.Action, e.Reason)
	if e.Words != "" {
		text += fmt.Sprintf(": %.500q", e.Words) // no bytes that a terminal obeys
	}
	return text
}

// RefusedError is the relay's refusal of a message, with its words. The node has not seen it, unless the relay is unsure.
type RefusedError struct{ Words string }

// unsure tells that the relay has not refused the message but failed (NIP-01). One that brings it to the node of another relay,
// which is silent, does not know whether it has arrived.
func (e *RefusedError) unsure() bool { return strings.HasPrefix(e.Words, "error:") }

func (e *RefusedError) Error() string { return "the relay refuses the message: " + e.Words }

// Hint says what a person can do about an error of this package, "" when that is all in the
// error.
func Hint(err error) string {
	var cantDo *CantDoError
	var refused *RefusedError
	switch {
	case errors.Is(err, ErrNoAnswer):
		return "nothing is lost: wait for it; the node answers when its Lightning node does"
	case errors.Is(err, ErrNoInfo):
		return "compare the node's public key and the relay's address; the node may also be starting still"
	case errors.Is(err, ErrNotInBook):
		return "read the book again: the order may have been canceled, or it is on another node"
	case errors.Is(err, mostro.ErrPow):
		return "nobody trades there that way: ask its operator what is meant, or trade on another node"
	case errors.As(err, &cantDo) && cantDo.Words != "":
		return ""
	case errors.As(err, &cantDo) && cantDo.Action == mostro.ProveReview && cantDo.Reason == mostro.NotAllowedByStatus:
		return "the node proves only trades whose sats it has held: come again when they are in the escrow"
	case errors.As(err, &cantDo):
		return cantDoHint(cantDo.Reason)
	case errors.As(err, &refused) && strings.HasPrefix(refused.Words, "rate-limited:"):
		return "wait a moment and try again"
	}
	return ""
}

func cantDoHint(reason mostro.Reason) string {
	switch reason {
	case mostro.InvalidTradeIndex:
		return "these words have been used elsewhere: go on with a higher trade index"
	case mostro.OutOfRangeSatsAmount:
		return "the node's terms name the least and the most sats of an order"
	case mostro.InvalidFiatCurrency:
		return "the node's terms list the currencies that it takes"
	case mostro.InvalidInvoice:
		return "make a fresh invoice for exactly what the buyer gets, on the node's network, that lives long enough"
	case mostro.InvalidOrderStatus, mostro.NotAllowedByStatus:
		return "the order has moved on, or the node's Lightning node is away; look at the order and try again"
	case mostro.PendingOrderExists:
		return "finish or cancel the other trade first"
	case mostro.OutOfRangeFiatAmount:
		return "the order's range is in the book"
	case mostro.InvalidAmount, mostro.InvalidParameters:
		return "amounts are positive, a premium is for orders at the market price, and the payment method is named"
	case mostro.NotFound:
		return "the node does not know this order or dispute; is it another node's?"
	case mostro.TooManyRequests:
		return "you have too many orders in the book: cancel some first"
	case mostro.IsNotYourDispute, mostro.NotAuthorized:
		return "this is for an administrator, or for the solver who has taken the dispute; take it first"
	case mostro.DisputeCreationError:
		return "the order has a dispute already: wait for the solver"
	case mostro.OrderAlreadyCanceled:
		return "nothing is left to do"
	case mostro.InvalidRating:
		return "ratings are 1 to 5 stars"
	case mostro.IsNotYourOrder, mostro.InvalidPeer, mostro.InvalidPubkey:
		return "this is for the other side of the trade, or the trade has another key"
	}
	return ""
}
