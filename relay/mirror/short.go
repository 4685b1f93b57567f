package mirror

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sort"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// reconcileDown is reconcile with a relay that may know only so many of the events at once, its newest: those that answer
// negentropy out of a query with a limit say nothing of it (khatru, with most of its stores). So each is asked again about
// what is no newer than the oldest that it has named, until it names nothing that it has not named before. The answer
// comes newest first. errNoNegentropy means that one second may have more than it names at once.
func (l *link) reconcileDown(ctx context.Context, f nostr.Filter, set reconcile.Set, most int) (all reconcile.Difference, err error) {
	var lacked map[reconcile.ID]struct{} // what it has not named of this side's, the last time
	before := 0                          // that it named then
	crowded := false                     // the second after this slice has as many as it names at once
	for slice := range maxSlices {
		d, err := l.reconcile(ctx, f, set, most)
		lacks := make(map[reconcile.ID]struct{}, len(d.Have))
		for _, id := range d.Have {
			lacks[id] = struct{}{}
		}
		settle := func(after nostr.Timestamp) {
			for _, item := range slices.Backward(set) {
				if _, is := lacks[item.ID]; is && nostr.Timestamp(item.Created) > after {
					all.Have = append(all.Have, item.ID)
				}
			}
		}
		named := len(set) - len(lacks) + len(d.Need)
		var at *nostr.Timestamp
		var news bool
		if err == nil {
			at, news, err = l.oldest(ctx, f, set, lacks, lacked, d.Need)
		}
		fresh := without(d.Need, all.Need)
		slices.Reverse(fresh)
		all.Need = append(all.Need, fresh...)
		news = news || len(fresh) > 0
		stays := slice > 0 && at != nil && *at == *f.Until // all that it names is of the second in which this slice ends
		switch {
		case err == nil && at == nil && crowded && slice > 2:
			// Nothing is older, and of that second alone it names as many as of it and later ones before. Where they are all
			// that it ever named, one second has all of them.
			return all, errNoNegentropy
		case err != nil || at == nil || slice > 0 && !news && (named < before || stays && *at == 0):
			settle(-1)
			return all, err
		case len(all.Need) > most:
			return all, errTooMuch
		case crowded:
			return all, errNoNegentropy
		case stays && !news: // there may be more of that second; it is all, unless something is older
			crowded = true
			*at--
		}
		settle(*at)
		set = set[:sort.Search(len(set), func(i int) bool { return set[i].Created > uint64(*at) })]
		f.Until, lacked, before = at, lacks, named
	}
	return all, errNoNegentropy
}

// oldest is when one of the oldest events was made that a relay has just named, of both sides' or of those that this side
// needs, nil when that is not known. news says that it has some of those that it lacked before.
func (l *link) oldest(ctx context.Context, f nostr.Filter, set reconcile.Set, lacks, lacked map[reconcile.ID]struct{}, need []reconcile.ID) (at *nostr.Timestamp, news bool, err error) {
	older := func(than nostr.Timestamp) {
		if at == nil || than < *at {
			at = &than
		}
	}
	for _, item := range set {
		if _, is := lacks[item.ID]; is {
			continue
		}
		older(nostr.Timestamp(item.Created))
		if _, was := lacked[item.ID]; was || lacked == nil {
			news = was
			break
		}
	}
	if len(need) == 0 {
		return at, news, nil
	}
	// Of what is needed only the ids are known. The first are the oldest where the other side keeps to the order; otherwise
	// the slices overlap.
	var ids []string
	for _, id := range need[:min(len(need), 2)] {
		ids = append(ids, hex.EncodeToString(id[:]))
	}
	err = l.fetch(ctx, nostr.Filter{IDs: ids, Kinds: f.Kinds, Limit: len(ids)}, func(ev *nostr.Event) {
		if slices.Contains(ids, ev.ID) && ev.CreatedAt >= 0 && f.Matches(ev) {
			older(ev.CreatedAt)
		}
	})
	if closed := (*ClosedError)(nil); errors.As(err, &closed) {
		err = nil // not every relay gives out what it takes
	}
	return at, news, err
}

// without are the ids that are not among others, in the room of ids.
func without(ids, others []reconcile.ID) []reconcile.ID {
	if len(others) == 0 {
		return ids
	}
	left := make(map[reconcile.ID]struct{}, len(ids))
	for _, id := range ids {
		left[id] = struct{}{}
	}
	for _, id := range others {
		delete(left, id)
	}
	return slices.DeleteFunc(ids, func(id reconcile.ID) bool { _, is := left[id]; return !is })
}
