package order

import (
	"fmt"
	"strconv"
	"strings"
)

// The memo of a hold invoice carries what its preimage is derived from, so that what is held
// can be settled even from a lost or older store.

// EscrowMemo is the memo of an order's present hold invoice.
func EscrowMemo(o *Order) string {
	return fmt.Sprintf("Mostro escrow %s/%d: paying locks %d sat for %d %s. They come back only if the trade is canceled.",
		o.ID, o.Escrow.Attempt, o.SellerPays(), o.FiatAmount, o.FiatCode)
}

// BondMemo is the memo of a bond's hold invoice.
func BondMemo(b *Bond) string {
	return fmt.Sprintf("mostro bond order_id=%s bond=%s/%d: paying locks %d sat until the trade ends. They are lost only to who breaks its rules.",
		b.Order, b.ID, b.Hold.Attempt, b.Amount)
}

// ParseMemo reads of which order or bond, and which of its attempts, a hold invoice says that
// it is. Whoever can make invoices at the node can write such a memo.
func ParseMemo(memo string) (id string, attempt uint32, ok bool) {
	name, _, ok := strings.Cut(memo, ":")
	switch i := strings.LastIndexByte(name, ' '); {
	case !ok:
	case strings.HasPrefix(name, "Mostro escrow "):
		name = name[i+1:]
	case strings.HasPrefix(name, "mostro bond order_id="):
		name, ok = strings.CutPrefix(name[i+1:], "bond=")
	default:
		ok = false
	}
	id, number, cut := strings.Cut(name, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if !ok || !cut || id == "" || err != nil {
		return "", 0, false
	}
	return id, uint32(n), true
}
