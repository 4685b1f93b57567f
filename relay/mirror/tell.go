package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// told is what a primary has been told of the clients of a replica on one connection.
type told struct {
	of    *interest
	talks bool // these are conversations
	signs map[mailbox]sign
}

// news are questions that tell what the primary does not know yet, and a channel that is closed when there is
// more. Those whose claim is best come first, and what is told is forgotten with the claim.
func (t *told) news() (questions []nostr.Filter, changed <-chan struct{}) {
	claims, changed := t.of.claims(func(string) bool { return true })
	claims = claims[:min(len(claims), budgetOf(replicaFrom).places)]
	type group struct {
		mostro string
		proven bool
	}
	keys := make(map[group][]string)
	var groups []group
	signs := make(map[mailbox]sign, len(claims))
	for _, c := range claims {
		signs[c.box] = c.sign
		if old, ok := t.signs[c.box]; ok && old.proven == c.sign.proven && old.at.Equal(c.sign.at) {
			continue
		}
		of := group{c.box.mostro, c.sign.proven}
		if keys[of] == nil {
			groups = append(groups, of)
		}
		keys[of] = append(keys[of], c.box.key)
	}
	t.signs = signs
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(a.mostro, b.mostro) })
	for _, of := range groups {
		for chunk := range slices.Chunk(keys[of], keysPerReq) {
			questions = append(questions, questionOf(t.talks, of.mostro, of.proven, chunk))
		}
	}
	return questions, changed
}

// tell lets the primary know whose mail and which conversations the clients here wait for, as they would if they were
// connected there: it fetches them from the relays of other Mostros, and so they come here.
func (r *Replica) tell(ctx context.Context, l *link) error {
	mail := &told{of: r.interest}
	talks := &told{of: r.talks, talks: true}
	pause := rate.NewLimiter(widenRate, widenBurst)
	for {
		questions, mailChanged := mail.news()
		more, talksChanged := talks.news()
		refused := false
		for _, f := range append(questions, more...) {
			if refused {
				break // by a primary that takes no more for now
			}
			err := l.fetch(ctx, f, func(*nostr.Event) {}) // what is live comes with everything else
			var closed *ClosedError
			switch {
			case err == nil:
			case errors.As(err, &closed):
				r.log.Warn("tell the primary whose mail is wanted", "error", err)
				mail.signs, talks.signs, refused = nil, nil, true // all of it again, in a while
			case ctx.Err() != nil:
				return nil
			default:
				return fmt.Errorf("tell the primary whose mail is wanted: %w", err)
			}
		}
		if refused {
			mailChanged, talksChanged = nil, nil
		}
		select {
		case <-mailChanged:
		case <-talksChanged:
		case <-time.After(checkEvery): // who is there for long gives signs of life
		case <-ctx.Done():
			return nil
		}
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
}
