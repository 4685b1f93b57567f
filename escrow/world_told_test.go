package escrow

import (
	"fmt"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
)

// read prints an event as its receiver understands it.
func (w *world) read(ev nostr.Event) {
	if ok, err := ev.CheckSignature(); !ok || err != nil {
		w.t.Fatalf("kind %d has a bad signature: %v", ev.Kind, err)
	}
	tag := func(name string) string {
		if found := ev.Tags.Find(name); found != nil {
			return strings.Join(found[1:], "-")
		}
		return ""
	}
	switch ev.Kind {
	case mostro.KindOrder:
		fmt.Fprintf(&w.out, "book: %s is %s, %s sat for %s %s\n", w.name(tag("d")), tag("s"), tag("amt"), tag("fa"), tag("f"))
		return
	case mostro.KindRating:
		fmt.Fprintf(&w.out, "rating: %s has %s reviews, %s\n", w.who(tag("d")), tag("total_reviews"), tag("total_rating"))
		return
	case mostro.KindDevFee:
		fmt.Fprintf(&w.out, "development fee: %s sat of %s to %s\n", tag("amount"), w.name(tag("order-id")), tag("destination"))
		return
	case mostro.KindDispute:
		fmt.Fprintf(&w.out, "dispute: %s by the %s\n", tag("s"), tag("initiator"))
		return
	case mostro.KindMessage, mostro.KindGiftWrap:
	default:
		return
	}
	for _, p := range w.people {
		for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
			if tag("p") != key.Public() {
				continue
			}
			m, err := mostro.OpenReply(&ev, key, w.cfg.Key.Public())
			if err != nil {
				w.t.Fatalf("%s cannot read kind %d: %v", p.name, ev.Kind, err)
			}
			w.hand(p, m)
			return
		}
	}
	if tag("p") == w.cfg.Key.Public() {
		m, err := mostro.OpenReply(&ev, w.cfg.Key, w.cfg.Key.Public())
		w.check(err)
		w.hand(w.person("operator"), m)
		return
	}
	w.t.Fatalf("a message to nobody: %v", ev.Tags)
}

// hand gives a message to a person.
func (w *world) hand(p *person, m mostro.Message) {
	fmt.Fprintf(&w.out, "%s <- %s", p.name, m.Action)
	if m.TradeIndex != nil && m.Action == mostro.LastTradeIndex {
		fmt.Fprintf(&w.out, " %d", *m.TradeIndex)
	}
	if m.RequestID != nil {
		fmt.Fprintf(&w.out, " (to request %d)", *m.RequestID)
	}
	if pl := m.Payload; pl != nil {
		switch {
		case pl.CantDo != nil:
			fmt.Fprintf(&w.out, " %s", *pl.CantDo)
		case pl.Order != nil:
			fmt.Fprintf(&w.out, " %s", small(pl.Order))
			w.name(pl.Order.ID)
		case pl.PaymentRequest != nil:
			p.invoice = pl.PaymentRequest.Invoice
			w.name(pl.PaymentRequest.Order.ID)
			inv, err := lightning.Decode(p.invoice)
			w.check(err)
			fmt.Fprintf(&w.out, " invoice over %d msat, %s", inv.Amount, small(pl.PaymentRequest.Order))
		case pl.BondPayoutRequest != nil:
			fmt.Fprintf(&w.out, " slashed %s", small(&pl.BondPayoutRequest.Order))
		case pl.Peer != nil && pl.Peer.Reputation != nil:
			r := pl.Peer.Reputation
			fmt.Fprintf(&w.out, " taker has %d reviews, %.4g, %d days", r.Reviews, r.Rating, r.OperatingDays)
		case pl.Peer != nil:
			fmt.Fprintf(&w.out, " peer %s", w.who(pl.Peer.Pubkey))
		case pl.PaymentFailed != nil:
			fmt.Fprintf(&w.out, " %d attempts, every %d s", pl.PaymentFailed.Attempts, pl.PaymentFailed.RetriesInterval)
		case pl.ReviewProof != nil:
			w.proof(*pl.ReviewProof)
		case pl.RatingUser != nil:
			fmt.Fprintf(&w.out, " %d", *pl.RatingUser)
		case pl.Dispute != nil && pl.Dispute.Info != nil:
			i := pl.Dispute.Info
			fmt.Fprintf(&w.out, " %s order, %d sat, was %s, opened by %s, buyer %s, seller %s", i.Kind, i.Amount, i.OrderPreviousStatus,
				w.who(i.InitiatorPubkey), w.who(i.BuyerPubkey), w.who(i.SellerPubkey))
			if i.InitiatorInfo != nil {
				fmt.Fprintf(&w.out, ", %d reviews", i.InitiatorInfo.Reviews)
			}
		case pl.Dispute != nil:
			w.dispute = pl.Dispute.ID
		case pl.Orders != nil:
			for _, so := range pl.Orders {
				fmt.Fprintf(&w.out, "; %s: %s", w.name(so.ID), small(&so))
			}
		case pl.RestoreData != nil:
			for _, o := range pl.RestoreData.Orders {
				fmt.Fprintf(&w.out, "; %s at trade %d is %s", w.name(o.OrderID), o.TradeIndex, o.Status)
			}
			for _, d := range pl.RestoreData.Disputes {
				fmt.Fprintf(&w.out, "; dispute of %s at trade %d is %s, by the %s", w.name(d.OrderID), d.TradeIndex, d.Status, d.Initiator)
			}
		case pl.TextMessage != nil:
			text := *pl.TextMessage
			if _, ok, _ := w.e.Order(m.ID); ok {
				w.name(m.ID)
			}
			for id, name := range w.names {
				text = strings.ReplaceAll(text, id, name)
			}
			if w.dispute != "" {
				text = strings.ReplaceAll(text, w.dispute, "DISPUTE")
			}
			fmt.Fprintf(&w.out, " %q", text)
		}
	}
	w.out.WriteString("\n")
}

