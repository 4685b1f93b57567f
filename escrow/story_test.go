package escrow

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

var update = flag.Bool("update", false, "rewrite the transcripts of the stories")

// TestStories plays the files of testdata: one trade each. Lines that begin with ">" are
// commands; what follows them is what must happen. They are the readable specification, and
// -update writes them anew.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, strings.TrimSuffix(filepath.Base(file), ".txt"), string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want), got); diff != "" && !*update {
				t.Errorf("the story goes otherwise (-update rewrites it):\n%s", diff)
			}
		})
	}
}

// play runs a story's commands and returns it with the transcript of this run.
func play(t *testing.T, name, text string) string {
	w := newWorld(t)
	var differences []audit.Kind
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&b, line)
			w.out.Reset()
			if err := w.command(strings.Fields(line[2:])); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			b.WriteString(w.out.String())
			differences = append(differences, w.agree(t, name, line)...)
		case line == "", strings.HasPrefix(line, "#"):
			fmt.Fprintln(&b, line)
		}
	}
	total, minted := w.net.Total()
	if total != minted {
		t.Errorf("the network holds %d msat of %d", total, minted)
	}
	if want := faults[name]; want != "" && len(differences) == 0 {
		t.Errorf("the auditor finds nothing, and there is %s", want)
	}
	return b.String()
}

// commands of the stories; each gets its words and its key=value arguments.
var commands = map[string]func(*world, *person, args) error{
	"new":          (*world).newOrder,
	"take":         (*world).take,
	"add-invoice":  (*world).addInvoice,
	"fiat-sent":    func(w *world, p *person, a args) error { w.act(p, mostro.FiatSent, a); return nil },
	"release":      func(w *world, p *person, a args) error { w.act(p, mostro.Release, a); return nil },
	"cancel":       func(w *world, p *person, a args) error { w.act(p, mostro.Cancel, a); return nil },
	"send":         func(w *world, p *person, a args) error { w.act(p, mostro.Action(a.words[0]), a); return nil },
	"pay":          (*world).pay,
	"claim":        (*world).claim,
	"repeat":       func(w *world, p *person, _ args) error { _ = w.deliver(p.last); return nil },
	"is":           (*world).is,
	"route":        (*world).route,
	"uses":         (*world).uses,
	"dispute":      func(w *world, p *person, a args) error { w.act(p, mostro.Dispute, a); return nil },
	"rate":         (*world).rate,
	"review":       (*world).review,
	"orders":       (*world).askOrders,
	"restore":      (*world).restore,
	"last-index":   (*world).lastIndex,
	"trade-key":    (*world).tradeKey,
	"add-solver":   (*world).addSolver,
	"settle":       func(w *world, p *person, a args) error { w.admin(p, mostro.AdminSettle, a); return nil },
	"undo":         func(w *world, p *person, a args) error { w.admin(p, mostro.AdminCancel, a); return nil },
	"take-dispute": (*world).takeDispute,
}

type args struct {
	words []string
	named map[string]string
}

