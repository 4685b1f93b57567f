package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// shownReview is a review as JSON.
type shownReview struct {
	Mostro string  `json:"mostro"`
	Week   string  `json:"week"`
	Key    string  `json:"key"`
	Rating float64 `json:"rating"` // 0 to 1
	Text   string  `json:"text"`
	At     int64   `json:"at"` // unix seconds
}

func shownAs(r mostro.Review) shownReview {
	return shownReview{Mostro: r.Proof.Mostro, Week: r.Proof.Week, Key: r.Proof.Key, Rating: r.Rating, Text: r.Text, At: r.At}
}

func clientReviewCommand(o *clientOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "review ORDER STARS [TEXT]",
		Short: "Review the node after a trade, in public, with 0 to 5 stars",
		Long: `Review the node after a trade, in public, with 0 to 5 stars and a text.

The node proves to you that you had a trade on it, as soon as the escrow was held and however
the trade ends, also when the order goes back into the book. The review is signed with a key of
its own, and the proof names only the week: nobody but the node can tell whose trade it was,
unless your text does. Reviewing a trade again replaces what you said.`,
		Args: usage(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			stars, err := strconv.ParseFloat(args[1], 64)
			if err != nil || !(stars >= 0 && stars <= mostStars) {
				return badUsage(fmt.Sprintf("%q stars: want a number from 0 to %d", args[1], mostStars))
			}
			r := mostro.Review{Rating: stars / mostStars}
			if len(args) == 3 {
				r.Text = args[2]
			}
			if len(r.Text) > mostro.MaxReview {
				return badUsage(fmt.Sprintf("a text of %d bytes: at most %d", len(r.Text), mostro.MaxReview), "say less")
			}
			return o.review(cmd, args[0], r)
		},
	}
}

// mostStars is what the best rating shows.
const mostStars = 5

// review asks for the proof, signs and publishes.
func (o *clientOptions) review(cmd *cobra.Command, ref string, r mostro.Review) error {
	s, t, trade, err := o.resume(cmd, ref)
	if err != nil {
		return err
	}
	defer s.close()
	if trade.OrderID() == "" {
		return hint(fmt.Errorf("the node has not named the order of trade %d yet", t.Index), "look later: "+clientCall("messages", t))
	}
	if r.Proof, err = s.prove(t, trade); err != nil {
		return advise(err)
	}
	r.At = time.Now().Unix()
	if from := r.Proof.SpendableAt(); from > r.At {
		return hint(fmt.Errorf("the trade is not over, and its escrow can be held until %s; a review must wait", time.Unix(from, 0).Format(time.DateTime)),
			"review it when it has ended, or then: "+clientCall("review", t, "5"))
	}
	key, err := trade.ReviewKey()
	if err != nil {
		return err
	}
	ev, err := r.Event(key)
	if err != nil {
		return fmt.Errorf("sign the review: %w", err)
	}
	if err := s.Publish(s.ctx, ev); err != nil {
		return advise(err)
	}
	if s.screen.json {
		return s.screen.object(shownAs(r))
	}
	return s.screen.line("Your review of the node is published: %s of %d stars, as somebody who traded in week %s.\n  -> see what others say: mostro client mostros",
		strconv.FormatFloat(r.Rating*mostStars, 'f', -1, 64), mostStars, r.Proof.Week)
}

// prove asks the node for the proof and keeps it. When the node gives none, the one that it gave before is as good: a node
// that is gone, which is worth saying, gives none to anybody, and other nodes than ours may give none to who has left a trade.
func (s *clientSession) prove(t clientTrade, trade *client.Trade) (mostro.ReviewProof, error) {
	ctx := s.ctx
	if end, limited := ctx.Deadline(); limited && t.Review != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Until(end)/2) // the rest is for publishing
		defer stop()
	}
	p, err := trade.ProveReview(ctx)
	if err == nil {
		t.Review = &p
		return p, s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
			state.put(t)
			return save()
		})
	}
	if t.Review == nil {
		return p, err
	}
	p = *t.Review
	if slices.ContainsFunc(trade.Messages(), func(m mostro.Message) bool { return m.Action == mostro.Canceled }) {
		p.From = 0 // over for him, which the node could not know when it gave the proof
	}
	return p, nil
}
