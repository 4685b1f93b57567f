package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/nbd-wtf/go-nostr/nip19"

	"mostro/escrow"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// keepsSecrets looks through all that the lab's node has logged, at debug level, for what the
// lab knows: macaroon, keys, the escrow secret, and each preimage and invoice of the three
// Lightning nodes (M53).
func (l *lab) keepsSecrets(t *testing.T) {
	t.Helper()
	secrets, err := l.secrets(labContext(t))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	log := strings.ToLower(strings.Join(l.everything, "\n"))
	l.mu.Unlock()
	if !strings.Contains(log, "level=debug") {
		t.Error("the log is not at debug level")
	}
	for what, list := range secrets {
		for _, form := range list {
			if strings.Contains(log, strings.ToLower(form)) {
				t.Errorf("the log holds %s", what)
			}
		}
	}
	t.Logf("%d bytes of log hold none of %d secrets", len(log), len(secrets))
}

func secretForms(b []byte) []string {
	return []string{hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b)}
}

// secrets are all that the lab knows, by what they are.
func (l *lab) secrets(ctx context.Context) (map[string][]string, error) {
	all := map[string][]string{}
	macaroon, err := os.ReadFile(l.macaroon())
	if err != nil {
		return nil, err
	}
	all["the macaroon"] = secretForms(macaroon)
	secret, err := os.ReadFile(filepath.Join(l.dir, escrowSecretFile))
	if err != nil {
		return nil, err
	}
	all["the escrow secret"] = []string{strings.TrimSpace(string(secret))}
	for what, key := range map[string]mostro.Secret{"the node's key": l.key, "the admin's key": l.admin} {
		_, raw, err := nip19.Decode(key.Nsec())
		if err != nil {
			return nil, err
		}
		all[what] = []string{key.Nsec(), raw.(string)}
	}
	derive, err := readEscrowSecret(l.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"alice", "bob", escrowNode} {
		node := l.network.Client(name)
		invoices, err := node.ListInvoices(ctx, &lnrpc.ListInvoiceRequest{NumMaxInvoices: 10_000})
		if err != nil {
			return nil, err
		}
		for _, i := range invoices.Invoices {
			hash := hex.EncodeToString(i.RHash)
			all["invoice "+hash] = []string{i.PaymentRequest}
			if id, attempt, ok := order.ParseMemo(i.Memo); ok {
				b := escrow.Preimage(derive, id, attempt).Bytes()
				all["preimage of "+hash] = secretForms(b[:])
			} else if len(i.RPreimage) == 32 {
				all["preimage of "+hash] = secretForms(i.RPreimage)
			}
		}
		payments, err := node.ListPayments(ctx, &lnrpc.ListPaymentsRequest{MaxPayments: 10_000})
		if err != nil {
			return nil, err
		}
		for _, p := range payments.Payments {
			if strings.Trim(p.PaymentPreimage, "0") != "" { // it has succeeded
				all["proof of payment "+p.PaymentHash] = []string{p.PaymentPreimage}
			}
		}
	}
	return all, nil
}

// keepsFilesSecret fails the test when the output of a process holds what the secret files of its data
// directory hold. A directory without such files has no secrets yet.
func keepsFilesSecret(t *testing.T, args []string, output string) {
	t.Helper()
	i := slices.Index(args, "--data-dir")
	if i < 0 || i+1 == len(args) {
		return
	}
	for _, name := range []string{envFile, escrowSecretFile} {
		data, err := os.ReadFile(filepath.Join(args[i+1], name))
		if err != nil {
			continue
		}
		for word := range strings.FieldsFuncSeq(string(data), func(r rune) bool { return strings.ContainsRune(" =\"\n", r) }) {
			if len(word) >= 32 && strings.Contains(output, word) { // no name of a variable is as long
				t.Errorf("the output of mostro %s holds a secret of %s", strings.Join(args, " "), name)
			}
		}
	}
}
