package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// course is how a trade is meant to go.
type course string

const (
	completes course = "completes"
	withdrawn course = "withdrawn by the maker, not taken"
	untaken   course = "given back by the taker, then withdrawn"
	dropped   course = "canceled by the maker before the sats are held"
	agreed    course = "canceled by both"
	forBuyer  course = "disputed, for the buyer"
	forSeller course = "disputed, for the seller"
	// The payout comes to the buyer, who never takes it, as he can with an invoice of his own making.
	pinnedDown course = "completes but for the buyer, who does not take his money"
	// Both sides forget it while the sats are held, so that blocks end it.
	forgotten course = "forgotten by both, until its deadline"
)

const (
	chaosPause  = 200 * time.Millisecond // of a user, before he tries again
	chaosFeePPM = 3000                   // of each side, as the settings have it
)

// success tells how the trade is to end.
func (c course) success() bool { return c == completes || c == forBuyer || c == pinnedDown }

// chaosTrade is one trade of a chaos. Its two sides are users who do what the node's messages
// ask them to do, each in a goroutine of its own.
type chaosTrade struct {
	*chaos
	label         string // in the log
	course        course
	kind          mostro.OrderKind
	sats, fiat    int64
	least, most   int64       // fiat, of the range that it is a part of; 0 without one
	parent, rest  *chaosTrade // over what is left of a range
	next          chan *client.Trade
	slash         map[*chaosSide]bool // whose bond a solver's verdict takes
	buyerFirst    bool                // asks to cancel, or for a solver
	afterFiat     bool                // and not before the fiat is sent
	maker, taker  *chaosSide
	seller, buyer *chaosSide

	mu              sync.Mutex
	holds           map[order.Hash]bool // that the seller was asked to pay
	payouts         map[order.Hash]bool // invoices of the buyer
	asked, promised order.Sat
	payments        sync.WaitGroup
	over            chan struct{} // closed when both sides have ended
	leave           func()        // makes room for the next trade
	played          bool          // both sides say that it is over
	counted         bool          // what it has moved:
	moves           []flow
	how             string   // it has ended
	became          []string // of bonds
	right           bool     // all of it
}

// chaosSide is a side of a trade.
type chaosSide struct {
	*chaosTrade
	name   string
	wallet *trader
	client *client.Client
	mode   client.Mode
	trade  *client.Trade
	deposit
}

// courseOf deals the courses like cards, so that a short round has each.
func (x *chaos) courseOf(number int) course {
	if number < x.forgotten {
		return forgotten
	}
	number -= x.forgotten
	cards := []course{completes, completes, completes, completes, completes, withdrawn, untaken, dropped, agreed, agreed, forBuyer, forSeller, pinnedDown}
	deal := rand.New(rand.NewPCG(x.seed, 1<<63+uint64(number/len(cards))))
	deal.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
	return cards[number%len(cards)]
}

// newTrade draws a trade, which calls leave when others no longer have to wait for it.
func (x *chaos) newTrade(number int, leave func()) *chaosTrade {
	random := rand.New(rand.NewPCG(x.seed, uint64(number)+1))
	modes := []client.Mode{{Transport: mostro.NIP44}, {Transport: mostro.GiftWrap}, {Transport: mostro.NIP44, FullPrivacy: true}}
	c := x.emptyTrade(strconv.Itoa(number), x.courseOf(number))
	c.kind, c.sats, c.fiat, c.leave = mostro.Sell, 10_000+random.Int64N(40_000), demoFiat, leave
	c.buyerFirst, c.afterFiat = random.IntN(2) == 0, random.IntN(2) == 0
	c.seller.wallet, c.buyer.wallet = x.demo.alice, x.demo.bob
	if random.IntN(2) == 0 {
		c.seller.wallet, c.buyer.wallet = c.buyer.wallet, c.seller.wallet
	}
	if random.IntN(2) == 0 {
		c.kind, c.maker, c.taker = mostro.Buy, c.buyer, c.seller
	}
	c.seller.mode, c.buyer.mode = modes[random.IntN(len(modes))], modes[random.IntN(len(modes))]
	c.slash = map[*chaosSide]bool{c.seller: random.IntN(2) == 0, c.buyer: random.IntN(2) == 0}
	if random.IntN(5) < 2 {
		c.ranges(random)
	}
	return c
}

