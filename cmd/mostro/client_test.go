package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// hold brings an order of the seller's, over 100,000 sat, to where the escrow is held; both
// are in their trade of the given number.
func (w *clientWorld) hold(seller, buyer *user, sold, bought string, flags ...string) (id string) {
	w.Helper()
	id = seller.message(append([]string{"new", "sell", "--sats", "100000", "--fiat", "USD", "--amount", "50", "--method", "bank"}, flags...)...).ID
	buyer.ok("take", id, "--invoice", buyer.invoice(99_700))
	seller.pay(seller.until(sold, mostro.PayInvoice))
	buyer.until(bought, mostro.HoldInvoicePaymentAccepted)
	return id
}

// TestClientTrade: a whole trade through the commands, as two people would type them, with
// proof of work, a chat and ratings.
func TestClientTrade(t *testing.T) {
	w := newClientWorld(t, 8)
	alice, bob := w.user("alice"), w.user("bob")
	alice.says("8 bits", "info")
	alice.says("There are no such orders", "book")

	alice.says("is in the book: sell 100,000 sat for 50 USD by bank transfer. It is your trade 1",
		"new", "sell", "--sats", "100000", "--fiat", "USD", "--amount", "50", "--method", "bank transfer", "--expires", "2h")
	id := alice.trades()[1].Order
	bob.says(id, "book", "--sell", "--fiat", "usd")
	bob.says("There are no such orders", "book", "--buy")
	bob.says("You get 99,700 sat for 50 USD", "take", id[:8])
	bob.refused(exitError, "invalid_invoice", "invoice", "1", bob.invoice(1000))
	bob.says("The seller is asked to pay", "invoice", id, bob.invoice(99_700))
	bob.refused(exitError, "has not named the peer yet", "chat", "1", "hello")
	alice.pay(alice.until("1", mostro.PayInvoice))
	alice.until("1", mostro.BuyerTookOrder)
	bob.until("1", mostro.HoldInvoicePaymentAccepted)

	bob.ok("chat", "1", "where to?")
	bob.ok("chat", "1", "\x1b[2J\u009b31m\n2026-01-01 00:00:00  you: forged")
	alice.says("peer: \ufffd[2J\ufffd31m\n    2026-01-01", "chat", "1")
	alice.ok("chat", id, "IBAN ES00")
	bob.says("peer: IBAN ES00", "chat", "1")
	alice.says("peer: where to?", "chat", "1")
	alice.says("you: IBAN ES00", "chat", "1")

	alice.refused(exitError, "not_allowed_by_status", "release", "1")
	bob.says("The seller is told", "fiat-sent", "1")
	alice.says("The buyer says that the fiat is sent.", "messages", "1", "--until", "fiat-sent-ok")
	alice.says("mostro client release 1", "messages", "1")
	alice.says("The sats go to the buyer.", "release", "1")
	bob.until("1", mostro.PurchaseCompleted)
	bob.says("Your rating is counted", "rate", "1", "5")
	alice.says("Your rating is counted", "rate", "1", "4")

	if alice.gain() != -100_300_000 || bob.gain() != 99_700_000 {
		t.Errorf("alice has %d msat more, bob %d", alice.gain(), bob.gain())
	}
	if got := bob.trades()[1]; got.Status != mostro.StatusSuccess || got.Side != sideBuyer {
		t.Errorf("bob's trade is %+v", got)
	}
	bob.says("You have no trades under way", "orders")
	alice.says("You have no trades under way", "orders") // nobody tells the seller; the book does
}

// TestClientNodeAway: a release that the Lightning node cannot carry out yet is answered, and
// nobody is asked to release again.
func TestClientNodeAway(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	w.hold(alice, bob, "1", "1")
	bob.ok("fiat-sent", "1")
	w.net.Node("mostro").Stop()
	alice.says("is accepted and cannot be undone", "release", "1")
	if out := alice.ok("messages", "1"); !strings.HasSuffix(strings.TrimSpace(out), "-> wait: mostro client messages 1 --follow") {
		t.Errorf("after the release alice reads:\n%s", out)
	}
	w.net.Node("mostro").Start()
	alice.says("The sats go to the buyer.", "messages", "1", "--until", "hold-invoice-payment-settled")
	bob.until("1", mostro.PurchaseCompleted)
}

