package lightning

import (
	"crypto/sha256"
	"fmt"
	"time"

	"mostro/escrow/order"
)

// simInvoice is an invoice at its node. An ordinary one has its preimage and settles by
// itself; a hold invoice waits for Settle.
type simInvoice struct {
	order.Invoice // as Decode reads its text
	node          *SimNode
	preimage      [32]byte // of a hold invoice: known once it is settled
	hold          bool
	memo          string
	settledAt     time.Time
	state         HoldState
	htlcs         []*simHTLC // that are held or were settled
	streams       []*simWatch[HoldInvoice]
}

// simHTLC is one part of a payment on its way through the payee.
type simHTLC struct {
	payment      *simPayment
	invoice      *simInvoice
	amount       order.Msat // for the payee
	fee          order.Msat // for those between
	total        order.Msat // what all parts of the payment bring
	expiryHeight uint32
	arrivedAt    time.Time
	settled      bool
}

// SimInvoiceRequest describes an ordinary invoice; the zero value is a valid one.
type SimInvoiceRequest struct {
	Amount    order.Msat // 0 = the payer decides
	Memo      string
	Expiry    time.Duration // 0 = an hour
	CLTVDelta uint32        // blocks, 0 = 80
	Preimage  [32]byte      // zero = derived from the node and a counter
	Hints     bool          // carry a route hint, as a node with private channels does
	Blinded   bool          // carry a blinded path without hops, which Decode refuses
}

// AddInvoice makes an ordinary invoice, which settles as soon as it is paid. It panics on a
// request that cannot be written as BOLT11: that is a mistake in the test.
func (s *SimNode) AddInvoice(req SimInvoiceRequest) (bolt11 string) {
	s.network.update(func() {
		if req.Preimage == [32]byte{} {
			req.Preimage = s.nextPreimage()
		}
		if req.Expiry == 0 {
			req.Expiry = simInvoiceExpiry
		}
		invoice, err := s.newInvoice(sha256.Sum256(req.Preimage[:]), req)
		if err != nil {
			panic(err)
		}
		invoice.preimage = req.Preimage
		bolt11 = invoice.Text
	})
	return bolt11
}

// AddHoldInvoice makes a hold invoice with a preimage that is derived from the node and a
// counter: what a hostile buyer gives for a payout. Settle and Cancel of the node work on it.
func (s *SimNode) AddHoldInvoice(amount order.Msat) (bolt11 string, preimage order.Preimage) {
	s.network.update(func() {
		preimage = order.NewPreimage(s.nextPreimage())
		invoice, err := s.newInvoice(preimage.Hash(), SimInvoiceRequest{Amount: amount, Expiry: simHoldExpiry})
		if err != nil {
			panic(err)
		}
		invoice.hold = true
		bolt11 = invoice.Text
	})
	return bolt11, preimage
}

// HoldState is the truth about an invoice of the node, whatever faults its calls have.
func (s *SimNode) HoldState(hash order.Hash) (invoice HoldInvoice, ok bool) {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	if found := s.invoices[hash]; found != nil {
		return found.view(), true
	}
	return HoldInvoice{}, false
}

// ForgetHold deletes the node's record of an invoice, as a node does that was put back from its seed, or
// that collects canceled invoices. What it held goes back to who has paid it: his channel is closed,
// and the HTLC times out. Nobody hears a word of it.
func (s *SimNode) ForgetHold(hash order.Hash) {
	s.network.update(func() {
		invoice := s.invoices[hash]
		if invoice == nil {
			return
		}
		delete(s.invoices, hash)
		if invoice.state.Final() {
			return
		}
		held := invoice.htlcs
		invoice.state, invoice.htlcs = Canceled, nil
		for _, htlc := range held {
			htlc.release(reasonIncorrectDetails)
		}
	})
}

// nextPreimage is never the same twice and always the same in a replay.
func (s *SimNode) nextPreimage() [32]byte {
	s.preimages++
	return sha256.Sum256(fmt.Appendf(nil, "simulated preimage %d of %s", s.preimages, s.name))
}

// newInvoice writes and keeps an invoice. lnd has the same limits.
func (s *SimNode) newInvoice(hash order.Hash, req SimInvoiceRequest) (*simInvoice, error) {
	if s.invoices[hash] != nil {
		return nil, fmt.Errorf("invoice with payment hash already exists")
	}
	if req.CLTVDelta == 0 {
		req.CLTVDelta = simDefaultCLTV
	}
	switch {
	case req.CLTVDelta < simMinCLTV:
		return nil, fmt.Errorf("CLTV delta of %d must be greater than minimum of %d", req.CLTVDelta, simMinCLTV)
	case req.CLTVDelta > maxFinalCLTV:
		return nil, fmt.Errorf("CLTV delta of %d is too large, max accepted is: %d", req.CLTVDelta, maxFinalCLTV)
	case req.Amount < 0:
		return nil, fmt.Errorf("payments of negative value are not allowed, value is %d", req.Amount)
	case req.Expiry < time.Second || req.Expiry > simMaxInvoiceLife:
		return nil, fmt.Errorf("expiry of %v is not allowed", req.Expiry)
	}
	created := s.network.now().Truncate(time.Second)
	invoice := &simInvoice{
		Invoice: order.Invoice{
			Hash:          hash,
			Amount:        req.Amount,
			Payee:         s.pubkey,
			CreatedAt:     created,
			ExpiresAt:     created.Add(req.Expiry.Truncate(time.Second)),
			FinalCLTV:     req.CLTVDelta,
			HasHints:      req.Hints,
			PaymentSecret: true,
			Network:       s.network.config.Network,
		},
		node:  s,
		memo:  req.Memo,
		state: Open,
	}
	text, err := encodeBolt11(invoice.Invoice, req, s.key)
	if err != nil {
		return nil, err
	}
	invoice.Text = text
	s.invoices[hash] = invoice
	if !req.Blinded { // who reads it is to find out by itself
		s.network.written[text] = invoice
	}
	s.network.byTime.add(invoice.ExpiresAt.UnixNano(), invoice)
	invoice.changed()
	return invoice, nil
}

