package order

import (
	"fmt"
	"reflect"
	"testing"

	"mostro/escrow/mostro"
)

// TestBackToBookForgets: an order that goes back into the book is the order that its maker made; nothing of a trade
// that came to nothing may count in the next one. What of an escrow and of payments is behind it stays, for audits, and
// what its two sides may say of the node.
func TestBackToBookForgets(t *testing.T) {
	for _, kind := range []mostro.OrderKind{mostro.Sell, mostro.Buy} {
		for _, of := range []struct{ market, ranged bool }{{}, {market: true}, {market: true, ranged: true}} {
			t.Run(fmt.Sprintf("%s market %v range %v", kind, of.market, of.ranged), func(t *testing.T) {
				made := Order{ID: "order", Kind: kind, FiatAmount: 50, Amount: 100_000, Fee: 300, Market: of.market, CreatedAt: 1, ExpiresAt: 1000}
				if of.market {
					made.Amount, made.Fee = 0, 0
				}
				if of.ranged {
					made.FiatAmount, made.MinFiat, made.MaxFiat = 0, 20, 100
				}
				*made.Maker() = Party{Trade: "maker", Identity: "maker-identity"}
				if kind == mostro.Buy {
					made.Payout = Payout{Invoice: "the maker's"}
				}

				o := made
				*o.Taker() = Party{Trade: "taker", Identity: "taker-identity"}
				o.FiatAmount, o.Amount, o.Fee = 50, 100_000, 300
				o.TakenAt, o.DutySince, o.DutyUptime = 2, 3, 4
				o.Escrow.AcceptedAt = 5
				o.BuyerReview, o.SellerReview = &ReviewRight{Key: "buyer"}, &ReviewRight{Key: "seller"}
				o.CancelBy, o.Awaits = "taker", &Awaited{By: "maker"}
				if kind == mostro.Sell {
					o.Payout = Payout{Invoice: "the taker's"}
				}

				made.Left = []LeftTake{{Taker: "taker", Week: "1970-W01", MakerReview: o.SellerReview, TakerReview: o.BuyerReview}}
				if kind == mostro.Buy {
					made.Left[0].MakerReview, made.Left[0].TakerReview = o.BuyerReview, o.SellerReview
				}

				backToBook.Apply(&step{o: &o})
				if !reflect.DeepEqual(o, made) {
					t.Errorf("back in the book is\n%+v\nmade was\n%+v", o, made)
				}
			})
		}
	}
}