// TestClientModes: every mode of a client trades with another one, and a cancellation has
// both sides.
func TestClientModes(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	id := alice.message("new", "buy", "--fiat", "USD", "--amount", "50", "--premium", "2", "--method", "cash", "--v1", "--private").ID
	alice.says("market +2%", "book", "--buy")
	answer := bob.message("take", id, "--v1")
	if answer.Version != 1 || answer.Action != mostro.PayInvoice {
		t.Errorf("the answer is %+v", answer)
	}
	bob.pay(answer)
	asked := alice.until("1", mostro.AddInvoice)
	alice.says("The sats are in the escrow", "invoice", "1", alice.invoice(asked.Payload.Order.Amount))
	alice.says("The other side is asked to cancel", "cancel", "1")
	bob.says("The other side wants to cancel.", "messages", "1", "--until", "cooperative-cancel-initiated-by-peer")
	bob.says("the sats go back to the seller", "cancel", id)
	alice.says("Both have canceled", "messages", "1", "--follow")
	if bob.gain() != 0 {
		t.Errorf("bob has %d msat more", bob.gain())
	}
	if got := alice.trades()[1]; !got.Private || got.Transport != mostro.GiftWrap || got.Status != mostro.StatusCooperativelyCanceled {
		t.Errorf("alice's trade is %+v", got)
	}
}

// TestClientRange: the maker of a range order gets the rest as a trade of its own, whichever
// side he is, and his next order does not take its key.
func TestClientRange(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")

	id := alice.message("new", "sell", "--min", "20", "--max", "100", "--fiat", "USD", "--method", "bank").ID
	bob.refused(exitUsage, "--amount is missing", "take", id)
	bob.refused(exitUsage, "outside the range", "take", id, "--amount", "101")
	got := bob.message("take", id, "--amount", "30")
	bob.ok("invoice", "1", bob.invoice(got.Payload.Order.Amount))
	alice.pay(alice.until("1", mostro.PayInvoice))
	bob.until("1", mostro.HoldInvoicePaymentAccepted)
	bob.ok("fiat-sent", "1")
	alice.until("1", mostro.FiatSentOk)
	alice.says("sell at market for 20-70 USD by bank. It is your trade 2", "release", "1")
	child := alice.trades()[2]
	if child.Parent != id || child.Order == "" || child.Status != mostro.StatusPending {
		t.Errorf("the rest is %+v", child)
	}
	// The last part leaves nothing.
	got = bob.message("take", child.Order, "--amount", "70")
	bob.ok("invoice", "2", bob.invoice(got.Payload.Order.Amount))
	alice.pay(alice.until("2", mostro.PayInvoice))
	bob.until("2", mostro.HoldInvoicePaymentAccepted)
	bob.ok("fiat-sent", "2")
	alice.until("2", mostro.FiatSentOk)
	alice.ok("release", "2")
	if len(alice.trades()) != 2 {
		t.Errorf("alice has the trades %v", alice.trades())
	}

	id = alice.message("new", "buy", "--min", "20", "--max", "50", "--fiat", "USD", "--method", "bank").ID
	bob.pay(bob.message("take", id, "--amount", "25"))
	got = alice.until("3", mostro.AddInvoice)
	alice.ok("invoice", "3", alice.invoice(got.Payload.Order.Amount))
	bob.until("3", mostro.BuyerTookOrder)
	alice.ok("fiat-sent", "3")
	bob.until("3", mostro.FiatSentOk)
	bob.ok("release", "3")
	if rest := alice.until("4", mostro.NewOrder); *rest.Payload.Order.MaxAmount != 25 || rest.Payload.Order.Kind != mostro.Buy {
		t.Errorf("the rest is %+v", rest.Payload.Order)
	}
	alice.says("is canceled", "cancel", "4")
	alice.says("It is your trade 5", "new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank")
}

