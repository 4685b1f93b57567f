package order

import "testing"

// What the memos say of themselves is read back; nothing else is taken for one.
func TestMemo(t *testing.T) {
	const id = "0b6ae7ae-1c3a-4f1e-9d0a-6f2c3c1d7a55"
	for _, memo := range []string{
		EscrowMemo(&Order{ID: id, Escrow: Escrow{Attempt: 3}, FiatCode: "USD"}),
		BondMemo(&Bond{ID: id, Order: "another", Hold: Escrow{Attempt: 3}}),
	} {
		if got, attempt, ok := ParseMemo(memo); got != id || attempt != 3 || !ok {
			t.Errorf("%q: %q %d %v", memo, got, attempt, ok)
		}
	}
	for _, memo := range []string{
		"", ":", "coffee", "Mostro escrow", "Mostro escrow a: b", "Mostro escrow a/b: c", "Mostro escrow /1: c", "Mostro escrow a/1", "escrow a/1: b",
		"Mostro escrow a/-1: b", "Mostro escrow a/4294967296: b", "mostro bond order_id=x a/1: b", "mostro bond order_id=x bond=a: b",
	} {
		if got, attempt, ok := ParseMemo(memo); ok || got != "" || attempt != 0 {
			t.Errorf("%q: %q %d %v", memo, got, attempt, ok)
		}
	}
}
