package lightning_test

import (
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/google/go-cmp/cmp"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Examples of BOLT 11. Their hash is 0001020304...; their node is bolt11Payee.
const (
	bolt11Donation = "lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq8rkx3yf5tcsyz3d73gafnh3cax9rn449d9p5uxz9ezhhypd0elx87sjle52x86fux2ypatgddc6k63n7erqz25le42c4u4ecky03ylcqca784w"
	bolt11Coffee   = "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpuaztrnwngzn3kdzw5hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspfj9srp"
	bolt11Payee    = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"
	bolt11Hash     = "0001020304050607080900010203040506070809000102030405060708090102"
)

func TestDecodeExamples(t *testing.T) {
	hash, err := order.ParseHash(bolt11Hash)
	if err != nil {
		t.Fatal(err)
	}
	created := time.Unix(1496314658, 0)
	donation := order.Invoice{
		Text: bolt11Donation, Hash: hash, Payee: bolt11Payee, CreatedAt: created,
		ExpiresAt: created.Add(time.Hour), FinalCLTV: 18, Network: "mainnet",
	}
	coffee := donation
	coffee.Text, coffee.Amount, coffee.ExpiresAt = bolt11Coffee, order.Sat(250_000).Msat(), created.Add(time.Minute)
	for text, want := range map[string]order.Invoice{
		bolt11Donation:                               donation,
		strings.ToUpper(bolt11Donation):              donation,
		bolt11Coffee:                                 coffee,
		"lightning:" + bolt11Coffee:                  coffee,
		" LightNing:" + bolt11Coffee + "\n":          coffee,
		"LIGHTNING:" + strings.ToUpper(bolt11Coffee): coffee,
	} {
		got, err := lightning.Decode(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestDecodeNetworks reads what Sim writes, with every field that it can write.
func TestDecodeNetworks(t *testing.T) {
	for network, prefix := range map[string]string{
		"mainnet": "lnbc", "testnet": "lntb", "signet": "lntbs", "regtest": "lnbcrt", "simnet": "lnsb",
	} {
		net := lightning.NewSimNetwork(lightning.SimConfig{Network: network})
		node := net.Node("bob")
		for i, amount := range []order.Msat{0, 1, 10, 1000, 123_456_789, 2_100_000_000_000_000_000} {
			req := lightning.SimInvoiceRequest{
				Amount: amount, Memo: "what for", Expiry: 90 * time.Second, CLTVDelta: 99, Preimage: [32]byte{1, byte(i)}, Hints: amount == 10,
			}
			text := node.AddInvoice(req)
			want := order.Invoice{
				Text: text, Hash: order.NewPreimage(req.Preimage).Hash(), Amount: amount, Payee: node.Pubkey(),
				CreatedAt: net.Now(), ExpiresAt: net.Now().Add(req.Expiry), FinalCLTV: 99,
				HasHints: req.Hints, PaymentSecret: true, Network: network,
			}
			got, err := lightning.Decode(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
			if digits := text[len(prefix)]; !strings.HasPrefix(text, prefix) || digits < '0' || digits > '9' {
				t.Errorf("%s: want the prefix %s and then digits", text, prefix)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	tooLong := lightning.NewSimNetwork(lightning.SimConfig{}).Node("bob")
	valid := tooLong.AddInvoice(lightning.SimInvoiceRequest{})
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "is empty"},
		"only a scheme":     {"lightning:", "is empty"},
		"an address":        {"name@example.com", "not a BOLT11 invoice"},
		"LNURL":             {"lnurl1dp68gurn8ghj7", "not a BOLT11 invoice"},
		"unknown network":   {"lnxx" + valid[4:], "not a BOLT11 invoice"},
		"another network":   {"lnbc" + valid[4:], "checksum"},
		"cut off":           {valid[:len(valid)-1], "checksum"},
		"nothing but a tag": {"lnbc1", "bech32"},
		"inner space":       {valid[:20] + " " + valid[20:], "does not belong"},
		"Kelvin sign":       {strings.Replace(valid, "k", "\u212a", 1), "does not belong"},
		"far too long":      {"lnbc1" + strings.Repeat("q", 8000), "more than an invoice has"},
		"amount wraps":      {"lnbc1844674408" + valid[4:], "out of range"},
		"amount wraps in m": {"lnbc184467440738m" + valid[4:], "out of range"},
		"unknown unit":      {"lnbc20x1" + valid[5:], "checksum"},
		"path of no hops":   {tooLong.AddInvoice(lightning.SimInvoiceRequest{Amount: 1000, Blinded: true}), "blinded"},
	} {
		invoice, err := lightning.Decode(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
		if diff := cmp.Diff(order.Invoice{}, invoice); diff != "" {
			t.Errorf("%s: an invoice came with the error:\n%s", name, diff)
		}
	}
}

// FuzzDecode looks for texts that make Decode panic or promise what is not so. It mutates
// the prefix and the 5-bit groups of an invoice and writes the checksum itself, which
// hardly any mutation would survive.
func FuzzDecode(f *testing.F) {
	node := lightning.NewSimNetwork(lightning.SimConfig{}).Node("bob")
	for _, text := range []string{
		bolt11Donation, bolt11Coffee,
		node.AddInvoice(lightning.SimInvoiceRequest{Amount: 1, Hints: true, Memo: "m"}),
		node.AddInvoice(lightning.SimInvoiceRequest{Expiry: 365 * 24 * time.Hour}),
		node.AddInvoice(lightning.SimInvoiceRequest{Amount: 1, Blinded: true}),
	} {
		prefix, groups, err := bech32.DecodeNoLimit(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(prefix, groups)
		f.Add("lightning:"+text, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, text string, groups []byte) {
		if len(groups) > 0 {
			valid := make([]byte, len(groups))
			for i := range groups {
				valid[i] = groups[i] & 31
			}
			encoded, err := bech32.Encode(text, valid)
			if err != nil {
				return
			}
			text = encoded
		}
		invoice, err := lightning.Decode(text)
		if err != nil {
			if !cmp.Equal(invoice, order.Invoice{}) {
				t.Errorf("an invoice came with the error %v", err)
			}
			return
		}
		if invoice.Amount < 0 || invoice.Hash.IsZero() || len(invoice.Payee) != 66 || invoice.ExpiresAt.Before(invoice.CreatedAt) {
			t.Errorf("%+v", invoice)
		}
		again, err := lightning.Decode(invoice.Text)
		if err != nil || !cmp.Equal(again, invoice) {
			t.Errorf("its own text decodes to %+v, %v", again, err)
		}
	})
}
