package mirror

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/time/rate"
)

// rations limits how many messages for clients here come from one relay. Anybody can write to a key that he
// knows, and what comes is kept. Each key has a ration of its own, so that a flood for one of them holds up nobody
// else's; what is beyond it comes as far as all of them together leave room.
type rations struct {
	each *lru.Cache[string, *rate.Limiter] // by key
	all  *rate.Limiter
	of   func(*nostr.Event) []string // keys here that an event is for
}

func newRations(burst int, of func(*nostr.Event) []string) *rations {
	each, _ := lru.New[string, *rate.Limiter](keysPerPeer + mailSlack) // fails only for a size below 1
	return &rations{each, rate.NewLimiter(letterRate, burst), of}
}

// allow reports whether an event may be taken now.
func (s *rations) allow(ev *nostr.Event) bool {
	keys := s.of(ev)
	if len(keys) == 0 {
		return s.all.Allow()
	}
	own, known := s.each.Get(keys[0]) // who names several has the ration of one
	if !known {
		own = rate.NewLimiter(rationRate, rationBurst)
		s.each.Add(keys[0], own)
	}
	return own.Allow() || s.all.Allow()
}

// recipients are the keys that an event names as its recipients.
func recipients(ev *nostr.Event) (keys []string) {
	for tag := range ev.Tags.FindAll("p") {
		keys = append(keys, tag[1])
	}
	return keys
}

// author is the key that wrote an event.
func author(ev *nostr.Event) []string { return []string{ev.PubKey} }
