package order

import "mostro/escrow/mostro"

// Party is one side of a trade.
type Party struct {
	Trade    string `json:"trade,omitempty"`    // trade key, hex
	Identity string `json:"identity,omitempty"` // identity key, hex; equal to Trade in full privacy
	Index    int64  `json:"index,omitempty"`    // trade index, 0 in full privacy
}

// FullPrivacy tells that the party has no identity beside its trade key.
func (p Party) FullPrivacy() bool { return p.Identity == p.Trade }

// Terms are the settings that an order is born with and keeps.
type Terms struct {
	FeePPM              int64  `json:"fee_ppm"`         // of the amount, both sides together
	RoutingFeePPM       int64  `json:"routing_fee_ppm"` // cap of the payout's routing fee
	RoutingSubsidy      Sat    `json:"routing_subsidy"` // what the node adds when its own fee does not cover routing
	WaitingSeconds      int64  `json:"waiting_seconds"` // for the invoice, and again for the payment
	PaymentAttempts     int64  `json:"payment_attempts"`
	PaymentRetrySeconds int64  `json:"payment_retry_seconds"`
	DevFeePPM           int64  `json:"dev_fee_ppm,omitempty"`     // of the fee of both sides
	DevFeeAddress       string `json:"dev_fee_address,omitempty"` // Lightning address or LNURL
	PayoutGraceSeconds  int64  `json:"payout_grace_seconds"`      // from the failure of a hash to the try of another
	CLTVDelta           uint32 `json:"cltv_delta"`                // blocks, of hold invoices
	HoldExpiryDelta     uint32 `json:"hold_expiry_delta"`         // blocks before expiry at which lnd cancels by itself

	Bond *BondTerms `json:"bond,omitempty"` // nil = no bonds
}

// Order is one trade, the authority on where it stands.
type Order struct {
	ID     string           `json:"id"` // UUID, lower-case
	Rev    uint64           `json:"rev"`
	Kind   mostro.OrderKind `json:"kind"`
	Status mostro.Status    `json:"status"`
	// SettlingFrom is the status that clients go on seeing while Status is settling.
	SettlingFrom mostro.Status `json:"settling_from,omitempty"`

	FiatCode   string `json:"fiat_code"`
	FiatAmount int64  `json:"fiat_amount"` // 0 while a range order is not taken
	// MinFiat and MaxFiat bound the fiat amount that a taker may choose; 0 = no range.
	MinFiat       int64  `json:"min_fiat,omitempty"`
	MaxFiat       int64  `json:"max_fiat,omitempty"`
	PaymentMethod string `json:"payment_method"`
	Premium       int64  `json:"premium"`
	Amount        Sat    `json:"amount"` // 0 while a market order is not taken
	Market        bool   `json:"market"` // priced at the take
	Fee           Sat    `json:"fee"`    // of each side
	Terms         Terms  `json:"terms"`

	CreatedAt int64 `json:"created_at"` // unix seconds, like all times here
	ExpiresAt int64 `json:"expires_at"` // of the pending order
	// DutySince is when the present wait for an invoice or a payment began.
	DutySince int64 `json:"duty_since,omitempty"`
	// DutyUptime is Facts.Uptime of that moment: nobody is blamed for time in which the node
	// could not be reached.
	DutyUptime int64 `json:"duty_uptime,omitempty"`
	// PausedUntil is up to when time that the node was away was given back.
	PausedUntil int64 `json:"paused_until,omitempty"`
	TakenAt     int64 `json:"taken_at,omitempty"`

	Buyer  Party `json:"buyer"`
	Seller Party `json:"seller"`

	Escrow Escrow `json:"escrow"`
	Payout Payout `json:"payout"`
	Ledger Ledger `json:"ledger"`
	// DevFee is the way of the development fee, once it is owed.
	DevFee *DevFee `json:"dev_fee,omitempty"`

	// Parent is the range order that this one is the remainder of.
	Parent string `json:"parent,omitempty"`
	// Next is the key that the maker of a range order wants for the remainder.
	Next *Party `json:"next,omitempty"`

	// BuyerRated and SellerRated are what each has given the other, 0 = nothing yet.
	BuyerRated  int `json:"buyer_rated,omitempty"`
	SellerRated int `json:"seller_rated,omitempty"`

	// BuyerReview and SellerReview are what each may say of the node, nil = not asked yet.
	BuyerReview  *ReviewRight `json:"buyer_review,omitempty"`
	SellerReview *ReviewRight `json:"seller_review,omitempty"`
	// Left are earlier takes whose escrow was accepted, the latest last, at most maxLeft.
	Left []LeftTake `json:"left,omitempty"`

	// RenewedAt is when a pending order was last shown anew in the book.
	RenewedAt int64 `json:"renewed_at,omitempty"`

	// SettledBy is the solver who decided for the buyer, "" for a release by the seller.
	SettledBy string `json:"settled_by,omitempty"`

	// CancelBy is the trade key that asked for a cooperative cancel.
	CancelBy string   `json:"cancel_by,omitempty"`
	Dispute  *Dispute `json:"dispute,omitempty"`

	// Awaits is a request whose answer waits for the node.
	Awaits *Awaited `json:"awaits,omitempty"`

	// Rung counts the steps of the deadline ladder that were climbed.
	Rung int `json:"rung,omitempty"`
	// Alarmed is when the operator was last told that this order is overdue.
	Alarmed int64 `json:"alarmed,omitempty"`
}