func (a args) number(name string, otherwise int64) int64 {
	if a.named[name] == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(a.named[name], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func parse(words []string) args {
	a := args{named: map[string]string{}}
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok {
			a.named[name] = value
		} else {
			a.words = append(a.words, word)
		}
	}
	return a
}

func (w *world) command(words []string) error {
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		w.advance(d)
		return nil
	case "mine":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		w.mine(uint32(n))
		return nil
	case "crash":
		w.crash()
		w.settle()
		return nil
	case "takes":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.Rules.MaxTakes = n
		return err
	case "holds":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.HoldCap = n
		return err
	case "server":
		w.server = words[1]
		return nil
	case "dev-fee": // "dev-fee ppm=300000 to=dev@ln.example": the operator's settings
		a := parse(words[1:])
		for _, terms := range []*order.Terms{&w.cfg.Settings.Terms, &w.e.cfg.Settings.Terms} {
			terms.DevFeePPM, terms.DevFeeAddress = a.number("ppm", terms.DevFeePPM), a.named["to"]
		}
		return nil
	case "attempts":
		n, err := strconv.ParseInt(words[1], 10, 64)
		w.e.cfg.Settings.Terms.PaymentAttempts = n
		return err
	case "lose": // "lose answers of METHOD": the call has its effect, and nobody hears of it
		w.node.SetFaults(lightning.Faults{After: func(m lightning.SimMethod, _ order.Hash) error {
			if string(m) == words[3] {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		return nil
	case "keep":
		w.node.SetFaults(lightning.Faults{})
		return nil
	case "deaf", "hear": // the event store is away, and back
		w.deaf = words[0] == "deaf"
		return nil
	case "away": // this process is down for a while
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		w.net.Advance(d)
		w.crash()
		w.settle()
		return nil
	case "price":
		w.price = parse(words[1:]).number("usd", 0)
		return nil
	case "limit":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.Rules.MaxOpen = n
		return err
	case "node":
		return w.nodeCommand(words[1], parse(words[2:]))
	case "streams": // of the node: "off" until "on", nobody hears of what it does by itself
		w.unheard = words[1] == "off"
		w.settle()
		return nil
	case "bonds":
		w.bondTerms(parse(words[1:]))
		return nil
	case "bond":
		return w.showBonds(words[1])
	case "ledger":
		return w.ledger(words[1])
	}
	if len(words) < 2 || commands[words[1]] == nil {
		return fmt.Errorf("no such command: %q", words)
	}
	return commands[words[1]](w, w.person(words[0]), parse(words[2:]))
}

func (w *world) nodeCommand(what string, a args) error {
	switch what {
	case "down":
		w.node.Stop()
	case "up":
		w.node.Start()
	case "lame": // up, but it makes no hold invoices
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimOpenHold {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.node.Start()
	case "lies": // it calls each payment failed that it sends from now on
		w.node.SetFaults(lightning.Faults{Fate: func(hash order.Hash) lightning.SimFate {
			w.lied = append(w.lied, hash)
			return lightning.SimLying
		}})
	case "honest":
		w.node.SetFaults(lightning.Faults{})
		for _, hash := range w.lied {
			w.node.Unstick(hash)
		}
	case "unsynced":
		w.net.SetSynced(false)
	case "synced":
		w.net.SetSynced(true)
	case "cancels": // as lnd does by itself near the deadline
		for hash := range w.watches {
			w.check(w.node.Cancel(w.t.Context(), hash))
		}
	case "forgets":
		for hash := range w.watches {
			w.node.ForgetPayment(hash)
		}
	default:
		return fmt.Errorf("no such fault: %s", what)
	}
	w.retry()
	return nil
}

// order finds an order by its letter; the latest one without.
func (w *world) order(a args) string {
	letter := a.named["order"]
	if letter == "" {
		letter = string(rune('A' + len(w.names) - 1))
	}
	for id, name := range w.names {
		if name == "order "+letter {
			return id
		}
	}
	return "00000000-0000-4000-8000-000000000000"
}

func (w *world) request(p *person, action mostro.Action, a args) mostro.Message {
	m := mostro.Message{Action: action}
	if a.named["request"] != "" {
		id := uint64(a.number("request", 0))
		m.RequestID = &id
	}
	return m
}

// act sends a message about an order. "next=yes" names a key for the rest of a range.
func (w *world) act(p *person, action mostro.Action, a args) {
	m := w.request(p, action, a)
	m.ID = w.order(a)
	if a.named["as"] != "" { // one of his other keys
		defer func(now mostro.Secret) { p.trade = now }(p.trade)
		p.trade = p.keys[a.number("as", 1)-1]
	}
	if a.named["next"] == "yes" {
		p.index++
		key := secretFor(fmt.Sprintf("%s trade %d", p.name, p.index))
		p.keys = append(p.keys, key)
		if thief := a.named["of"]; thief != "" { // names somebody else's key
			key = w.person(thief).trade
		}
		m.Payload = &mostro.Payload{NextTrade: &mostro.NextTrade{Pubkey: key.Public(), Index: p.index}}
		defer func() { p.trade = key }()
	}
	_ = w.send(p, m) // a refusal is in the transcript
}

func (p *person) begin(m *mostro.Message, a args) {
	if a.named["key"] != "same" {
		p.nextKey()
	}
	p.private = a.named["private"] == "yes"
	if index := a.number("index", p.index); !p.private && index > 0 {
		m.TradeIndex = &index
	}
	if a.named["version"] != "" {
		p.version = mostro.Transport(a.number("version", 2))
	}
}

// invoiceFor makes the invoice that a command asks for: "invoice=97" over so many sats,
// "invoice=hold:97" one that the wallet settles only when told to, "invoice=own:97" one of the
// node itself, "invoice=last" the one given before, other text as it is.
func (w *world) invoiceFor(p *person, a args) string {
	if a.named["invoice"] == "last" {
		return p.given
	}
	p.given = w.makeInvoice(p, a)
	return p.given
}

func (w *world) makeInvoice(p *person, a args) string {
	text := a.named["invoice"]
	kind, number, _ := strings.Cut(text, ":")
	if number == "" {
		number = kind
	}
	sats, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return text
	}
	amount := order.Sat(sats).Msat()
	req := lightning.SimInvoiceRequest{Amount: amount, Expiry: time.Duration(a.number("life", 7200)) * time.Second, CLTVDelta: uint32(a.number("cltv", 80))}
	switch kind {
	case "hold":
		bolt11, preimage := p.wallet.AddHoldInvoice(amount)
		p.holds = append(p.holds, preimage)
		return bolt11
	case "own":
		return w.node.AddInvoice(req)
	}
	return p.wallet.AddInvoice(req)
}

func (w *world) newOrder(p *person, a args) error {
	m := w.request(p, mostro.NewOrder, a)
	p.begin(&m, a)
	so := &mostro.SmallOrder{
		Kind: mostro.OrderKind(a.words[0]), Status: mostro.StatusPending, Amount: a.number("sats", 0),
		FiatCode: "USD", FiatAmount: a.number("usd", 50), PaymentMethod: "bank transfer", Premium: a.number("premium", 0),
	}
	if a.named["code"] != "" {
		so.FiatCode = a.named["code"]
	}
	if method, ok := a.named["method"]; ok {
		so.PaymentMethod = method
	}
	if a.named["expires"] != "" {
		at := w.net.Now().Unix() + a.number("expires", 0)
		so.ExpiresAt = &at
	}
	if a.named["invoice"] != "" {
		so.BuyerInvoice = w.invoiceFor(p, a)
	}
	if a.named["min"] != "" {
		least, most := a.number("min", 0), a.number("max", 0)
		so.MinAmount, so.MaxAmount, so.FiatAmount = &least, &most, 0
	}
	if so.Kind == "none" {
		so.Kind = ""
	}
	m.Payload = &mostro.Payload{Order: so}
	_ = w.send(p, m)
	return nil
}

func (w *world) take(p *person, a args) error {
	id := w.order(a)
	action := mostro.TakeSell
	if o, _, err := w.e.Order(id); err != nil {
		return err
	} else if o.Kind == mostro.Buy {
		action = mostro.TakeBuy
	}
	if a.named["as"] != "" {
		action = mostro.Action(a.named["as"])
	}
	m := w.request(p, action, a)
	p.begin(&m, a)
	m.ID = id
	var fiat *int64
	if a.named["usd"] != "" {
		n := a.number("usd", 0)
		fiat = &n
		m.Payload = &mostro.Payload{Amount: fiat}
	}
	if a.named["invoice"] != "" {
		m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: w.invoiceFor(p, a), Amount: fiat}}
	}
	_ = w.send(p, m)
	return nil
}

func (w *world) addInvoice(p *person, a args) error {
	m := w.request(p, mostro.AddInvoice, a)
	m.ID = w.order(a)
	m.Payload = &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: w.invoiceFor(p, a)}}
	_ = w.send(p, m)
	return nil
}

