package main

import (
	"fmt"
	"io"
	"time"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// othersShown is how many hold invoices of other software the text lists: a busy node has
// thousands.
const othersShown = 20

// printOthersHolds lists the hold invoices of other software: when made, state, hash, and the sats
// that are held or asked for.
func printOthersHolds(out io.Writer, list []audit.OthersHold) {
	if len(list) == 0 {
		return
	}
	holding, held := 0, order.Msat(0)
	for _, h := range list {
		if h.State == lightning.Accepted {
			holding, held = holding+1, held+h.Paid
		}
	}
	fmt.Fprintf(out, "\nOf other software at this node, and no difference: %s", count(len(list), "hold invoice", "hold invoices"))
	if holding > 0 {
		fmt.Fprintf(out, ", with %s sat held in %s", msats(held), thousands(int64(holding)))
	}
	fmt.Fprintln(out)
	t := textColumns{left: 3}
	for _, h := range list[:min(len(list), othersShown)] {
		sats, amount := h.Amount, "any amount"
		if h.State == lightning.Accepted {
			sats = h.Paid
		}
		if sats > 0 {
			amount = msats(sats) + " sat"
		}
		t.add(time.Unix(h.CreatedAt, 0).UTC().Format("02 Jan 06 15:04"), string(h.State), h.Hash.String(), amount)
	}
	t.print(out)
	if more := len(list) - othersShown; more > 0 {
		fmt.Fprintf(out, "  and %s more; --json lists all\n", thousands(int64(more)))
	}
}

// printElsewhere prints what is not compared, since it was booked of another Lightning node.
func printElsewhere(out io.Writer, list []audit.Elsewhere) {
	for _, e := range list {
		fmt.Fprintf(out, "  At another node, %s, and not compared: %s settled, %s sat; %s, %s sat and %s sat of routing.\n", e.Pubkey,
			count(e.Settled.Count, "escrow", "escrows"), msats(e.Settled.Amount), count(e.Paid.Count, "payment", "payments"), msats(e.Paid.Amount), msats(e.Paid.Routing))
	}
	if len(list) > 0 {
		fmt.Fprintln(out, "    -> while that one still runs: mostro audit --settings lightning.lnd_grpc_host=HOST:PORT --settings lightning.lnd_cert_file=FILE --macaroon FILE")
	}
}
