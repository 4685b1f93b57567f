package escrow

import (
	"context"
	"errors"
	"slices"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// world moves what is outside: time, blocks, the node, wallets.
func (s *Simulation) world(ctx context.Context) error {
	switch s.r.IntN(10) {
	case 0:
		s.advance(time.Duration(s.r.IntN(1200)) * time.Second)
	case 1:
		s.mine(uint32(s.r.IntN(4)))
	case 2:
		if s.chance(15) {
			s.happened(worldBlocks)
			s.mine(uint32(s.r.IntN(150)))
		}
	case 3:
		if s.chance(50) {
			s.happened(worldNodeDown)
			s.stopNode()
		}
	case 4, 5:
		s.say("the node is well")
		s.heal()
	case 6:
		if s.chance(30) {
			s.happened(worldUnsynced)
			s.net.SetSynced(false)
			s.behind = true
		}
	case 7:
		if len(s.holds) > 0 {
			s.payee(s.r.IntN(len(s.holds)))
		}
		s.reroute(s.someone())
	case 8:
		if s.chance(25) {
			s.happened(worldCrash)
			s.die()
		}
		for _, hash := range s.watched(true) {
			s.node.Unstick(hash)
		}
	case 9:
		if err := s.rarely(); err != nil {
			return err
		}
	}
	if (s.restored > 0 || !s.steady) && s.chance(20) {
		s.explain(ctx)
	}
	s.e.askNode(ctx)
	return nil
}

// simRoutingPPM is the most that routing may cost by any terms. The ways of a simulation cost half of it, less than by the
// least; but for a while none is found, or one that costs more than by the most.
const simRoutingPPM = 3000

// reroute changes how somebody is reached: mostly for a fee that a payout may cost.
func (s *Simulation) reroute(p *player) {
	switch {
	case s.faulty && s.chance(20):
		s.happened(worldNoRoute)
		p.wallet.SetRoute(lightning.SimRoute{None: true})
	case s.faulty && s.chance(20):
		s.happened(worldDearRoute)
		p.wallet.SetRoute(lightning.SimRoute{FeePPM: simRoutingPPM, BaseFee: 10_001})
	default:
		p.wallet.SetRoute(lightning.SimRoute{FeePPM: int64(s.r.IntN(simRoutingPPM / 2)), BaseFee: order.Msat(s.r.IntN(2000))})
	}
}

func (s *Simulation) rerouteAll() {
	for _, p := range append(s.people, s.dev) {
		s.reroute(p)
	}
}

func (s *Simulation) stopNode() {
	s.node.Stop()
	s.down = true
}

// heal brings the node back, and up to the chain.
func (s *Simulation) heal() {
	s.node.Start()
	s.net.SetSynced(true)
	s.down, s.behind = false, false
}

// rarely does what happens to a node once in months.
func (s *Simulation) rarely() error {
	switch s.r.IntN(15) {
	case 13, 14:
		if s.kept == nil {
			return nil
		}
		whole := s.chance(50)
		s.happened(map[bool]string{false: worldOldStore, true: worldSnapshot}[whole])
		if err := s.putBack(whole); err != nil {
			return err
		}
		s.die()
	case 12: // for longer than the grace of payouts, and what an invoice may have left to live
		s.happened(worldClockAhead)
		s.skew += time.Duration(s.r.IntN(12*3600)) * time.Second
		s.ahead = true
		s.flow = nil // what was paid is long ago now
	case 11: // as many as an escrow has: nobody had the time to act before the node
		s.happened(worldBlocks)
		s.mine(280)
	case 10:
		s.happened(worldClockBack)
		s.skew -= time.Duration(s.r.IntN(600)) * time.Second
		for i := range s.flow { // what was paid in the future was paid now
			s.flow[i].at = min(s.flow[i].at, s.e.now())
		}
	case 0: // the process is away, the chain and the node go on
		away := time.Duration(1+s.r.IntN(48)) * time.Hour
		s.happened(worldAway)
		s.net.Advance(away)
		s.noteTime()
		s.mine(uint32(away / (10 * time.Minute)))
		s.die()
	case 1: // the node is away, the chain and the process go on
		away := time.Duration(1+s.r.IntN(12)) * time.Hour
		s.happened(worldNodeHours)
		s.stopNode()
		s.e.askNode(context.Background())
		s.advance(away)
		s.mine(uint32(away / (10 * time.Minute)))
	case 2, 3, 4:
		s.hide()
	case 5, 6:
		s.forget()
	case 7:
		clear(s.hidden)
		s.loseHolds()
	case 8:
		for _, hash := range append(s.watched(false), s.watched(true)...) {
			s.silent[hash] = s.wall
			s.happened(faultStream)
		}
	case 9:
		requests := s.requests
		s.requests = nil
		for _, f := range requests {
			f()
		}
	}
	return nil
}

// mine adds blocks, and counts the hold invoices that the node gives back by itself.
func (s *Simulation) mine(blocks uint32) {
	var held []order.Hash
	for _, hash := range s.watched(false) {
		if h, ok := s.node.HoldState(hash); ok && h.State == lightning.Accepted {
			held = append(held, hash)
		}
	}
	s.say("mine %d", blocks)
	s.net.Mine(blocks)
	for _, hash := range held {
		if h, _ := s.node.HoldState(hash); h.State == lightning.Canceled {
			s.happened(worldAutoCancel)
		}
	}
}

// watched are the hashes of payments, or of hold invoices, that the engine watches.
func (s *Simulation) watched(payments bool) (hashes []order.Hash) {
	for hash, each := range s.watches {
		if each.payment == payments {
			hashes = append(hashes, hash)
		}
	}
	slices.SortFunc(hashes, byText)
	return hashes
}

// hide has the node not find the payments under way, until it does again. Those that it has called
// failed, and were not, it must find: nobody could know better.
func (s *Simulation) hide() {
	for _, hash := range s.watched(true) {
		if _, ok := s.node.PaymentState(hash); ok && !s.lied[hash] && !s.hidden[hash] {
			s.happened(worldHidden)
			s.hidden[hash] = true
		}
	}
}

// forget has the node delete payments that are over, for it and for the engine.
func (s *Simulation) forget() {
	for _, id := range s.orders {
		o := s.rows[id]
		if o == nil || len(o.Payout.Hashes()) == 0 {
			continue
		}
		for _, hash := range o.Payout.Hashes() {
			p, ok := s.node.PaymentState(hash)
			booked := p.State == lightning.Succeeded && o.Payout.State == order.PayoutPaid ||
				p.State == lightning.Failed && slices.Contains(o.Payout.Earlier, hash)
			if ok && booked && !s.lied[hash] && (!s.restores() || s.kept != nil && s.kept.payments[hash]) {
				s.happened(worldForgotten)
				s.forgotten[hash] = p
				s.node.ForgetPayment(hash)
			}
		}
	}
}

// loseHolds has the node delete canceled invoices, and lose one that is not paid yet. A copy of the
// store that is put back may use the same hash once more, so there it forgets none.
func (s *Simulation) loseHolds() {
	if s.restores() {
		return
	}
	open := s.chance(50)
	for _, d := range s.deals {
		h, ok := s.node.HoldState(d.hold)
		says := s.booksSay(d)
		switch {
		case !ok || says == order.EscrowAccepted || says == order.EscrowSettling:
		case h.State == lightning.Canceled:
			s.happened(worldCollected)
			s.lose(h)
		case h.State == lightning.Open && open:
			s.happened(worldLostHold)
			s.lose(h)
			open = false
		}
	}
}

// lose has the node forget a hold invoice. Who had paid it has his sats back.
func (s *Simulation) lose(h lightning.HoldInvoice) {
	s.say("  of %.4s, which was %s", h.Hash, h.State)
	if h.State != lightning.Settled {
		h.State, h.AmountPaid = lightning.Canceled, 0
	}
	s.lost[h.Hash] = h
	s.node.ForgetHold(h.Hash)
}

// hold is the truth about a hold invoice, also where the node has forgotten it.
func (s *Simulation) hold(hash order.Hash) (lightning.HoldInvoice, bool) {
	if h, ok := s.lost[hash]; ok && h.State == lightning.Settled {
		return h, true
	}
	if h, ok := s.node.HoldState(hash); ok {
		return h, true
	}
	h, ok := s.lost[hash]
	return h, ok
}

// payee settles or cancels one of the hold invoices that buyers gave.
func (s *Simulation) payee(i int) {
	preimage := s.holds[i]
	s.holds = slices.Delete(s.holds, i, i+1)
	for _, p := range s.people {
		if h, ok := p.wallet.HoldState(preimage.Hash()); ok {
			if h.State == lightning.Accepted && s.chance(60) {
				_ = p.wallet.Settle(context.Background(), preimage)
			} else {
				_ = p.wallet.Cancel(context.Background(), preimage.Hash())
			}
		}
	}
}

// hear tells the engine what its streams would: late, sometimes again, sometimes what was news
// before. A stream that has died is silent until the engine opens it anew.
func (s *Simulation) hear(ctx context.Context) error {
	for _, each := range s.e.live.fetch() {
		if each.end {
			delete(s.watches, each.hash)
			continue
		}
		s.watches[each.hash] = each
		delete(s.told, each.hash)
	}
	if _, err := s.e.cfg.Node.Info(ctx); err != nil {
		return nil
	}
	if len(s.news) > 0 && s.fault(faultOldNews, 30) {
		if err := s.news[s.r.IntN(len(s.news))](); err != nil {
			return err
		}
	}
	for _, hash := range append(s.watched(false), s.watched(true)...) {
		if since, silent := s.silent[hash]; silent && s.faulty && s.wall.Sub(since) < streamLife {
			continue
		} else if silent {
			delete(s.silent, hash)
			delete(s.told, hash)
		}
		if s.fault(faultStream, 5) {
			s.silent[hash] = s.wall
			continue
		}
		if err := s.hearOf(ctx, s.watches[hash]); err != nil {
			return err
		}
	}
	return nil
}

// hearOf tells how one hash stands, if that is news.
func (s *Simulation) hearOf(ctx context.Context, each watch) error {
	var state string
	var tell func() error
	if each.payment {
		s.losePayment(each)
		p, err := s.e.track(ctx, each.hash)
		if errors.Is(err, lightning.ErrNotFound) {
			since := s.missing[each.hash]
			err := s.e.missedPayment(ctx, each, &since)
			s.missing[each.hash] = since
			return err
		}
		if err != nil {
			return nil
		}
		delete(s.missing, each.hash)
		state, tell = string(p.State), func() error { return s.e.sawPayment(ctx, each, p) }
	} else {
		h, ok := s.node.HoldState(each.hash)
		if !ok {
			since := s.missing[each.hash]
			err := s.e.missedHold(ctx, each, &since)
			s.missing[each.hash] = since
			delete(s.told, each.hash) // what it says when it knows it again is news
			return err
		}
		delete(s.missing, each.hash)
		state, tell = string(h.State), func() error { return s.e.sawHold(ctx, each, h) }
	}
	switch {
	case s.told[each.hash] != state:
	case s.fault(faultRepeated, 50):
	default:
		return nil
	}
	s.told[each.hash] = state
	s.say("  the node: %.4s is %s", each.hash, state)
	if s.news = append(s.news, tell); len(s.news) > 20 {
		s.news = s.news[1:]
	}
	return tell()
}
