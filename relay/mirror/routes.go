package mirror

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// routes knows over which outside relay the last proven message of a key came, so that answers go
// there too.
type routes struct {
	state *state
	now   func() time.Time

	mu    sync.Mutex
	of    *lru.Cache[string, route]
	spoke map[string]struct{} // relays over which anybody has come
}

func openRoutes(st *state, now func() time.Time) (*routes, error) {
	of, err := lru.New[string, route](maxRoutes)
	if err != nil {
		return nil, err
	}
	r := &routes{state: st, now: now, of: of, spoke: make(map[string]struct{})}
	stale := make(map[string][]byte)
	err = st.each(tableRoute, nil, func(row [][]byte, value []byte) error {
		var to route
		if err := unmarshal(value, &to); err != nil {
			return err
		}
		if now().Unix()-to.At > int64(keysKept/time.Second) {
			stale[string(stateRow(tableRoute, string(row[0])))] = nil
			return nil
		}
		of.Add(string(row[0]), to)
		r.spoke[to.URL] = struct{}{}
		return nil
	})
	if err == nil && len(stale) > 0 {
		err = st.set(stale)
	}
	return r, err
}

// over reports whether traders come over a relay.
func (r *routes) over(url string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.spoke[url]
	return ok
}

// originKey marks a context with the outside relay over which a message came.
type originKey struct{}

// SameWay lets a key that has not spoken yet be answered where another one of the same person is.
func (m *Mirror) SameWay(key, as string) error {
	r := m.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	to, known := r.of.Get(as)
	if r.of.Contains(key) || !known {
		return nil
	}
	r.of.Add(key, to)
	return r.state.set(map[string][]byte{string(stateRow(tableRoute, key)): marshal(to)})
}

// Heard is told which key has sent a proven message (escrow), before the message is acted on. The
// context is the one that came with the message. When it returns nil the answer will go where the
// message came from.
func (m *Mirror) Heard(ctx context.Context, key string) error {
	from, _ := ctx.Value(originKey{}).(string)
	r := m.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.of.Get(key)
	switch now := r.now().Unix(); {
	case from == "" && !known:
		return nil
	case from == "":
		r.of.Remove(key)
		return r.state.set(map[string][]byte{string(stateRow(tableRoute, key)): nil})
	case known && old.URL == from && now-old.At < int64(time.Hour/time.Second):
		return nil
	default:
		to := route{from, now}
		r.of.Add(key, to)
		if _, ok := r.spoke[from]; !ok {
			r.spoke[from] = struct{}{}
			m.talks.stir()
		}
		return r.state.set(map[string][]byte{string(stateRow(tableRoute, key)): marshal(to)})
	}
}
