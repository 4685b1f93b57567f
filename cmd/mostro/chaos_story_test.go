package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	storyTime  = 10 * time.Second // for what may not answer any more
	storyLines = 40               // of the log, about one trade
)

// fails says what is wrong with a trade, and its story.
func (c *chaosTrade) fails(t *testing.T, err error) {
	t.Errorf("trade %s: %v", c.label, err)
	for _, part := range c.parts() {
		t.Logf("trade %s\n%s", part.label, part.story())
	}
}

// story tells of a trade that has not ended as it should: what each side has heard, and what the
// book, the nodes and the log of mostro say.
func (c *chaosTrade) story() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), storyTime)
	defer cancel()
	var b strings.Builder
	fmt.Fprintf(&b, "  %s%s of %d sat by %s, who sells: %v; %s\n", c.rangeText(), c.kind, c.sats, c.maker.wallet.name, c.maker == c.seller, c.course)
	id := ""
	for _, s := range []*chaosSide{c.maker, c.taker} {
		fmt.Fprintf(&b, "  %s (%s, %+v) has heard:", s.name, s.wallet.name, s.mode)
		if s.trade == nil {
			b.WriteString(" nothing, he has no trade\n")
			continue
		}
		id = s.trade.OrderID()
		for _, m := range s.trade.Messages() {
			fmt.Fprintf(&b, " [%s]", wordsOf(m))
		}
		b.WriteString("\n")
	}
	if id == "" {
		return b.String()
	}
	shown, err := c.user.Order(ctx, id)
	fmt.Fprintf(&b, "  order %s in the book: %q, %v\n", id, shown.Status, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	words := []string{id}
	for hash := range c.holds {
		words = append(words, hash.String())
		held, err := c.demo.escrow.Lookup(ctx, hash)
		paid, payErr := c.seller.wallet.wallet.Paid(ctx, hash)
		fmt.Fprintf(&b, "  hold invoice %s: %s at the escrow's node, %v; %s at the seller's, %v\n", hash, held.State, err, paid.State, payErr)
	}
	for hash := range c.payouts {
		words = append(words, hash.String())
		got, gotErr := c.buyer.wallet.wallet.Lookup(ctx, hash)
		paid, err := c.demo.escrow.Paid(ctx, hash) // waits while it is in flight
		fmt.Fprintf(&b, "  payout %s: %s at the escrow's node, %v; %s at the buyer's, %v\n", hash, paid.State, err, got.State, gotErr)
	}
	for _, s := range []*chaosSide{c.maker, c.taker} {
		for hash := range s.bonds {
			words = append(words, hash.String())
			held, err := c.demo.escrow.Lookup(ctx, hash)
			fmt.Fprintf(&b, "  bond %s of the %s: %s at the escrow's node, %v\n", hash, s.name, held.State, err)
		}
		fmt.Fprintf(&b, "  of bonds the %s has lost %d sat, is due %d and has got %d, with %d invoices\n", s.name, s.lost, s.due, s.got, len(s.claims))
	}
	lines := c.linesWith(words)
	fmt.Fprintf(&b, "  the last of %d lines of mostro's log about it:\n", len(lines))
	for _, line := range lines[max(0, len(lines)-storyLines):] {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	return b.String()
}

// linesWith are the lines of the log, over all starts, that hold one of the words.
func (l *lab) linesWith(words []string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.everything {
		if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) }) {
			found = append(found, line)
		}
	}
	return found
}
