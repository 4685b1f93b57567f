package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"

	"mostro/escrow"
)

// refusesAnotherNode starts the ended node beside alice's lnd while sats of a trade are held in the
// escrow's: it does not start, and says why and what to do.
func (l *lab) refusesAnotherNode(t *testing.T, held *labTrade) {
	t.Helper()
	ctx := labContext(t)
	at := map[string]string{}
	for _, name := range []string{"alice", escrowNode} {
		info, err := l.network.Client(name).GetInfo(ctx, &lnrpc.GetInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		at[name] = info.IdentityPubkey
	}
	alice := l.network.Node("alice")
	p := startProcess(t, "serve", "--data-dir", l.dir, "--settings", "relay.listen="+l.address, "--settings", "lightning.lnd_grpc_host="+alice.GRPC,
		"--settings", "lightning.lnd_cert_file="+alice.TLSCert, "--settings", "lightning.lnd_macaroon_file="+alice.Macaroon)
	code, out := p.end(), strings.Join(p.seen, "\n")
	if code != exitError || strings.Contains(out, "msg=serving") {
		t.Errorf("mostro serve beside another lnd ends with %d", code)
	}
	for _, want := range []string{
		fmt.Sprintf("another Lightning node: %s on simnet, but the escrow of order %s lies on %s on simnet", at["alice"], held.sold.OrderID(), at[escrowNode]),
		"-> set [lightning] back to the node on which that order lies", "-> to move to another node, first start beside the old one",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("its text has no %q", want)
		}
	}
	t.Log(out)
}

// Whenever the other node is met, when the node starts or when its own answers again as another, the
// operator reads what to do; other errors stay as they are.
func TestWrongNodeHint(t *testing.T) {
	if got := hintsOf(fmt.Errorf("run escrow: %w", noRoom(wrongNode("/b", fmt.Errorf("%w: a, but b", escrow.ErrWrongNode))))); !strings.Contains(got, "set [lightning]") || !strings.Contains(got, "mode drain --reason moving --data-dir /b") {
		t.Errorf("hints %q", got)
	}
	if err := errors.New("other"); wrongNode("/b", err) != err || wrongNode("/b", nil) != nil {
		t.Error("another error is changed")
	}
}
