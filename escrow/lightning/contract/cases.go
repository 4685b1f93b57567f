package contract

import (
	"mostro/escrow/lightning"
)

// testCase is one thing that the escrow relies on.
type testCase struct {
	name  string
	needs []Capability
	run   func(l *lab)
}

// cases in the order they run: those that stop nodes or fill channels come last.
func cases() []testCase {
	return []testCase{
		{name: "info and balance", run: testInfo},
		{name: "blocks are told", run: testBlocks},
		{name: "a hold invoice says what was asked", run: testHoldFields},
		{name: "the same hash gives the same invoice in every state", run: testSameHash},
		{name: "an unknown invoice is not found", run: testUnknownInvoice},
		{name: "a watch begins with the present and ends with the final state", run: testWatch},
		{name: "a paid hold invoice is accepted with its expiry height", run: testAccepted},
		{name: "settle in every state", run: testSettle},
		{name: "cancel in every state", run: testCancel},
		{name: "the payer learns of settle and cancel", run: testPayerResult},
		{name: "a second payer is refused", run: testSecondPayer},
		{name: "overpaid is accepted and underpaid is not", run: testOtherAmount},
		{name: "parts are accepted together", needs: []Capability{MPP}, run: testParts},
		{name: "a lonely part is given back", needs: []Capability{MPP, LongWaits}, run: testLonelyPart},
		{name: "time ends what is unpaid and nothing else", run: testTimeExpiry},
		{name: "blocks end what is accepted 12 before the HTLC", run: testBlockExpiry},
		{name: "bounds of the CLTV delta", run: testCLTVBounds},
		{name: "a payment is sent once", run: testSendOnce},
		{name: "a failed payment may be sent again, for a fee", run: testRetryWithFee},
		{name: "what can never be paid is refused", run: testRefusals},
		{name: "what cannot be paid now fails", run: testFailures},
		{name: "a route is found or not", run: testCanRoute},
		{name: "the books list what happened", run: testRecords},
		{name: "a payment outlives the call that sent it", run: testContextEnds},
		{name: "a payment is found when the answer was lost", needs: []Capability{LostAnswer}, run: testLostAnswer},
		{name: "rights bind", needs: []Capability{Restricted}, run: testRestricted},
		{name: "an accepted invoice outlives a restart", run: testRestartAccepted},
		{name: "a settle outlives a restart", run: testRestartSettled},
		{name: "a payment in flight outlives a restart", run: testRestartInFlight},
		{name: "settling does not wait for the payer", run: testPayerOffline},
		{name: "a full channel refuses the payer", needs: []Capability{ManyHTLCs}, run: testSlots},
	}
}

func testInfo(l *lab) {
	for _, party := range []Party{Escrow, Seller, Buyer} {
		info := l.info(party)
		if !info.Synced || info.Height == 0 || len(info.Pubkey) != 66 || info.Version == "" || info.TipTime.IsZero() {
			l.t.Errorf("%s: %+v, want a synced node with key, version, height and time of the tip", party, info)
		}
		balance, err := l.network.Node(party).Balance(l.ctx)
		l.must(err)
		if balance.Local < leastFunds || balance.Remote < leastFunds || balance.ActiveChannels < 1 {
			l.t.Errorf("%s: %+v, want active channels with %d msat on each side", party, balance, leastFunds)
		}
	}
}

func testBlocks(l *lab) {
	heights := l.watch(func(seen func(string)) error {
		return l.escrow.WatchBlocks(l.ctx, func(height uint32) { seen(numeral(height)) })
	})
	height := l.info(Escrow).Height
	heights.waitFor(numeral(height))
	l.network.Mine(l.t, 2)
	heights.waitFor(numeral(height + 2))
	if info := l.info(Escrow); info.Height != height+2 {
		l.t.Errorf("info says height %d after two blocks on %d", info.Height, height)
	}
}

func testRestricted(l *lab) {
	hold := l.accepted(someSats)
	node := l.network.RestrictedNode(l.t, Escrow)
	if _, err := node.Info(l.ctx); err != nil {
		l.t.Errorf("info: %v", err)
	}
	if invoice, err := node.Lookup(l.ctx, hold.hash); err != nil || invoice.State != lightning.Accepted {
		l.t.Errorf("lookup: %q, %v", invoice.State, err)
	}
	payout := l.network.AddInvoice(l.t, Buyer, InvoiceRequest{Amount: someSats.Msat()})
	_, sendErr := node.Send(l.ctx, payRequest(payout, someSats))
	_, openErr := node.OpenHold(l.ctx, lightning.HoldRequest{Hash: l.newPreimage().Hash(), Amount: someSats.Msat(), CLTVDelta: someCLTV})
	for call, err := range map[string]error{
		"settle": node.Settle(l.ctx, hold.preimage), "cancel": node.Cancel(l.ctx, hold.hash), "send": sendErr, "open": openErr,
	} {
		// A missing right is the operator's mistake. Taken for an answer about the invoice
		// it could end a trade.
		l.wantUnknown(call, err)
	}
	l.wantHold(hold.hash, lightning.Accepted)
	l.cancel(hold)
}

func testSlots(l *lab) {
	var holds []hold
	for range l.network.Slots() {
		hold := l.open(slotSats)
		l.network.Pay(l.t, Seller, Payment{Invoice: hold.bolt11})
		holds = append(holds, hold)
	}
	for _, hold := range holds {
		l.waitHold(hold.hash, lightning.Accepted)
	}
	extra := l.open(slotSats)
	l.network.Pay(l.t, Seller, Payment{Invoice: extra.bolt11})
	l.wantFailed(Seller, extra.hash, noBalance)
	l.wantHold(extra.hash, lightning.Open)
	for _, hold := range append(holds, extra) {
		l.cancel(hold)
	}
	// The channel is free again only when the payer has its HTLCs back.
	for _, hold := range holds {
		l.wantFailed(Seller, hold.hash, incorrectDetails)
	}
	l.eventually("the channel takes payments again", func() bool {
		again := l.open(slotSats)
		l.network.Pay(l.t, Seller, Payment{Invoice: again.bolt11})
		if l.outcome(Seller, again.hash, lightning.InFlight).State != lightning.InFlight {
			return false
		}
		l.waitHold(again.hash, lightning.Accepted)
		l.cancel(again)
		return true
	})
}