// TestClientDispute: the operator makes a solver, who takes a dispute, talks to both sides,
// and decides.
func TestClientDispute(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob, dave := w.user("alice"), w.user("bob"), w.user("dave")
	nsec := filepath.Join(w.dir, "node.nsec")
	if err := os.WriteFile(nsec, []byte(w.node.Nsec()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	solver := strings.TrimSpace(dave.ok("keys", "show"))
	dave.refused(exitError, "chmod 600", "admin", "add-solver", solver, "--nsec-file", nsec)
	if err := os.Chmod(nsec, 0o600); err != nil {
		t.Fatal(err)
	}
	dave.refused(exitError, "refuses admin-add-solver", "admin", "add-solver", solver)
	dave.says("Solver: "+solver+":read-write", "admin", "add-solver", solver, "--nsec-file", nsec)

	id := w.hold(alice, bob, "1", "1")
	opened := bob.message("dispute", "1")
	alice.says("The other side has opened the dispute "+opened.Payload.Dispute.ID, "messages", "1", "--until", "dispute-initiated-by-peer")
	dave.says(opened.Payload.Dispute.ID+"  initiated  buyer", "admin", "disputes")
	bob.refused(exitError, "wait for the solver", "dispute", "1")
	out := dave.ok("admin", "take", opened.Payload.Dispute.ID)
	dave.says(`"status":"in-progress"`, "admin", "disputes", "--json")
	_, buyer, _ := strings.Cut(out, "buyer   ")
	buyer, _, _ = strings.Cut(buyer, "\n")
	if !strings.Contains(out, "opened by the buyer") || !strings.Contains(out, id) {
		t.Errorf("the solver reads:\n%s", out)
	}
	bob.until("1", mostro.AdminTookDispute)
	bob.ok("chat", "1", "--solver", "I have paid")
	dave.says("party: I have paid", "admin", "chat", buyer)
	dave.ok("admin", "chat", buyer, "show me")
	bob.says("solver: show me", "chat", "1", "--solver")
	bob.refused(exitError, "is_not_your_dispute", "admin", "settle", id)
	dave.says("gives the sats to the buyer", "admin", "settle", id)
	bob.until("1", mostro.PurchaseCompleted)
	if bob.gain() != 99_700_000 {
		t.Errorf("bob has %d msat more", bob.gain())
	}

	// Another one, which the operator decides for the seller.
	w.hold(alice, bob, "2", "2")
	opened = alice.message("dispute", "2")
	dave.ok("admin", "take", opened.Payload.Dispute.ID, "--nsec-file", nsec)
	dave.says("back to the seller", "admin", "cancel", opened.ID, "--nsec-file", nsec)
	bob.says("The solver gives the sats back to the seller", "messages", "2", "--until", "admin-canceled")
	dave.says("There are no open disputes.", "admin", "disputes")
	for u, want := range map[*user]mostro.Status{alice: mostro.StatusCanceledByAdmin, bob: mostro.StatusCanceledByAdmin} {
		if got := u.trades()[2].Status; got != want {
			t.Errorf("the second trade is %s, want %s", got, want)
		}
	}
	if got := alice.trades()[1].Status; got != mostro.StatusSuccess {
		t.Errorf("the seller's first trade is %s", got)
	}
}

// TestClientRestore: the words alone bring back the trades, those in full privacy too, and
// the next trade takes a fresh key.
func TestClientRestore(t *testing.T) {
	w := newClientWorld(t, 0)
	alice, bob := w.user("alice"), w.user("bob")
	first := w.hold(alice, bob, "1", "1")
	second := w.hold(alice, bob, "2", "2", "--private")
	bob.ok("dispute", "1")
	pending := alice.message("new", "buy", "--fiat", "USD", "--amount", "5", "--method", "cash").ID
	before := alice.trades()

	found := &user{clientWorld: w, dir: filepath.Join(w.dir, "found"), wallet: alice.wallet}
	if _, problem, code := found.call(alice.words(), "keys", "import"); code != exitOK {
		t.Fatal(problem)
	}
	found.says(second, "restore")
	after := found.trades()
	for index, want := range before {
		got := after[index]
		if got.Order != want.Order || got.Status != want.Status || got.Side != want.Side || got.Private != want.Private {
			t.Errorf("trade %d is %+v, was %+v", index, got, want)
		}
	}
	if len(after) != 3 || after[1].Order != first || after[3].Order != pending {
		t.Errorf("the trades are %v", after)
	}
	// The money of the private trade can be moved on.
	bob.ok("fiat-sent", "2")
	found.until("2", mostro.FiatSentOk)
	found.says("The sats go to the buyer", "release", second)
	found.says("It is your trade 4", "new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank")
	if found.ok("restore"); len(found.trades()) != 4 {
		t.Errorf("after the second restore the trades are %v", found.trades())
	}
}

// TestClientRestoreFar: keys that were never used, on this node, do not end the search before
// the last one that was.
func TestClientRestoreFar(t *testing.T) {
	w := newClientWorld(t, 0)
	alice := w.user("alice")
	alice.keep(clientState{LastIndex: 60})
	order := []string{"new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank"}
	alice.ok(append(order, "--private")...)
	alice.ok(order...)
	found := &user{clientWorld: w, dir: filepath.Join(w.dir, "found")}
	if _, problem, code := found.call(alice.words(), "keys", "import"); code != exitOK {
		t.Fatal(problem)
	}
	found.ok("restore")
	if got := found.trades(); len(got) != 2 || !got[61].Private || got[62].Private {
		t.Errorf("the trades are %v", got)
	}
}

// keep replaces what a user's client remembers.
func (u *user) keep(state clientState) {
	u.Helper()
	data, err := json.Marshal(state)
	if err != nil {
		u.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.dir, clientStateFile), data, 0o600); err != nil {
		u.Fatal(err)
	}
}

// TestClientAtOnce: commands at the same time on one directory do not share a key.
func TestClientAtOnce(t *testing.T) {
	w := newClientWorld(t, 0)
	alice := w.user("alice")
	const count = 8
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			_, problem, code := alice.call("", "new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank")
			if code != exitOK {
				t.Error(problem)
			}
		})
	}
	all.Wait()
	orders := make(map[string]bool)
	for index, trade := range alice.trades() {
		if index < 1 || index > count || trade.Status != mostro.StatusPending {
			t.Errorf("trade %d is %+v", index, trade)
		}
		orders[trade.Order] = true
	}
	if len(orders) != count {
		t.Errorf("there are %d orders, want %d", len(orders), count)
	}
}

