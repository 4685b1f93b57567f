package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
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
		Long: `Show how things stand with other relays: those of followed Mostros, from which their books are
copied and to which messages are carried, and outside ones, on which this node's own book is.

Of what comes from there, new was stored, known was here already, refused is against a rule of
this node, and bad is false or was not asked for: a relay that sends such things is left alone for
a while. Refusals by the other relay are in its own words, after "there:".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := toRunning(cmd, dir)
			if err != nil {
				return err
			}
			all, err := node.peers(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			printPeers(plainWriter{cmd}, all, time.Now())
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "all that is known, as JSON")
	cmd.AddCommand(
		followCommand("follow", "Follow another Mostro: copy its book, and carry messages to it", false),
		followCommand("unfollow", "End following a Mostro that a command has begun", true), foundCommand())
	return cmd
}

func followCommand(name, short string, end bool) *cobra.Command {
	var dir string
	use, example := name+" KEY[@RELAY,RELAY]", name+" npub1...@wss://relay.example.com"
	if end {
		use, example = name+" KEY", name+" npub1..."
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var who []mirror.Followed
			if err := (&followValue{to: &who}).set(literal{kind: aList, items: args}); err != nil {
				return hint(fmt.Errorf("the argument %w", err), "for example: mostro peers "+example)
			}
			if end && len(who[0].Relays) > 0 {
				return hint(errors.New("unfollow takes a key alone: it ends following on all relays"), "for example: mostro peers unfollow "+npub(who[0].Pubkey))
			}
			node, err := toRunning(cmd, dir)
			if err != nil {
				return err
			}
			body, err := json.Marshal(follow{Followed: who[0], End: end})
			if err != nil {
				return err
			}
			answer, err := node.ask(cmd.Context(), http.MethodPost, "/follow", bytes.NewReader(body))
			if err != nil {
				return err
			}
			done := "It is followed from now on, also after the next start.\n  -> see how that goes: " + nodeCall(cmd, "peers")
			if end {
				done = unfollowed
			}
			fmt.Fprintln(cmd.OutOrStdout(), done)
			return answer.Close()
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
	return cmd
}

// unfollowed says what becomes of a Mostro's offers and trades here.
const unfollowed = "It is followed no more. Its offers leave this node's book now. Messages of trades with it are carried for 30 days more;\n" +
	"after that clients here that write to it are told to connect to a relay of its own."

func foundCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "found",
		Short: "List Mostros on the connected relays that could be followed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := toRunning(cmd, dir)
			if err != nil {
				return err
			}
			body, err := node.ask(cmd.Context(), http.MethodGet, "/candidates", nil)
			if err != nil {
				return err
			}
			defer body.Close()
			var all []mirror.Candidate
			if err := json.NewDecoder(body).Decode(&all); err != nil {
				return fmt.Errorf("read what was found: %w", err)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "There are no others on the relays that this node is connected to.")
				return nil
			}
			for _, c := range all {
				// Whoever chose the name chose every character of it.
				fmt.Fprintf(cmd.OutOrStdout(), "%s %q, last heard %s, on %s\n", npub(c.Pubkey), c.Name, time.Unix(c.At, 0).UTC().Format(time.DateTime), c.Relay)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "  -> follow one: "+nodeCall(cmd, "peers follow KEY@RELAY"))
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
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
		if h.State == mirror.Searching {
			printSearch(w, h)
		} else {
			printPeer(w, h, now)
		}
	}
}

// printSearch tells of a followed key without relays.
func printSearch(w io.Writer, h mirror.Health) {
	for _, pubkey := range h.Mostros {
		why := "its list of relays (kind 10002) is on none of the connected relays yet"
		if h.Error != "" {
			why = h.Error
		}
		fmt.Fprintf(w, "%s\n  nothing is copied: %s\n", npub(pubkey), why)
		fmt.Fprintf(w, "  -> name one, in federation.follow or by: mostro peers follow %s@wss://...\n", npub(pubkey))
	}
	for _, pubkey := range slices.Sorted(maps.Keys(h.Left)) {
		fmt.Fprintf(w, "%s\n  is followed no more, and messages of its trades cannot be carried: none of its relays is known\n", npub(pubkey))
	}
	printLeftOut(w, h)
}

// printLeftOut tells of followed keys with more offers than are kept.
func printLeftOut(w io.Writer, h mirror.Health) {
	for _, pubkey := range slices.Sorted(maps.Keys(h.LeftOut)) {
		fmt.Fprintf(w, "  the oldest %d offers of %s are left out: it has more than federation.max_offers, and all together are more than relay.default_limit\n", h.LeftOut[pubkey], npub(pubkey))
	}
}

func printPeer(w io.Writer, h mirror.Health, now time.Time) {
	fmt.Fprintf(w, "%s\n", h.URL)
	state := fmt.Sprintf("%s for %s", h.State, now.Sub(h.Since).Round(time.Second))
	if !h.Retry.IsZero() {
		state += fmt.Sprintf(", again in %s", h.Retry.Sub(now).Round(time.Second))
	}
	fmt.Fprintf(w, "  %s, %s in, %s out over %d connections\n", state, mebibytes(h.BytesIn), mebibytes(h.BytesOut), h.Sessions)
	if h.Backlog > 0 {
		fmt.Fprintf(w, "  %d events are still to come\n", h.Backlog)
	}
	if h.Error != "" {
		fmt.Fprintf(w, "  trouble: %s\n", oneLine(h.Error))
	}
	if follows := append(h.Mostros, h.Platforms...); len(follows) > 0 {
		how := "not compared yet"
		switch {
		case h.Negentropy:
			how = "by negentropy"
		case !h.Synced.IsZero():
			how = "page by page"
		}
		names := make([]string, len(follows))
		for i := range follows {
			names[i] = npub(follows[i])
		}
		fmt.Fprintf(w, "  copies from %s, %s: %d new, %d known, %d refused, %d bad\n", strings.Join(names, ", "), how, h.Stored, h.Known, h.Refused, h.Bad)
		lag := ""
		if h.Lag > 0 {
			lag = fmt.Sprintf(", the last live one took %.1f s", h.Lag)
		}
		fmt.Fprintf(w, "  last new event %s, compared %s%s\n", since(h.LastEvent, now), since(h.Synced, now), lag)
	}
	for _, pubkey := range slices.Sorted(maps.Keys(h.Left)) {
		fmt.Fprintf(w, "  carries messages of trades with %s until %s: it is followed no more\n", npub(pubkey), h.Left[pubkey].UTC().Format(time.DateOnly))
	}
	for _, pubkey := range h.Unheard {
		fmt.Fprintf(w, "  nothing was ever heard of %s: is this its key, and does it publish there?\n", npub(pubkey))
	}
	if h.Outside {
		fmt.Fprintf(w, "  publishes there: %d confirmed, %d refused, %d waiting; messages received: %d\n", h.Published, h.Rejected, h.Waiting, h.Received)
		if h.Waiting > 0 {
			fmt.Fprintf(w, "  the first of those that wait came %s\n", since(h.Oldest, now))
		}
	}
	fmt.Fprintf(w, "  messages carried: %d there, %d back; reviews copied: %d\n", h.CarriedTo, h.CarriedIn, h.Reviews)
	for _, pubkey := range slices.Sorted(maps.Keys(h.Moved)) {
		fmt.Fprintf(w, "  %s says that it is elsewhere now\n", npub(pubkey))
		fmt.Fprintf(w, "  -> follow it there, in federation.follow or by: mostro peers follow %s@%s\n", npub(pubkey), oneLine(strings.Join(h.Moved[pubkey], ",")))
	}
	printLeftOut(w, h)
	for _, why := range slices.Sorted(maps.Keys(h.RefusedBy)) {
		fmt.Fprintf(w, "  refused %d times: %s\n", h.RefusedBy[why], oneLine(why))
	}
	for _, warn := range []struct {
		is   bool
		text string
	}{
		{h.Ahead > 0, fmt.Sprintf("%d events are from the future: compare its clock and this one's", h.Ahead)},
		{h.Full, "a followed key has all the room that federation.max_events and max_mib give it"},
		{h.Gap, "this relay gives out fewer events at once than one second holds: some may be missing"},
		{h.LastReason != "", "last refusal: " + oneLine(h.LastReason)},
	} {
		if warn.is {
			fmt.Fprintf(w, "  %s\n", warn.text)
		}
	}
}

// since is how long ago something was.
func since(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return now.Sub(at).Round(time.Second).String() + " ago"
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
