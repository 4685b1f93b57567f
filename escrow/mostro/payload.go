package mostro

// The keys of a payload.
const (
	payloadOrder             = "order"
	payloadPaymentRequest    = "payment_request"
	payloadTextMessage       = "text_message"
	payloadPeer              = "peer"
	payloadRatingUser        = "rating_user"
	payloadAmount            = "amount"
	payloadDispute           = "dispute"
	payloadCantDo            = "cant_do"
	payloadNextTrade         = "next_trade"
	payloadPaymentFailed     = "payment_failed"
	payloadRestoreData       = "restore_data"
	payloadIDs               = "ids"
	payloadOrders            = "orders"
	payloadBondResolution    = "bond_resolution"
	payloadBondPayoutRequest = "bond_payout_request"
	payloadReviewKey         = "review_key"
	payloadReviewProof       = "review_proof"
	payloadCashuLockProof    = "cashu_lock_proof"
	payloadCashuSignatures   = "cashu_signatures"
)

// keys lists what the payload holds, which should be one thing; nothing for nil.
func (p *Payload) keys() []string {
	if p == nil {
		return nil
	}
	var keys []string
	add := func(held bool, key string) {
		if held {
			keys = append(keys, key)
		}
	}
	add(p.Order != nil, payloadOrder)
	add(p.PaymentRequest != nil, payloadPaymentRequest)
	add(p.TextMessage != nil, payloadTextMessage)
	add(p.Peer != nil, payloadPeer)
	add(p.RatingUser != nil, payloadRatingUser)
	add(p.Amount != nil, payloadAmount)
	add(p.Dispute != nil, payloadDispute)
	add(p.CantDo != nil, payloadCantDo)
	add(p.NextTrade != nil, payloadNextTrade)
	add(p.PaymentFailed != nil, payloadPaymentFailed)
	add(p.RestoreData != nil, payloadRestoreData)
	add(p.IDs != nil, payloadIDs)
	add(p.Orders != nil, payloadOrders)
	add(p.BondResolution != nil, payloadBondResolution)
	add(p.BondPayoutRequest != nil, payloadBondPayoutRequest)
	add(p.ReviewKey != nil, payloadReviewKey)
	add(p.ReviewProof != nil, payloadReviewProof)
	add(p.Other != "", p.Other)
	return keys
}
