package mostro

// Wrapper is the one key of the outermost JSON object of a message.
type Wrapper string

const (
	WrapOrder   Wrapper = "order"
	WrapDispute Wrapper = "dispute"
	WrapCantDo  Wrapper = "cant-do"
	WrapRate    Wrapper = "rate"
	WrapDM      Wrapper = "dm"
	WrapRestore Wrapper = "restore"
)

// Message is what two parties of the protocol say to each other, before any envelope.
type Message struct {
	Wrapper    Wrapper
	Version    int
	RequestID  *uint64 // a full 64-bit number, echoed digit for digit
	TradeIndex *int64
	ID         string // order or dispute id, lower-case hyphenated UUID, "" when absent
	Action     Action
	Payload    *Payload // nil is JSON null
}

// Payload holds exactly one of its fields.
type Payload struct {
	Order             *SmallOrder
	PaymentRequest    *PaymentRequest
	TextMessage       *string
	Peer              *Peer
	RatingUser        *int
	Amount            *int64
	Dispute           *DisputeRef
	CantDo            *Reason
	NextTrade         *NextTrade
	PaymentFailed     *PaymentFailedInfo
	RestoreData       *RestoreData
	IDs               []string
	Orders            []SmallOrder
	BondResolution    *BondResolution
	BondPayoutRequest *BondPayoutRequest
	ReviewKey         *string      // of a ProveReview to the node: whose proof it becomes, hex
	ReviewProof       *ReviewProof // the answer
	// Other is the key of a payload that the protocol knows but this node does not
	// support (Cashu); its value is not kept.
	Other string
}

// SmallOrder is an order as clients see it. Amounts are sats and whole units of fiat.
type SmallOrder struct {
	ID                string    // "" = omitted
	Kind              OrderKind // "" = null
	Status            Status    // "" = null
	Amount            int64
	FiatCode          string
	MinAmount         *int64
	MaxAmount         *int64
	FiatAmount        int64
	PaymentMethod     string
	Premium           int64
	BuyerTradePubkey  string // "" = omitted
	SellerTradePubkey string // "" = omitted
	BuyerInvoice      string // "" = omitted
	CreatedAt         *int64
	ExpiresAt         *int64
}

// PaymentRequest is a BOLT11 invoice (or a Lightning address) with what it pays for.
type PaymentRequest struct {
	Order   *SmallOrder
	Invoice string
	Amount  *int64
}

// Peer is the other side of a trade. Pubkey is 64 hex digits or "".
type Peer struct {
	Pubkey     string
	Reputation *UserInfo
}

// UserInfo is the reputation of a user.
type UserInfo struct {
	Rating        float64
	Reviews       int64
	OperatingDays int64
}

// DisputeRef names a dispute; Info is sent to solvers only.
type DisputeRef struct {
	ID   string
	Info *SolverDisputeInfo
}

// SolverDisputeInfo is what a solver gets to see of a disputed order. The preimage of the
// hold invoice is not part of it, on purpose: clients read the field, and get null.
type SolverDisputeInfo struct {
	ID                     string
	Kind                   OrderKind
	Status                 Status
	Hash                   string // "" = null
	OrderPreviousStatus    Status
	InitiatorPubkey        string
	BuyerPubkey            string
	SellerPubkey           string
	InitiatorFullPrivacy   bool
	CounterpartFullPrivacy bool
	InitiatorInfo          *UserInfo
	CounterpartInfo        *UserInfo
	Premium                int64
	PaymentMethod          string
	Amount                 int64
	FiatAmount             int64
	Fee                    int64
	RoutingFee             int64
	BuyerInvoice           string // "" = null
	InvoiceHeldAt          int64
	TakenAt                int64
	CreatedAt              int64
}

// NextTrade names the trade key that the maker of a range order wants for the remainder.
type NextTrade struct {
	Pubkey string
	Index  int64
}

// PaymentFailedInfo tells a buyer that a payout failed; the interval is in seconds.
type PaymentFailedInfo struct {
	Attempts        int64
	RetriesInterval int64
}

// RestoreData is what a user who lost his device gets back.
type RestoreData struct {
	Orders   []RestoredOrder
	Disputes []RestoredDispute
}

// RestoredOrder is one live order of the user.
type RestoredOrder struct {
	OrderID    string
	TradeIndex int64
	Status     Status
}

// RestoredDispute is one open dispute of the user.
type RestoredDispute struct {
	DisputeID    string
	OrderID      string
	TradeIndex   int64
	Status       string
	Initiator    string // "buyer", "seller", "" = null
	SolverPubkey string // "" = null
}

// BondResolution is a solver's decision on the bonds of a dispute.
type BondResolution struct {
	SlashSeller bool
	SlashBuyer  bool
}

// BondPayoutRequest asks the winner of a slashed bond for an invoice.
type BondPayoutRequest struct {
	Order     SmallOrder
	SlashedAt int64
}
