package order

import (
	"slices"

	"mostro/escrow/mostro"
)

// ReviewRight is the proof that one side of a trade was given for a review of the node: one for
// each side and trade, which the escrow's acceptance earns and not the end, so that the unhappy can
// speak as well. Who pays an escrow, asks and cancels gets one for nothing; such reviews weigh no
// more than the trades of their month that ended well (escrow/reviews).
type ReviewRight struct {
	Key  string `json:"key"` // of the reviewer, his choice, hex
	Week string `json:"week"`
}

// reviewOf is where the right of a party to the present trade stands.
func (o *Order) reviewOf(trade string) **ReviewRight {
	if trade == o.Seller.Trade {
		return &o.SellerReview
	}
	return &o.BuyerReview
}

// LeftTake is what stays of a take whose escrow was accepted and which went back into the book: who had it, so
// that he is no stranger when he asks, and what the two may say of the node. It names no identity and no amount.
type LeftTake struct {
	Taker       string       `json:"taker"` // trade key, hex
	Week        string       `json:"week"`  // in which the escrow was accepted
	MakerReview *ReviewRight `json:"maker_review,omitempty"`
	TakerReview *ReviewRight `json:"taker_review,omitempty"`
}

// maxLeft is how many takes stay that went back into the book. Each has cost its taker an escrow that was held.
const maxLeft = 10

// leave keeps of the present take what reviews need, when its escrow was accepted.
func (o *Order) leave() {
	if o.Escrow.AcceptedAt == 0 {
		return
	}
	o.Left = append(o.Left, LeftTake{
		Taker: o.Taker().Trade, Week: mostro.ReviewWeek(o.Escrow.AcceptedAt),
		MakerReview: *o.reviewOf(o.Maker().Trade), TakerReview: *o.reviewOf(o.Taker().Trade),
	})
	o.Left = o.Left[max(0, len(o.Left)-maxLeft):]
}

// hasLeft tells whether a take of somebody with this trade key went back into the book.
func (o *Order) hasLeft(trade string) bool {
	return slices.ContainsFunc(o.Left, func(l LeftTake) bool { return l.Taker == trade })
}

// earned is one side of a trade whose escrow was accepted.
type earned struct {
	week  string
	from  int64         // when a review may be published, unix seconds
	right **ReviewRight // where it stands to whom the proof was given
}

// earnedBy are the sides of trades in the order that are somebody's, the latest trade first.
func (o *Order) earnedBy(trade string, now int64) (all []earned) {
	if o.Escrow.AcceptedAt != 0 && (trade == o.Buyer.Trade || trade == o.Seller.Trade) {
		all = append(all, earned{mostro.ReviewWeek(o.Escrow.AcceptedAt), reviewFrom(o, now), o.reviewOf(trade)})
	}
	for i := len(o.Left) - 1; i >= 0; i-- {
		switch l := &o.Left[i]; trade {
		case l.Taker:
			all = append(all, earned{l.Week, now, &l.TakerReview}) // that trade is over
		case o.Maker().Trade:
			all = append(all, earned{l.Week, now, &l.MakerReview})
		}
	}
	return all
}

// asked is the side of a trade that a request for a proof means, nil when there is none: the one that was proven
// to this key, so that whoever asks again is answered the same, else the latest that was proven to no key yet. So
// each side of each trade is proven to one key, and no key of somebody's is proven two of his trades in an order,
// whose weeks together could tell which order that was.
func (o *Order) asked(e Event) (meant *earned) {
	key := *e.Message.Payload.ReviewKey
	for _, side := range o.earnedBy(e.Sender, e.At) {
		switch right := *side.right; {
		case right != nil && right.Key == key:
			return &side
		case right == nil && meant == nil:
			meant = &side
		}
	}
	return meant
}

// ReviewWeek is the week that the proof for a message names, "" when there is nothing to prove to its key.
func ReviewWeek(o *Order, e Event) string {
	if e.On != on(mostro.ProveReview) {
		return ""
	}
	if side := o.asked(e); side != nil {
		return side.week
	}
	return ""
}

// blockSeconds is the time between two blocks, as it should be.
const blockSeconds = 600

// reviewFrom is when a review of the present trade may be published: now after its end, otherwise when the node
// cannot hold the escrow any longer.
func reviewFrom(o *Order, now int64) int64 {
	if Ended(o.Status) {
		return now
	}
	return o.Escrow.AcceptedAt + int64(o.Terms.CLTVDelta)*blockSeconds
}

func reviewKey(s *step) string { return *s.e.Message.Payload.ReviewKey }

var (
	neverAccepted   = Guard{"no escrow was accepted", func(s *step) bool { return len(s.o.earnedBy(s.e.Sender, s.e.At)) == 0 }}
	provenToAnother = Guard{"proven to another key", func(s *step) bool { return s.o.asked(s.e) == nil }}
	// keyOfTrade keeps reviews from being linked: with such a key the node's word would say whose
	// the review is. Only his own keys are looked at: the answer must not tell a party whether he
	// has guessed a key of the other.
	keyOfTrade = Guard{"a key of his", func(s *step) bool {
		return reviewKey(s) == s.e.Sender || reviewKey(s) == s.e.Identity
	}}

	keepReview = Effect{"keep whose proof it is", func(s *step) {
		side := s.o.asked(s.e)
		*side.right = &ReviewRight{Key: reviewKey(s), Week: side.week}
	}}
	tellReviewProof = Effect{"sender: review-proof", func(s *step) {
		proof := *s.f.Proof
		proof.From = s.o.asked(s.e).from
		s.out.Tells = append(s.out.Tells, s.answer(s.e.Message.Wrapper, mostro.ProveReview, &mostro.Payload{ReviewProof: &proof}))
	}}
)
