package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

func clientInfoCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Show the node's terms: fee, limits, currencies, its Lightning node",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.openReader(cmd)
			if err != nil {
				return err
			}
			defer s.close()
			info, err := s.Info(s.ctx)
			if err != nil {
				return advise(err)
			}
			return s.showInfo(info)
		},
	}
}

// shownInfo is what info prints as JSON.
type shownInfo struct {
	Node            string   `json:"node"`
	Name            string   `json:"name"`
	Version         string   `json:"version"`
	Protocol        int      `json:"protocol_version"`
	Fee             string   `json:"fee"`
	MinAmount       int64    `json:"min_order_amount"` // sat
	MaxAmount       int64    `json:"max_order_amount"` // sat
	Fiat            []string `json:"fiat_currencies"`  // empty = all
	PendingHours    int64    `json:"expiration_hours"`
	WaitingSeconds  int64    `json:"expiration_seconds"`
	Pow             int      `json:"pow"`
	PowFirstContact int      `json:"pow_first_contact"`
	LNDPubkey       string   `json:"lnd_node_pubkey"`
	LNDAlias        string   `json:"lnd_node_alias"`
	LNDNetworks     []string `json:"lnd_networks"`
	At              int64    `json:"at"` // unix seconds
}

func (s *clientSession) showInfo(info client.Info) error {
	if s.screen.json {
		return s.screen.object(shownInfo{
			Node: s.node, Name: info.Name, Version: info.MostroVersion, Protocol: info.Transport.Version(), Fee: info.Fee,
			MinAmount: info.MinOrderAmount, MaxAmount: info.MaxOrderAmount, Fiat: info.FiatCurrencies,
			PendingHours: info.ExpirationHours, WaitingSeconds: info.ExpirationSeconds,
			Pow: info.Pow, PowFirstContact: info.PowFirstContact,
			LNDPubkey: info.LNDPubkey, LNDAlias: info.LNDAlias, LNDNetworks: info.LNDNetworks, At: info.At,
		})
	}
	currencies := strings.Join(info.FiatCurrencies, ", ")
	if currencies == "" {
		currencies = "all"
	}
	lightning := "away"
	if info.LNDPubkey != "" {
		lightning = strings.TrimSpace(info.LNDAlias+" "+info.LNDPubkey) + " on " + strings.Join(info.LNDNetworks, ", ")
	}
	table := tabwriter.NewWriter(s.screen.out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"node", strings.TrimSpace(info.Name + " " + npub(s.node))},
		{"version", fmt.Sprintf("%s, protocol %d", info.MostroVersion, info.Transport.Version())},
		{"fee", info.Fee + " of the amount, half from each side"},
		{"amounts", fmt.Sprintf("%s to %s", sats(info.MinOrderAmount), sats(info.MaxOrderAmount))},
		{"currencies", currencies},
		{"an offer stands", fmt.Sprintf("%d hours", info.ExpirationHours)},
		{"each step has", (time.Duration(info.ExpirationSeconds) * time.Second).String()},
		{"proof of work", fmt.Sprintf("%d bits", max(info.Pow, info.PowFirstContact))},
		{"lightning", lightning},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	return table.Flush()
}

// bookFilter is what book shows.
type bookFilter struct {
	buy, sell bool
	fiat      string
}

func (f bookFilter) shows(o mostro.BookOrder) bool {
	return (!f.buy || o.Kind == mostro.Buy) && (!f.sell || o.Kind == mostro.Sell) && (f.fiat == "" || strings.EqualFold(f.fiat, o.FiatCode))
}

func clientBookCommand(o *clientOptions) *cobra.Command {
	var f bookFilter
	var watch bool
	cmd := &cobra.Command{
		Use:   "book",
		Short: "List the orders that you can take",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.buy && f.sell {
				return badUsage("--buy and --sell exclude each other", "leave both out to see all")
			}
			s, err := o.openReader(cmd)
			if err != nil {
				return err
			}
			defer s.close()
			if watch {
				return s.watchBook(f)
			}
			orders, err := s.Book(s.ctx)
			if err != nil {
				return advise(err)
			}
			return s.showBook(slices.DeleteFunc(orders, func(o mostro.BookOrder) bool { return !f.shows(o) }))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.buy, "buy", false, "only orders to buy bitcoin: take one to sell yours")
	flags.BoolVar(&f.sell, "sell", false, "only orders to sell bitcoin: take one to buy some")
	flags.StringVar(&f.fiat, "fiat", "", "only orders in this currency")
	flags.BoolVar(&watch, "watch", false, "go on and print every change, until Ctrl-C")
	return cmd
}

// shownOrder is an order of the book as JSON.
type shownOrder struct {
	ID         string           `json:"id"`
	Kind       mostro.OrderKind `json:"kind"`
	Status     mostro.Status    `json:"status"`
	Amount     int64            `json:"amount"` // sat, 0 = market price
	FiatCode   string           `json:"fiat_code"`
	FiatAmount int64            `json:"fiat_amount"`
	Min        *int64           `json:"min_amount"`
	Max        *int64           `json:"max_amount"`
	Method     string           `json:"payment_method"`
	Premium    int64            `json:"premium"`
	ExpiresAt  int64            `json:"expires_at"`
}

func shown(o mostro.BookOrder) shownOrder {
	return shownOrder{o.ID, o.Kind, o.Status, o.Amount, o.FiatCode, o.FiatAmount, o.MinAmount, o.MaxAmount, o.PaymentMethod, o.Premium, o.ExpiresAt}
}

func (s *clientSession) showBook(orders []mostro.BookOrder) error {
	if s.screen.json {
		for _, o := range orders {
			if err := s.screen.object(shown(o)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(orders) == 0 {
		return s.screen.line("There are no such orders.\n  -> make one: mostro client new sell --help")
	}
	slices.SortStableFunc(orders, func(a, b mostro.BookOrder) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.FiatCode, b.FiatCode), cmp.Compare(a.Premium, b.Premium))
	})
	table := tabwriter.NewWriter(s.screen.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ORDER\tKIND\tBITCOIN\tFIAT\tMETHOD")
	for _, o := range orders {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", o.ID, o.Kind, priceText(o.Amount, o.Premium), fiatText(o.FiatAmount, o.MinAmount, o.MaxAmount, o.FiatCode), o.PaymentMethod)
	}
	return table.Flush()
}

// watchBook prints the orders that can be taken, and from then on each change, until the
// command ends.
func (s *clientSession) watchBook(f bookFilter) error {
	var mu sync.Mutex
	var failed error
	known := make(map[string]bool)
	err := s.WatchBook(s.command, func(o mostro.BookOrder) {
		if !f.shows(o) || o.Status != mostro.StatusPending && !known[o.ID] {
			return // what ended before is no news
		}
		known[o.ID] = true
		var err error
		if s.screen.json {
			err = s.screen.object(shown(o))
		} else {
			err = s.screen.line("%s  %-11s  %-4s  %s for %s, %s", o.ID, o.Status, o.Kind,
				priceText(o.Amount, o.Premium), fiatText(o.FiatAmount, o.MinAmount, o.MaxAmount, o.FiatCode), o.PaymentMethod)
		}
		mu.Lock()
		failed = errors.Join(failed, err)
		mu.Unlock()
	})
	if s.command.Err() != nil {
		err = nil // Ctrl-C is how watching ends
	}
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(err, failed)
}
