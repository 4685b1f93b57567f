package order

import "mostro/escrow/mostro"

// Book is the order as everybody sees it in the order book (kind 38383), nil while nothing
// is public. The engine publishes whenever a step changes it, so the book is always true.
func Book(o *Order) *mostro.BookOrder {
	public, ok := mostro.PublicStatus(o.Kind, o.Status)
	if !ok || o.Status == none {
		return nil
	}
	return &mostro.BookOrder{
		ID: o.ID, Kind: o.Kind, Status: public, Amount: int64(o.Amount),
		FiatCode: o.FiatCode, FiatAmount: o.FiatAmount, PaymentMethod: o.PaymentMethod,
		Premium: o.Premium, ExpiresAt: o.ExpiresAt,
	}
}
