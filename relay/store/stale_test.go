package store

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestC3ColdRemoved: nobody waits while the places of cold events are removed that a deletion has taken away, and they are in
// the end, but not those of an event that is here again meanwhile.
func TestC3ColdRemoved(t *testing.T) {
	const events, tags = 40, 300
	opts := Options{Dir: t.TempDir(), Now: newClock().now, IndexBytes: 1}
	var s *Store
	waiting := 0
	var evs []*nostr.Event
	opts.Committed = func(c Commit) { // by the committer
		switch c.Event.Kind {
		case kindDeletion:
			waiting = s.stalePlaces
		case 7: // one of the events has gone and come back, and become cold, before its places were removed
			again, err := s.findCold(mustKey(t, evs[3].ID))
			if again == nil || err != nil {
				t.Error(again, err)
				return
			}
			s.leave(again)
		}
	}
	s = openTest(t, opts)
	deletion := nostr.Tags{}
	for i := range events {
		ev := unsigned(person(1), 1, start, strconv.Itoa(i))
		for k := range tags {
			ev.Tags = append(ev.Tags, nostr.Tag{"t", strconv.Itoa(k)})
		}
		ev.ID = ev.GetID()
		mustAdd(t, s, ev, Stored)
		if evs = append(evs, ev); i >= 10 {
			deletion = append(deletion, nostr.Tag{"e", ev.ID})
		}
	}
	for _, ev := range evs[:10] {
		if err := s.Remove(t.Context(), mustKey(t, ev.ID)); err != nil {
			t.Fatal(err)
		}
	}
	mustAdd(t, s, evs[3], Stored)
	mustAdd(t, s, unsigned(person(1), kindDeletion, start, "", deletion...), Stored)
	mustAdd(t, s, unsigned(person(1), 7, start, ""), Stored)
	if waiting < 30*tags {
		t.Errorf("%d places wait to be removed when the deletion is told, want those of 30 events", waiting)
	}
	s.Close()
	opts.Committed = nil
	s = openTest(t, opts)
	for _, value := range []string{"0", strconv.Itoa(tags - 1)} {
		if diff := cmp.Diff([]string{evs[3].ID}, ids(t, s, nostr.Filter{Tags: nostr.TagMap{"t": {value}}})); diff != "" {
			t.Error(diff)
		}
	}
	rows := 0
	if err := s.scan([]byte{rowColdList}, func(_, _ []byte) error { rows++; return nil }); err != nil {
		t.Fatal(err)
	}
	if most := tags + len(deletion) + 3*4; rows > most { // of the event, the deletion and one more, and their kinds, authors and all
		t.Errorf("%d places are left, at most %d have a meaning", rows, most)
	}
}

// TestC3CoolPlaces: becoming cold takes no longer for a batch because old events are in many lists.
func TestC3CoolPlaces(t *testing.T) {
	s := openTest(t, Options{Now: newClock().now})
	const events, tags = 60, 1000
	for i := range events {
		ev := unsigned(person(1), 1, start, strconv.Itoa(i))
		for k := range tags {
			ev.Tags = append(ev.Tags, nostr.Tag{"t", strconv.Itoa(k)})
		}
		ev.ID = ev.GetID()
		mustAdd(t, s, ev, Stored)
	}
	s.opts.IndexBytes = 1
	mustAdd(t, s, unsigned(person(1), 1, start+1, "one more"), Stored)
	if inMemory, onDisk, _ := s.Indexed(); onDisk == 0 || onDisk > coolPlaces/tags+1 {
		t.Errorf("%d events have become cold with one, %d are in memory", onDisk, inMemory)
	}
}
