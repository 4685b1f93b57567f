package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mostro/escrow/audit"
	"mostro/escrow/order"
)

// auditColumns are those of the table; one that is nothing but zeros is left out, except the
// first ones.
func auditColumns() []auditColumn {
	return []auditColumn{
		{"settled in", true, func(s audit.Sums) order.Msat { return s.SettledIn }},
		{"paid out", true, func(s audit.Sums) order.Msat { return s.PaidOut }},
		{"routing", true, func(s audit.Sums) order.Msat { return s.Routing }},
		{"node fee", true, func(s audit.Sums) order.Msat { return s.NodeFee }},
		{"dev fee", false, func(s audit.Sums) order.Msat { return s.DevFee }},
		{"bonds", false, func(s audit.Sums) order.Msat { return s.Bonds }},
		{"owed", true, func(s audit.Sums) order.Msat { return s.Owed }},
		{"held", false, func(s audit.Sums) order.Msat { return s.Held }},
	}
}

type auditColumn struct {
	name   string
	always bool
	of     func(audit.Sums) order.Msat
}

const differences = "DIFFERENCES"

// printAudit prints a report for people. Amounts are sats.
func printAudit(out io.Writer, r *audit.Report, source string) {
	fmt.Fprintf(out, "\nAudit of %s\n\n  books           %s, %s\n  Lightning node  %s %s (%s)\n\n",
		time.Unix(r.At, 0).UTC().Format("2 January 2006, 15:04 UTC"), source, ordersAndBonds(r.Orders, r.Bonds), r.Alias, r.Pubkey, r.Network)
	printLines(out, r)
	fmt.Fprintf(out, "\n  Kept by the node: %s sat, its fees less routing.\n", msats(r.Total.Kept()))
	fmt.Fprintf(out, "  At the node: %s settled, %s sat; %s, %s sat and %s sat of routing.\n",
		count(r.Settled.Count, "escrow", "escrows"), msats(r.Settled.Amount),
		count(r.Paid.Count, "payout", "payouts"), msats(r.Paid.Amount), msats(r.Paid.Routing))
	if r.OthersIn.Count+r.OthersPaid.Count > 0 {
		fmt.Fprintf(out, "  Beside the escrow the node took in %s sat and paid %s sat.\n", msats(r.OthersIn.Amount), msats(r.OthersPaid.Amount+r.OthersPaid.Routing))
	}
	printElsewhere(out, r.Elsewhere)
	printOthersHolds(out, r.OthersHolds)
	printOwed(out, r)
	printFindings(out, "What the node knows and the escrow has yet to hear", r.News)
	printFindings(out, differences, r.Differences)
	if !r.Agrees() {
		return
	}
	text := "\nThe books and the node agree to the millisat"
	if r.Later() {
		text += ", but for what came after the books were written"
	}
	if len(r.Elsewhere) > 0 {
		text += "; what lies at another node was not compared"
	}
	fmt.Fprintln(out, text+".")
}

func ordersAndBonds(orders, bonds int) string {
	text := count(orders, "order", "orders")
	if bonds > 0 {
		text += " and " + count(bonds, "bond", "bonds")
	}
	return text
}

// named is the id of an order, or of a bond with that of its order.
func named(id, bondOf string) string {
	if bondOf == "" {
		return id
	}
	return id + ", bond of " + bondOf
}

// printLines prints the table of orders.
func printLines(out io.Writer, r *audit.Report) {
	if len(r.Lines) == 0 {
		fmt.Fprintln(out, "  No order has moved money.")
		return
	}
	t := textColumns{left: 3}
	head := []string{"date", "order", "status"}
	var columns []auditColumn
	for _, c := range auditColumns() {
		if c.always || c.of(r.Total) != 0 {
			columns = append(columns, c)
			head = append(head, c.name)
		}
	}
	t.add(head...)
	row := func(first []string, s audit.Sums) {
		for _, c := range columns {
			first = append(first, msats(c.of(s)))
		}
		t.add(first...)
	}
	bonds := 0
	for _, l := range r.Lines {
		id := l.Order
		if l.BondOf != "" {
			id = l.BondOf // its status says that it is a bond
			bonds++
		}
		row([]string{time.Unix(l.At, 0).UTC().Format("02 Jan 06"), short(id), string(l.Status)}, l.Sums)
	}
	t.rule()
	row([]string{"", "", ordersAndBonds(len(r.Lines)-bonds, bonds)}, r.Total)
	t.print(out)
}

