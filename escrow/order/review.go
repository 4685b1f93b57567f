package order

import "mostro/escrow/mostro"

// ReviewRight is the proof that one side of a trade was given for a review of the node: one for
// each side and trade, which the escrow's acceptance earns and not the end, so that the unhappy can
// speak as well. Who pays an escrow, asks and cancels gets one for nothing; such reviews weigh no
// more than the trades of their month that ended well (escrow/reviews).
type ReviewRight struct {
	Key  string `json:"key"` // of the reviewer, his choice, hex
	Week string `json:"week"`
}

// reviewOf is where the right of a party stands.
func (o *Order) reviewOf(trade string) **ReviewRight {
	if trade == o.Seller.Trade {
		return &o.SellerReview
	}
	return &o.BuyerReview
}

// ReviewWeek is the week that a proof for a review names, "" when the escrow was never accepted.
func ReviewWeek(o *Order) string {
	if o.Escrow.AcceptedAt == 0 {
		return ""
	}
	return mostro.ReviewWeek(o.Escrow.AcceptedAt)
}

// blockSeconds is the time between two blocks, as it should be.
const blockSeconds = 600

// reviewFrom is when a review may be published: now after the end, otherwise when the node
// cannot hold the escrow any longer.
func reviewFrom(o *Order, now int64) int64 {
	if Ended(o.Status) {
		return now
	}
	return o.Escrow.AcceptedAt + int64(o.Terms.CLTVDelta)*blockSeconds
}

func reviewKey(s *step) string { return *s.e.Message.Payload.ReviewKey }

var (
	neverAccepted   = Guard{"no escrow was accepted", func(s *step) bool { return ReviewWeek(s.o) == "" }}
	provenToAnother = Guard{"proven to another key", func(s *step) bool {
		right := *s.o.reviewOf(s.e.Sender)
		return right != nil && right.Key != reviewKey(s)
	}}
	// keyOfTrade keeps reviews from being linked: with such a key the node's word would say whose
	// the review is. Only his own keys are looked at: the answer must not tell a party whether he
	// has guessed a key of the other.
	keyOfTrade = Guard{"a key of his", func(s *step) bool {
		return reviewKey(s) == s.e.Sender || reviewKey(s) == s.e.Identity
	}}

	keepReview = Effect{"keep whose proof it is", func(s *step) {
		*s.o.reviewOf(s.e.Sender) = &ReviewRight{Key: reviewKey(s), Week: ReviewWeek(s.o)}
	}}
	tellReviewProof = Effect{"sender: review-proof", func(s *step) {
		proof := *s.f.Proof
		proof.From = reviewFrom(s.o, s.e.At)
		s.out.Tells = append(s.out.Tells, s.answer(s.e.Message.Wrapper, mostro.ProveReview, &mostro.Payload{ReviewProof: &proof}))
	}}
)
