package relay

import "fmt"

// size is what a filter keeps in memory while it is subscribed to: its values, and its places in
// the live index, some hundred bytes each. A few kilobytes of a message can ask for thousands.
func (f *ask) size() int {
	n := len(f.ids) + len(f.authors) + len(f.kinds) + f.placesCount()
	for _, values := range f.tags {
		n += len(values)
	}
	return n
}

// placesCount is the length of places, without making them: most of what is asked for by those
// who ask for too much is refused.
func (f *ask) placesCount() int {
	if f.never {
		return 0
	}
	if len(f.ids) > 0 {
		return len(f.ids)
	}
	n := len(f.authors)
	if len(f.tags) > 0 {
		n = len(f.tags[0])
		for _, values := range f.tags {
			n = min(n, len(values))
		}
	}
	kinds := max(len(f.kinds), 1)
	if max(n, len(f.authors))*kinds > maxPlaces {
		kinds = 1
	}
	return max(n, 1) * kinds
}

// roomFor is the size of a subscription, and an error for the client when there is no room for it.
func (s *session) roomFor(id string, filters []ask) (size int, err error) {
	for i := range filters {
		size += filters[i].size()
	}
	others := 0
	for other, sub := range s.subs {
		if other != id {
			others += sub.size
		}
	}
	switch most := s.relay.cfg.Limits.SubscriptionValues; {
	case size+others > most:
		return size, fmt.Errorf("rate-limited: the subscriptions of this connection name %d values, at most %d are taken", size+others, most)
	case size+others > smallSubscription && !s.relay.places.has(s.from, size) && !s.relay.carries(s.from) && !s.relay.isPeer(s.keys.Load()):
		return size, fmt.Errorf("rate-limited: subscriptions to so many values are not taken from your address for now, ask for less than %d", smallSubscription)
	}
	return size, nil
}