func printOwed(out io.Writer, r *audit.Report) {
	if len(r.Owed) == 0 {
		fmt.Fprintln(out, "\nNothing is owed.")
		return
	}
	fmt.Fprintln(out, "\nOwed now")
	t := textColumns{left: 3}
	for _, l := range r.Owed {
		age := time.Duration(r.At-l.Since) * time.Second
		t.add(named(l.Order, l.BondOf), "to the "+l.To, "for "+ageText(age), msats(l.Amount)+" sat", "")
		t.note(l.Why)
	}
	t.print(out)
}

func printFindings(out io.Writer, title string, list []audit.Finding) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, f := range list {
		name := cmp.Or(f.Order, "no order")
		fmt.Fprintf(out, "  %s: %s\n", named(name, f.BondOf), f.Text)
		if f.Books != 0 || f.Node != 0 {
			fmt.Fprintf(out, "      books %s sat, node %s sat\n", msats(f.Books), msats(f.Node))
		}
		if !f.Hash.IsZero() {
			fmt.Fprintf(out, "      hash %s\n", f.Hash)
		}
		if f.Do != "" {
			fmt.Fprintf(out, "      -> %s\n", strings.NewReplacer("HASH", f.Hash.String(), "ORDER", cmp.Or(f.Order, "ORDER")).Replace(f.Do))
		}
	}
}

// printBookings prints a month's accounts.
func printBookings(out io.Writer, list []audit.Booking) error {
	w := csv.NewWriter(out)
	if err := w.Write([]string{"time", "order", "booking", "wallet_msat", "income_msat", "payment_hash", "bond_of"}); err != nil {
		return err
	}
	for _, b := range list {
		hash := ""
		if !b.Hash.IsZero() {
			hash = b.Hash.String()
		}
		if err := w.Write([]string{time.Unix(b.At, 0).UTC().Format(time.RFC3339), b.Order, b.What,
			strconv.FormatInt(int64(b.Wallet), 10), strconv.FormatInt(int64(b.Income), 10), hash, b.BondOf}); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// msats writes an amount in sats, with thousands, and with millisats where there are any.
func msats(m order.Msat) string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	text := sign + thousands(m/1000)
	if rest := m % 1000; rest != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%03d", rest), "0")
	}
	return text
}

// ageText is a duration as people say it: its two largest units.
func ageText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// count writes a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(int64(n)) + " " + many
}

// short is the beginning of an id, enough to tell orders apart.
func short(id string) string { return id[:min(8, len(id))] }

// textColumns is a table whose columns are as wide as they must be; the first are aligned to
// the left, the others to the right.
type textColumns struct {
	left  int
	rows  [][]string
	notes map[int]string // under a row
	rules map[int]bool   // a line before a row
}

func (t *textColumns) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *textColumns) note(text string) {
	if t.notes == nil {
		t.notes = map[int]string{}
	}
	t.notes[len(t.rows)-1] = text
}

func (t *textColumns) rule() { t.rules = map[int]bool{len(t.rows): true} }

func (t *textColumns) print(out io.Writer) {
	var widths []int
	total := 0
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, w := range widths {
		total += w + 2
	}
	for n, row := range t.rows {
		if t.rules[n] {
			fmt.Fprintf(out, "  %s\n", strings.Repeat("-", total-2))
		}
		line := ""
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < t.left {
				line += "  " + cell + space
			} else {
				line += "  " + space + cell
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
		if note := t.notes[n]; note != "" {
			fmt.Fprintf(out, "      %s\n", note)
		}
	}
}
