package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestIndexGivesBack: events that come and go with one tag more each time, or in the same lists, do not make the index hold
// ever more: it is bounded by what is in it, and what is free of it is counted nowhere.
func TestIndexGivesBack(t *testing.T) {
	x, serial := newIndex(), uint64(0)
	described := func(tags nostr.Tags) entry {
		e, err := describe(unsigned(person(1), 1, start, "", tags...))
		if err != nil {
			t.Fatal(err)
		}
		return *e
	}
	add := func(e entry, n int) (refs []uint32) {
		for range n {
			serial++
			e.id = person(int(serial))
			x.add(&e, serial)
			ref, _ := x.find(e.id)
			refs = append(refs, ref)
		}
		return refs
	}
	var stay []uint32
	var tags nostr.Tags
	for range 100 {
		tags = append(tags, nostr.Tag{"t", fmt.Sprint(len(tags))})
		stay = append(stay, add(described(tags), 1)...)
		for _, ref := range add(described(tags), 500) {
			x.remove(ref)
		}
	}
	if size, live := x.runs.size(), x.places-len(stay); size > 2*live+2*spareNumbers {
		t.Errorf("runs have %d numbers, and %d are in use", size, live)
	}
	held, places := 0, 0
	for n := range x.usedLists {
		if l := x.list(n); l.n > 1 {
			for _, part := range l.many.of {
				held, places = held+cap(part), places+len(part)
			}
		}
	}
	if most := 5*places + 2*fewSpare*int(x.usedLists); held > most {
		t.Errorf("lists hold %d places, and %d are in use", held, places)
	}
	for _, ref := range stay { // runs that were moved are those of their records
		rec := x.record(ref)
		e := x.describe(rec)
		want := described(tags[:len(e.keys)-3])
		if diff := cmp.Diff(want.keys, e.keys); diff != "" || e.id != person(int(rec.serial)) {
			t.Fatal(diff)
		}
	}
	for _, ref := range stay {
		x.remove(ref)
	}
	if x.len() != 0 || x.places != 0 || x.byKey.used != 0 {
		t.Errorf("%d events, %d places and %d lists are left", x.len(), x.places, x.byKey.used)
	}
}

// TestCacheForgetsDropped: what is replaced again and again does not make the queue of the cache longer, whose bytes it
// does not need.
func TestCacheForgetsDropped(t *testing.T) {
	c := newCache(1 << 20)
	c.put(0, make([]byte, 100)) // stays at the head
	for serial := range uint64(100_000) {
		c.put(serial+1, make([]byte, 100))
		c.drop(serial + 1)
	}
	for i := range c.shards {
		if n := cap(c.shards[i].queue); n > 4*fewDropped {
			t.Errorf("shard %d: %d in the queue", i, n)
		}
	}
	if c.get(0) == nil {
		t.Error("what was not dropped is forgotten")
	}
}