// TestClientNoAnswer: a request whose answer does not come in time is a trade all the same,
// and one that is refused is none.
func TestClientNoAnswer(t *testing.T) {
	w := newClientWorld(t, 0)
	alice := w.user("alice")
	cmd := &cobra.Command{}
	cmd.SetContext(w.ctx)
	s, err := (&clientOptions{relay: w.url, dir: alice.dir}).open(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	order, err := newOptions{sats: 1000, code: "USD", fiat: 1, method: "bank"}.order(mostro.Sell, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = s.begin(clientTrade{Side: sideSeller}, func() (*client.Trade, mostro.Message, error) {
		trade, m, err := s.NewOrder(s.ctx, order, s.mode())
		return trade, m, errors.Join(err, client.ErrNoAnswer)
	})
	var told hinted
	if !errors.Is(err, client.ErrNoAnswer) || !errors.As(err, &told) || !strings.Contains(told.hints[0], "messages 1") {
		t.Errorf("without an answer: %v", err)
	}
	order.FiatCode = "XXX"
	err = s.begin(clientTrade{Side: sideSeller}, func() (*client.Trade, mostro.Message, error) {
		return s.NewOrder(s.ctx, order, s.mode())
	})
	if err == nil {
		t.Error("an order in a currency of nobody is made")
	}
	if got := alice.trades(); len(got) != 1 || got[1].Status != mostro.StatusPending {
		t.Errorf("the trades are %v", got)
	}
	alice.says("It is your trade 3", "new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank")
}

// TestClientKeys: the words are shown on demand only, and kept from others.
func TestClientKeys(t *testing.T) {
	w := newClientWorld(t, 0)
	alice := w.user("alice")
	words := strings.TrimSpace(alice.words())
	path := filepath.Join(alice.dir, clientWordsFile)
	for _, out := range []string{alice.ok("keys", "show"), alice.ok("keys", "show", "--json")} {
		if strings.Contains(out, words) {
			t.Error("the words are shown")
		}
	}
	alice.says(words, "keys", "show", "--mnemonic")
	alice.refused(exitError, "keys are never overwritten", "keys", "new")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the words: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	alice.refused(exitError, "chmod 600", "orders")
	nobody := &user{clientWorld: w, dir: filepath.Join(w.dir, "nobody")}
	nobody.refused(exitError, "mostro client keys new", "orders")
	if _, problem, code := nobody.call("one two three", "keys", "import"); code != exitError || !strings.Contains(problem, "not the words") {
		t.Errorf("three words: %d, %s", code, problem)
	}
	nobody.ok("book") // needs no keys
	if _, err := os.Stat(nobody.dir + "/" + clientWordsFile); err == nil {
		t.Error("keys were made without being asked for")
	}
}

// TestClientNode: the relay's word for the node is trusted the first time only.
func TestClientNode(t *testing.T) {
	w := newClientWorld(t, 0)
	alice := w.user("alice")
	alice.ok("new", "sell", "--sats", "1000", "--fiat", "USD", "--amount", "1", "--method", "bank")
	trade := alice.trades()[1].clientTrade
	alice.keep(clientState{LastIndex: 1, Nodes: map[string]string{w.url: strings.Repeat("7", 64)}, Trades: []clientTrade{trade}})
	alice.refused(exitError, "--mostro "+npub(w.node.Public()), "orders")
	alice.ok("orders", "--mostro", w.node.Public())
	alice.ok("orders")
	// One relay is that of many nodes.
	elsewhere := trade
	elsewhere.Node = strings.Repeat("7", 64)
	alice.keep(clientState{LastIndex: 1, Nodes: map[string]string{w.url: w.node.Public()}, Trades: []clientTrade{elsewhere}})
	alice.says("1 more with other nodes: name them by --mostro", "orders")
	alice.refused(exitUsage, "--mostro", "orders", "--mostro", "npub1")
	// A trade stays with its node, on its relay.
	alice.keep(clientState{LastIndex: 1, Nodes: map[string]string{w.url: strings.Repeat("7", 64)}, Trades: []clientTrade{trade}})
	alice.refused(exitError, "this trade is with the node "+npub(w.node.Public()), "cancel", "1", "--mostro", strings.Repeat("7", 64))
	cmd := rootCommand()
	cmd.SetArgs([]string{"client", "--dir", alice.dir, "--timeout", clientPatience.String(), "cancel", "1"})
	cmd.SetOut(io.Discard)
	if err := cmd.ExecuteContext(w.ctx); err != nil {
		t.Errorf("without --relay: %v", err)
	}
	alice.refused(exitError, "knows nothing of this node", "info", "--mostro", "1c71f0a29c9d14198781f36897c6d6c08e2c4f905ba69fc5f8e67d375d705a8a")
	alice.refused(exitUsage, "want ws://", "info", "--relay", "localhost:7000")
}

// TestFindTrade: a trade is named by its number, its order's id, or enough of it.
func TestFindTrade(t *testing.T) {
	state := clientState{Trades: []clientTrade{
		{Index: 1, Order: "12345678-aaaa-4000-8000-000000000000"}, {Index: 2, Order: "1234ffff-bbbb-4000-8000-000000000000"}, {Index: 3},
	}}
	for ref, want := range map[string]uint32{
		"1": 1, "2": 2, "3": 3, "12345": 1, "1234F": 2, "1234ffff-bbbb-4000-8000-000000000000": 2,
		"4": 0, "": 0, "123": 0, "1234": 0, "abcd": 0, "12345678-aaaa-4000-8000-000000000000x": 0, "-1": 0,
	} {
		got, err := state.find(ref)
		if got.Index != want || (err == nil) != (want != 0) {
			t.Errorf("%q is trade %d, %v", ref, got.Index, err)
		}
	}
}

// TestClientTexts: each action that a node sends has words of its own.
func TestClientTexts(t *testing.T) {
	id, text, key, stars := "308e1272-d5f4-47e6-bd97-3504baea9c23", "hello", strings.Repeat("1", 64), 5
	reason := mostro.NotFound
	o := &mostro.SmallOrder{Kind: mostro.Sell, Amount: 1, FiatCode: "USD", FiatAmount: 2, PaymentMethod: "cash"}
	payloads := map[mostro.Action]*mostro.Payload{
		mostro.NewOrder: {Order: o}, mostro.AddInvoice: {Order: o}, mostro.BuyerTookOrder: {Order: o}, mostro.HoldInvoicePaymentAccepted: {Order: o},
		mostro.PayInvoice:            {PaymentRequest: &mostro.PaymentRequest{Order: o, Invoice: "lnbc1"}},
		mostro.DisputeInitiatedByYou: {Dispute: &mostro.DisputeRef{ID: id}}, mostro.DisputeInitiatedByPeer: {Dispute: &mostro.DisputeRef{ID: id}},
		mostro.AdminTookDispute: {Peer: &mostro.Peer{Pubkey: key}}, mostro.AdminAddSolver: {TextMessage: &text}, mostro.SendDM: {TextMessage: &text},
		mostro.PaymentFailed: {PaymentFailed: &mostro.PaymentFailedInfo{Attempts: 2, RetriesInterval: 60}},
		mostro.CantDo:        {CantDo: &reason}, mostro.RateReceived: {RatingUser: &stars},
		mostro.PayBondInvoice: {PaymentRequest: &mostro.PaymentRequest{Order: o, Invoice: "lnbc1"}},
		mostro.AddBondInvoice: {BondPayoutRequest: &mostro.BondPayoutRequest{Order: *o}},
		mostro.BondSlashed:    {Order: o}, mostro.BondInvoiceAccepted: {Order: o}, mostro.BondPayoutCompleted: {Order: o},
	}
	for _, action := range []mostro.Action{
		mostro.NewOrder, mostro.PayInvoice, mostro.AddInvoice, mostro.WaitingSellerToPay, mostro.WaitingBuyerInvoice, mostro.BuyerTookOrder,
		mostro.HoldInvoicePaymentAccepted, mostro.FiatSentOk, mostro.Released, mostro.HoldInvoicePaymentSettled, mostro.PurchaseCompleted,
		mostro.Rate, mostro.RateReceived, mostro.InvoiceUpdated, mostro.Canceled, mostro.CooperativeCancelInitiatedByYou,
		mostro.CooperativeCancelInitiatedByPeer, mostro.CooperativeCancelAccepted, mostro.HoldInvoicePaymentCanceled,
		mostro.DisputeInitiatedByYou, mostro.DisputeInitiatedByPeer, mostro.AdminTookDispute, mostro.AdminSettled, mostro.AdminCanceled,
		mostro.AdminAddSolver, mostro.PaymentFailed, mostro.SendDM, mostro.CantDo, mostro.ProveReview,
		mostro.PayBondInvoice, mostro.BondSlashed, mostro.AddBondInvoice, mostro.BondInvoiceAccepted, mostro.BondPayoutCompleted,
	} {
		m := mostro.Message{ID: id, Action: action, Payload: payloads[action]}
		if what, _ := explain(m, clientTrade{Index: 1}); what == "" || strings.HasPrefix(what, "The node says") {
			t.Errorf("%s is explained as %q", action, what)
		}
		// A node of another kind may leave the payload out.
		for _, payload := range []*mostro.Payload{nil, {}, {Order: o}, {PaymentRequest: &mostro.PaymentRequest{}}, {Dispute: &mostro.DisputeRef{}}} {
			if what, _ := explain(mostro.Message{Action: action, Payload: payload}, clientTrade{}); what == "" {
				t.Errorf("%s with the payload %+v is not explained", action, payload)
			}
		}
	}
	if what, _ := explain(mostro.Message{Action: mostro.Orders}, clientTrade{}); !slices.Contains(strings.Fields(what), "orders.") {
		t.Errorf("an action without words of its own is explained as %q", what)
	}
}
