package order

// The calls that a state waits for. A step makes each once, and puts it into the outbox; where that has lost
// one, the state says it again.

func openCall(o *Order) Call {
	return Call{
		Do: OpenHold, Hash: o.Escrow.Hash, Attempt: o.Escrow.Attempt, Amount: o.SellerPays().Msat(),
		CLTVDelta: o.Terms.CLTVDelta, Expiry: o.Terms.WaitingSeconds + holdSlack,
		Memo: EscrowMemo(o),
	}
}

func settleCall(h Escrow) Call {
	return Call{Do: SettleHold, Hash: h.Hash, Attempt: h.Attempt, Before: h.ExpiryHeight}
}

func cancelCall(h Escrow) Call { return Call{Do: CancelHold, Hash: h.Hash, Attempt: h.Attempt} }

func (p paying) resolveCall() Call {
	return Call{Do: Resolve, Address: p.Address, Amount: p.amount, Try: p.Tries}
}

func (p paying) payCall() Call {
	return Call{Do: Pay, Hash: p.Hash, Try: p.Tries, Invoice: p.Invoice, Amount: p.amount, FeeLimit: p.feeLimit, Earlier: p.Earlier}
}

// Undone are the calls for an order whose answers its state waits for, and the cancel of an escrow that
// it has given up: it does not say whether that was answered, and twice does no harm. What is to be canceled of an earlier
// attempt is not in the state.
func Undone(o *Order) (calls []Call) {
	s := &step{o: o}
	if o.Escrow.State == EscrowOpening {
		calls = append(calls, openCall(o))
	}
	calls = append(calls, undone(o.Escrow, s.paying())...)
	if o.DevFee != nil {
		for _, c := range undone(Escrow{}, s.payingDevFee()) {
			c.DevFee = true
			calls = append(calls, c)
		}
	}
	return calls
}

// UndoneBond is the same for a bond, but for the hold invoice that is to be opened: who is asked for a bond and gets no
// invoice is not waited for long.
func UndoneBond(b *Bond) (calls []Call) {
	for _, c := range undone(b.Hold, (&bondStep{b: b}).paying()) {
		c.Bond = b.ID
		calls = append(calls, c)
	}
	return calls
}

func undone(h Escrow, p paying) (calls []Call) {
	switch h.State {
	case EscrowSettling:
		calls = append(calls, settleCall(h))
	case EscrowCanceled:
		calls = append(calls, cancelCall(h))
	}
	switch p.State {
	case PayoutResolving:
		calls = append(calls, p.resolveCall())
	case PayoutSending:
		calls = append(calls, p.payCall())
	}
	return calls
}
