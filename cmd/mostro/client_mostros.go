package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"

	"mostro/escrow/mostro"
	"mostro/escrow/reviews"
)

func clientMostrosCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "mostros",
		Short: "List the nodes that the relay knows: facts that they have signed, and what people say",
		Long: `List the nodes that the relay knows, in an order that says nothing and is another one each day.

Facts follow from events that each node has signed itself; it can date events back, so its age is only
what it says. Reviews are by people to whom the
node has proven a trade; a node can trade with itself, so look at how many weeks they are from
and how much it has paid in development fees. A score needs five reviews from months with such fees, of
which each month counts to 10,000 sat. Recommendations and labels can be by anybody.

Coordinators of other marketplaces, whose offers the relay shows too, come last. They are no Mostros, and the
commands here cannot trade with them; their reviews, in the form of RoboSats, make no score.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.openReader(cmd)
			if err != nil {
				return err
			}
			defer s.close()
			all, err := s.mostros(time.Now().Unix())
			if err != nil {
				return advise(err)
			}
			return s.screen.mostros(all)
		},
	}
}

const (
	mostCoordinators = 100 // anybody can be one at a relay that takes all
	authorsAtOnce    = 100 // relays refuse long lists
	offersPast       = 30 * 24 * time.Hour
	reviewsPast      = 187 * 24 * time.Hour // older ones do not count, nor do those of the week in which that begins
)

// mostros reads what the relay has about every node whose terms it has, and then about coordinators of other platforms
// who have offers there.
func (s *clientSession) mostros(now int64) ([]reviews.Summary, error) {
	read := reviews.NewReader(now)
	var keys []string
	known := make(map[string]bool)
	complete, err := s.Public(s.ctx, nostr.Filter{Kinds: []int{mostro.KindInfo}}, func(ev *nostr.Event) {
		read.Add(ev)
		if !known[ev.PubKey] {
			known[ev.PubKey] = true
			keys = append(keys, ev.PubKey)
		}
	})
	if err != nil {
		return nil, err
	}
	past := nostr.Timestamp(now - int64(offersPast/time.Second))
	all, err := s.Public(s.ctx, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"s": {string(mostro.StatusPending)}}, Since: &past}, read.Add)
	if err != nil {
		return nil, err
	}
	complete = complete && all
	others := make(map[string]bool)
	for _, c := range read.Coordinators() {
		if len(others) == mostCoordinators {
			complete = false
			break
		}
		others[c.Mostro] = true
		keys = append(keys, c.Mostro)
	}
	for some := range slices.Chunk(keys, authorsAtOnce) {
		all, err := s.said(read, some, now)
		if err != nil {
			return nil, err
		}
		complete = complete && all
	}
	mostros := append(read.Mostros(), slices.DeleteFunc(read.Coordinators(), func(c reviews.Summary) bool { return !others[c.Mostro] })...)
	for i := range mostros {
		mostros[i].Partial = !complete
	}
	return mostros, nil
}

// said reads what some nodes have published of their trades, and what is said of them.
func (s *clientSession) said(read *reviews.Reader, of []string, now int64) (complete bool, err error) {
	addresses := make([]string, len(of))
	for i := range of {
		addresses[i] = reviews.Address(of[i])
	}
	complete, err = s.PublicSince(s.ctx, nostr.Filter{Kinds: []int{mostro.KindReview}, Tags: nostr.TagMap{"p": of}}, now-int64(reviewsPast/time.Second), read.Add)
	for _, f := range []nostr.Filter{
		{Kinds: []int{mostro.KindDevFee, mostro.KindOrder, mostro.KindDispute}, Authors: of},
		{Kinds: []int{mostro.KindLabel}, Tags: nostr.TagMap{"p": of}},
		{Kinds: []int{mostro.KindRecommendation, mostro.KindLabel}, Tags: nostr.TagMap{"a": addresses}},
	} {
		all := false
		if err == nil {
			all, err = s.Public(s.ctx, f, read.Add)
		}
		complete = complete && all
	}
	return complete, err
}

func (c clientScreen) mostros(all []reviews.Summary) error {
	if !c.json && (len(all) == 0 || all[0].Platform != "") {
		if err := c.line("The relay knows no Mostro.\n  -> --relay names another one"); err != nil {
			return err
		}
	}
	for i, m := range all {
		if c.json {
			if err := c.object(m); err != nil {
				return err
			}
			continue
		}
		if i > 0 || m.Platform != "" {
			if err := c.line(""); err != nil {
				return err
			}
		}
		if m.Platform != "" && (i == 0 || all[i-1].Platform == "") {
			if err := c.line("%s", otherPlatforms); err != nil {
				return err
			}
		}
		if err := c.line("%s", strings.Join(mostroText(m), "\n")); err != nil {
			return err
		}
	}
	return nil
}

// otherPlatforms stands before coordinators.
const otherPlatforms = `NO MOSTROS: coordinators of other marketplaces, whose offers the relay shows.
The commands here cannot trade with them.
`

// mostroText is a node in words.
func mostroText(m reviews.Summary) []string {
	f, r := m.Facts, m.Reviews
	disputes := count(f.Disputes, "dispute", "disputes")
	if f.DisputeRate != nil {
		disputes += fmt.Sprintf(" (%.1f for 100 orders)", 100**f.DisputeRate)
	}
	old := "no order yet"
	if f.Since > 0 {
		old = count(int(f.AgeDays), "day", "days") + " old by its own dates"
	}
	lines := []string{strings.TrimSpace(oneLine(m.Name) + " " + npub(m.Mostro))}
	if m.Platform == "" {
		lines = append(lines,
			fmt.Sprintf("  facts        %s ended well, %s, %s of development fees; %s", count(f.Success, "order", "orders"), disputes, sats(f.DevFees), old),
			fmt.Sprintf("  terms        fee %s, bond %s, said %s", feeText(f.Fee), oneLine(f.Bond), ago(f)),
			"  reviews      "+reviewsText(r))
	} else {
		lines = append(lines,
			fmt.Sprintf("  platform     %s, by its own word", oneLine(m.Platform)),
			fmt.Sprintf("  facts        %s now; %s here that ended well", count(f.Offers, "offer", "offers"), count(f.Success, "order", "orders")))
		if r.Unproven > 0 {
			lines = append(lines, fmt.Sprintf("  reviews      %d without a proof do not count", r.Unproven))
		}
	}
	for _, t := range r.Texts {
		lines = append(lines, fmt.Sprintf("    %s of %d stars: %s", starsText(*t.Rating), mostStars, oneLine(t.Text)))
	}
	if m.Finished.Count > 0 {
		lines = append(lines, fmt.Sprintf("  finished     %s in the form of RoboSats, only by who has finished a trade", count(m.Finished.Count, "review", "reviews")))
	}
	for _, t := range m.Finished.Texts {
		lines = append(lines, fmt.Sprintf("    %s of %d stars: %s", starsText(*t.Rating), mostStars, oneLine(t.Text)))
	}
	if m.Recommendations.Count > 0 {
		lines = append(lines, fmt.Sprintf("  recommended  by %d, who need not have traded", m.Recommendations.Count))
	}
	for _, t := range m.Recommendations.Texts {
		lines = append(lines, "    "+oneLine(t.Text))
	}
	for _, l := range m.Labels {
		lines = append(lines, fmt.Sprintf("  labeled      %s (%s) by %d", oneLine(l.Label), oneLine(l.Namespace), l.Count))
	}
	if m.Partial {
		lines = append(lines, "  The relay has more events than were read: older ones are missing here.")
	}
	return lines
}

func ago(f reviews.Facts) string {
	if text := aged(time.Since(time.Unix(f.InfoAt, 0))); text != "now" {
		return text + " ago"
	}
	return "just now"
}

// feeText shows a fee, a fraction of the amount, in per cent; the two sides share it.
func feeText(fee string) string {
	n, err := strconv.ParseFloat(fee, 64)
	if err != nil || !(n >= 0 && n <= 1) {
		return strconv.Quote(fee)
	}
	return strconv.FormatFloat(math.Round(n*1e8)/1e6, 'f', -1, 64) + "% of the amount"
}

// reviewsText never shows a score without what it stands on.
func reviewsText(r reviews.Reviews) string {
	text := r.NoScore
	if r.Score != nil {
		text = fmt.Sprintf("%s of %d stars", starsText(*r.Score), mostStars)
	}
	if r.Count > 0 {
		text += fmt.Sprintf("; %d from %s, the oldest %s old; %s of fees behind them", r.Count, count(r.Weeks, "week", "weeks"), count(int(r.AgeDays), "day", "days"), sats(r.Weight))
	}
	if r.Unproven > 0 {
		text += fmt.Sprintf("; %d without a proof do not count", r.Unproven)
	}
	return text
}

func starsText(rating float64) string { return strconv.FormatFloat(rating*mostStars, 'f', 1, 64) }

// oneLine makes a short line of what somebody else has written, which no terminal obeys.
func oneLine(text string) string {
	runes := []rune(printable(strings.Join(strings.Fields(text), " ")))
	if len(runes) > maxLine {
		runes = append(runes[:maxLine], '…')
	}
	return string(runes)
}

// maxLine bounds what is shown of a text, in characters.
const maxLine = 200
