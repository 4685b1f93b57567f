package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// TestBroughtAfterCrash: an answer from before a new way was known is brought there even when the process ends between
// the noting of the way and the bringing: the message comes again then.
func TestBroughtAfterCrash(t *testing.T) {
	a, trader := newInstance(t, "a"), newPerson(t)
	const url = "ws://127.0.0.1:1"
	a.cfg.Outside = []string{url}
	a.start()
	told := a.message(t, trader.public, "told before")
	a.publish(told)
	if fresh, err := a.mirror.routes.add(trader.public, url); err != nil || !fresh {
		t.Fatalf("the way is new: %v (%v)", fresh, err)
	}
	a.stop()
	a.start()
	for range 2 {
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), trader.public); err != nil {
			t.Fatal(err)
		}
		evs, _, err := a.mirror.state.waiting(url, "", 10, everyRow)
		if err != nil || len(evs) != 1 || evs[0].ID != told.ID {
			t.Fatalf("%d answers wait for the way, want the one from before (%v)", len(evs), err)
		}
	}
	ways, err := a.mirror.routes.of(trader.public)
	if err != nil || len(ways) != 1 || ways[0].Bare {
		t.Errorf("the ways are %+v (%v)", ways, err)
	}
}

// TestRefusedAnswersUnread: answers that a relay refuses by its rules are not read again with each new one.
func TestRefusedAnswersUnread(t *testing.T) {
	a := newInstance(t, "a")
	a.start()
	const url = "ws://127.0.0.1:1"
	l := newPeer(a.mirror, url, duties{outside: true})
	rows := make(map[string][]byte)
	for i := range 300 {
		ev := a.message(t, newPerson(t).public, fmt.Sprint(i))
		rows[outboxRow(url, &ev)] = a.mirror.waiting(&ev)
		if i > 0 {
			l.delays.refused(ev.ID)
			rows[outboxRow(url, &ev)] = []byte("spoiled, so that it shows who reads it")
		}
	}
	if err := a.mirror.state.set(rows); err != nil {
		t.Fatal(err)
	}
	evs, bad, err := a.mirror.state.waiting(url, "", sentAtOnce, func(id string) bool { return !l.delays.sent(id) })
	if err != nil || len(evs) != 1 || len(bad) != 0 {
		t.Errorf("%d answers are new and %d of those that are put off were read (%v)", len(evs), len(bad), err)
	}
	if due, err := l.dueReplies(); err != nil || len(due) != 0 {
		t.Errorf("%d are due (%v)", len(due), err)
	}
	// An hour later some are read, and no more than are sent.
	for id, x := range l.delays.of {
		x.next = time.Now().Add(-time.Minute)
		l.delays.of[id] = x
	}
	if due, err := l.dueReplies(); err != nil || len(due) != 0 {
		t.Errorf("%d of those that cannot be read are due (%v)", len(due), err)
	}
}

// TestReplicaTellsNoMore: a replica whose questions the primary refuses asks no others until a while later.
func TestReplicaTellsNoMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked atomic.Int64
		c := newCable()
		liarAt(t, c, func(say func(...any), label string, parts []json.RawMessage) {
			if label == "REQ" {
				asked.Add(1)
				say("CLOSED", parts[0], "restricted: no more")
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		l, err := Dial(c.dial).connect(ctx, hostileURL, agent, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReplica(ReplicaConfig{Node: newPerson(t).public})
		for i := range 50 {
			r.interest.add(mailbox{newPerson(t).public, fmt.Sprint("mostro ", i)}, claimant{near, true})
		}
		ended := make(chan error, 1)
		go func() { ended <- r.tell(ctx, l) }()
		time.Sleep(checkEvery / 2)
		if n := asked.Load(); n != 1 {
			t.Errorf("after a refusal %d questions were asked, want 1", n)
		}
		r.interest.add(mailbox{newPerson(t).public, "another"}, claimant{near, true})
		time.Sleep(checkEvery / 4)
		if n := asked.Load(); n != 1 {
			t.Errorf("with one key more %d questions were asked, want 1", n)
		}
		time.Sleep(checkEvery / 2)
		if n := asked.Load(); n != 2 {
			t.Errorf("a while later %d questions were asked, want 2", n)
		}
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
