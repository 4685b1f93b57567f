package escrow

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"mostro/escrow/order"
)

// settings are what the process takes when it starts. An operator changes them while trades run, so they are other ones at
// each start: an order must go on by the terms that it was made with.
func (s *Simulation) settings() Settings {
	set := Settings{
		Terms: order.Terms{FeePPM: 6000, RoutingFeePPM: 2000, WaitingSeconds: 900, PaymentAttempts: 3, PaymentRetrySeconds: 60, PayoutGraceSeconds: 300,
			DevFeePPM: 300_000, DevFeeAddress: "dev@sim", CLTVDelta: 288, HoldExpiryDelta: 12, Bond: simBonds(s.plan.Seed)},
		Rules:      order.Rules{MinAmount: 100, MaxAmount: 1_000_000, PendingTime: 86400, MaxPending: 15 * 86400, InvoiceWindow: 600, MaxFinalCLTV: 144},
		PayoutCLTV: 1008, PayoutParts: 8, PayoutTimeout: time.Minute, MessageDays: 30, OrderDays: 30, DisputeDays: 90, RatingDays: 90,
		Admins: []string{simKey("admin")},
	}
	t := &set.Terms
	if s.starts++; !s.steady {
		s.varyTerms(t)
	}
	if t.Bond != nil && t.Bond.NodeSharePPM == 0 { // elsewhere the node's share of the smallest slice covers both ways
		t.RoutingSubsidy = max(10, t.RoutingSubsidy)
	}
	if s.terms.WaitingSeconds > 0 && !reflect.DeepEqual(*t, s.terms) {
		s.happened(worldSettings)
	}
	s.terms = *t
	if s.trace != nil {
		s.say("the process starts with %s", simTerms(t))
	}
	set.Guards = Guards{VolumeHour: simVolume(s.plan.Seed), Uncovered: 100 * t.RoutingSubsidy}
	return set
}

// varyTerms draws the terms of a start. They come from a source of the seed, the step and the start in it: so none of them
// changes what is drawn for anything else, and a start is as it was where another is left out of a story.
//
// They are terms by which each trade comes to an end: routing is paid for, if the way is one of those that the simulation
// mostly has, with what the least order leaves after the development fee; the grace of payouts is longer than the node lies
// and a call is late; and lnd gives no escrow back before the engine does.
func (s *Simulation) varyTerms(t *order.Terms) {
	r := rand.New(rand.NewPCG(s.plan.Seed, ^(s.step<<8 | s.starts&0xff)))
	t.FeePPM = []int64{0, 6000, 6000, 6000, 8000, 12000}[r.IntN(6)]
	t.RoutingFeePPM = simRoutingPPM - int64(r.IntN(3))*500
	t.RoutingSubsidy = order.Sat(r.IntN(3)) * 10
	t.WaitingSeconds = int64(1+r.IntN(4)) * 300
	t.PaymentAttempts = int64(1 + r.IntN(4))
	t.PaymentRetrySeconds = int64(10 + r.IntN(200))
	t.PayoutGraceSeconds = int64(300 + r.IntN(3)*100)
	t.DevFeePPM = int64(1+r.IntN(3)) * 300_000
	t.DevFeeAddress = []string{"", "dev@sim", "dev@sim", "dev@sim", "p0@sim"}[r.IntN(5)]
	t.CLTVDelta = []uint32{144, 216, 288, 288, 288, 360}[r.IntN(6)]
	t.HoldExpiryDelta = uint32(12 + r.IntN(3)*6)
	t.Bond = simBonds(r.Uint64())
	if t.FeePPM == 0 { // nothing else pays for the way of a payout
		t.RoutingSubsidy = 400
	}
}

// simBonds are the terms of a draw: none in every third.
func simBonds(draw uint64) *order.BondTerms {
	if draw%3 == 0 {
		return nil
	}
	return &order.BondTerms{
		AmountPPM: 20_000, Base: 1000, Taker: draw%5 != 0, Maker: draw%2 == 0 || draw%5 == 0, SlashOnTimeout: draw%7 != 0,
		NodeSharePPM: int64(draw%4) * 250_000, AskSeconds: 1800, Attempts: 3, ClaimSeconds: 86400,
	}
}

// simTerms are terms in one line of a story.
func simTerms(t *order.Terms) string {
	bonds := "no bonds"
	if b := t.Bond; b != nil {
		bonds = fmt.Sprintf("bonds (taker %v, maker %v, slashed when late %v, %d ppm for the node)", b.Taker, b.Maker, b.SlashOnTimeout, b.NodeSharePPM)
	}
	return fmt.Sprintf("fee %d ppm, routing %d ppm and %d sat, waiting %d s, %d attempts each %d s, grace %d s, development %d ppm to %q, CLTV %d, expiry delta %d, %s",
		t.FeePPM, t.RoutingFeePPM, t.RoutingSubsidy, t.WaitingSeconds, t.PaymentAttempts, t.PaymentRetrySeconds, t.PayoutGraceSeconds,
		t.DevFeePPM, t.DevFeeAddress, t.CLTVDelta, t.HoldExpiryDelta, bonds)
}

// simHoldExpiry is lnd's invoices.holdexpirydelta of a seed: the default, or less than lnd warns of.
func simHoldExpiry(seed uint64) uint32 {
	if seed%6 == 4 {
		return 4
	}
	return 12
}

// simVolume is what may be paid out in an hour before no order is taken, in some of the seeds.
func simVolume(seed uint64) order.Sat {
	if seed%9 == 1 {
		return 120_000
	}
	return 0
}

// priceHolds is how long the price of a simulation stays what it is.
const priceHolds = 10 * time.Minute

// price is what a bitcoin costs now, 50,000 to 70,000. It follows from the seed and the time alone: whoever asks draws
// nothing, and two who ask at once are told the same.
func (s *Simulation) price() order.Price {
	p := order.Price{PerBTC: 50_000_000_000}
	if !s.steady {
		p.PerBTC += int64((s.plan.Seed^uint64(s.wall.UnixNano()/int64(priceHolds)))*0x9e3779b97f4a7c15>>32%7) * 3_333_333_333
	}
	return p
}

// tellPrice tells the engine the price.
func (s *Simulation) tellPrice(string) (order.Price, bool) {
	p := s.price()
	if s.priced.PerBTC > 0 && p != s.priced {
		s.happened(worldPrice)
	}
	s.priced = p
	return p, true
}
