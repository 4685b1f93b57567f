package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/lightning"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/mostro"
)

const (
	demoTime = 5 * time.Minute       // for all trades together, on a very busy machine
	demoPoll = 50 * time.Millisecond // how often the demo looks whether the node is ready to trade
	demoSats = 100_000               // of the orders with a fixed amount
	demoFiat = 100                   // of each order, in whole units
)

// demoRun is the demo beside a running dev node.
type demoRun struct {
	cancel context.CancelFunc
	played sync.WaitGroup
	err    error
}

// newDemoRun returns a context for the dev node, which ends when the demo has been played.
func newDemoRun(ctx context.Context) (context.Context, *demoRun) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &demoRun{cancel: cancel}
}

// start begins to play.
func (r *demoRun) start(ctx context.Context, info devInfo, out io.Writer) {
	r.played.Go(func() {
		r.err = runDemo(ctx, info, out)
		r.cancel()
	})
}

// end stops a demo that has been started, and returns what came of it.
func (r *demoRun) end() error {
	r.cancel()
	r.played.Wait()
	return r.err
}

// demo plays trades as two users would: from outside, with what dev.json says and nothing
// else.
type demo struct {
	screen *screen
	escrow *wallet.Wallet // of the node: only looked at
	alice  *trader
	bob    *trader
}

// trader is a user of the demo.
type trader struct {
	name   string
	client *client.Client
	wallet *wallet.Wallet
}

// demoPlan is one trade of the demo. The maker's side is the order's kind.
type demoPlan struct {
	title        string
	order        mostro.SmallOrder
	maker, taker *trader
	makes, takes client.Mode
	invoice      bool // the buyer gives his invoice with the take
	cancel       bool // both cancel when the escrow is held
}

// runDemo plays the trades and prints them, then where every sat went. It returns an error
// unless that sums to zero.
func runDemo(ctx context.Context, info devInfo, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	d := &demo{screen: &screen{out: out, began: time.Now()}}
	defer d.close()
	if err := d.open(ctx, info); err != nil {
		return demoError(err)
	}
	before, err := d.books(ctx)
	if err != nil {
		return demoError(err)
	}
	var flows []flow
	for i, plan := range d.plans() {
		d.screen.title(i+1, plan.title)
		f, err := d.play(ctx, plan)
		if err != nil {
			return demoError(fmt.Errorf("trade %d: %w", i+1, err))
		}
		flows = append(flows, f)
	}
	after, err := d.books(ctx)
	if err != nil {
		return demoError(err)
	}
	return settleAccounts(out, flows, before, after)
}

func demoError(err error) error {
	err = fmt.Errorf("demo: %w", err)
	if advice := client.Hint(err); advice != "" {
		return hint(err, advice)
	}
	return err
}

func (d *demo) plans() []demoPlan {
	v1, v2 := client.Mode{Transport: mostro.GiftWrap}, client.Mode{Transport: mostro.NIP44}
	private := client.Mode{Transport: mostro.NIP44, FullPrivacy: true}
	order := func(kind mostro.OrderKind, sats int64, fiat string) mostro.SmallOrder {
		return mostro.SmallOrder{Kind: kind, Amount: sats, FiatCode: fiat, FiatAmount: demoFiat, PaymentMethod: "bank transfer"}
	}
	return []demoPlan{
		{
			title: "alice sells 100,000 sat for 100 USD; alice speaks version 1, bob version 2",
			order: order(mostro.Sell, demoSats, "USD"), maker: d.alice, taker: d.bob, makes: v1, takes: v2,
		},
		{
			title: "bob buys for 100 EUR at the market price; alice takes it in full privacy",
			order: order(mostro.Buy, 0, "EUR"), maker: d.bob, taker: d.alice, makes: v2, takes: private,
		},
		{
			title: "alice sells 100,000 sat, and both cancel when the escrow is held",
			order: order(mostro.Sell, demoSats, "USD"), maker: d.alice, taker: d.bob, makes: v2, takes: v1,
			invoice: true, cancel: true,
		},
	}
}

// open connects to everything, and waits until the node has told its terms with its
// Lightning node in them.
func (d *demo) open(ctx context.Context, info devInfo) error {
	var err error
	dial := func(name string) (*wallet.Wallet, error) {
		node := info.Nodes[name]
		return wallet.Dial(lnd.Config{Host: node.GRPC, CertFile: node.TLSCert, MacaroonFile: node.Macaroon})
	}
	if d.escrow, err = dial(escrowNode); err != nil {
		return err
	}
	for name, place := range map[string]**trader{"alice": &d.alice, "bob": &d.bob} {
		t := &trader{name: name}
		*place = t
		if t.wallet, err = dial(name); err != nil {
			return err
		}
		words, err := mostro.NewMnemonic()
		if err != nil {
			return err
		}
		t.client, err = client.Dial(ctx, client.Config{
			RelayURL: info.RelayURL, Node: info.MostroPubkey, Keys: client.Keys{Mnemonic: words},
			Heard: func(_ *client.Trade, m mostro.Message) { d.screen.heard(name, m) },
		})
		if err != nil {
			return err
		}
	}
	for {
		terms, err := d.alice.client.Info(ctx)
		if err == nil && terms.LNDPubkey != "" {
			return nil
		}
		if err != nil && !errors.Is(err, client.ErrNoInfo) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the node's Lightning node: %w", ctx.Err())
		case <-time.After(demoPoll):
		}
	}
}

func (d *demo) close() {
	for _, t := range []*trader{d.alice, d.bob} {
		if t != nil && t.client != nil {
			t.client.Close()
		}
		if t != nil && t.wallet != nil {
			t.wallet.Close()
		}
	}
	if d.escrow != nil {
		d.escrow.Close()
	}
}

// screen prints what happens in short aligned lines.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func (s *screen) line(who, what, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.2fs  %-6s %-39s %s", time.Since(s.began).Seconds(), who, what, detail)
	fmt.Fprintln(s.out, strings.TrimRight(line, " "))
}

func (s *screen) title(number int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "\nTrade %d: %s\n", number, text)
}

func (s *screen) heard(name string, m mostro.Message) {
	detail := ""
	if status, ok := client.StatusOf(m); ok {
		detail = "order: " + string(status)
	}
	if _, notice := client.ReputationOf(m); notice {
		detail = "the taker's reputation"
	}
	if m.Action == mostro.CantDo && m.Payload != nil && m.Payload.CantDo != nil {
		detail = string(*m.Payload.CantDo)
	}
	s.line(name, "<- "+string(m.Action), detail)
}

func (s *screen) does(name string, what string) { s.line(name, "-> "+what, "") }

func (s *screen) book(o mostro.BookOrder) { s.line("book", "   "+string(o.Status), "") }

func (s *screen) hold(invoice lightning.HoldInvoice) {
	detail := thousands(invoice.Amount) + " msat"
	if invoice.AmountPaid > 0 {
		detail = thousands(invoice.AmountPaid) + " msat paid"
	}
	s.line("escrow", "   hold invoice "+string(invoice.State), detail)
}

// thousands writes an amount with a comma after every third digit.
func thousands[T ~int64](amount T) string {
	sign, digits := "", fmt.Sprint(amount)
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
