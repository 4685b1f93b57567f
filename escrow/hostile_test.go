package escrow

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// TestHostileMessages plays trades while their parties and strangers say anything to anybody at
// any time. Whatever is said:
//
//   - it is refused with a prefix of NIP-01, tells nobody anything and leaves no mark, or the
//     sender is answered, to the request and before anything else;
//   - said again, it does nothing and is answered with nothing;
//   - a stranger moves no order;
//   - in the end no sat is missing and the books agree.
func TestHostileMessages(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 6
	}
	begin := rand.Uint64()
	for i := range seeds {
		seed := begin + uint64(i)
		h := &hostile{world: newWorld(t), test: t, rand: rand.New(rand.NewPCG(seed, 0))}
		t.Logf("seed %d", seed)
		h.play()
		total, minted := h.net.Total()
		if total != minted {
			t.Errorf("the network holds %d msat of %d", total, minted)
		}
		if t.Failed() {
			t.Fatalf("this was seed %d", seed)
		}
	}
}

type hostile struct {
	*world
	test *testing.T
	rand *rand.Rand
}

// play takes a few trades to their ends, with a storm of messages before each step.
func (h *hostile) play() {
	trades := [][]string{
		{"alice new sell sats=100000", "bob take", "bob add-invoice invoice=99700", "alice pay", "bob fiat-sent", "alice release", "alice rate", "bob rate"},
		{"bob new buy sats=100000", "alice take", "alice pay", "bob add-invoice invoice=99700", "bob dispute", "alice cancel", "bob cancel"},
		{"alice new sell usd=50", "bob take invoice=bob@ln.example", "alice pay", "bob fiat-sent", "bob dispute", "alice release"},
		{"alice new sell min=10 max=100", "bob take usd=40", "wait 20m", "bob take usd=20 invoice=40000", "alice pay", "bob fiat-sent", "alice release"},
	}
	for range 3 {
		for _, step := range trades[h.rand.IntN(len(trades))] {
			for range 1 + h.rand.IntN(6) {
				h.say()
			}
			h.check(h.command(strings.Fields(step)))
		}
	}
	h.advance(48 * time.Hour)
	h.mine(400)
	h.advance(time.Hour)
	h.agree(h.test, "hostile", "the end")
}

// say sends one message that somebody makes up, twice.
func (h *hostile) say() {
	h.t.Helper()
	p := h.person([]string{"alice", "bob", "carol"}[h.rand.IntN(3)])
	if p.trade.IsZero() || h.rand.IntN(5) == 0 {
		p.nextKey()
	}
	key := p.trade
	if h.rand.IntN(4) == 0 {
		key = p.keys[h.rand.IntN(len(p.keys))]
	}
	m := h.message(p)
	from, version := mostro.Party{Trade: key, Identity: p.identity}, mostro.NIP44
	if h.rand.IntN(3) == 0 {
		from.Identity = key
	}
	if h.rand.IntN(4) == 0 {
		version = mostro.GiftWrap
	}
	m.Version = version.Version()
	ev, err := mostro.SealRequest(m, version, from, h.cfg.Key.Public(), h.net.Now().Unix(), 0)
	if err != nil {
		return // not even a client could say that
	}
	if version == mostro.NIP44 && h.rand.IntN(4) == 0 {
		text, err := m.Encode()
		h.check(err)
		keep := p.trade
		p.trade = key
		ev = *h.raw(p, h.garble(string(text)))
		p.trade = keep
		m.RequestID = nil // whether it survived is not known
	}
	told, before, others := len(h.events), h.statuses(), h.ordersOfOthers(p)
	rows := h.rows(tableSeen) + h.rows(tableOutbox) + h.rows(tableKey) + h.rows(tableOrder) + h.rows(tableUser)
	err = h.e.Receive(context.Background(), &ev)
	h.settle()
	words, _ := m.Encode()
	switch {
	case err != nil && !forClients(err.Error()):
		h.t.Errorf("%s is refused with what is no answer: %v\n%s", p.name, err, words)
	case err != nil:
		if now := h.rows(tableSeen) + h.rows(tableOutbox) + h.rows(tableKey) + h.rows(tableOrder) + h.rows(tableUser); now != rows || len(h.events) != told {
			h.t.Errorf("%s is refused (%v), and it has done something\n%s", p.name, err, words)
		}
	default:
		h.answered(p, m, key, h.events[told:], string(words))
		if p.name == "carol" && m.Action != mostro.TakeBuy && m.Action != mostro.TakeSell {
			for id, was := range before {
				if now := h.statuses()[id]; now != was && others[id] {
					h.t.Errorf("a stranger has moved %s from %s to %s\n%s", h.name(id), was, now, words)
				}
			}
		}
	}
	told = len(h.events)
	again := h.e.Receive(context.Background(), &ev)
	h.settle()
	if len(h.events) != told || (err == nil) != (again == nil) {
		h.t.Errorf("said again it does something: %v, %v, %d events\n%s", err, again, len(h.events)-told, words)
	}
}

