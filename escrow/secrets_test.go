package escrow

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr/nip19"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// M53: no log of these tests, which are at debug level, holds a secret that the tests know:
// preimages, keys, invoices. Every world is looked through when its test ends.

// forms are the ways in which 32 secret bytes could be printed.
func forms(b []byte) []string {
	return []string{hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), fmt.Sprint(b), string(b)}
}

func keyForms(t testing.TB, k mostro.Secret) []string {
	_, raw, err := nip19.Decode(k.Nsec())
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(raw.(string))
	if err != nil {
		t.Fatal(err)
	}
	return append(forms(b), k.Nsec())
}

// secrets are all that the world knows, by what they are.
func (w *world) secrets() map[string][]string {
	all := map[string][]string{"the escrow secret": forms(w.cfg.EscrowSecret.bytes()), "the node's key": keyForms(w.t, w.cfg.Key)}
	wallets := map[string]*lightning.SimNode{"the node": w.node}
	for name, p := range w.people {
		wallets[name] = p.wallet
		for i, key := range append(p.keys, p.identity) {
			all[fmt.Sprintf("key %d of %s", i, name)] = keyForms(w.t, key)
		}
		for i, preimage := range p.holds {
			b := preimage.Bytes()
			all[fmt.Sprintf("preimage %d of %s", i, name)] = forms(b[:])
		}
	}
	nodeSecrets(w.t, w.cfg.EscrowSecret, wallets, all)
	return all
}

