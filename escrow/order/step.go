package order

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"mostro/escrow/mostro"
)

// Tell is a message to one person. The engine adds the protocol version, which follows from
// the transport of the receiver's key.
type Tell struct {
	To      string // trade key
	Message mostro.Message
	// Like is a key on whose transport a receiver is told who has not written yet.
	Like string
}

// CallName is what the Lightning node is asked to do.
type CallName string

const (
	OpenHold   CallName = "open-hold"
	SettleHold CallName = "settle-hold"
	CancelHold CallName = "cancel-hold"
	Pay        CallName = "pay"
	LookAgain  CallName = "look-again" // whether a payment that was called failed has succeeded
	Resolve    CallName = "resolve"    // an address to an invoice; the payee's server is asked, not the node
)

// Call is one request to the Lightning node. Asking twice is harmless: its key is the hash.
type Call struct {
	Do      CallName `json:"do"`
	Hash    Hash     `json:"hash"`
	Attempt uint32   `json:"attempt,omitempty"` // of the escrow; the preimage is derived from it
	Before  uint32   `json:"before,omitempty"`  // the block at which the first HTLC expires that is settled
	Bond    string   `json:"bond,omitempty"`    // the bond that it is for, "" for the order
	Amount  Msat     `json:"amount,omitempty"`

	Memo      string `json:"memo,omitempty"`
	CLTVDelta uint32 `json:"cltv_delta,omitempty"` // blocks
	Expiry    int64  `json:"expiry,omitempty"`     // seconds

	Address  string `json:"address,omitempty"`
	Invoice  string `json:"invoice,omitempty"`
	FeeLimit Msat   `json:"fee_limit,omitempty"`
	Try      int64  `json:"try,omitempty"`     // see Payout.Tries
	DevFee   bool   `json:"dev_fee,omitempty"` // of the development fee, not of the payout
	// Earlier hashes must all be known to have failed before this one is paid; LookAgain is
	// about them.
	Earlier []Hash `json:"earlier,omitempty"`
}

// Out is what a step leads to. When Refusal is set nothing changed; when Row is -1 without a
// refusal, the event was stale and nothing changed either.
type Out struct {
	Order   Order
	Row     int // index into Table, -1 when none fitted
	Refusal mostro.Reason
	Tells   []Tell
	Calls   []Call
	Alarms  []string // for the operator
	// UseIndex is the trade index that the identity UsedBy has now used, 0 for none.
	UseIndex int64
	UsedBy   string
	// FreeIndex is the trade index of UsedBy that was used for nothing, 0 for none.
	FreeIndex int64
	// Child is the remainder of a range order, made in the same transaction.
	Child *Order
	// Rated is a rating that counts from now on.
	Rated *Rated
	// Stray is what a payment took out that the ledger does not owe.
	Stray Msat
	// Republish shows the order in the book anew though nothing has changed.
	Republish bool
	// Bonds are those that the event has changed.
	Bonds []BondChange

	born    []Bond
	signals []signal
}

// Rated is one rating of a person.
type Rated struct {
	Identity string `json:"identity"` // who was rated; "" = full privacy, nothing to keep
	Trade    string `json:"trade"`    // his trade key in this order
	Rating   int    `json:"rating"`   // 1 to 5
}

// Machine is the table, ready to be stepped.
type Machine struct {
	rows []Row
	by   map[key][]int

	bondRows []BondRow
	byBond   map[bondKey][]int
}

type key struct {
	from mostro.Status
	on   EventName
}

// NewMachine indexes the table.
func NewMachine() *Machine {
	m := &Machine{rows: Table(), by: map[key][]int{}}
	for i, row := range m.rows {
		for _, from := range row.From {
			k := key{from, row.On}
			m.by[k] = append(m.by[k], i)
		}
	}
	m.indexBonds()
	return m
}

// step is one event under way.
type step struct {
	prev Order
	o    *Order // the next order
	e    Event
	f    Facts
	out  *Out
	// answered: the request id was echoed already.
	answered bool
}