// forClients tells whether a refusal is one that a client may see.
func forClients(text string) bool {
	return text != errDefect.Error() && text != errHeld.Error() && slices.ContainsFunc([]string{"invalid: ", "rate-limited: ", "error: "}, func(p string) bool { return strings.HasPrefix(text, p) })
}

func (h *hostile) statuses() map[string]mostro.Status {
	all := map[string]mostro.Status{}
	for id := range h.names {
		if o, ok, err := h.e.Order(id); err == nil && ok {
			all[id] = o.Status
		}
	}
	return all
}

// ordersOfOthers are those that a person has no part in now: a taker who cancels has none afterwards.
func (h *hostile) ordersOfOthers(p *person) map[string]bool {
	others := make(map[string]bool)
	for id := range h.statuses() {
		o, _, err := h.e.Order(id)
		h.check(err)
		others[id] = !slices.ContainsFunc(p.keys, func(k mostro.Secret) bool {
			return k.Public() == o.Seller.Trade || k.Public() == o.Buyer.Trade
		})
	}
	return others
}

// answered checks that the first thing that the sender's key hears is the answer to the request.
func (h *hostile) answered(p *person, m mostro.Message, key mostro.Secret, heard []nostr.Event, words string) {
	h.t.Helper()
	for _, ev := range heard {
		if to := ev.Tags.Find("p"); to == nil || to[1] != key.Public() {
			continue
		}
		reply, err := mostro.OpenReply(&ev, key, h.cfg.Key.Public())
		h.check(err)
		if m.RequestID != nil && (reply.RequestID == nil || *reply.RequestID != *m.RequestID) {
			h.t.Errorf("%s is answered with %s, which is not to the request\n%s", p.name, reply.Action, words)
		}
		return
	}
	h.t.Errorf("%s is answered with silence\n%s", p.name, words)
}

// message makes something up.
func (h *hostile) message(p *person) mostro.Message {
	request := h.rand.Uint64()
	m := mostro.Message{Wrapper: mostro.WrapOrder, RequestID: &request, Action: pick(h.rand, hostileActions), ID: h.anOrder(), Payload: h.payload(p)}
	if h.rand.IntN(5) == 0 {
		m.Wrapper = pick(h.rand, []mostro.Wrapper{mostro.WrapDispute, mostro.WrapCantDo, mostro.WrapRate, mostro.WrapDM, mostro.WrapRestore})
	}
	if h.rand.IntN(6) == 0 {
		m.Action = mostro.Action(pick(h.rand, []string{"dance", "NEW-ORDER", "", "add-cashu-escrow"}))
	}
	if h.rand.IntN(2) == 0 {
		index := p.index
		if h.rand.IntN(3) == 0 {
			index = h.number()
		}
		m.TradeIndex = &index
	}
	return m
}

