package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/mostro"
	"mostro/relay/mirror"
)

// maxOffersBytes bounds what a relay can make this command read.
const maxOffersBytes = 16 << 20

func clientOffersCommand(o *clientOptions) *cobra.Command {
	var f bookFilter
	var standing bool
	cmd := &cobra.Command{
		Use:   "offers",
		Short: "List the offers of all that the relay's node follows, each under whose they are",
		Long: `List the offers of the relay's own node, of the Mostros that it follows and of other
platforms, each under whose they are. book lists only those of one node.

An offer may not stand any more when it is orphaned, which means that its Mostro has said nothing
for long, or expired. Both are marked, unless the node leaves them out; --standing leaves them
out here.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.buy && f.sell {
				return badUsage("--buy and --sell exclude each other", "leave both out to see all")
			}
			ctx, cancel := o.bound(cmd.Context())
			defer cancel()
			all, err := offersAt(ctx, o.relay)
			if err != nil {
				return advise(err)
			}
			all = slices.DeleteFunc(all, func(offer mirror.Offer) bool {
				return standing && (offer.Expired || offer.Orphaned) || !f.shows(mostro.BookOrder{Kind: mostro.OrderKind(offer.Side), FiatCode: offer.Fiat})
			})
			at := ""
			if relay := cmd.Flags().Lookup("relay"); relay.Changed {
				at = " --relay " + o.relay
			}
			return o.screen(cmd).offers(all, at, time.Now())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.buy, "buy", false, "only offers to buy bitcoin: take one to sell yours")
	flags.BoolVar(&f.sell, "sell", false, "only offers to sell bitcoin: take one to buy some")
	flags.StringVar(&f.fiat, "fiat", "", "only offers in this currency")
	flags.BoolVar(&standing, "standing", false, "only offers that are neither expired nor orphaned")
	return cmd
}

// offersAt asks a relay for the book of everybody.
func offersAt(ctx context.Context, relay string) ([]mirror.Offer, error) {
	rest, ok := strings.CutPrefix(relay, "ws")
	if !ok {
		return nil, usageError{fmt.Errorf("--relay %q: want ws://host:port or wss://host", relay)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimSuffix(rest, "/")+"/offers", nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("--relay: %w", err)}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, hint(fmt.Errorf("ask the relay for offers: %w", err), "is it running? mostro serve, or mostro dev; --relay names another one")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, hint(fmt.Errorf("ask the relay for offers: %s", res.Status), "is it that of a Mostro? mostro client book asks in the way of all relays")
	}
	var answer struct{ Offers []mirror.Offer }
	if err := json.NewDecoder(io.LimitReader(res.Body, maxOffersBytes)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("read offers: %w", err)
	}
	return answer.Offers, nil
}

// offers prints the book of everybody; at is what names its relay in a command.
func (c clientScreen) offers(all []mirror.Offer, at string, now time.Time) error {
	if c.json {
		for _, offer := range all {
			if err := c.object(offer); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return c.line("There are no such offers.\n  -> make one: mostro client new sell --help")
	}
	// Own ones first, then those of Mostros, then of other platforms; never mixed.
	slices.SortStableFunc(all, func(a, b mirror.Offer) int {
		return cmp.Or(rankOf(a)-rankOf(b), cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Node, b.Node))
	})
	for i := 0; i < len(all); {
		n := i + 1
		for n < len(all) && all[n].Node == all[i].Node {
			n++
		}
		if i > 0 {
			if err := c.line(""); err != nil {
				return err
			}
		}
		if err := c.offersOf(all[i:n], at, now); err != nil {
			return err
		}
		i = n
	}
	return nil
}

func rankOf(offer mirror.Offer) int {
	switch {
	case offer.Own:
		return 0
	case offer.Platform == "mostro":
		return 1
	}
	return 2
}

// offersOf prints the offers of one key.
func (c clientScreen) offersOf(all []mirror.Offer, at string, now time.Time) error {
	of, title := all[0], "this node"
	next := "take one: mostro client take ORDER" + at
	switch name := oneLine(of.Name); rankOf(of) {
	case 1:
		title = strings.TrimSpace("Mostro "+name) + " " + npub(of.Node)
		next = "take one: mostro client take ORDER --mostro " + npub(of.Node) + at
	case 2:
		title = strings.TrimSpace(oneLine(of.Platform)+" "+name) + " " + npub(of.Node)
		next = "take one there: it is no Mostro"
	}
	if err := c.line("%s", title); err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  ORDER\tKIND\tBITCOIN\tFIAT\tMETHOD\tAGE\t")
	for _, offer := range all {
		price := "market"
		if offer.Sats > 0 {
			price = sats(offer.Sats)
		} else if p := strings.TrimPrefix(oneLine(offer.Premium), "+"); p != "" && p != "0" {
			price += " " + p + "%"
		}
		fiat := oneLine(offer.Min)
		if offer.Max != offer.Min {
			fiat += "-" + oneLine(offer.Max)
		}
		mark := ""
		if network := oneLine(offer.Network); !offer.Own && network != "" && network != "mainnet" {
			mark = network
		}
		if offer.Orphaned {
			mark = "orphaned"
		}
		if offer.Expired {
			mark = "expired"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s %s\t%s\t%s\t%s\n", oneLine(offer.ID), offer.Side, price, fiat, oneLine(offer.Fiat),
			oneLine(strings.Join(offer.Methods, ", ")), aged(now.Sub(time.Unix(offer.CreatedAt, 0))), mark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return c.line("  -> %s", next)
}

// aged is how long ago something was, for a table.
func aged(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
