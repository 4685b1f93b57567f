package order

import "mostro/escrow/mostro"

// EventName says what happened. Messages from people keep their action's name.
type EventName string

// News from the Lightning node.
const (
	HoldOpened    EventName = "hold-opened"   // the invoice exists and can be paid
	HoldAccepted  EventName = "hold-accepted" // paid, held
	HoldSettled   EventName = "hold-settled"
	HoldCanceled  EventName = "hold-canceled"
	HoldUnknown   EventName = "hold-unknown"   // the node has not known it for a while
	HoldUsed      EventName = "hold-used"      // its hash is that of an invoice which this store has forgotten
	PayResolved   EventName = "pay-resolved"   // the payee's server has given Event.Invoice
	PayFound      EventName = "pay-found"      // an operator found a payment that a restored store did not know
	PayUnresolved EventName = "pay-unresolved" // it has not, or nothing that can be paid
	PayAcked      EventName = "pay-acked"      // the node has taken the payment over
	PaySucceeded  EventName = "pay-succeeded"  // final
	PayFailed     EventName = "pay-failed"     // final for this try
	PayRefused    EventName = "pay-refused"    // the node will never pay this invoice; nothing was sent
	PayUnheard    EventName = "pay-unheard"    // told to pay often enough, the node has acknowledged nothing and knows of none
	PayUnknown    EventName = "pay-unknown"    // acknowledged once, now not known to the node
)

// What the clock says.
const (
	Expire         EventName = "expire"          // a pending order's time is over
	WaitingTimeout EventName = "waiting-timeout" // somebody did not pay or give an invoice in time
	RetryPayout    EventName = "retry-payout"
	AskAgain       EventName = "ask-again" // for an invoice
	Overdue        EventName = "overdue"   // the operator should look
	LadderWarn     EventName = "ladder-warn"
	LadderLastCall EventName = "ladder-last-call"
	LadderDeadline EventName = "ladder-deadline"
	Resumed        EventName = "resumed"    // this process was away for Event.Pause seconds
	Drained        EventName = "drained"    // the operator wants the book empty
	Renew          EventName = "renew"      // clients do not look at old events of the book
	CallWaits      EventName = "call-waits" // the node has not done at once what it was asked for
)

// Event is one thing that happened to one order.
type Event struct {
	// ID names the event for ever: a second event of the same id does nothing.
	ID    string    `json:"id"`
	On    EventName `json:"on"`
	Order string    `json:"order,omitempty"` // "" for new-order
	At    int64     `json:"at"`              // unix seconds
	// Seed is 32 random bytes, from which new ids are made.
	Seed [32]byte `json:"seed"`

	// Of a person's message.
	Sender   string          `json:"sender,omitempty"`   // trade key
	Identity string          `json:"identity,omitempty"` // identity key, = Sender in full privacy
	Message  *mostro.Message `json:"message,omitempty"`
	// Transport is the protocol version by which it came and is answered: 1 or 2.
	Transport int `json:"transport,omitempty"`

	// Bond is the bond that news of the node or the clock is about, "" for the order itself.
	Bond string `json:"bond,omitempty"`
	// inside: an order and its bonds say it to each other.
	inside bool

	// Of the clock.
	Pause int64 `json:"pause,omitempty"`

	// Of the node.
	Hold    *HoldNotice    `json:"hold,omitempty"`
	Payment *PaymentNotice `json:"payment,omitempty"`
	// Invoice is what an address was resolved to.
	Invoice *Invoice `json:"invoice,omitempty"`
}

// lost is how much of the pause before the event somebody has lost whose duty began at since, and
// who was given back what was lost until then: a pause that is told again counts once.
func (e Event) lost(since, until int64) int64 { return max(0, e.At-max(e.At-e.Pause, since, until)) }

// HoldNotice is what the node says of a hold invoice.
type HoldNotice struct {
	Hash         Hash   `json:"hash"`
	Invoice      string `json:"invoice,omitempty"`
	Paid         Msat   `json:"paid,omitempty"`
	ExpiryHeight uint32 `json:"expiry_height,omitempty"`
	Word         string `json:"word,omitempty"` // why an operator says so, where the node does not know it
}

