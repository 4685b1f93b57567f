package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mostro/relay/mirror"
)

func peersCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Show how things stand with other relays: followed Mostros, outside relays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			node, err := dialControl(cmd.Context(), dir)
			if err != nil {
				if errors.Is(err, errNotRunning) {
					err = hint(err, "start it: mostro serve")
				}
				return err
			}
			all, err := node.peers(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			printPeers(cmd.OutOrStdout(), all, time.Now())
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	cmd.Flags().BoolVar(&asJSON, "json", false, "all that is known, as JSON")
	return cmd
}

// peers reads how things stand with other relays.
func (c *control) peers(ctx context.Context) (all []mirror.Health, err error) {
	body, err := c.ask(ctx, http.MethodGet, "/peers", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&all); err != nil {
		return nil, fmt.Errorf("read the state of other relays: %w", err)
	}
	return all, nil
}

func printPeers(w io.Writer, all []mirror.Health, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "There are no other relays. Settings federation.follow and nostr.relays name them.")
		return
	}
	for _, h := range all {
		fmt.Fprintf(w, "%s\n", h.URL)
		state := fmt.Sprintf("%s for %s", h.State, now.Sub(h.Since).Round(time.Second))
		if !h.Retry.IsZero() {
			state += fmt.Sprintf(", again in %s", h.Retry.Sub(now).Round(time.Second))
		}
		fmt.Fprintf(w, "  %s\n", state)
		if h.Error != "" {
			fmt.Fprintf(w, "  trouble: %s\n", h.Error)
		}
		if follows := append(h.Mostros, h.Platforms...); len(follows) > 0 {
			how := "page by page"
			if h.Negentropy {
				how = "by negentropy"
			}
			fmt.Fprintf(w, "  copies from %s, %s: %d new, %d known, %d refused, %d bad\n", strings.Join(follows, ", "), how, h.Stored, h.Known, h.Refused, h.Bad)
			fmt.Fprintf(w, "  messages carried: %d there, %d back\n", h.CarriedTo, h.CarriedIn)
		}
		if h.Outside {
			fmt.Fprintf(w, "  publishes there: %d confirmed, %d refused, %d waiting; messages received: %d\n", h.Published, h.Rejected, h.Waiting, h.Received)
		}
		for _, warn := range []struct {
			is   bool
			text string
		}{
			{h.Ahead > 0, fmt.Sprintf("%d events are from the future: compare its clock and this one's", h.Ahead)},
			{h.Full, "a followed key has all the room that federation.max_events and max_mib give it"},
			{h.Gap, "this relay gives out fewer events at once than one second holds: some may be missing"},
			{h.LastReason != "", "last refusal: " + h.LastReason},
		} {
			if warn.is {
				fmt.Fprintf(w, "  %s\n", warn.text)
			}
		}
	}
}
