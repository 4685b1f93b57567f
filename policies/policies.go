// Package policies holds the rules that a relay puts in front of its event store: one small
// hook per file, made by a constructor.
//
// A policy looks at one event and says whether to refuse it and why. The reason goes to the
// sender, so it starts with a prefix of NIP-01 (invalid, blocked, rate-limited, restricted, pow)
// and says in words what is wrong or what is needed. Policies run before the signature is
// verified, because verifying costs more than all of them together: what a policy reads is a
// claim of the sender, good for refusing and never for granting.
//
// One rule is no hook: FreeSpace, which says what a disk is used for. It depends on what is written between two looks at the
// disk and holds for events from inside in another way, so that the event store asks it where it writes.
//
// Everything a policy needs comes in through its constructor (keys, bounds, a clock, a
// look-up); it keeps no state but rate counters, and it knows neither the relay that calls it
// nor the escrow. The one thing it may ask the context for is the connection, through khatru's
// own accessors, which answer nothing for events that come from inside.
package policies

import (
	"context"

	"github.com/nbd-wtf/go-nostr"
)

// Policy reports whether ev is refused, and why in the form of NIP-01.
type Policy = func(ctx context.Context, ev *nostr.Event) (reject bool, msg string)
