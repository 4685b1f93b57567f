package order

import (
	"fmt"
	"strconv"
	"strings"
)

const memoStart = "Mostro escrow "

// EscrowMemo is the memo of an order's present hold invoice. It carries what the preimage is
// derived from, so that a held escrow can be settled even from a lost or older store.
func EscrowMemo(o *Order) string {
	return fmt.Sprintf("%s%s/%d: paying locks %d sat for %d %s. They come back only if the trade is canceled.",
		memoStart, o.ID, o.Escrow.Attempt, o.SellerPays(), o.FiatAmount, o.FiatCode)
}

// ParseMemo reads of which order, and which of its attempts, a hold invoice says that it is.
// Whoever can make invoices at the node can write such a memo.
func ParseMemo(memo string) (id string, attempt uint32, ok bool) {
	rest, ok := strings.CutPrefix(memo, memoStart)
	name, _, ok2 := strings.Cut(rest, ":")
	id, number, ok3 := strings.Cut(name, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || !ok2 || !ok3 || id == "" || err != nil {
		return "", 0, false
	}
	return id, uint32(n), true
}