func (x *chaos) emptyTrade(label string, course course) *chaosTrade {
	c := &chaosTrade{
		chaos: x, label: label, course: course, holds: map[order.Hash]bool{}, payouts: map[order.Hash]bool{},
		next: make(chan *client.Trade, 1), over: make(chan struct{}), leave: func() {},
	}
	c.seller = &chaosSide{chaosTrade: c, name: "seller", deposit: newDeposit()}
	c.buyer = &chaosSide{chaosTrade: c, name: "buyer", deposit: newDeposit()}
	c.maker, c.taker = c.seller, c.buyer
	return c
}

// play brings the trade to its end, and the rest of its range.
func (c *chaosTrade) play(ctx context.Context) error {
	c.t.Logf("%s: %s%s of %d sat by %s, %s", c.label, c.rangeText(), c.kind, c.sats, c.maker.wallet.name, c.course)
	ctx, end := context.WithCancel(ctx)
	defer end()
	rest := make(chan error, 1)
	if c.rest != nil {
		go func() { rest <- c.rest.play(ctx) }()
	} else {
		rest <- nil
	}
	err := c.run(ctx)
	c.played = err == nil
	close(c.over)
	if !c.played {
		end()
	}
	err = errors.Join(err, <-rest)
	c.payments.Wait()
	for _, s := range []*chaosSide{c.maker, c.taker} {
		if s.client != nil {
			s.client.Close()
		}
	}
	return err
}

// connect makes the side's client, unless it has one.
func (s *chaosSide) connect(ctx context.Context) (err error) {
	if s.client == nil {
		s.client, err = s.dial(ctx, s.heard)
	}
	return err
}

func (s *chaosSide) heard(_ *client.Trade, m mostro.Message) {
	s.t.Logf("%s %s <- %s", s.label, s.name, wordsOf(m))
	s.note(func() {})
}

// run plays both sides.
func (c *chaosTrade) run(ctx context.Context) error {
	first, err := c.offer(ctx)
	if err != nil {
		return err
	}
	c.note(func() { c.orders++ })
	ctx, end := context.WithCancelCause(ctx) // what one side cannot do, the other would wait for
	defer end(nil)
	made := make(chan error, 1)
	go func() {
		err := c.maker.live(ctx, first)
		if err != nil {
			end(err)
		}
		made <- err
	}()
	if c.course == withdrawn {
		return <-made
	}
	answer, err := c.take(ctx)
	if err == nil {
		err = c.taker.live(ctx, answer)
	}
	if err != nil {
		end(err)
	}
	return errors.Join(err, <-made)
}

// offer is the maker's part until the node knows of the order.
func (c *chaosTrade) offer(ctx context.Context) (mostro.Message, error) {
	if c.parent != nil {
		return c.offerRest(ctx)
	}
	if err := c.maker.connect(ctx); err != nil {
		return mostro.Message{}, err
	}
	return c.maker.begin(ctx, func() (*client.Trade, mostro.Message, error) {
		return c.maker.client.NewOrder(ctx, c.small(), c.maker.mode)
	})
}

// take takes the order when it is in the book.
func (c *chaosTrade) take(ctx context.Context) (answer mostro.Message, err error) {
	if err = c.taker.connect(ctx); err != nil {
		return answer, err
	}
	var shown mostro.BookOrder
	err = waitUntil(ctx, "the order in the book", func() (bool, error) {
		shown, err = c.taker.client.Order(ctx, c.maker.trade.OrderID())
		return err == nil, err
	})
	if err != nil {
		return answer, err
	}
	return c.taker.begin(ctx, func() (*client.Trade, mostro.Message, error) {
		if c.most > 0 {
			return c.taker.client.TakeRange(ctx, shown, c.fiat, "", c.taker.mode)
		}
		return c.taker.client.Take(ctx, shown, "", c.taker.mode)
	})
}

