package policies

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Retention is how long events of some kinds are kept, counted from their created_at. Keys cost
// nothing, so no quota by key keeps a disk from filling up.
type Retention struct {
	Kinds []int // nil = all that no other rule names
	For   time.Duration
}

// NotOutlived refuses what is so old that it would not be kept. What is kept is removed by the relay, which
// knows what must stay.
func NotOutlived(rules []Retention, now func() time.Time) Policy {
	return func(_ context.Context, ev *nostr.Event) (bool, string) {
		age := now().Unix() - int64(ev.CreatedAt)
		others := true
		for _, rule := range rules {
			named := slices.Contains(rule.Kinds, ev.Kind)
			others = others && !named
			if named && age > int64(rule.For/time.Second) {
				return true, fmt.Sprintf("invalid: created_at is too old, events of kind %d are kept %d seconds", ev.Kind, rule.For/time.Second)
			}
		}
		for _, rule := range rules {
			if rule.Kinds == nil && others && age > int64(rule.For/time.Second) {
				return true, fmt.Sprintf("invalid: created_at is too old, events are kept %d seconds", rule.For/time.Second)
			}
		}
		return false, ""
	}
}
