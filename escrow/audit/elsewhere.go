package audit

import (
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Elsewhere is what was booked of another Lightning node than the one that is asked: the operator has
// moved, which the escrow allows when nothing of an order lies there any more.
type Elsewhere struct {
	Pubkey  string `json:"lightning_node"`
	Settled Tally  `json:"settled"` // what escrows brought in there
	Paid    Tally  `json:"paid"`    // what was paid from there
}

// makerOf is the node that has made a hold invoice, "" when that is not known. The invoice says it
// itself, by its signature; nothing else in the books does.
func (c *comparison) makerOf(hash order.Hash) string {
	maker, asked := c.maker[hash]
	if !asked {
		if invoice, err := lightning.Decode(c.invoice[hash]); err == nil && invoice.Hash == hash {
			maker = invoice.Payee
		}
		c.maker[hash] = maker
	}
	return maker
}

// elsewhere counts an entry of which the node knows nothing when the sats of its account came in at
// another node, and tells whether they did. What was paid of them was paid there: an order that is
// owed something forbids the move.
func (c *comparison) elsewhere(a *Account, e order.Entry) bool {
	if c.node.Pubkey == "" {
		return false
	}
	at := ""
	for _, in := range a.Ledger {
		if in.Kind != order.SettledIn || in.State != order.Booked {
			continue
		}
		if at = c.makerOf(in.Hash); at == "" || at == c.node.Pubkey {
			return false
		}
	}
	if at == "" {
		return false
	}
	there := c.away[at]
	if there == nil {
		there = &Elsewhere{Pubkey: at}
		c.away[at] = there
	}
	if e.Kind == order.SettledIn {
		there.Settled.add(e.Amount, 0)
	} else {
		there.Paid.add(e.Amount, e.Routing)
	}
	return true
}

// heldMissing is the difference of sats that the books hold and the node does not.
func (c *comparison) heldMissing(a *Account) {
	f := finding(HeldMissing, a.ID, a.Hold.Hash, a.Hold.Paid, 0)
	if maker := c.makerOf(a.Hold.Hash); c.node.Pubkey != "" && maker != "" && maker != c.node.Pubkey {
		f.Text = "the books say that sats are held, at another Lightning node: " + maker
		f.Do = "tell the parties nothing yet: audit against that node, which must be the escrow's for as long as it holds them"
	}
	c.r.Differences = append(c.r.Differences, f)
}
