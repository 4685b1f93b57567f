package order

import "mostro/escrow/mostro"

// Book is the order as everybody sees it in the order book (kind 38383), nil while nothing
// is public. The engine publishes whenever a step changes it, so the book is always true.
func Book(o *Order) *mostro.BookOrder {
	public, ok := mostro.PublicStatus(o.Kind, o.Status)
	if !ok || o.Status == none {
		return nil
	}
	book := &mostro.BookOrder{
		ID: o.ID, Kind: o.Kind, Status: public, Amount: int64(o.Amount),
		FiatCode: o.FiatCode, FiatAmount: o.FiatAmount, PaymentMethod: o.PaymentMethod,
		Premium: o.Premium, ExpiresAt: o.ExpiresAt,
	}
	if o.Range() && o.FiatAmount == 0 {
		least, most := o.MinFiat, o.MaxFiat
		book.MinAmount, book.MaxAmount = &least, &most
	}
	return book
}

// Reputation is what others have said of an identity.
type Reputation struct {
	Reviews int64   `json:"reviews"`
	Rating  float64 `json:"rating"` // average, 0 without reviews
	Last    int64   `json:"last"`
	Max     int64   `json:"max"`
	Min     int64   `json:"min"`
	Since   int64   `json:"since"` // unix seconds of the first trade here
}

// Add counts one more rating. The first vote counts half, so that one friend does not make
// a five; the n-th moves the average by its n-th part.
func (r Reputation) Add(rating int64) Reputation {
	r.Reviews++
	if r.Reviews == 1 {
		r.Rating, r.Min, r.Max = float64(rating)/2, rating, rating
	} else {
		r.Rating += (float64(rating) - r.Rating) / float64(r.Reviews)
		r.Min, r.Max = min(r.Min, rating), max(r.Max, rating)
	}
	r.Last = rating
	return r
}

// Days is how many whole days the identity has been here.
func (r Reputation) Days(now int64) int64 { return max(0, now-r.Since) / 86400 }

// Shown is the status that people see: an order that is settling is still what it was.
func Shown(o *Order) mostro.Status {
	if o.Status == mostro.StatusSettling {
		return o.SettlingFrom
	}
	return o.Status
}

// Prompts tells whether somebody is asked to do something in a status, so that Prompt is
// worth its while.
func Prompts(s mostro.Status) bool {
	return contains(join(waiting, settled), s)
}

// Prompt is what the parties are asked to do now: the messages that asked for it, made anew
// for who has lost them.
func Prompt(o *Order) []Tell {
	copied := *o
	s := &step{o: &copied, out: &Out{}}
	switch {
	case o.Status == mostro.StatusWaitingPayment && o.Escrow.Invoice != "":
		tellPayInvoice.Apply(s)
	case o.Status == mostro.StatusWaitingBuyerInvoice, o.Status == mostro.StatusSettledHoldInvoice && o.Payout.State == PayoutAsking:
		tellBuyerAddInvoice.Apply(s)
	}
	return s.out.Tells
}
