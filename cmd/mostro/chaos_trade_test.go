package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	number        int
	course        course
	kind          mostro.OrderKind
	sats          int64
	buyerFirst    bool // asks to cancel, or for a solver
	afterFiat     bool // and not before the fiat is sent
	maker, taker  *chaosSide
	seller, buyer *chaosSide

	mu              sync.Mutex
	holds           map[order.Hash]bool // that the seller was asked to pay
	payouts         map[order.Hash]bool // invoices of the buyer
	asked, promised order.Sat
	payments        sync.WaitGroup
	over            chan struct{} // closed when both sides have ended
	leave           func()        // makes room for the next trade
}

// chaosSide is a side of a trade.
type chaosSide struct {
	*chaosTrade
	name   string
	wallet *trader
	client *client.Client
	mode   client.Mode
	trade  *client.Trade
}

// courseOf deals the courses like cards, so that a short round has each.
func (x *chaos) courseOf(number int) course {
	cards := []course{completes, completes, completes, completes, completes, withdrawn, untaken, dropped, agreed, agreed, forBuyer, forSeller, pinnedDown}
	deal := rand.New(rand.NewPCG(x.seed, 1<<63+uint64(number/len(cards))))
	deal.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
	return cards[number%len(cards)]
}

// newTrade draws a trade, which calls leave when others no longer have to wait for it.
func (x *chaos) newTrade(number int, leave func()) *chaosTrade {
	random := rand.New(rand.NewPCG(x.seed, uint64(number)+1))
	modes := []client.Mode{{Transport: mostro.NIP44}, {Transport: mostro.GiftWrap}, {Transport: mostro.NIP44, FullPrivacy: true}}
	c := &chaosTrade{
		chaos: x, number: number, course: x.courseOf(number), kind: mostro.Sell, sats: 10_000 + random.Int64N(40_000),
		buyerFirst: random.IntN(2) == 0, afterFiat: random.IntN(2) == 0,
		holds: map[order.Hash]bool{}, payouts: map[order.Hash]bool{}, over: make(chan struct{}), leave: leave,
	}
	c.seller = &chaosSide{chaosTrade: c, name: "seller", wallet: x.demo.alice}
	c.buyer = &chaosSide{chaosTrade: c, name: "buyer", wallet: x.demo.bob}
	if random.IntN(2) == 0 {
		c.seller.wallet, c.buyer.wallet = c.buyer.wallet, c.seller.wallet
	}
	c.maker, c.taker = c.seller, c.buyer
	if random.IntN(2) == 0 {
		c.kind, c.maker, c.taker = mostro.Buy, c.buyer, c.seller
	}
	c.seller.mode, c.buyer.mode = modes[random.IntN(len(modes))], modes[random.IntN(len(modes))]
	return c
}

// play brings the trade to its end.
func (c *chaosTrade) play(ctx context.Context) error {
	c.t.Logf("%d: %s of %d sat by %s, %s", c.number, c.kind, c.sats, c.maker.wallet.name, c.course)
	for _, s := range []*chaosSide{c.seller, c.buyer} {
		var err error
		s.client, err = c.dial(ctx, func(_ *client.Trade, m mostro.Message) {
			c.t.Logf("%d %s <- %s", c.number, s.name, wordsOf(m))
			c.note(func() {})
		})
		if err != nil {
			return err
		}
		defer s.client.Close()
	}
	err := c.run(ctx)
	close(c.over)
	c.payments.Wait()
	return err
}

// run plays both sides.
func (c *chaosTrade) run(ctx context.Context) error {
	first, err := c.maker.begin(ctx, func() (*client.Trade, mostro.Message, error) {
		return c.maker.client.NewOrder(ctx, mostro.SmallOrder{
			Kind: c.kind, Amount: c.sats, FiatCode: "USD", FiatAmount: demoFiat, PaymentMethod: "bank transfer",
		}, c.maker.mode)
	})
	if err != nil {
		return err
	}
	if c.course == withdrawn {
		return c.maker.live(ctx, first)
	}
	var shown mostro.BookOrder
	err = waitUntil(ctx, "the order in the book", func() (bool, error) {
		shown, err = c.taker.client.Order(ctx, c.maker.trade.OrderID())
		return err == nil, err
	})
	if err != nil {
		return err
	}
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
	answer, err := c.taker.begin(ctx, func() (*client.Trade, mostro.Message, error) {
		return c.taker.client.Take(ctx, shown, "", c.taker.mode)
	})
	if err == nil {
		err = c.taker.live(ctx, answer)
	}
	if err != nil {
		end(err)
	}
	return errors.Join(err, <-made)
}

