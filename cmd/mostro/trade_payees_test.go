package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mostro/escrow/client"
	"mostro/escrow/lightning/lnd/wallet"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// payeeServer is an LNURL server before a wallet. It keeps to the protocol but for the first
// answers, one fault each.
type payeeServer struct {
	*httptest.Server
	wallet *wallet.Wallet

	mu     sync.Mutex
	faults []string // "away", "lies"
	asked  int
	last   order.Invoice
}

func newPayeeServer(t *testing.T, w *wallet.Wallet, faults ...string) *payeeServer {
	p := &payeeServer{wallet: w, faults: faults}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/lnurlp/bob", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, map[string]any{"tag": "payRequest", "callback": p.URL + "/pay?of=bob", "minSendable": 1000, "maxSendable": 1e11, "metadata": "[]"})
	})
	mux.HandleFunc("GET /pay", p.pay)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func answer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(v) // who has gone does not hear it
}

func (p *payeeServer) pay(rw http.ResponseWriter, req *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	fault := ""
	if len(p.faults) > 0 {
		fault, p.faults = p.faults[0], p.faults[1:]
	}
	amount, err := strconv.ParseInt(req.URL.Query().Get("amount"), 10, 64)
	if fault == "lies" {
		amount++
	}
	if fault == "away" || err != nil {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if p.last, err = p.wallet.Invoice(req.Context(), order.Msat(amount), "by address"); err != nil {
		answer(rw, map[string]string{"status": "ERROR", "reason": err.Error()})
		return
	}
	answer(rw, map[string]string{"pr": p.last.Text})
}

func (p *payeeServer) address() string { return "bob@" + strings.TrimPrefix(p.URL, "http://") }

// paid is the invoice that was paid, and how many were asked for.
func (p *payeeServer) paid() (order.Invoice, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.asked
}

// TestPayoutToAddress: buyers give Lightning addresses instead of invoices. They are paid when
// their servers give an invoice over the amount, to the millisat, and asked when they do not.
func TestPayoutToAddress(t *testing.T) {
	t.Parallel()
	l := labOn(t, regtest.ForTest(t), (*lab).startHere) // two tries
	ctx := labContext(t)
	for _, c := range []struct {
		faults []string
		asks   bool // for an invoice, after the last try
		want   int  // requests
	}{
		{nil, false, 1},
		{[]string{"away"}, false, 2},
		{[]string{"lies"}, false, 2},
		{[]string{"lies", "away"}, true, 3},
	} {
		t.Logf("== a server that first %v", c.faults)
		x := l.newTrade(t, ctx)
		server := newPayeeServer(t, x.buyer.wallet, c.faults...)
		if err := x.newOrder(ctx); err != nil {
			t.Fatal(err)
		}
		var answer mostro.Message
		var err error
		if x.bought, answer, err = x.buyer.client.Take(ctx, x.shown, server.address(), client.Mode{}); err != nil {
			t.Fatal(err)
		}
		if answer.Action != mostro.WaitingSellerToPay {
			t.Fatalf("a take with an address is answered with %s", wordsOf(answer))
		}
		x.run(ctx, []step{{"invoice", false, x.invoiceAsked}, {"pay", true, x.pay}})
		x.promised = 99_700
		x.run(ctx, []step{{"active", false, x.active}, {"fiat-sent", false, x.fiatSent}, {"release", false, x.release}})
		if c.asks {
			x.hears(ctx, x.bought, mostro.AddInvoice)
			// The same address again is welcome: its server is well by now.
			if got, err := x.bought.AddInvoice(ctx, server.address()); err != nil || got.Action != mostro.InvoiceUpdated {
				t.Fatalf("the address again: %s, %v", wordsOf(got), err)
			}
		}
		x.run(ctx, []step{{"completed", false, x.completed}})
		paid, asked := server.paid()
		if asked != c.want {
			t.Errorf("%d invoices were asked for, want %d", asked, c.want)
		}
		x.payout = paid
		x.account(ctx)
	}
	l.settle(t)
}

// TestClosedNetworksOnly: a node that may pay to addresses of this machine does so on networks
// of play money only, and one that may not refuses them by their form.
func TestClosedNetworksOnly(t *testing.T) {
	server := newPayeeServer(t, nil)
	for network, ok := range map[string]bool{"simnet": true, "regtest": true, "mainnet": false, "testnet": false, "signet": false, "": false} {
		n := &node{cfg: nodeConfig{settings: &Settings{}, closed: true}}
		p, err := n.newPayees()
		if err != nil {
			t.Fatal(err)
		}
		p.network = func(context.Context) (string, error) { return network, nil }
		if !p.IsAddress(server.address()) {
			t.Fatal("not an address")
		}
		server.faults = []string{"away"}
		before := server.asked
		if _, err = p.resolve(t.Context(), server.address(), 1000); err == nil || (server.asked > before) != ok {
			t.Errorf("%q: %d requests, %v", network, server.asked-before, err)
		}
		p.network = func(context.Context) (string, error) { return "", errors.New("away") }
		if _, err = p.resolve(t.Context(), server.address(), 1000); err == nil || !strings.Contains(err.Error(), "away") {
			t.Errorf("without an answer of the node: %v", err)
		}
	}
	n := &node{cfg: nodeConfig{settings: &Settings{}}}
	p, err := n.newPayees()
	if err != nil {
		t.Fatal(err)
	}
	asked := server.asked
	if _, err := p.resolve(t.Context(), server.address(), 1000); err == nil || p.IsAddress(server.address()) || server.asked != asked {
		t.Errorf("mostro serve takes an address of this machine: %v", err)
	}
}