// Maker is the side that made the order.
func (o *Order) Maker() *Party {
	if o.Kind == mostro.Sell {
		return &o.Seller
	}
	return &o.Buyer
}

// Taker is the other side; empty while nobody has taken the order.
func (o *Order) Taker() *Party {
	if o.Kind == mostro.Sell {
		return &o.Buyer
	}
	return &o.Seller
}

// Range tells that the taker chooses the fiat amount.
func (o *Order) Range() bool { return o.MaxFiat > 0 }

// SellerPays is what the hold invoice asks for.
func (o *Order) SellerPays() Sat { return o.Amount + o.Fee }

// BuyerGets is what the payout brings to the buyer.
func (o *Order) BuyerGets() Sat { return o.Amount - o.Fee }

// Awaited is who asked, and with which request id.
type Awaited struct {
	By        string  `json:"by"` // trade key
	RequestID *uint64 `json:"request_id,omitempty"`
	Told      bool    `json:"told,omitempty"` // that the node makes him wait
}

// EscrowState is where the present hold invoice stands, as far as this order knows.
type EscrowState string

const (
	EscrowNone     EscrowState = ""
	EscrowOpening  EscrowState = "opening"  // asked for; the node has not answered yet
	EscrowOpen     EscrowState = "open"     // the seller has the invoice
	EscrowAccepted EscrowState = "accepted" // the seller's sats are held
	EscrowSettling EscrowState = "settling" // the settle intent is stored
	EscrowSettled  EscrowState = "settled"
	EscrowCanceled EscrowState = "canceled" // intended by us or told by the node
)

// Live tells that the node has the invoice, or is to make it, and that it may hold sats.
func (s EscrowState) Live() bool {
	return s == EscrowOpening || s == EscrowOpen || s == EscrowAccepted || s == EscrowSettling
}

// Escrow is the hold invoice of an order. Each take that needs one is a new attempt with
// a new hash: a node refuses a hash for ever once it has seen it.
type Escrow struct {
	Attempt      uint32      `json:"attempt"`
	Hash         Hash        `json:"hash"`
	Invoice      string      `json:"invoice,omitempty"` // BOLT11
	State        EscrowState `json:"state,omitempty"`
	Paid         Msat        `json:"paid,omitempty"`
	ExpiryHeight uint32      `json:"expiry_height,omitempty"` // of the HTLC that expires first
	AcceptedAt   int64       `json:"accepted_at,omitempty"`
	// AcceptedHeight is the block at which the payment was heard of, 0 = not known. Who pays may give
	// an HTLC more time than he was asked to, and the trade has no more by that.
	AcceptedHeight uint32 `json:"accepted_height,omitempty"`
	// Missing: the node does not know the invoice any more, though it had made it.
	Missing bool `json:"missing,omitempty"`
}

// PayoutState is where the payout to the buyer stands.
type PayoutState string

