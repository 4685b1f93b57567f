package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mostro/escrow/order"
)

// chaosSums is what the rounds of a run add up to. Of trades only those count that were accounted and are right.
type chaosSums struct {
	seeds         []uint64 // of the rounds
	trades, rests int      // rests of ranges
	kills         int
	blocks        uint32
	lost          int            // channels of lnd, each with its round
	left, cut     int            // trades that were on such a channel, or under way elsewhere, when it was lost
	ended         map[string]int // by course and public status
	bonds         map[string]int // by what became of them
	faults        map[string]int
	in, out, owed int
	moved         order.Msat
	differences   int
	took          time.Duration
	noDisk        error
}

func newChaosSums() *chaosSums {
	return &chaosSums{ended: map[string]int{}, bonds: map[string]int{}, faults: map[string]int{}}
}

// done tells that there were as many trades and kills as were asked for.
func (s *chaosSums) done() bool { return s.trades >= *chaosTrades && s.kills >= *chaosKills }

// next is what the next round is for. Trades that are done again have as many kills among them as others.
func (s *chaosSums) next() (trades, kills int) {
	trades = max(1, *chaosTrades-s.trades)
	return trades, max(*chaosKills-s.kills, trades**chaosKills/max(1, *chaosTrades))
}

// add adds a round.
func (s *chaosSums) add(x *chaos) {
	s.seeds = append(s.seeds, x.seed)
	s.kills, s.blocks, s.took = s.kills+x.kills, s.blocks+x.blocks, s.took+x.took
	s.differences, s.left, s.noDisk = s.differences+x.differences, s.left+x.left, x.disk.why
	for name, n := range x.faults {
		s.faults[name] += n
	}
	right := 0
	for _, c := range x.trades {
		if !c.isRight() {
			continue
		}
		right++
		for _, part := range c.parts() {
			if part.parent != nil {
				s.rests++
			}
			if part.how == payoutFlies {
				s.owed++
			}
			s.ended[fmt.Sprintf("%s%s: %s", part.rangeText(), part.course, part.how)]++
			for _, became := range part.became {
				s.bonds[became]++
			}
			s.flows(part.moves)
		}
	}
	s.trades += right
	if x.lost != nil {
		s.lost++
		s.cut += len(x.trades) - right - x.left
	}
}

func (s *chaosSums) flows(list []flow) {
	for _, f := range list {
		if f.SellerPaid > 0 {
			s.in++
		}
		if f.BuyerGot > 0 {
			s.out++
		}
		s.moved += f.SellerPaid
	}
}

// text is the table of a run.
func (s *chaosSums) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "chaos: seeds %d, %d trades, %d rests of ranges, %d kills, %d blocks, %v\n",
		s.seeds, s.trades, s.rests, s.kills, s.blocks, s.took.Round(time.Second))
	fmt.Fprintf(&text, "  %4d  channels lost by lnd; trades left on them: %d, cut with their round and done again: %d\n", s.lost, s.left, s.cut)
	for _, table := range []map[string]int{s.ended, s.bonds, s.faults} {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			fmt.Fprintf(&text, "  %4d  %s\n", table[name], name)
		}
	}
	if s.noDisk != nil {
		fmt.Fprintf(&text, "  the disk was never full, for want of one of its own: %v\n", s.noDisk)
	}
	fmt.Fprintf(&text, "  %d escrows and bonds settled, %s msat; %d payouts, %d owed; differences: %d", s.in, thousands(s.moved), s.out, s.owed, s.differences)
	return text.String()
}