var hostileActions = []mostro.Action{
	mostro.NewOrder, mostro.TakeSell, mostro.TakeSell, mostro.TakeBuy, mostro.TakeBuy, mostro.PayInvoice, mostro.FiatSent, mostro.FiatSent,
	mostro.Release, mostro.Cancel, mostro.Cancel, mostro.Dispute, mostro.AddInvoice, mostro.AddInvoice, mostro.AddBondInvoice, mostro.RateUser,
	mostro.AdminCancel, mostro.AdminSettle, mostro.AdminAddSolver, mostro.AdminTakeDispute, mostro.SendDM, mostro.TradePubkey,
	mostro.RestoreSession, mostro.LastTradeIndex, mostro.Orders, mostro.CantDo, mostro.Released, mostro.PaymentFailed, mostro.Rate,
	mostro.ProveReview, mostro.ProveReview,
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (h *hostile) anOrder() string {
	ids := []string{"", "00000000-0000-4000-8000-000000000000", h.dispute}
	for id := range h.names {
		ids = append(ids, id, id, id)
	}
	slices.Sort(ids)
	return pick(h.rand, ids)
}

func (h *hostile) number() int64 {
	return pick(h.rand, []int64{0, 1, -1, 5, 50, 99_700, 100_000, 1_000_001, math.MaxInt32, math.MaxInt64, math.MinInt64, 21e14, 1 << 53})
}

func (h *hostile) text(p *person) string {
	return pick(h.rand, []string{"", "x", "bank transfer", "USD", "usd", "EUR", strings.Repeat("long ", 2000), "a\x00b", "\u202eevil", "<script>", "\n\n",
		p.given, p.invoice, p.name + "@ln.example", "lnbc1nonsense", "lightning:" + strings.ToUpper(p.given), p.trade.Public(), h.cfg.Key.Public(),
		h.makeInvoice(p, args{named: map[string]string{"invoice": pick(h.rand, []string{"99700", "100000", "1", "own:99700"})}})})
}

// payload makes any payload, most often one that an action takes.
func (h *hostile) payload(p *person) *mostro.Payload {
	number, stars, text, key := h.number(), int(h.number()%7), h.text(p), h.reviewKey(p.name).Public()
	small := &mostro.SmallOrder{
		ID: h.anOrder(), Kind: pick(h.rand, []mostro.OrderKind{mostro.Sell, mostro.Buy, ""}), Status: pick(h.rand, []mostro.Status{mostro.StatusPending, mostro.StatusActive, ""}),
		Amount: h.number(), FiatCode: pick(h.rand, []string{"USD", "USD", h.text(p)}), FiatAmount: h.number(), PaymentMethod: h.text(p), Premium: pick(h.rand, []int64{0, 0, h.number()}),
		BuyerInvoice: pick(h.rand, []string{"", "", h.text(p)}),
	}
	if h.rand.IntN(3) == 0 {
		least, most := h.number(), h.number()
		small.MinAmount, small.MaxAmount = &least, &most
	}
	if h.rand.IntN(3) == 0 {
		at := h.number()
		small.ExpiresAt = &at
	}
	var amount *int64
	if h.rand.IntN(3) == 0 {
		amount = &number
	}
	return pick(h.rand, []*mostro.Payload{
		nil, nil, nil, {Order: small}, {Order: small},
		{PaymentRequest: &mostro.PaymentRequest{Invoice: text, Amount: amount}}, {PaymentRequest: &mostro.PaymentRequest{Order: small, Invoice: text}},
		{TextMessage: &text}, {Peer: &mostro.Peer{Pubkey: p.trade.Public()}}, {RatingUser: &stars}, {Amount: &number},
		{Dispute: &mostro.DisputeRef{ID: h.anOrder()}}, {NextTrade: &mostro.NextTrade{Pubkey: p.trade.Public(), Index: number}},
		{NextTrade: &mostro.NextTrade{Pubkey: text, Index: number}}, {IDs: []string{h.anOrder(), h.anOrder()}}, {Orders: []mostro.SmallOrder{*small}},
		{PaymentFailed: &mostro.PaymentFailedInfo{Attempts: number}}, {BondResolution: &mostro.BondResolution{SlashSeller: true}},
		{ReviewKey: &text}, {ReviewKey: &key}, {ReviewKey: &key}, {ReviewProof: &mostro.ReviewProof{Key: key, Week: text}},
	})
}

// garble changes a message's text.
func (h *hostile) garble(text string) string {
	b := []byte(text)
	for range 1 + h.rand.IntN(3) {
		at := h.rand.IntN(len(b))
		switch h.rand.IntN(4) {
		case 0:
			b[at] = byte(h.rand.IntN(128))
		case 1:
			b = slices.Delete(b, at, min(len(b), at+1+h.rand.IntN(8)))
		case 2:
			b = slices.Insert(b, at, []byte(pick(h.rand, []string{"null", "{", "\"", "[[[[[[[", `,"action":"release"`, "1e999", "\xff"}))...)
		case 3:
			b = append(b, b[at:]...)
		}
		if len(b) == 0 {
			return "x"
		}
	}
	return string(b)
}