func small(so *mostro.SmallOrder) string {
	fiat := fmt.Sprint(so.FiatAmount)
	if so.MinAmount != nil && so.MaxAmount != nil {
		limits := fmt.Sprintf("%d to %d", *so.MinAmount, *so.MaxAmount)
		if fiat = limits; so.FiatAmount != 0 {
			fiat = fmt.Sprintf("%d of %s", so.FiatAmount, limits)
		}
	}
	s := fmt.Sprintf("%s %s, %d sat for %s %s", so.Status, so.Kind, so.Amount, fiat, so.FiatCode)
	switch buyer, seller := so.BuyerTradePubkey != "", so.SellerTradePubkey != ""; {
	case buyer && seller:
		s += ", with both keys"
	case buyer:
		s += ", with the buyer's key"
	case seller:
		s += ", with the seller's key"
	}
	if so.BuyerInvoice != "" {
		s += ", WITH THE BUYER'S INVOICE"
	}
	return s
}

// who names the owner of a key.
func (w *world) who(pubkey string) string {
	for _, p := range w.people {
		for _, key := range append(p.keys[:len(p.keys):len(p.keys)], p.identity) {
			if key.Public() == pubkey {
				return p.name
			}
		}
	}
	return pubkey
}

// name gives each order a letter, in the order in which the story meets them.
func (w *world) name(id string) string {
	if w.names[id] == "" {
		w.names[id] = "order " + string(rune('A'+len(w.names)))
	}
	return w.names[id]
}

// note prints what has become of the orders, and the alarms.
func (w *world) note() {
	for id := range w.names {
		o, ok, err := w.e.Order(id)
		w.check(err)
		if ok && o.Status != w.status[id] {
			if was := w.status[id]; was != "" {
				fmt.Fprintf(&w.out, "%s: %s -> %s\n", w.name(id), was, o.Status)
			}
			w.status[id] = o.Status
		}
	}
	for _, a := range w.alarms {
		for id, name := range w.names {
			a = strings.ReplaceAll(a, id, name)
		}
		fmt.Fprintf(&w.out, "alarm: %s\n", withoutHashes(a))
	}
	w.alarms = nil
}

// withoutHashes shortens hashes and the ids of bonds, which differ from run to run.
func withoutHashes(s string) string {
	words := strings.Fields(s)
	for i, word := range words {
		if core := strings.TrimRight(word, ",;:"); len(core) == 64 {
			words[i] = "HASH" + word[64:]
		}
		if len(word) == 36 && i > 0 && (words[i-1] == "bond" || words[i-1] == "payout") {
			words[i] = "ID"
		}
	}
	return strings.Join(words, " ")
}
