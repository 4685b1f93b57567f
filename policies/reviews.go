package policies

import (
	"context"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Reviews refuses a review of a node (kind 31986) that claims a proof and has none: with a tag sig, or under the address that
// only a proof gives, "NODE:WEEK:AUTHOR". proven tells which have one. Others use the kind as well; what claims nothing is
// everybody's, and counts nowhere as a review.
func Reviews(proven func(*nostr.Event) bool) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		if ev.Kind != kindReview || !claimsProof(ev) || proven(ev) {
			return false, ""
		}
		return true, "invalid: the review has no proof by the key that it is about (tag sig, and d as the proof says)"
	}
}

func claimsProof(ev *nostr.Event) bool {
	d := ev.Tags.GetD()
	for about := range ev.Tags.FindAll("p") {
		if strings.HasPrefix(d, about[1]+":") && strings.HasSuffix(d, ":"+ev.PubKey) {
			return true
		}
	}
	return ev.Tags.Find("sig") != nil
}
