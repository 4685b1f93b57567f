package mostro

// Action names what a message asks for or tells. Kebab-case on the wire.
type Action string

// The actions of the protocol. What each one means, and who may send it, is in the
// transition table of package order.
const (
	NewOrder                         Action = "new-order"
	TakeSell                         Action = "take-sell"
	TakeBuy                          Action = "take-buy"
	PayInvoice                       Action = "pay-invoice"
	PayBondInvoice                   Action = "pay-bond-invoice"
	FiatSent                         Action = "fiat-sent"
	FiatSentOk                       Action = "fiat-sent-ok"
	Release                          Action = "release"
	Released                         Action = "released"
	Cancel                           Action = "cancel"
	Canceled                         Action = "canceled"
	CooperativeCancelInitiatedByYou  Action = "cooperative-cancel-initiated-by-you"
	CooperativeCancelInitiatedByPeer Action = "cooperative-cancel-initiated-by-peer"
	CooperativeCancelAccepted        Action = "cooperative-cancel-accepted"
	Dispute                          Action = "dispute"
	DisputeInitiatedByYou            Action = "dispute-initiated-by-you"
	DisputeInitiatedByPeer           Action = "dispute-initiated-by-peer"
	BuyerInvoiceAccepted             Action = "buyer-invoice-accepted"
	PurchaseCompleted                Action = "purchase-completed"
	HoldInvoicePaymentAccepted       Action = "hold-invoice-payment-accepted"
	HoldInvoicePaymentSettled        Action = "hold-invoice-payment-settled"
	HoldInvoicePaymentCanceled       Action = "hold-invoice-payment-canceled"
	WaitingSellerToPay               Action = "waiting-seller-to-pay"
	WaitingBuyerInvoice              Action = "waiting-buyer-invoice"
	AddInvoice                       Action = "add-invoice"
	AddBondInvoice                   Action = "add-bond-invoice"
	BondInvoiceAccepted              Action = "bond-invoice-accepted"
	BondPayoutCompleted              Action = "bond-payout-completed"
	BondSlashed                      Action = "bond-slashed"
	InvoiceUpdated                   Action = "invoice-updated"
	BuyerTookOrder                   Action = "buyer-took-order"
	Rate                             Action = "rate"
	RateUser                         Action = "rate-user"
	RateReceived                     Action = "rate-received"
	CantDo                           Action = "cant-do"
	AdminCancel                      Action = "admin-cancel"
	AdminCanceled                    Action = "admin-canceled"
	AdminSettle                      Action = "admin-settle"
	AdminSettled                     Action = "admin-settled"
	AdminAddSolver                   Action = "admin-add-solver"
	AdminTakeDispute                 Action = "admin-take-dispute"
	AdminTookDispute                 Action = "admin-took-dispute"
	PaymentFailed                    Action = "payment-failed"
	SendDM                           Action = "send-dm"
	TradePubkey                      Action = "trade-pubkey"
	RestoreSession                   Action = "restore-session"
	LastTradeIndex                   Action = "last-trade-index"
	Orders                           Action = "orders"
	// ProveReview is ours: it asks for a ReviewProof, and brings it. Clients that do not know
	// it never send it, and so never hear it.
	ProveReview Action = "review-proof"
)

// Status is where an order stands. Kebab-case on the wire.
type Status string

// The statuses of the protocol. Settling is ours: the settle intent is stored and LND has
// not yet confirmed it. It never leaves the process under its own name.
const (
	StatusPending               Status = "pending"
	StatusWaitingBuyerInvoice   Status = "waiting-buyer-invoice"
	StatusWaitingPayment        Status = "waiting-payment"
	StatusActive                Status = "active"
	StatusFiatSent              Status = "fiat-sent"
	StatusSettling              Status = "settling"
	StatusSettledHoldInvoice    Status = "settled-hold-invoice"
	StatusSuccess               Status = "success"
	StatusCanceled              Status = "canceled"
	StatusCooperativelyCanceled Status = "cooperatively-canceled"
	StatusExpired               Status = "expired"
	StatusDispute               Status = "dispute"
	StatusCanceledByAdmin       Status = "canceled-by-admin"
	StatusSettledByAdmin        Status = "settled-by-admin"
	StatusCompletedByAdmin      Status = "completed-by-admin"
	StatusInProgress            Status = "in-progress"
	StatusWaitingTakerBond      Status = "waiting-taker-bond"
	StatusWaitingMakerBond      Status = "waiting-maker-bond"
)

// OrderKind is the maker's side: a sell order is made by the seller of bitcoin.
type OrderKind string

const (
	Buy  OrderKind = "buy"
	Sell OrderKind = "sell"
)

// Reason says why a request cannot be done. Snake_case on the wire.
type Reason string

const (
	InvalidSignature      Reason = "invalid_signature"
	InvalidTradeIndex     Reason = "invalid_trade_index"
	InvalidAmount         Reason = "invalid_amount"
	InvalidInvoice        Reason = "invalid_invoice"
	InvalidPaymentRequest Reason = "invalid_payment_request"
	InvalidPeer           Reason = "invalid_peer"
	InvalidRating         Reason = "invalid_rating"
	InvalidTextMessage    Reason = "invalid_text_message"
	InvalidOrderKind      Reason = "invalid_order_kind"
	InvalidOrderStatus    Reason = "invalid_order_status"
	InvalidPubkey         Reason = "invalid_pubkey"
	InvalidParameters     Reason = "invalid_parameters"
	InvalidPayload        Reason = "invalid_payload"
	OrderAlreadyCanceled  Reason = "order_already_canceled"
	CantCreateUser        Reason = "cant_create_user"
	IsNotYourOrder        Reason = "is_not_your_order"
	NotAllowedByStatus    Reason = "not_allowed_by_status"
	OutOfRangeFiatAmount  Reason = "out_of_range_fiat_amount"
	OutOfRangeSatsAmount  Reason = "out_of_range_sats_amount"
	PriceTooStale         Reason = "price_too_stale"
	IsNotYourDispute      Reason = "is_not_your_dispute"
	DisputeTakenByAdmin   Reason = "dispute_taken_by_admin"
	NotAuthorized         Reason = "not_authorized"
	DisputeCreationError  Reason = "dispute_creation_error"
	NotFound              Reason = "not_found"
	InvalidDisputeStatus  Reason = "invalid_dispute_status"
	InvalidAction         Reason = "invalid_action"
	PendingOrderExists    Reason = "pending_order_exists"
	InvalidFiatCurrency   Reason = "invalid_fiat_currency"
	TooManyRequests       Reason = "too_many_requests"
)

// Kinds of Nostr events that the protocol uses.
const (
	KindMetadata  = 0     // NIP-01
	KindMessage   = 14    // envelope of protocol version 2, signed by the trade key
	KindRelayList = 10002 // NIP-65
	KindGiftWrap  = 1059  // NIP-59, envelope of protocol version 1
	KindRates     = 30078
	KindOrder     = 38383 // NIP-69
	KindRating    = 38384
	KindInfo      = 38385
	KindDispute   = 38386
	KindDevFee    = 8383
	KindReview    = 31986 // of a node by a trader, in the form of RoboSats
	// What other people say of a node.
	KindRecommendation = 38000 // NIP-87
	KindLabel          = 1985  // NIP-32
)
