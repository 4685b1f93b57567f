package mirror

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// routes knows, on disk, over which outside relays proven messages of a key have come, so that answers go there too. They go
// to all of them: whoever reads messages on one relay can bring copies to another, or here, before they come from
// there themselves, and must not lead the answers away by that. Keys without a part in a trade, of whom there is
// no end, are forgotten after a while, those heard first before the others.
type routes struct {
	state   *state
	now     func() time.Time
	outside []string
	party   func(pubkey string) bool

	writing sync.Mutex // held by who changes the ways of a key
	mu      sync.Mutex // guards the following
	spoke   map[string]struct{}
	fresh   int       // keys that have come since the last sweep
	swept   time.Time // that was
}

func openRoutes(st *state, cfg *Config) (*routes, error) {
	r := &routes{state: st, now: cfg.Now, outside: cfg.Outside, party: cfg.Party, spoke: make(map[string]struct{}), swept: cfg.Now()}
	err := st.each(tableRoute, nil, func(_ [][]byte, value []byte) error {
		for _, way := range waysOf(value) {
			r.spoke[way.URL] = struct{}{}
		}
		return nil
	})
	return r, err
}

// waysOf reads a row. Those of earlier versions hold one way. What cannot be read is none: the next message is one again.
func waysOf(value []byte) (ways []route) {
	if bytes.HasPrefix(value, []byte("{")) {
		value = slices.Concat([]byte("["), value, []byte("]"))
	}
	if unmarshal(value, &ways) != nil {
		return nil
	}
	return ways
}

func routeRow(key string) string { return string(stateRow(tableRoute, key)) }

// of lists the ways to a key.
func (r *routes) of(key string) ([]route, error) {
	value, err := r.state.get(routeRow(key))
	return waysOf(value), err
}

// over reports whether traders come over a relay.
func (r *routes) over(url string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.spoke[url]
	return ok
}

// add notes that a key has come over a relay, and reports whether that is new: what it was told before is still to be
// brought there. A relay that the settings do not name any
// more is no way.
func (r *routes) add(key, url string) (fresh bool, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	ways, err := r.of(key)
	if err != nil {
		return false, err
	}
	now := r.now().Unix()
	ways = slices.DeleteFunc(ways, func(way route) bool { return way.URL != url && !slices.Contains(r.outside, way.URL) })
	switch i := slices.IndexFunc(ways, func(way route) bool { return way.URL == url }); {
	case i < 0:
		fresh, ways = true, append(ways, route{URL: url, At: now, Bare: true})
	case ways[i].Bare:
		return true, nil
	case now-ways[i].At < int64(time.Hour/time.Second):
		return false, nil
	default:
		ways[i].At = now
	}
	return fresh, r.state.set(map[string][]byte{routeRow(key): marshal(ways)})
}

// sweep forgets keys that have no part in a trade: those not heard since past, and of the others what is more than maxRoutes.
func (r *routes) sweep(past time.Time) error {
	r.mu.Lock()
	due := r.fresh >= sweepRoutes || r.now().Sub(r.swept) >= rewalkEvery
	if due {
		r.fresh, r.swept = 0, r.now()
	}
	r.mu.Unlock()
	if !due {
		return nil
	}
	var all []stranger
	err := r.state.each(tableRoute, nil, func(row [][]byte, value []byte) error {
		if r.party(string(row[0])) {
			return nil
		}
		s := stranger{key: string(row[0]), value: value}
		for _, way := range waysOf(value) {
			s.at = max(s.at, way.At)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b stranger) int { return cmp.Compare(b.at, a.at) })
	kept := 0
	for kept < len(all) && kept < maxRoutes && all[kept].at >= past.Unix() {
		kept++
	}
	// Not all at once: whoever writes meanwhile waits for it.
	for chunk := range slices.Chunk(all[kept:], sweptAtOnce) {
		if err := r.drop(chunk); err != nil {
			return err
		}
	}
	return nil
}

// stranger is a key without a part in a trade, and its row.
type stranger struct {
	key   string
	at    int64 // when it was last heard, unix seconds
	value []byte
}

// drop forgets some, unless they have written meanwhile: they are about to be answered.
func (r *routes) drop(some []stranger) error {
	gone := make(map[string][]byte)
	r.writing.Lock()
	defer r.writing.Unlock()
	for _, s := range some {
		if value, err := r.state.get(routeRow(s.key)); err != nil {
			return err
		} else if bytes.Equal(value, s.value) && !r.party(s.key) {
			gone[routeRow(s.key)] = nil
		}
	}
	return r.state.set(gone)
}

// brought notes, together with rows of the outbox, that a way has been shown what its key was told before.
func (r *routes) brought(key, url string, rows map[string][]byte) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	ways, err := r.of(key)
	if err != nil {
		return err
	}
	for i := range ways {
		if ways[i].URL == url {
			ways[i].Bare = false
		}
	}
	if len(ways) > 0 {
		rows[routeRow(key)] = marshal(ways)
	}
	return r.state.set(rows)
}

// originKey marks a context with the outside relay over which a message came.
type originKey struct{}

// Heard is told which key has sent a proven message (escrow), before the message is acted on, and again with each copy of it. The
// context is the one that came with the message. When it returns nil the answer will go where the
// message came from. What comes here itself takes no way away: its answer is here in any case.
func (m *Mirror) Heard(ctx context.Context, key string) error {
	url, _ := ctx.Value(originKey{}).(string)
	if url == "" {
		return nil
	}
	fresh, err := m.routes.add(key, url)
	if err != nil || !fresh {
		return err
	}
	r := m.routes
	r.mu.Lock()
	_, known := r.spoke[url]
	r.spoke[url] = struct{}{}
	r.fresh++
	r.mu.Unlock()
	if !known {
		m.talks.stir()
	}
	return m.bring(context.WithoutCancel(ctx), key, url)
}

// bring sends over a new way what a key has been told of late: a copy of its message may have come elsewhere first, and been
// answered only there.
func (m *Mirror) bring(ctx context.Context, key, url string) error {
	since := nostr.Timestamp(m.cfg.Now().Add(-mailPast).Unix())
	tags := nostr.TagMap{"p": {key}}
	rows, room := make(map[string][]byte), broughtBytes
	for _, f := range []nostr.Filter{
		{Kinds: []int{kindMessage}, Authors: []string{m.cfg.Pubkey}, Tags: tags, Since: &since, Limit: mostBrought},
		{Kinds: []int{kindWrap}, Tags: tags, Since: &since, Limit: mostBrought}, // whose authors nobody knows
	} {
		evs, err := m.relay.All(ctx, f)
		if err != nil {
			return err
		}
		for i := range evs {
			if room -= sizeOf(&evs[i]); room >= 0 {
				rows[outboxRow(url, &evs[i])] = m.waiting(&evs[i])
			}
		}
	}
	if !slices.Contains(m.cfg.Outside, url) {
		clear(rows)
	}
	// A process that ends before has not said that the message was taken: it comes again, and so does this.
	if err := m.routes.brought(key, url, rows); err != nil {
		return err
	}
	m.wake(url)
	return nil
}

// SameWay lets a key that has not spoken yet be answered where another one of the same person is.
func (m *Mirror) SameWay(key, as string) error {
	r := m.routes
	r.writing.Lock()
	defer r.writing.Unlock()
	own, err := r.of(key)
	if err != nil || len(own) > 0 {
		return err
	}
	ways, err := r.of(as)
	if err != nil || len(ways) == 0 {
		return err
	}
	return r.state.set(map[string][]byte{routeRow(key): marshal(ways)})
}
