package lightning

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadIsDecode holds the short cut for the network's own invoices to the long way.
func TestReadIsDecode(t *testing.T) {
	net := NewSimNetwork(SimConfig{Network: "signet"})
	node := net.Node("bob")
	for _, req := range []SimInvoiceRequest{{}, {Amount: 1, Memo: "m", CLTVDelta: 18, Expiry: 1_500_000_000, Hints: true}} {
		text := node.AddInvoice(req)
		if net.written[text] == nil {
			t.Fatal("the invoice is not remembered by its text")
		}
		read, err := net.read(text)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(decoded, read); diff != "" {
			t.Errorf("(-decoded +read):\n%s", diff)
		}
	}
}