// pay pays the hold invoice that the person was asked to pay.
func (w *world) pay(p *person, a args) error {
	got, err := p.wallet.Pay(lightning.SimPay{Invoice: p.invoice, Amount: order.Sat(a.number("sats", 0)).Msat()})
	if err != nil {
		fmt.Fprintf(&w.out, "%s's wallet: %v\n", p.name, err)
	} else {
		fmt.Fprintf(&w.out, "%s's wallet: %s\n", p.name, got.State)
	}
	w.settle()
	return nil
}

// is prints what a person owns more or less than at the beginning.
func (w *world) is(p *person, _ args) error {
	const begin = 100 * 100_000_000 * 1000
	fmt.Fprintf(&w.out, "%s has %+d msat\n", p.name, p.wallet.Funds()-begin)
	return nil
}

// route sets how a person is reached: "none", or the fee of the route.
func (w *world) route(p *person, a args) error {
	p.wallet.SetRoute(lightning.SimRoute{None: len(a.words) > 0, BaseFee: order.Msat(a.number("msat", 0)), FeePPM: a.number("ppm", 0)})
	return nil
}

// uses settles or cancels what the person's wallet holds.
func (w *world) uses(p *person, a args) error {
	for _, preimage := range p.holds {
		if a.words[0] == "settle" {
			w.check(p.wallet.Settle(w.t.Context(), preimage))
		} else {
			w.check(p.wallet.Cancel(w.t.Context(), preimage.Hash()))
		}
	}
	w.settle()
	return nil
}

