package store

import (
	"math/rand/v2"
	"testing"
)

// TestTable puts numbers with colliding hashes into a table and a map.
func TestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	hashOf := func(n uint32) uint64 { return uint64(n % 90) }
	var table table
	in := make(map[uint32]bool)
	for range 20_000 {
		n := uint32(r.IntN(400))
		switch {
		case !in[n] && len(in) < 200:
			table.put(n, hashOf)
			in[n] = true
		case in[n]:
			table.remove(n, hashOf)
			delete(in, n)
		}
		n = uint32(r.IntN(400))
		if _, ok := table.find(hashOf(n), func(m uint32) bool { return m == n }); ok != in[n] {
			t.Fatalf("%d: found %v, want %v", n, ok, in[n])
		}
	}
	if table.used != len(in) {
		t.Errorf("%d used, want %d", table.used, len(in))
	}
}

// TestCacheIsBounded: the cache keeps the last ones, within its bytes.
func TestCacheIsBounded(t *testing.T) {
	const each, room = 1000, 10
	c := newCache(cacheShards * room * (each + cacheOverhead))
	for serial := range uint64(10_000) {
		c.put(serial, make([]byte, each))
		if serial%3 == 0 {
			c.drop(serial)
		}
		if serial > 50 && serial%3 != 0 && c.get(serial-cacheShards*3) == nil {
			t.Fatalf("serial %d is forgotten at %d", serial-cacheShards*3, serial)
		}
	}
	for i := range c.shards {
		s := &c.shards[i]
		if len(s.raw) > room || s.bytes != len(s.raw)*(each+cacheOverhead) || len(s.queue) > 4*room {
			t.Errorf("shard %d: %d entries, %d bytes, %d in the queue", i, len(s.raw), s.bytes, len(s.queue))
		}
	}
}
