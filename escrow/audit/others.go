package audit

import (
	"cmp"
	"slices"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// OthersHold is a hold invoice at the node that no order, bond or payout knows and that does not
// bear the escrow's mark: other software at the same node made it. One that is settled counts in
// OthersIn, since lnd does not tell it from an ordinary invoice any more.
type OthersHold struct {
	Hash      order.Hash          `json:"hash"`
	State     lightning.HoldState `json:"state"`
	Amount    order.Msat          `json:"amount"` // that it asks for, 0 = the payer decides
	Paid      order.Msat          `json:"paid"`   // that is held in it
	CreatedAt int64               `json:"created_at"`
}

// othersHolds lists what others hold at the node: what holds sats first, then the newest.
func (c *comparison) othersHolds() {
	for hash, i := range c.node.Invoices {
		if i.Hold && !c.ours[hash] && c.payer[hash] == "" {
			c.r.OthersHolds = append(c.r.OthersHolds, OthersHold{hash, i.State, i.Amount, i.AmountPaid, i.CreatedAt})
		}
	}
	rank := []lightning.HoldState{lightning.Accepted, lightning.Open, lightning.Canceled}
	slices.SortFunc(c.r.OthersHolds, func(a, b OthersHold) int {
		return cmp.Or(cmp.Compare(slices.Index(rank, a.State), slices.Index(rank, b.State)),
			cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.Hash.String(), b.Hash.String()))
	})
}