// ledger prints the money of an order.
func (w *world) ledger(letter string) error {
	o, _, err := w.e.Order(w.order(args{named: map[string]string{"order": letter}}))
	if err != nil {
		return err
	}
	for _, entry := range o.Ledger {
		fmt.Fprintf(&w.out, "ledger: %s %s %d msat", entry.Kind, entry.State, entry.Amount)
		if entry.Routing > 0 {
			fmt.Fprintf(&w.out, ", routing %d", entry.Routing)
		}
		fmt.Fprintln(&w.out)
	}
	return nil
}

func (w *world) rate(p *person, a args) error {
	m := w.request(p, mostro.RateUser, a)
	stars := int(a.number("stars", 5))
	m.ID, m.Payload = w.order(a), &mostro.Payload{RatingUser: &stars}
	if a.named["as"] != "" {
		defer func(now mostro.Secret) { p.trade = now }(p.trade)
		p.trade = p.keys[a.number("as", 1)-1]
	}
	_ = w.send(p, m)
	return nil
}

// ask sends a message that is about no order, from the key of the first trade, as the mobile
// client does.
func (w *world) ask(p *person, m mostro.Message) error {
	if len(p.keys) == 0 {
		p.nextKey()
	}
	now := p.trade
	p.trade = p.keys[0]
	_ = w.send(p, m)
	p.trade = now
	return nil
}

func (w *world) askOrders(p *person, a args) error {
	m := w.request(p, mostro.Orders, a)
	var ids []string
	for _, letter := range a.words {
		ids = append(ids, w.order(args{named: map[string]string{"order": letter}}))
	}
	m.Payload = &mostro.Payload{IDs: ids}
	return w.ask(p, m)
}

func (w *world) restore(p *person, a args) error {
	m := w.request(p, mostro.RestoreSession, a)
	m.Wrapper = mostro.WrapRestore
	return w.ask(p, m)
}

func (w *world) lastIndex(p *person, a args) error {
	m := w.request(p, mostro.LastTradeIndex, a)
	m.Wrapper = mostro.WrapRestore
	return w.ask(p, m)
}

// tradeKey asks to be reached at a new key.
func (w *world) tradeKey(p *person, a args) error {
	p.nextKey()
	m := w.request(p, mostro.TradePubkey, a)
	m.ID, m.TradeIndex = w.order(a), &p.index
	_ = w.send(p, m)
	return nil
}

// addSolver is said by whoever has the node's key, here "operator".
func (w *world) addSolver(p *person, a args) error {
	w.solverKeys(p)
	m := w.request(p, mostro.AdminAddSolver, a)
	text := w.person(a.words[0]).identity.Public() + a.named["level"]
	m.ID, m.Payload = a.named["id"], &mostro.Payload{TextMessage: &text}
	_ = w.send(p, m)
	return nil
}

// solverKeys lets a person speak with his identity key alone, as solvers do; the operator
// has the node's.
func (w *world) solverKeys(p *person) {
	if p.name == "operator" {
		p.identity = w.cfg.Key
	}
	p.trade, p.private = p.identity, true
}

func (w *world) takeDispute(p *person, a args) error {
	w.solverKeys(p)
	m := w.request(p, mostro.AdminTakeDispute, a)
	m.ID = w.dispute
	if a.named["id"] != "" {
		m.ID = a.named["id"]
	}
	_ = w.send(p, m)
	return nil
}

func (w *world) admin(p *person, action mostro.Action, a args) {
	w.solverKeys(p)
	m := w.request(p, action, a)
	m.ID = w.order(a)
	if a.named["slash"] != "" {
		m.Payload = &mostro.Payload{BondResolution: &mostro.BondResolution{
			SlashBuyer: strings.Contains(a.named["slash"], "buyer"), SlashSeller: strings.Contains(a.named["slash"], "seller")}}
	}
	_ = w.send(p, m)
}