// view is the invoice as its node reports it.
func (i *simInvoice) view() HoldInvoice {
	view := HoldInvoice{
		Hash:      i.Hash,
		Invoice:   i.Text,
		State:     i.state,
		Amount:    i.Amount,
		CLTVDelta: i.FinalCLTV,
		ExpiresAt: i.ExpiresAt,
	}
	for _, htlc := range i.htlcs {
		view.AmountPaid += htlc.amount
		if !htlc.settled && (view.ExpiryHeight == 0 || htlc.expiryHeight < view.ExpiryHeight) {
			view.ExpiryHeight = htlc.expiryHeight
		}
	}
	return view
}

// receive takes an HTLC or says why not: lnd gives one reason for all it does not like, so
// that a prober learns nothing. Parts wait until they are as much as the payment is said to
// be, and only then is the invoice paid.
func (i *simInvoice) receive(htlc *simHTLC) (refusal string) {
	if i.state != Open || htlc.total < i.Amount || htlc.total == 0 {
		return reasonIncorrectDetails
	}
	sum := htlc.amount
	for _, other := range i.htlcs {
		if other.total != htlc.total {
			return reasonIncorrectDetails
		}
		sum += other.amount
	}
	i.htlcs = append(i.htlcs, htlc)
	if sum < htlc.total {
		i.node.network.byTime.add(htlc.arrivedAt.Add(simShardTimeout).UnixNano(), i)
		return ""
	}
	if !i.hold {
		i.settle(i.preimage)
		return ""
	}
	i.state = Accepted
	i.node.network.byHeight.add(int64(i.cancelHeight()), i)
	i.changed()
	return ""
}

// cancelHeight is where lnd gives the payment back by itself.
func (i *simInvoice) cancelHeight() uint32 {
	height, delta := i.view().ExpiryHeight, i.node.network.config.HoldExpiryDelta
	if height < delta {
		return 0
	}
	return height - delta
}

// settle takes the money. The payer learns the preimage.
func (i *simInvoice) settle(preimage [32]byte) {
	i.state, i.preimage, i.settledAt = Settled, preimage, i.node.network.now()
	for _, htlc := range i.htlcs {
		htlc.settled = true
	}
	i.changed()
	for _, htlc := range i.htlcs {
		htlc.unlock()
		i.node.local += htlc.amount
		i.node.network.routed += htlc.fee
		htlc.payment.partSettled(htlc, preimage)
	}
}

// cancel gives the money back.
func (i *simInvoice) cancel() {
	held := i.htlcs
	i.state, i.htlcs = Canceled, nil
	i.changed()
	for _, htlc := range held {
		htlc.release(reasonIncorrectDetails)
	}
}

// expireByHeight cancels an accepted invoice in time before its HTLCs can be claimed back
// on the chain: lnd's invoices.holdexpirydelta. A stopped node does it when it starts.
func (i *simInvoice) expireByHeight() {
	if i.node.stopped {
		i.node.overdue = append(i.node.overdue, i)
		return
	}
	if i.state == Accepted && i.node.network.height >= i.cancelHeight() {
		i.cancel()
	}
}

// expireByTime cancels an unpaid invoice at its end and releases parts that waited too long
// for the rest. lnd leaves an accepted invoice alone whatever the time.
func (i *simInvoice) expireByTime(now time.Time) {
	if i.node.stopped {
		i.node.overdue = append(i.node.overdue, i)
		return
	}
	if i.state != Open {
		return
	}
	if !now.Before(i.ExpiresAt) {
		i.cancel()
		return
	}
	// The first part to time out takes its whole set along.
	if len(i.htlcs) > 0 && !now.Before(i.htlcs[0].arrivedAt.Add(simShardTimeout)) {
		held := i.htlcs
		i.htlcs = nil
		for _, htlc := range held {
			htlc.release(reasonTimeout)
		}
	}
}

// changed tells watchers and listeners.
func (i *simInvoice) changed() {
	view := i.view()
	i.node.notify(SimChange{Node: i.node.name, Hash: i.Hash, Hold: &view}, func() {
		for _, stream := range i.streams {
			stream.push(view)
		}
	})
}