const (
	PayoutNone      PayoutState = ""
	PayoutResolving PayoutState = "resolving" // the payee's server is asked for an invoice
	PayoutSending   PayoutState = "sending"   // asked for; the node has not acknowledged it yet
	PayoutFlying    PayoutState = "flying"    // acknowledged by the node
	PayoutFailed    PayoutState = "failed"    // the node said so; will be tried again
	PayoutAsking    PayoutState = "asking"    // the buyer is asked for another invoice
	PayoutUnknown   PayoutState = "unknown"   // the node no longer knows a payment it had acknowledged
	PayoutPaid      PayoutState = "paid"
)

// Busy tells that no other hash may be paid now.
func (s PayoutState) Busy() bool {
	return s == PayoutSending || s == PayoutFlying || s == PayoutUnknown || s == PayoutPaid
}

// Payout is the payment to the buyer.
type Payout struct {
	// Address is where invoices for the payout come from, when the buyer gave a Lightning
	// address instead of an invoice. Each try gets its own.
	Address string `json:"address,omitempty"`
	Invoice string `json:"invoice,omitempty"` // BOLT11, "" until there is one
	Hash    Hash   `json:"hash"`
	// UnsentIn is the run of the process in which Hash came in place of another, while the node was not
	// asked to pay it; 0 = it was asked, or may have been.
	UnsentIn uint64      `json:"unsent_in,omitempty"`
	State    PayoutState `json:"state,omitempty"`
	Attempts int64       `json:"attempts,omitempty"` // with this invoice
	// Tries counts every time that a payment was asked for. News of a failure counts only for
	// the try it speaks of: an old one may arrive when the same hash is under way again.
	Tries   int64  `json:"tries,omitempty"`
	Earlier []Hash `json:"earlier,omitempty"` // hashes tried before, each reported failed
	// FailedAt and EarlierFailedAt are when Hash, and the last of Earlier, were reported failed;
	// FailedUptime and EarlierFailedUptime are Facts.Uptime of that moment and one more, 0 = not known.
	FailedAt            int64 `json:"failed_at,omitempty"`
	EarlierFailedAt     int64 `json:"earlier_failed_at,omitempty"`
	FailedUptime        int64 `json:"failed_uptime,omitempty"`
	EarlierFailedUptime int64 `json:"earlier_failed_uptime,omitempty"`
	Asked               int64 `json:"asked,omitempty"` // times that another invoice was asked for
	// Replaced is how often the payee has given another invoice or address since the last try.
	Replaced int64 `json:"replaced,omitempty"`
	NextTry  int64 `json:"next_try,omitempty"`
	Since    int64 `json:"since,omitempty"` // of State
}

// Hashes are all payment hashes that the node was ever asked to pay, and the present one.
func (p Payout) Hashes() []Hash {
	if p.Hash.IsZero() {
		return p.Earlier
	}
	return append(append([]Hash(nil), p.Earlier...), p.Hash)
}

// Claims are the payment hashes that no other order may use: those of the buyer's invoices, of the
// development fee and of what was given back by hand, until the order has ended without a payment.
func Claims(o *Order) []Hash {
	if Ended(o.Status) && o.Payout.State == PayoutNone {
		return nil
	}
	claims := append(o.Payout.Hashes(), o.Ledger.handed()...)
	if o.DevFee != nil {
		claims = append(claims, o.DevFee.Payout.Hashes()...)
	}
	return claims
}

// DisputeStatus is the status of kind 38386.
type DisputeStatus string

const (
	DisputeInitiated      DisputeStatus = "initiated"
	DisputeInProgress     DisputeStatus = "in-progress"
	DisputeSettled        DisputeStatus = "settled"
	DisputeSellerRefunded DisputeStatus = "seller-refunded"
)

// Dispute is the dispute of an order; there is at most one.
type Dispute struct {
	ID        string        `json:"id"` // UUID
	Status    DisputeStatus `json:"status"`
	Initiator string        `json:"initiator"` // "buyer" or "seller"
	Previous  mostro.Status `json:"previous"`
	CreatedAt int64         `json:"created_at"`
	// Solver is the identity key of who has taken the dispute, "" while nobody has.
	Solver      string `json:"solver,omitempty"`
	SolverLevel Level  `json:"solver_level,omitempty"`
	TakenAt     int64  `json:"taken_at,omitempty"`
}

// Level is what a person may do in disputes of other people.
type Level int

const (
	NoSolver  Level = 0
	ReadOnly  Level = 1 // may take a dispute and look
	ReadWrite Level = 2 // may decide it
	AdminKey  Level = 3 // the node's own key, or one that the settings list
)