// PaymentNotice is what the node says of a payment.
type PaymentNotice struct {
	Hash    Hash   `json:"hash"`
	Try     int64  `json:"try,omitempty"` // the Payout.Tries that this is about
	Routing Msat   `json:"routing,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Facts are what Step must know beside the order and the event. The engine loads them; they
// are kept with the event, so that a history can be replayed.
type Facts struct {
	Terms Terms `json:"terms"` // for an order that is born now
	Rules Rules `json:"rules"`

	Price      *Price   `json:"price,omitempty"` // fresh price in the order's currency, nil when there is none
	Invoice    *Invoice `json:"invoice,omitempty"`
	InvoiceBad string   `json:"invoice_bad,omitempty"` // why the invoice of the message could not be read
	// Address is a Lightning address (or LNURL) that was given instead of an invoice; only its
	// form is known to be right.
	Address string `json:"address,omitempty"`
	// HashOwner is the order that has recorded the hash of Invoice before, "" when none has.
	HashOwner string `json:"hash_owner,omitempty"`

	// Proof is signed for the review key of the message.
	Proof *mostro.ReviewProof `json:"proof,omitempty"`

	LastIndex int64 `json:"last_index,omitempty"` // of the sender's identity
	Level     Level `json:"level,omitempty"`      // of the sender's identity
	// Open counts the orders of the sender's identity that wait in the book.
	Open int `json:"open,omitempty"`
	// Buyer and Seller are the reputations of the two identities, nil in full privacy.
	Buyer  *Reputation `json:"buyer,omitempty"`
	Seller *Reputation `json:"seller,omitempty"`
	// Takes counts the orders that the sender's identity has taken and that wait for an invoice
	// or a payment of anybody.
	Takes int `json:"takes,omitempty"`
	// NextTaken: the key that a maker names for the rest of a range is somebody's already.
	NextTaken bool `json:"next_taken,omitempty"`
	// AssignedLevel is what the solver who has the dispute may do now.
	AssignedLevel Level `json:"assigned_level,omitempty"`
	// Solvers are the keys that hear of a new dispute: admins and solvers.
	Solvers []string `json:"solvers,omitempty"`
	// WaitingAsBuyer and WaitingAsSeller: the sender's identity has another order in which it
	// owes an invoice, or a payment.
	WaitingAsBuyer  bool `json:"waiting_as_buyer,omitempty"`
	WaitingAsSeller bool `json:"waiting_as_seller,omitempty"`

	Node NodeFacts `json:"node"`
	// Closed says to a trader why nothing new begins here now, "" when it does.
	Closed string `json:"closed,omitempty"`

	// Uptime counts the seconds in which this node, ever since it exists, ran with its Lightning
	// node ready.
	Uptime int64 `json:"uptime,omitempty"`
	// Run is a number of this process that no row has which was written before it began, in whatever
	// copy of the store.
	Run uint64 `json:"run,omitempty"`
	// Bonds are the order's that have not ended; LiveBonds counts those of all orders that are held.
	Bonds     []Bond `json:"bonds,omitempty"`
	LiveBonds int    `json:"live_bonds,omitempty"`
	// BondHash is the payment hash of the bond that may be born now.
	BondHash Hash `json:"bond_hash"`

	// NextHash is the payment hash of the order's next escrow attempt.
	NextHash Hash `json:"next_hash"`
}

// Rules are the limits that new requests must keep to.
type Rules struct {
	MinAmount     Sat      `json:"min_amount"`
	MaxAmount     Sat      `json:"max_amount"`
	FiatCodes     []string `json:"fiat_codes,omitempty"` // empty = all
	PendingTime   int64    `json:"pending_time"`         // seconds, when the maker names no expiry
	MaxPending    int64    `json:"max_pending"`          // seconds
	InvoiceWindow int64    `json:"invoice_window"`       // seconds that a buyer's invoice must still live
	MaxFinalCLTV  uint32   `json:"max_final_cltv"`       // blocks
	MaxTakes      int      `json:"max_takes"`            // waiting takes for each identity; 0 = no limit
	MaxOpen       int      `json:"max_open"`             // orders in the book for each identity; 0 = no limit
	MaxBonds      int      `json:"max_bonds,omitempty"`  // held at once, of all orders; 0 = no limit
}

// NodeFacts is what the Lightning node can do now.
type NodeFacts struct {
	Ready    bool   `json:"ready"` // reachable and synced
	Pubkey   string `json:"pubkey,omitempty"`
	Network  string `json:"network,omitempty"`
	Height   uint32 `json:"height,omitempty"`   // of the chain, 0 = not known
	Outbound Msat   `json:"outbound,omitempty"` // what it can still promise to pay out
	Inbound  Msat   `json:"inbound,omitempty"`  // what it can receive, 0 = not known
	Holds    int    `json:"holds,omitempty"`    // hold invoices it can still carry
	// NoRoute: the graph knows the payee of Invoice and has no route to it.
	NoRoute bool `json:"no_route,omitempty"`
}
