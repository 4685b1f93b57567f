package order

import "mostro/escrow/mostro"

// HoldGone is the end of a hold invoice that is to be settled and that the node does not know any
// more: its HTLC has expired for good, and nothing came in. The engine, or an operator, says so; what
// proves it stands with missedSettle there.
const HoldGone EventName = "hold-gone"

// goneRows end what was conditional on such a settle, as the node's own cancellation does.
func goneRows() []Row {
	return []Row{
		{From: settling, On: HoldGone, By: Node, If: presentEscrow, To: mostro.StatusCanceled, Do: do(escrowGone, voidLiability, closeDisputeRefunded, tellEscrowLost, tellBothCanceled, tellSolverClosed, tellRestGone, alarmEscrowGone)},
	}
}

var (
	alarmEscrowGone = Effect{"alarm", func(s *step) {
		s.alarm("order %s: the escrow %s was released, and the node has lost it; its HTLC expired at block %d and nothing came in, so the order is canceled and nothing is owed: tell both parties, the buyer has sent his money",
			s.o.ID, s.prev.Escrow.Hash, s.prev.Escrow.ExpiryHeight)
	}}
	alarmBondGone = BondEffect{"alarm", func(s *bondStep) {
		s.alarm("bond %s of order %s: it was slashed, and the node has lost its hold invoice; its HTLC expired at block %d and nothing came in, so nothing is owed",
			s.b.ID, s.b.Order, s.prev.Hold.ExpiryHeight)
	}}
)

// askGone tells the operator what to do about a settle of an owner that the node does not confirm,
// "" while it still may.
func (h *Escrow) askGone(owner string, tip uint32) string {
	if h.State != EscrowSettling || tip == 0 || tip < h.ExpiryHeight {
		return ""
	}
	return ": its HTLC has expired. If LND still calls it accepted, lncli cancelinvoice " + h.Hash.String() +
		" ends it; if LND does not know it, find out whether its sats came in (the seller's wallet shows it), then mostro escrow " + owner + " --settled, or --gone, with --reason WHY"
}
