package escrow

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	diffs "github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// A move is what somebody, or the world, does next in a flow. It sends one message at most, and
// last: a process that dies over it is sent the message again, as clients do.
type move func(*crashRun) error

// crashRun is a simulation in which nothing is left to chance.
type crashRun struct {
	*Simulation
	lying bool // the payees' servers ask for another amount
}

// crashFlow is one way of a trade, from the offer to its end.
type crashFlow struct {
	name  string
	seed  uint64 // simBonds has the bonds of it: 3 none, 1 of takers, 10 of makers
	moves []move
	end   mostro.Status // of the first order
	// or tells of another end that is as good, nil = there is none.
	or func(want, got string) bool
}

// crashFlows are the flows in which the process dies at each point.
func crashFlows() []crashFlow {
	begin := []move{offer(mostro.Sell, "fixed"), take("good"), payEscrow}
	held := slices.Concat(begin, []move{says(0, mostro.FiatSent)})
	paid := slices.Concat(held, []move{says(1, mostro.Release)})
	with := func(moves []move, more ...move) []move { return slices.Concat(moves, more) }
	const none, takers, makers = 3, 1, 10
	success, canceled := mostro.StatusSuccess, mostro.StatusCanceled
	return []crashFlow{
		{"sell", none, paid, success, nil},
		{"buy", none, []move{offer(mostro.Buy, "fixed"), take(""), payEscrow, gives("good"), says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"market", none, []move{offer(mostro.Sell, "market"), take(""), gives("good"), payEscrow, says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"range", none, []move{offer(mostro.Sell, "range"), take("good"), payEscrow, says(0, mostro.FiatSent), releaseRest, cancelRest}, success, nil},
		{"payout to an address", none, []move{offer(mostro.Sell, "fixed"), take("address"), payEscrow, says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"payee's server lies", none, []move{offer(mostro.Sell, "fixed"), take("address"), payEscrow, says(0, mostro.FiatSent), badServer, says(1, mostro.Release), goodServer, wait(2 * time.Minute)}, success, nil},
		{"replaced invoice", none, []move{offer(mostro.Sell, "fixed"), take("held"), payEscrow, says(0, mostro.FiatSent), says(1, mostro.Release), refuseHeld, wait(2 * time.Minute), refuseHeld,
			wait(2 * time.Minute), refuseHeld, gives("good"), wait(10 * time.Minute)}, success, nil},
		{"payout called failed", none, with(held, fated(lightning.SimLying), says(1, mostro.Release), wait(3*time.Minute), honestNode, wait(15*time.Minute)), success, nil},
		{"payout in flight", none, with(held, fated(lightning.SimFrozen), says(1, mostro.Release), wait(3*time.Minute), honestNode, wait(time.Minute)), success, nil},
		{"payout lost for a while", none, with(held, fated(lightning.SimFrozen), says(1, mostro.Release), hideAll, wait(6*time.Minute), wait(6*time.Minute), honestNode, wait(time.Minute)), success, nil},
		{"overpaid", none, []move{offer(mostro.Sell, "fixed"), take("good"), overpayEscrow, says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"cancel before the take", none, []move{offer(mostro.Buy, "fixed"), says(0, mostro.Cancel)}, canceled, nil},
		{"cancel by the maker", none, []move{offer(mostro.Sell, "fixed"), take("good"), says(1, mostro.Cancel)}, canceled, nil},
		{"cancel by the taker", none, []move{offer(mostro.Sell, "fixed"), take("good"), says(0, mostro.Cancel), says(1, mostro.Cancel)}, canceled, nil},
		{"cooperative cancel", none, with(begin, says(0, mostro.Cancel), says(1, mostro.Cancel)), mostro.StatusCooperativelyCanceled, nil},
		{"expiry", none, []move{offer(mostro.Sell, "fixed"), wait(25 * time.Hour)}, mostro.StatusExpired, nil},
		{"timeout of the invoice", none, []move{offer(mostro.Sell, "fixed"), take(""), wait(16 * time.Minute), wait(25 * time.Hour)}, mostro.StatusExpired, nil},
		{"timeout of the payment", none, []move{offer(mostro.Sell, "fixed"), take("good"), wait(16 * time.Minute)}, canceled, nil},
		{"dispute settled", none, with(held, says(0, mostro.Dispute), solver(mostro.AdminTakeDispute), solver(mostro.AdminSettle)), success, nil},
		{"dispute canceled", none, with(held, says(1, mostro.Dispute), solver(mostro.AdminTakeDispute), solver(mostro.AdminCancel)), mostro.StatusCanceledByAdmin, nil},
		{"dispute released", none, with(begin, says(0, mostro.Dispute), says(1, mostro.Release)), success, nil},
		{"deadline", none, with(begin, blocks(200), wait(time.Minute), blocks(40), wait(time.Minute), blocks(25), wait(time.Minute)), canceled, nil},
		{"deadline after fiat-sent", none, with(held, blocks(200), wait(time.Minute), blocks(40), wait(time.Minute), blocks(25), wait(time.Minute)), canceled, nil},
		{"the node cancels by itself", none, with(held, nodeCancels, wait(time.Minute)), canceled, nil},
		{"bond of the taker", takers, []move{offer(mostro.Sell, "fixed"), take("good"), payBonds, payEscrow, says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"bond race", takers, []move{offer(mostro.Buy, "fixed"), take(""), take(""), payBonds, payEscrow, gives("good"), says(0, mostro.FiatSent), says(1, mostro.Release)}, success, otherWins},
		{"bond of the maker", makers, []move{offer(mostro.Sell, "fixed"), payBonds, take("good"), payEscrow, says(0, mostro.FiatSent), says(1, mostro.Release)}, success, nil},
		{"bond slashed by a timeout", takers, []move{offer(mostro.Sell, "fixed"), take(""), payBonds, wait(16 * time.Minute), claimBond, wait(time.Minute), says(1, mostro.Cancel)}, canceled, forgiven},
		{"bond slashed by a solver", takers, []move{offer(mostro.Sell, "fixed"), take("good"), payBonds, payEscrow, says(0, mostro.FiatSent), says(1, mostro.Dispute), solver(mostro.AdminTakeDispute), slashBuyer, claimBond, wait(time.Minute)},
			mostro.StatusCanceledByAdmin, nil},
		{"bond forfeited", takers, []move{offer(mostro.Sell, "fixed"), take(""), payBonds, wait(16 * time.Minute), wait(26 * time.Hour), wait(time.Hour)}, mostro.StatusExpired, forgiven},
	}
}

// mostPoints bounds the points of one flow: a flow without end has none.
const mostPoints = 2000

// TestCrashPoints lets the process die before, after and inside of each effect of each flow: a
// commit, a call to the node, a publishing. Inside means that the effect has happened and that
// nobody has written down its answer. In the same places the answer gets lost and the process
// lives. Each flow must then end as it does without, and the books must agree.
func TestCrashPoints(t *testing.T) {
	positions := []string{crashBeforeCommit, crashAfterCommit, crashBeforeCall, crashAfterCall, crashBeforePublish, crashAfterPublish,
		faultLostBefore, faultLostAfter, faultPublish, faultPublished}
	step := 1
	if testing.Short() {
		step = 11
	}
	all := map[string]int{}
	for _, flow := range crashFlows() {
		t.Run(flow.name, func(t *testing.T) {
			want, points := flow.play(t, nil, nil)
			if want.err != nil || want.first != flow.end {
				var trace bytes.Buffer
				flow.play(t, nil, &trace)
				t.Fatalf("it ends %s without a crash, and not %s: %v\n%s", want.first, flow.end, want.err, &trace)
			}
			for _, position := range positions {
				for n := 0; n < points[position]; n += step {
					twice := []bool{false}
					if step == 1 && n%3 == 0 { // and dies again as soon as it can
						twice = append(twice, true)
					}
					for _, again := range twice {
						die := crashAt(position, n, again)
						all[position]++
						got, _ := flow.play(t, die, nil)
						diff := diffs.Diff(want.text, got.text)
						if diff != "" && flow.or != nil && flow.or(want.text, got.text) {
							diff = ""
						}
						if got.err != nil || diff != "" {
							var trace bytes.Buffer
							flow.play(t, crashAt(position, n, again), &trace)
							t.Fatalf("%s, the %dth time, again %v: %v\n%s\n%s", position, n, again, got.err, diff, &trace)
						}
					}
				}
			}
		})
	}
	sum := 0
	for _, position := range positions {
		t.Logf("%6d %s", all[position], position)
		if sum += all[position]; all[position] == 0 {
			t.Errorf("never: %s", position)
		}
	}
	t.Logf("%6d points in %d flows", sum, len(crashFlows()))
}

// crashAt has a fault happen the nth time that it could, and again, where it is a crash, the next
// time that the process could die at all.
func crashAt(position string, n int, again bool) func(string) bool {
	seen := 0
	return func(fault string) bool {
		switch {
		case n >= 0 && fault == position:
			if seen++; seen > n {
				n = -1
				return true
			}
		case n < 0 && again && strings.HasPrefix(fault, "the process dies"):
			again = false
			return true
		}
		return false
	}
}

// crashEnd is how a flow has ended.
type crashEnd struct {
	err   error
	first mostro.Status
	text  string
}

// play runs a flow in which die decides, and counts the places where something could happen.
func (f crashFlow) play(t *testing.T, die func(string) bool, trace *bytes.Buffer) (end crashEnd, points map[string]int) {
	t.Helper()
	cfg := SimulationConfig{Plan: SimPlan{Seed: f.seed, Trades: 1}, steady: true}
	if trace != nil {
		cfg.Trace = trace
	}
	s := &crashRun{Simulation: newSimulation(cfg)}
	s.faulty, points = false, map[string]int{}
	s.at = func(fault string) bool {
		if points[fault]++; points[fault] > mostPoints {
			panic("the flow has no end: " + fault)
		}
		return fault == faultServerLies && s.lying || die != nil && die(fault)
	}
	var err error
	if s.db, err = simStore(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = s.db.DropAll()
		_ = s.db.Close()
	}()
	s.begin(0)
	err = s.start()
	for i, move := range f.moves {
		s.begin(uint64(i + 1))
		err = first(err, s.survive(func() error { return move(s) }))
		for range 4 { // of these, one or two come after a crash
			err = first(err, s.survive(func() error {
				for len(s.late) > 0 {
					if err := s.deliverLate(); err != nil {
						return err
					}
				}
				return s.settleDown()
			}), s.invariants())
		}
	}
	// Time passes, for hold invoices that nobody knows of.
	err = first(err, s.survive(func() error { s.advance(25 * time.Hour); return nil }))
	for range 3 {
		err = first(err, s.survive(s.settleDown), s.invariants())
	}
	end.err = first(err, s.accounts())
	end.first, end.text = s.rows[s.firstOrder()].Status, s.ending()
	return end, points
}

// ending is how everything stands at the end.
func (s *crashRun) ending() string {
	var lines []string
	for _, o := range s.rows {
		lines = append(lines, fmt.Sprintf("order %s %s: in %d, paid %d, fee %d, development %v", o.Kind, o.Status, o.Ledger.SettledIn(), o.Ledger.PaidOut(), o.Ledger.NodeFee(), order.DevFeePaid(o) != nil))
	}
	for _, b := range s.bonds {
		lines = append(lines, fmt.Sprintf("bond %s %s: in %d, paid %d", b.Role, b.State, b.Ledger.SettledIn(), b.Ledger.PaidOut()))
	}
	for _, p := range append(slices.Clone(s.people), s.dev) {
		lines = append(lines, fmt.Sprintf("%s has %d", p.name, p.wallet.Funds()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// firstOrder is the order that is nobody's child.
func (s *crashRun) firstOrder() string { return s.nthOrder(0) }

func (s *crashRun) nthOrder(n int) string {
	for id, o := range s.rows {
		if (o.Parent == "") == (n == 0) {
			return id
		}
	}
	return ""
}

// otherWins: in a race it may be either.
func otherWins(want, got string) bool {
	lines := strings.Split(strings.NewReplacer("p1 ", "p2 ", "p2 ", "p1 ").Replace(got), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n") == want
}

// forgiven: who could not reach the node, for as much as a heartbeat, is not blamed (I8).
func forgiven(_, got string) bool { return strings.Contains(got, "bond taker released: in 0, paid 0") }

// The moves. The maker is p0, takers are p1 and on.

func offer(kind mostro.OrderKind, how string) move {
	return func(s *crashRun) error {
		so := mostro.SmallOrder{Kind: kind, FiatCode: "USD", FiatAmount: 50, PaymentMethod: "cash"}
		switch how {
		case "fixed":
			so.Amount = 100_000
		case "range":
			least, most := int64(20), int64(60)
			so.FiatAmount, so.MinAmount, so.MaxAmount = 0, &least, &most
		}
		trade, index := s.nextKey(s.people[0])
		return s.send(s.people[0], trade, mostro.NewOrder, "", &mostro.Payload{Order: &so}, index)
	}
}

// payTo is an invoice, or what stands for one.
func (s *crashRun) payTo(p *player, how string, amount order.Sat) *mostro.Payload {
	text := ""
	switch how {
	case "":
		return nil
	case "address":
		text = p.name + "@sim"
	case "held":
		var preimage order.Preimage
		text, preimage = p.wallet.AddHoldInvoice(amount.Msat())
		s.holds = append(s.holds, preimage)
	default:
		text = p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount.Msat(), Expiry: 48 * time.Hour, CLTVDelta: 40})
	}
	return &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: text}}
}

func take(invoice string) move {
	return func(s *crashRun) error {
		o := s.load(s.firstOrder())
		takers := len(s.e.live.bondIDs())
		p := s.people[1+takers]
		amount, action := o.Amount, mostro.TakeSell
		if o.Kind == mostro.Buy {
			action = mostro.TakeBuy
		}
		var fiat *int64
		if o.Range() {
			fifty := int64(40)
			fiat, amount = &fifty, order.Quote(40, order.Price{PerBTC: 50_000_000_000}, 0)
		}
		payload := s.payTo(p, invoice, amount-order.FeeSide(amount, o.Terms.FeePPM))
		if payload == nil && fiat != nil {
			payload = &mostro.Payload{Amount: fiat}
		} else if fiat != nil {
			payload.PaymentRequest.Amount = fiat
		}
		trade, index := s.nextKey(p)
		return s.send(p, trade, action, o.ID, payload, index)
	}
}

// says is a message of the buyer (0) or the seller (1) of the first order.
func says(side int, action mostro.Action) move {
	return func(s *crashRun) error {
		o := s.load(s.firstOrder())
		of := []order.Party{o.Buyer, o.Seller}[side]
		return s.send(s.owner(of.Identity), of.Trade, action, o.ID, nil, 0)
	}
}

// releaseRest releases a part of a range, and names the key of the rest.
func releaseRest(s *crashRun) error {
	o := s.load(s.firstOrder())
	trade, index := s.nextKey(s.people[0])
	return s.send(s.people[0], o.Maker().Trade, mostro.Release, o.ID, &mostro.Payload{NextTrade: &mostro.NextTrade{Pubkey: trade, Index: index}}, 0)
}

func cancelRest(s *crashRun) error {
	o := s.load(s.nthOrder(1))
	return s.send(s.people[0], o.Maker().Trade, mostro.Cancel, o.ID, nil, 0)
}

// gives is the buyer's invoice.
func gives(invoice string) move {
	return func(s *crashRun) error {
		o := s.load(s.firstOrder())
		p := s.owner(o.Buyer.Identity)
		return s.send(p, o.Buyer.Trade, mostro.AddInvoice, o.ID, s.payTo(p, invoice, o.BuyerGets()), 0)
	}
}

func payEscrow(s *crashRun) error     { return s.payFirst(0) }
func overpayEscrow(s *crashRun) error { return s.payFirst(7000) }

func (s *crashRun) payFirst(more order.Msat) error {
	o := s.load(s.firstOrder())
	_, err := s.owner(o.Seller.Identity).wallet.Pay(lightning.SimPay{Invoice: o.Escrow.Invoice, Amount: o.SellerPays().Msat() + more})
	return err
}

// payBonds pays what is asked for, the first taker first.
func payBonds(s *crashRun) error {
	bonds := slices.SortedFunc(maps.Values(s.bonds), func(a, b *order.Bond) int {
		return cmp.Compare(s.owner(a.Owner.Identity).name, s.owner(b.Owner.Identity).name)
	})
	for _, b := range bonds {
		if b.State == order.BondRequested {
			if _, err := s.owner(b.Owner.Identity).wallet.Pay(lightning.SimPay{Invoice: b.Hold.Invoice}); err != nil {
				return err
			}
		}
	}
	return nil
}

// claimBond has the winner of the slashed bond ask for his share.
func claimBond(s *crashRun) error {
	for _, b := range s.bonds {
		if b.State == order.BondPayout {
			p := s.owner(b.Slash.Winner.Identity)
			return s.send(p, b.Slash.Winner.Trade, mostro.AddBondInvoice, b.Order, s.payTo(p, "good", b.WinnerGets().Sat()), 0)
		}
	}
	return nil // it was forgiven
}

func solver(action mostro.Action) move {
	return func(s *crashRun) error {
		return s.send(&player{name: "admin", identity: simKey("admin")}, simKey("admin"), action, s.firstOrder(), nil, 0)
	}
}

func slashBuyer(s *crashRun) error {
	payload := &mostro.Payload{BondResolution: &mostro.BondResolution{SlashBuyer: true}}
	return s.send(&player{name: "admin", identity: simKey("admin")}, simKey("admin"), mostro.AdminCancel, s.firstOrder(), payload, 0)
}

func wait(d time.Duration) move {
	return func(s *crashRun) error { s.advance(d); return nil }
}

func blocks(n uint32) move {
	return func(s *crashRun) error { s.mine(n); return nil }
}

// fated has the node deal with the payments that it sends from now on, but for those of the
// development fee, which are small.
func fated(fate lightning.SimFate) move {
	return func(s *crashRun) error {
		s.node.SetFaults(lightning.Faults{Before: s.beforeCall, After: s.afterCall, IndexDelay: s.indexDelay, Fate: func(hash order.Hash) lightning.SimFate {
			s.lies[hash] = s.wall.Add(longestLie)
			return fate
		}})
		return nil
	}
}

// honestNode ends what fated began.
func honestNode(s *crashRun) error {
	s.node.SetFaults(lightning.Faults{Before: s.beforeCall, After: s.afterCall, Fate: s.fate, IndexDelay: s.indexDelay})
	clear(s.hidden)
	for hash := range s.lies {
		s.node.Unstick(hash)
	}
	clear(s.lies)
	return nil
}

// badServer has the payees' servers ask for another amount, until goodServer.
func badServer(s *crashRun) error  { s.lying = true; return nil }
func goodServer(s *crashRun) error { s.lying = false; return nil }

func hideAll(s *crashRun) error {
	for _, hash := range s.watched(true) {
		s.hidden[hash] = true
	}
	return nil
}

func nodeCancels(s *crashRun) error {
	s.quietly(func() { _ = s.node.Cancel(context.Background(), s.load(s.firstOrder()).Escrow.Hash) })
	return nil
}

// refuseHeld has the payee refuse the payment that he holds.
func refuseHeld(s *crashRun) error {
	for _, preimage := range s.holds {
		for _, p := range s.people {
			_ = p.wallet.Cancel(context.Background(), preimage.Hash())
		}
	}
	return nil
}
