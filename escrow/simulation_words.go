package escrow

import (
	"context"
	"slices"
	"strings"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// losePayment has the node delete a payment that is over before the engine has heard how it ended: from then on nobody but
// the payee knows. Not where the node has lied, a late call may still try it, or an old copy of the store may be put back:
// what is gone at the node while it can still be paid, or while the books may not have it, nobody can find out about.
func (s *Simulation) losePayment(each watch) {
	p, ok := s.node.PaymentState(each.hash)
	if !ok || p.State == lightning.InFlight || s.lied[each.hash] || s.restores() || s.steady || s.wall.Before(s.sends[each.hash]) {
		return
	}
	for _, payout := range s.payoutsOf(each.order, each.bond) {
		if payout.State == order.PayoutFlying && payout.Hash == each.hash && s.fault(faultLostPayment, 30) {
			s.forgotten[each.hash] = p
			s.node.ForgetPayment(each.hash)
		}
	}
}

// payoutsOf are the payouts of a bond, or of an order and its development fee.
func (s *Simulation) payoutsOf(id, bond string) (list []order.Payout) {
	if b := s.bonds[bond]; b != nil {
		return append(list, b.Payout)
	}
	if o := s.rows[id]; o != nil && bond == "" {
		if list = append(list, o.Payout); o.DevFee != nil {
			list = append(list, o.DevFee.Payout)
		}
	}
	return list
}

// explain is the operator, who asks the payees what became of the payments that the node has deleted, and says whose a
// payment is that the store has forgotten.
func (s *Simulation) explain(ctx context.Context) {
	if len(s.forgotten) > 0 {
		for _, id := range s.e.live.ids() {
			s.tellLost(ctx, id, s.payoutsOf(id, ""))
		}
		for _, id := range s.e.live.bondIDs() {
			s.tellLost(ctx, id, s.payoutsOf("", id))
		}
	}
	if s.restored > 0 {
		s.explainStrays(ctx)
	}
}

// tellLost says of payments that the node has lost whether they have arrived. He is sure: what has not, never will.
func (s *Simulation) tellLost(ctx context.Context, id string, payouts []order.Payout) {
	for _, p := range payouts {
		was, gone := s.forgotten[p.Hash]
		if p.State != order.PayoutUnknown || !gone {
			continue
		}
		word, kind := Payout{ID: id, Sure: true, Reason: "the payee says so"}, simDenied
		if was.State == lightning.Succeeded {
			word.Paid, kind = p.Hash, simVouched
		}
		said, err := s.e.TellPayout(ctx, word)
		if err == nil {
			s.Stats.Kinds[kind]++
		}
		s.say("the operator says of %.4s that payment %.4s is %s: %s %v", id, p.Hash, was.State, said, err)
	}
}

// explainStrays says of each payment that the engine finds at the node and not in its books whose it is.
func (s *Simulation) explainStrays(ctx context.Context) {
	var hashes []order.Hash
	for hash := range s.e.guards.strays {
		hashes = append(hashes, hash)
	}
	slices.SortFunc(hashes, byText)
	for _, hash := range hashes {
		s.node.Unstick(hash)
		id := ""
		if d := s.byPayment[hash]; d != nil {
			id = s.payeeOf(d, hash)
		}
		err := s.e.ExplainStray(ctx, hash, id, "the payee says so")
		s.say("the operator says that payment %.4s is of %q: %v", hash, id, err)
	}
}

// payeeOf is the order or the bond that a payment is to be booked for; "" when the store does not
// know the deal any more.
func (s *Simulation) payeeOf(d *deal, hash order.Hash) string {
	for what, hashes := range d.asked {
		if !slices.Contains(hashes, hash) {
			continue
		}
		id := d.id
		if of, ok := strings.CutPrefix(what, winnerOf); ok {
			id = of
		}
		if o := s.rows[id]; o != nil && o.Escrow.Hash == d.hold && o.Escrow.State != order.EscrowCanceled && !order.Over(o) {
			return id
		}
		if s.bonds[id] != nil {
			return id
		}
	}
	return ""
}
