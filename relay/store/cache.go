package store

import "sync"

// cache keeps the raw JSON of events that were written or read last, within a number of bytes,
// by serial. It forgets in the order of arrival.
type cache struct {
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu    sync.Mutex
	raw   map[uint64][]byte
	queue []uint64 // what arrived, oldest first from head on; may name what was dropped
	head  int
	bytes int
	limit int
}

const (
	cacheShards   = 16
	cacheOverhead = 80 // bytes of map, queue and slice for one entry
	fewDropped    = 64 // in the queue of a shard, beside as many as are not
)

func newCache(limit int) *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].raw = make(map[uint64][]byte)
		c.shards[i].limit = limit / cacheShards
	}
	return c
}

func (c *cache) shard(serial uint64) *cacheShard { return &c.shards[serial%cacheShards] }

func (c *cache) get(serial uint64) []byte {
	s := c.shard(serial)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw[serial]
}

func (c *cache) put(serial uint64, raw []byte) {
	s := c.shard(serial)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.raw[serial]; ok {
		return
	}
	s.raw[serial] = raw
	s.queue = append(s.queue, serial)
	for s.bytes += len(raw) + cacheOverhead; s.bytes > s.limit; s.head++ {
		s.forget(s.queue[s.head])
	}
	if s.head > len(s.queue)/2 || len(s.queue)-s.head > 2*len(s.raw)+fewDropped {
		rest := s.queue[:0]
		for _, serial := range s.queue[s.head:] {
			if _, ok := s.raw[serial]; ok {
				rest = append(rest, serial)
			}
		}
		s.queue, s.head = rest, 0
	}
}

func (c *cache) drop(serial uint64) {
	s := c.shard(serial)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(serial)
}

func (s *cacheShard) forget(serial uint64) {
	if raw, ok := s.raw[serial]; ok {
		s.bytes -= len(raw) + cacheOverhead
		delete(s.raw, serial)
	}
}