// stepOrder applies an event to the order alone.
func (m *Machine) stepOrder(prev Order, e Event, f Facts) (Out, error) {
	out := Out{Order: prev, Row: -1}
	out.Order.Payout.Earlier = append([]Hash(nil), prev.Payout.Earlier...)
	out.Order.Ledger = append(Ledger(nil), prev.Ledger...)
	out.Order.Left = slices.Clone(prev.Left)
	if prev.Dispute != nil {
		d := *prev.Dispute
		out.Order.Dispute = &d
	}
	if prev.Next != nil {
		n := *prev.Next
		out.Order.Next = &n
	}
	if prev.DevFee != nil {
		d := *prev.DevFee
		d.Payout.Earlier = slices.Clone(d.Payout.Earlier)
		out.Order.DevFee = &d
	}
	s := &step{prev: prev, o: &out.Order, e: e, f: f, out: &out}
	roles := rolesOf(&prev, e, f)
	for _, i := range m.by[key{prev.Status, e.On}] {
		row := &m.rows[i]
		if row.By&roles == 0 || row.If.Holds != nil && !row.If.Holds(s) {
			continue
		}
		if row.Refuse != "" {
			refused := refuse(prev, i, e, row.Refuse, f.Level != NoSolver)
			if row.Say != nil {
				text := row.Say(s)
				*s.o = Order{}
				out.Tells = nil
				s.say(Party{Trade: e.Sender}, "%s", text)
				refused.Tells = append(refused.Tells, out.Tells...)
			}
			return refused, nil
		}
		out.Row = i
		if row.To != same {
			s.o.Status = row.To
		}
		s.o.Rev++
		for _, effect := range row.Do {
			effect.Apply(s)
		}
		if err := CheckMoney(s.o); err != nil {
			return Out{}, fmt.Errorf("step %s on %s in %q: %w", e.On, prev.ID, prev.Status, err)
		}
		return out, nil
	}
	if e.Message == nil {
		return Out{Order: prev, Row: -1}, nil
	}
	reason, ok := refusals[e.On]
	if !ok {
		reason = mostro.InvalidAction
	}
	return refuse(prev, -1, e, reason, f.Level != NoSolver), nil
}

// rolesOf tells what the author of an event is to an order.
func rolesOf(o *Order, e Event, f Facts) Role {
	switch {
	case e.inside:
		return TheBond
	case e.Hold != nil || e.Payment != nil:
		return Node
	case e.Message == nil:
		return Clock
	}
	roles := Anyone
	for _, is := range []struct {
		key, of string
		role    Role
	}{
		{o.Buyer.Trade, e.Sender, Buyer},
		{o.Seller.Trade, e.Sender, Seller},
		{o.Maker().Trade, e.Sender, Maker},
		{o.Taker().Trade, e.Sender, Taker},
		{o.Maker().Identity, e.Identity, MakerIdentity},
	} {
		if is.key != "" && is.key == is.of {
			roles |= is.role
		}
	}
	if o.hasLeft(e.Sender) {
		roles |= LeftTaker
	}
	// A solver is never a party: whoever trades in an order has no say in its dispute.
	party := slices.ContainsFunc([]Party{o.Buyer, o.Seller}, func(p Party) bool {
		return p.Identity == e.Identity || p.Trade == e.Sender || p.Trade == e.Identity
	})
	if f.Level != NoSolver && !party {
		roles |= Solver
		if o.Dispute != nil && o.Dispute.Solver == e.Identity {
			roles |= Assigned
		}
	}
	return roles
}

func refuse(prev Order, row int, e Event, reason mostro.Reason, admin bool) Out {
	return Out{Order: prev, Row: row, Refusal: reason, Tells: []Tell{Refusal(e.Sender, *e.Message, reason, admin)}}
}

// Refusal is the cant-do answer to a message. Admins and solvers hear the true reason,
// traders one that their clients know.
func Refusal(to string, m mostro.Message, reason mostro.Reason, admin bool) Tell {
	told := mostro.ClientReason(reason, admin)
	return Tell{To: to, Message: mostro.Message{
		Wrapper: mostro.WrapCantDo, RequestID: m.RequestID, ID: m.ID,
		Action: mostro.CantDo, Payload: &mostro.Payload{CantDo: &told},
	}}
}

// Wanted tells whether a call that was asked for earlier is still to be made. A pay call
// whose order has moved on must not be sent any more; a cancel is always right.
func Wanted(o *Order, c Call) bool {
	if c.DevFee {
		return o.DevFee != nil && wanted(&o.Escrow, &o.DevFee.Payout, c)
	}
	return wanted(&o.Escrow, &o.Payout, c)
}

func wanted(hold *Escrow, payout *Payout, c Call) bool {
	switch c.Do {
	case OpenHold:
		return hold.Hash == c.Hash && hold.State == EscrowOpening
	case SettleHold:
		return hold.Hash == c.Hash && hold.State == EscrowSettling
	case Resolve:
		return payout.Tries == c.Try && payout.State == PayoutResolving
	case Pay:
		return payout.Hash == c.Hash && payout.Tries == c.Try && payout.State == PayoutSending
	}
	return true
}

// newID makes a version 4 UUID from the event's seed; label keeps several apart.
func newID(e Event, label string) string {
	sum := sha256.Sum256(append([]byte(label), e.Seed[:]...))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
