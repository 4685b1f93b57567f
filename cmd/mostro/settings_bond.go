package main

import (
	"fmt"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// BondSettings are the terms of the anti-abuse bond.
type BondSettings struct {
	Enabled        bool
	AmountPPM      int64
	Base           int64 // sats
	ApplyTo        string
	SlashOnTimeout bool
	NodeSharePPM   int64
	AskSeconds     int64
	Retries        int64
	ClaimDays      int64
	MaxLive        int64
}

// The sides that bonds can be asked of.
const (
	bondTake = "take"
	bondMake = "make"
	bondBoth = "both"
)

func (b *BondSettings) sections() []section {
	return []section{{"anti_abuse_bond", "Deposits of takers and makers against abuse. They come back at every normal end; who lets a trade time " +
		"out, or loses a dispute, can lose his to the other side."}}
}

func (b *BondSettings) keys() []key {
	return []key{
		{"anti_abuse_bond.enabled", &boolValue{&b.Enabled}, "false", "", "Orders that are there already keep the terms they were born with."},
		{"anti_abuse_bond.amount_pct", &ppmValue{&b.AmountPPM, 0, ppmOne}, "0.01", "fraction of the amount", "Size of a bond."},
		// A bond is an HTLC of its own: below dust it would not even be safe on chain.
		{"anti_abuse_bond.base_amount_sats", &intValue{&b.Base, 600, 100_000_000}, "1000", "sats", "The least bond, however small the trade."},
		{"anti_abuse_bond.apply_to", &choiceValue{&b.ApplyTo, []string{bondTake, bondMake, bondBoth}}, `"take"`, "", "Who gives one."},
		{"anti_abuse_bond.slash_on_waiting_timeout", &boolValue{&b.SlashOnTimeout}, "false", "",
			"Whether a bond is lost by who does not pay or give an invoice in time. Time in which this node or LND was away never counts."},
		{"anti_abuse_bond.slash_node_share_pct", &ppmValue{&b.NodeSharePPM, 0, ppmOne}, "0.5", "fraction of what is slashed",
			"What the node keeps; the other side of the trade gets the rest. The payout is routed from it."},
		{"anti_abuse_bond.payout_invoice_window_seconds", &intValue{&b.AskSeconds, 60, 7 * daysToSecond}, "300", "seconds",
			"Between two requests for an invoice for the share."},
		{"anti_abuse_bond.payout_max_retries", &intValue{&b.Retries, 1, 20}, "5", "tries", "With one invoice, before another is asked for."},
		{"anti_abuse_bond.payout_claim_window_days", &intValue{&b.ClaimDays, 1, 365}, "15", "days",
			"To give an invoice, counted anew from each that could not be paid. A share that nobody claims is the node's."},
		{"anti_abuse_bond.max_live_bonds", &intValue{&b.MaxLive, 0, 100_000}, "200", "bonds",
			"Held at once, of all orders: each occupies one of the HTLCs that a channel carries. 0: no limit."},
	}
}

// check finds terms under which a share, or what is left of a bond, could not be routed.
func (b *BondSettings) check(subsidy, routingPPM, largest int64, wrong func(path, what, remedy string)) {
	if !b.Enabled {
		return
	}
	terms, bond := order.Terms{RoutingFeePPM: routingPPM}, b.terms()
	most := bond.Of(order.Sat(largest))
	for _, amount := range []order.Sat{bond.Of(0), most} {
		share := bond.ShareOf(amount)
		if short := wholeSats(order.WayCosts(terms, share)) - int64(amount-share); share > 0 && short > subsidy {
			wrong("anti_abuse_bond.slash_node_share_pct", fmt.Sprintf("is %s: of a bond of %d sat it leaves %d to route the winner's share with, which may cost %d",
				formatPPM(b.NodeSharePPM), amount, amount-share, wholeSats(order.WayCosts(terms, share))),
				fmt.Sprintf("raise it, or set lightning.routing_subsidy to %d or more", short))
			return
		}
	}
	// The slice of a maker's bond that a part of his range takes down with it can be a few sats.
	if rest := wholeSats(order.WayCosts(terms, most)); bond.Maker && rest > subsidy {
		wrong("anti_abuse_bond.apply_to", fmt.Sprintf("is %q: a small part of a range slashes little of its maker's bond, too little to route what is left of it back to him, which may cost %d sat",
			b.ApplyTo, rest), fmt.Sprintf("set lightning.routing_subsidy to %d or more, or write %q here", rest, bondTake))
	}
}

// wholeSats rounds up.
func wholeSats(m order.Msat) int64 { return int64((m + 999).Sat()) }

// terms are what new orders are born with, nil without bonds.
func (b *BondSettings) terms() *order.BondTerms {
	if !b.Enabled {
		return nil
	}
	return &order.BondTerms{
		AmountPPM: b.AmountPPM, Base: order.Sat(b.Base), Taker: b.ApplyTo != bondMake, Maker: b.ApplyTo != bondTake,
		SlashOnTimeout: b.SlashOnTimeout, NodeSharePPM: b.NodeSharePPM,
		AskSeconds: b.AskSeconds, Attempts: b.Retries, ClaimSeconds: b.ClaimDays * daysToSecond,
	}
}

// info is what clients are told of them.
func (b *BondSettings) info() *mostro.BondTerms {
	if !b.Enabled {
		return nil
	}
	return &mostro.BondTerms{
		AmountPct: formatPPM(b.AmountPPM), BaseAmount: b.Base, ApplyTo: b.ApplyTo, SlashOnTimeout: b.SlashOnTimeout,
		SlashNodeSharePct: formatPPM(b.NodeSharePPM), PayoutClaimDays: b.ClaimDays,
	}
}