// begin opens a trade. The relay refuses while its disk is full, the node refuses takes while
// its lnd is away; both mean that nothing has happened.
func (s *chaosSide) begin(ctx context.Context, open func() (*client.Trade, mostro.Message, error)) (answer mostro.Message, err error) {
	for {
		s.trade, answer, err = open()
		switch {
		case refusedByRelay(err), refusedFor(err, mostro.NotAllowedByStatus), errors.Is(err, client.ErrNoInfo):
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

// live does what messages ask for until the trade is over for this side.
func (s *chaosSide) live(ctx context.Context, m mostro.Message) error {
	for {
		over, err := s.react(ctx, m)
		if over || err != nil {
			return err
		}
		if m, err = s.trade.Wait(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
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
	case mostro.NewOrder: // the second time it is back in the book
		if s.course == withdrawn || s.course == untaken && s.told(mostro.NewOrder) > 1 {
			return s.ask(ctx, s.trade.Cancel)
		}
	case mostro.PayInvoice:
		if s.course == untaken && !isMaker || s.course == dropped && isMaker {
			return s.ask(ctx, s.trade.Cancel)
		}
		return false, s.pay(ctx, m.Payload.PaymentRequest.Invoice)
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
		}
		switch {
		case s.quarrels() && !s.afterFiat:
			return s.quarrel(ctx)
		case s == s.buyer && (s.course.success() || s.afterFiat):
			return s.ask(ctx, s.trade.FiatSent)
		}
	case mostro.FiatSentOk:
		switch {
		case s.quarrels() && s.afterFiat:
			return s.quarrel(ctx)
		case s == s.seller && (s.course == completes || s.course == pinnedDown):
			return s.ask(ctx, s.trade.Release)
		}
	case mostro.Released:
		if s.course == pinnedDown {
			s.leave()
		}
	case mostro.CooperativeCancelInitiatedByPeer:
		return s.ask(ctx, s.trade.Cancel)
	case mostro.DisputeInitiatedByYou:
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
			s.t.Logf("%d %s: %v", s.number, s.name, err)
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

// pay pays the escrow, again when it did not get through, while the trade lives.
func (s *chaosSide) pay(ctx context.Context, bolt11 string) error {
	invoice, err := lightning.Decode(bolt11)
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := s.holds[invoice.Hash]
	s.holds[invoice.Hash] = true
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
			s.t.Logf("%d seller: the payment is %s, %v", s.number, paid.State, errors.Join(sent, err))
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
	for _, do := range []func() (mostro.Message, error){
		func() (mostro.Message, error) { return s.admin.TakeDispute(ctx, dispute) },
		func() (mostro.Message, error) { return verdict(ctx, s.trade.OrderID(), nil) },
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

// account waits until the book says how the trade has ended, and asks the nodes what it moved.
func (c *chaosTrade) account(ctx context.Context) error {
	id, want := c.maker.trade.OrderID(), mostro.StatusCanceled
	if c.course.success() {
		want = mostro.StatusSuccess
	}
	var shown mostro.BookOrder
	err := waitUntil(ctx, "the end of order "+id, func() (bool, error) {
		var err error
		shown, err = c.user.Order(ctx, id)
		return shown.Status == mostro.StatusSuccess || shown.Status == mostro.StatusCanceled, err
	})
	if err != nil {
		return err
	}
	f, err := c.flow(ctx, nil)
	if err != nil {
		return err
	}
	if shown.Status == mostro.StatusSuccess {
		f.AskedOfSeller, f.PromisedToBuyer = c.asked.Msat(), c.promised.Msat()
	}
	c.note(func() { c.ended[fmt.Sprintf("%s: %s", c.course, shown.Status)]++ })
	c.lab.mu.Lock()
	c.flows = append(c.flows, f)
	c.lab.mu.Unlock()
	if shown.Status != want || f.SellerPaid != f.AskedOfSeller || f.BuyerGot != f.PromisedToBuyer || f.sum() != 0 {
		return fmt.Errorf("order %s, which %s, is %s and has moved %+v", id, c.course, shown.Status, f)
	}
	fee := order.Sat(c.sats*chaosFeePPM+500_000) / 1_000_000
	if want == mostro.StatusSuccess && (c.asked != order.Sat(c.sats)+fee || c.promised != order.Sat(c.sats)-fee) {
		return fmt.Errorf("order %s of %d sat: the seller was asked for %d and the buyer promised %d, want a fee of %d each", id, c.sats, c.asked, c.promised, fee)
	}
	return nil
}

// flow adds up what the three nodes say of all hold invoices and payouts of the trade, but for those
// that are still in flight.
func (c *chaosTrade) flow(ctx context.Context, flying map[order.Hash]order.Msat) (f flow, err error) {
	f.seller, f.buyer = c.seller.wallet.name, c.buyer.wallet.name
	for hash := range c.holds {
		paid, err := c.seller.wallet.wallet.Paid(ctx, hash)
		if err != nil && !errors.Is(err, lightning.ErrNotFound) { // not found: he never paid
			return f, err
		}
		if paid.State == lightning.Succeeded {
			f.SellerPaid, f.SellerRouting = f.SellerPaid+paid.Amount, f.SellerRouting+paid.RoutingFee
		}
		held, err := c.demo.escrow.Lookup(ctx, hash)
		if err != nil {
			return f, err
		}
		if held.State == lightning.Settled {
			f.EscrowGot += held.AmountPaid
		}
	}
	for hash := range c.payouts {
		if _, flies := flying[hash]; flies {
			continue
		}
		paid, err := c.demo.escrow.Paid(ctx, hash)
		if err != nil && !errors.Is(err, lightning.ErrNotFound) { // not found: never tried
			return f, err
		}
		if paid.State == lightning.Succeeded {
			f.EscrowPaid, f.EscrowRouting = f.EscrowPaid+paid.Amount, f.EscrowRouting+paid.RoutingFee
		}
		got, err := c.buyer.wallet.wallet.Lookup(ctx, hash)
		if err != nil {
			return f, err
		}
		if got.State == lightning.Settled {
			f.BuyerGot += got.AmountPaid
		}
	}
	return f, nil
}