// nodeSecrets adds what Lightning nodes know: the invoices, their preimages, and the proofs of payment.
func nodeSecrets(t testing.TB, secret EscrowSecret, wallets map[string]*lightning.SimNode, all map[string][]string) {
	ctx := context.Background()
	for name, wallet := range wallets {
		if wallet == nil {
			continue
		}
		wallet.Start()
		wallet.SetFaults(lightning.Faults{})
		err := wallet.Invoices(ctx, func(r lightning.InvoiceRecord) error {
			all["an invoice of "+name+" "+r.Hash.String()] = []string{r.Invoice}
			if id, attempt, ok := order.ParseMemo(r.Memo); ok {
				b := Preimage(secret, id, attempt).Bytes()
				all["the preimage of "+r.Hash.String()] = forms(b[:])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = wallet.Payments(ctx, func(p lightning.PaymentRecord) error {
			if proof, ok := wallet.Proof(p.Hash); ok {
				b := proof.Bytes()
				all["the proof of payment of "+p.Hash.String()] = forms(b[:])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// leakStart is how much of a secret is looked up at each place of a text: no form is shorter.
const leakStart = 16 // bytes

// leaks lists the secrets that a text holds. It reads the text once, however many they are.
func leaks(text string, secrets map[string][]string) (found []string) {
	type secret struct{ what, form string }
	as, low := map[string][]secret{}, map[string][]secret{}
	for what, forms := range secrets {
		for _, form := range forms {
			lower := strings.ToLower(form)
			as[form[:leakStart]] = append(as[form[:leakStart]], secret{what, form})
			low[lower[:leakStart]] = append(low[lower[:leakStart]], secret{what, lower})
		}
	}
	leaked := map[string]bool{}
	look := func(text string, starts map[string][]secret) {
		for i := 0; i+leakStart <= len(text); i++ {
			for _, s := range starts[text[i:i+leakStart]] {
				if strings.HasPrefix(text[i:], s.form) {
					leaked[s.what] = true
				}
			}
		}
	}
	look(text, as)
	look(strings.ToLower(text), low)
	return slices.Collect(maps.Keys(leaked))
}

// logBook keeps the log of an engine that runs with all its workers.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// keepsSecrets looks through the log, when the engine has ended, for what it, the traders and their
// wallets know.
func (l *logBook) keepsSecrets(t testing.TB, cfg Config, net *lightning.SimNetwork, traders []*trader, preimages ...order.Preimage) {
	all := map[string][]string{"the escrow secret": forms(cfg.EscrowSecret.bytes()), "the node's key": keyForms(t, cfg.Key)}
	for i, tr := range traders {
		all[fmt.Sprintf("key %d", i)] = keyForms(t, tr.key)
	}
	for i, preimage := range preimages {
		b := preimage.Bytes()
		all[fmt.Sprintf("preimage %d", i)] = forms(b[:])
	}
	wallets := map[string]*lightning.SimNode{}
	for _, name := range []string{"mostro", "alice", "bob"} {
		wallets[name] = net.Node(name)
	}
	nodeSecrets(t, cfg.EscrowSecret, wallets, all)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.text.String(), "level=DEBUG") {
		t.Error("the log is not at debug level")
	}
	found := leaks(l.text.String(), all)
	for _, what := range found {
		t.Errorf("the log holds %s", what)
	}
	t.Logf("%d bytes of log hold %d of %d secrets", l.text.Len(), len(found), len(all))
}

// keepsSecrets looks through the log of a world.
func (w *world) keepsSecrets() {
	if w.t.Failed() {
		return
	}
	for _, what := range leaks(w.logged.String(), w.secrets()) {
		w.t.Errorf("the log holds %s", what)
	}
}

// The scan finds what it is to find, in whatever form.
func TestM53ScanFindsSecrets(t *testing.T) {
	w := newWorld(t)
	w.trade(t, "100000", "99700")
	secrets := w.secrets()
	kinds := map[string]bool{}
	for what, list := range secrets {
		for _, form := range list {
			other := strings.ToUpper(form)
			if low := strings.ToLower(form); low != strings.ToLower(other) { // raw bytes are no letters
				other = form
			}
			if got := leaks("before "+other+" after", map[string][]string{what: list}); len(got) != 1 {
				t.Errorf("%s as %.20q is not found", what, form)
			}
		}
		kinds[strings.Fields(what)[0]+" "+strings.Fields(what)[1]] = true
	}
	for _, kind := range []string{"the escrow", "the node's", "the preimage", "the proof", "an invoice", "key 0"} {
		if !kinds[kind] {
			t.Errorf("the world knows no secret of kind %q: %v", kind, kinds)
		}
	}
	if w.logged.Len() == 0 {
		t.Error("nothing is logged")
	}
}

// The types that hold secrets print none of it, whatever the verb.
func TestM53SecretTypesRedact(t *testing.T) {
	b := [32]byte{0xde, 0xad, 0xbe, 0xef, 1, 2, 3}
	key := secretFor("somebody")
	for what, c := range map[string]struct {
		value any
		forms []string
	}{
		"preimage": {order.NewPreimage(b), forms(b[:])}, "store key": {NewStoreKey(b), forms(b[:])},
		"escrow secret": {NewEscrowSecret(b), forms(b[:])}, "key": {key, keyForms(t, key)},
	} {
		text := fmt.Sprintf("%v %+v %#v %s %q %x %X %d", c.value, c.value, c.value, c.value, c.value, c.value, c.value, c.value) +
			fmt.Sprint([]any{c.value}, map[string]any{"k": c.value}, struct{ S any }{c.value}, struct{ s any }{c.value})
		inside := struct {
			p order.Preimage
			k StoreKey
			e EscrowSecret
			n mostro.Secret
		}{order.NewPreimage(b), NewStoreKey(b), NewEscrowSecret(b), key}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			text += fmt.Sprintf(verb, inside) + fmt.Sprintf(verb, &inside)
		}
		if got := leaks(text, map[string][]string{what: c.forms}); len(got) > 0 {
			t.Errorf("the %s prints itself: %s", what, text)
		}
	}
}

// What a damaged invoice leads to does not quote it: the error goes into logs and histories.
func TestM53ErrorsQuoteNoInvoice(t *testing.T) {
	w := newWorld(t)
	invoice := w.person("bob").wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: 99_700_000})
	damaged := []string{invoice + "q", strings.ToUpper(invoice[:20]) + invoice[20:], "lnbc1" + invoice, invoice[:6] + "9999999999999999999" + invoice[6:], invoice + " " + invoice}
	for i := range invoice {
		damaged = append(damaged, invoice[:i], invoice[:i]+"b"+invoice[i:], invoice[:i]+"\x00"+invoice[i:], invoice[:i]+string(invoice[i]^1)+invoice[i+1:])
	}
	refused := 0
	for _, text := range damaged {
		_, err := lightning.Decode(text)
		if err == nil {
			continue
		}
		refused++
		for i := 0; i+24 <= len(invoice); i++ {
			if strings.Contains(err.Error(), invoice[i:i+24]) {
				t.Fatalf("the error quotes the invoice: %v", err)
			}
		}
	}
	if refused < len(invoice) {
		t.Errorf("only %d of %d damaged invoices are refused", refused, len(damaged))
	}
}