// begin opens a trade. The relay refuses while its disk is full, the node refuses takes while
// its lnd is away, and what is about the market's price while it has none yet; all of these mean that
// nothing has happened.
func (s *chaosSide) begin(ctx context.Context, open func() (*client.Trade, mostro.Message, error)) (answer mostro.Message, err error) {
	for {
		s.trade, answer, err = open()
		switch {
		case refusedByRelay(err), refusedFor(err, mostro.NotAllowedByStatus), errors.Is(err, client.ErrNoInfo),
			s.most > 0 && refusedFor(err, mostro.InvalidParameters):
			if s.trade != nil { // the relay has failed and does not say whether the node has it; this one does not carry
				s.trade.Close()
			}
			time.Sleep(chaosPause)
		case err != nil:
			return answer, fmt.Errorf("%s: %w", s.name, err)
		default:
			return answer, nil
		}
	}
}

func refusedByRelay(err error) bool {
	var refused *client.RefusedError
	return errors.As(err, &refused)
}

// live does what messages ask for until the trade is over for this side, and it has what it gets of bonds.
func (s *chaosSide) live(ctx context.Context, m mostro.Message) error {
	ended := false
	for {
		over, err := s.react(ctx, m)
		ended = ended || over
		if err != nil || ended && !s.expects() {
			return err
		}
		if m, err = s.hear(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
}

// hear waits for the next message; some about bonds come when the trade is over.
func (s *chaosSide) hear(ctx context.Context) (mostro.Message, error) {
	for {
		m, err := s.trade.Wait(ctx)
		if !errors.Is(err, client.ErrOver) || ctx.Err() != nil {
			return m, err
		}
		time.Sleep(chaosPause)
	}
}

// react answers one message.
func (s *chaosSide) react(ctx context.Context, m mostro.Message) (over bool, err error) {
	if _, notice := client.ReputationOf(m); notice {
		return false, nil
	}
	amount := order.Sat(0)
	if m.Payload != nil && m.Payload.Order != nil {
		amount = order.Sat(m.Payload.Order.Amount)
	}
	isMaker := s == s.maker
	switch m.Action {
	case mostro.PayBondInvoice:
		return false, s.payBond(ctx, m.Payload.PaymentRequest.Invoice)
	case mostro.AddBondInvoice:
		return s.claim(ctx, order.Sat(m.Payload.BondPayoutRequest.Order.Amount))
	case mostro.BondPayoutCompleted:
		s.mu.Lock()
		s.got += amount
		s.mu.Unlock()
	case mostro.NewOrder: // the second time it is back in the book
		if s.course == withdrawn || s.course == untaken && s.told(mostro.NewOrder) > 1 {
			return s.ask(ctx, s.trade.Cancel)
		}
	case mostro.PayInvoice:
		if s.course == untaken && !isMaker || s.course == dropped && isMaker {
			return s.ask(ctx, s.trade.Cancel)
		}
		return false, s.pay(ctx, m.Payload.PaymentRequest.Invoice, s.holds)
	case mostro.AddInvoice:
		if s.course == untaken && !isMaker {
			return s.ask(ctx, s.trade.Cancel)
		}
		var invoice order.Invoice
		if s.course == pinnedDown {
			invoice, err = s.pinnedInvoice(ctx, amount.Msat())
		} else {
			invoice, err = s.wallet.wallet.Invoice(ctx, amount.Msat(), "chaos")
		}
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		s.payouts[invoice.Hash], s.promised = true, amount
		s.mu.Unlock()
		return s.ask(ctx, func(ctx context.Context) (mostro.Message, error) { return s.trade.AddInvoice(ctx, invoice.Text) })
	case mostro.WaitingSellerToPay:
		if s.course == dropped && isMaker { // while the seller may be paying
			return s.ask(ctx, s.trade.Cancel)
		}
	case mostro.BuyerTookOrder, mostro.HoldInvoicePaymentAccepted:
		if s == s.seller {
			s.mu.Lock()
			s.asked = amount
			s.mu.Unlock()
			if s.course == forgotten {
				s.note(func() { s.held++ })
			}
		}
		switch {
		case s.quarrels() && !s.afterFiat:
			return s.quarrel(ctx)
		case s == s.buyer && (s.course.success() || s.afterFiat):
			return s.ask(ctx, s.naming(s.trade.FiatSent, s.trade.FiatSentNext))
		}
	case mostro.FiatSentOk:
		switch {
		case s.quarrels() && s.afterFiat:
			return s.quarrel(ctx)
		case s == s.seller && (s.course == completes || s.course == pinnedDown):
			return s.ask(ctx, s.naming(s.trade.Release, s.trade.ReleaseNext))
		}
	case mostro.Released:
		if s.course == pinnedDown {
			s.leave()
		}
	case mostro.CooperativeCancelInitiatedByPeer:
		return s.ask(ctx, s.trade.Cancel)
	case mostro.DisputeInitiatedByYou:
		if s.course == forgotten { // the node has done it, and nobody comes
			return false, nil
		}
		return false, s.decide(ctx, m.Payload.Dispute.ID)
	case mostro.PurchaseCompleted:
		return s == s.buyer, nil
	case mostro.Rate, mostro.AdminSettled: // after a verdict nobody asks the seller to rate
		return s == s.seller, nil
	case mostro.Canceled, mostro.CooperativeCancelAccepted, mostro.AdminCanceled:
		return true, nil
	}
	return false, nil
}

// told counts the messages with an action so far.
func (s *chaosSide) told(action mostro.Action) (n int) {
	for _, m := range s.trade.Messages() {
		if m.Action == action {
			n++
		}
	}
	return n
}

// quarrels tells whether this side begins what ends the trade badly.
func (s *chaosSide) quarrels() bool {
	return (s.course == agreed || s.course == forBuyer || s.course == forSeller) && s.buyerFirst == (s == s.buyer)
}

func (s *chaosSide) quarrel(ctx context.Context) (over bool, err error) {
	if s.course == agreed {
		return s.ask(ctx, s.trade.Cancel)
	}
	return s.ask(ctx, s.trade.Dispute)
}

// ask sends a request and reacts to the answer. What the relay refuses is sent anew, and so is an
// invoice to whose payee the node finds no way; what else the node refuses has been overtaken by a
// message that is still to be read.
func (s *chaosSide) ask(ctx context.Context, request func(context.Context) (mostro.Message, error)) (over bool, err error) {
	for {
		answer, err := request(ctx)
		var cantDo *client.CantDoError
		switch {
		case refusedByRelay(err):
			time.Sleep(chaosPause)
		case errors.As(err, &cantDo):
			s.t.Logf("%s %s: %v", s.label, s.name, err)
			s.note(func() { s.faults["the node refused "+string(cantDo.Action)+": "+string(cantDo.Reason)]++ })
			if cantDo.Reason != mostro.InvalidInvoice {
				return false, nil
			}
			time.Sleep(chaosPause)
		case err != nil:
			return false, fmt.Errorf("%s: %w", s.name, err)
		default:
			return s.react(ctx, answer)
		}
	}
}

// pay pays a hold invoice of the escrow that it notes among mine, again when it did not get through,
// while the trade lives and the invoice can be paid.
func (s *chaosSide) pay(ctx context.Context, bolt11 string, mine map[order.Hash]bool) error {
	invoice, err := lightning.Decode(bolt11)
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := mine[invoice.Hash]
	mine[invoice.Hash] = true
	s.mu.Unlock()
	if known {
		return nil
	}
	s.payments.Go(func() {
		for {
			// An answer that was lost is no reason not to look.
			sent := s.wallet.wallet.Pay(ctx, bolt11)
			paid, err := s.wallet.wallet.Paid(ctx, invoice.Hash)
			if err == nil && paid.State == lightning.Succeeded || ctx.Err() != nil {
				return
			}
			if held, err := s.demo.escrow.Lookup(ctx, invoice.Hash); err == nil && held.State == lightning.Canceled {
				return
			}
			s.t.Logf("%s %s: the payment is %s, %v", s.label, s.name, paid.State, errors.Join(sent, err))
			select {
			case <-s.over:
				return
			case <-time.After(chaosPause):
			}
		}
	})
	return nil
}

// decide is what the administrator does with a dispute.
func (s *chaosSide) decide(ctx context.Context, dispute string) error {
	verdict := s.admin.Settle
	if s.course == forSeller {
		verdict = s.admin.Cancel
	}
	slash := s.takeBonds()
	for _, do := range []func() (mostro.Message, error){
		func() (mostro.Message, error) { return s.admin.TakeDispute(ctx, dispute) },
		func() (mostro.Message, error) { return verdict(ctx, s.trade.OrderID(), slash) },
	} {
		_, err := do()
		for refusedByRelay(err) {
			time.Sleep(chaosPause)
			_, err = do()
		}
		if err != nil {
			return fmt.Errorf("administrator: %w", err)
		}
	}
	return nil
}
