package mirror

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// TestAnswersNotLedAway: whoever brings a trader's messages here, and to another outside relay, before they come from the one
// that he reads, does not take his answers away from there.
func TestAnswersNotLedAway(t *testing.T) {
	a, trader := newInstance(t, "a"), newPerson(t)
	a.escrow()
	reads, other := newPlain(t, 10, freeAddress(t)), newPlain(t, 10, freeAddress(t))
	a.cfg.Outside = []string{reads.url, other.url}
	a.start()
	for _, url := range a.cfg.Outside {
		eventually(t, "it is connected", func() bool { return a.health(url).State == Live })
	}
	here := dialClient(t, a.url())
	for _, text := range []string{"take-sell", "add-invoice", "release"} {
		message := trader.message(t, a.public, text)
		answered := func(p *plain) bool {
			for _, ev := range p.all(nostr.Filter{Authors: []string{a.public}, Kinds: []int{kindMessage}, Tags: nostr.TagMap{"p": {trader.public}}}) {
				if ev.Content == "to "+message.ID {
					return true
				}
			}
			return false
		}
		if ok, reason := here.send(message); !ok {
			t.Fatal(reason)
		}
		other.publish(message)
		eventually(t, text+" is answered where its copy is", func() bool { return answered(other) })
		reads.publish(message)
		eventually(t, text+" is answered where it was written", func() bool { return answered(reads) })
	}
	// A copy that comes last is no better.
	message := trader.message(t, a.public, "fiat-sent")
	for _, p := range []*plain{reads, other} {
		received := a.health(p.url).Received
		p.publish(message)
		eventually(t, "it is heard", func() bool { return a.health(p.url).Received > received })
	}
	later := a.message(t, trader.public, "told without being asked")
	a.publish(later)
	eventually(t, "he is told where he reads", func() bool { return reads.has(later.ID) })
}

// TestC3Strangers: however many strangers come over an outside relay, the way to whoever has a part in a trade is not forgotten,
// nor that to those heard last, and there is an end to what is kept of the others.
func TestC3Strangers(t *testing.T) {
	const url = "ws://127.0.0.1:1"
	m, err := New(Config{
		Dir: t.TempDir(), Pubkey: newPerson(t).public, Outside: []string{url},
		Party: func(key string) bool { return strings.HasPrefix(key, "maker") },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, now := m.routes, time.Now().Unix()
	const more = 100
	rows := make(map[string][]byte)
	for i := range maxRoutes + more {
		rows[routeRow(fmt.Sprintf("stranger %06d", i))] = marshal([]route{{URL: url, At: now - 1000 + int64(i*1000/(maxRoutes+more))}})
	}
	rows[routeRow("maker")] = []byte(fmt.Sprintf(`{"url":%q,"at":%d}`, url, now-40*86400)) // of an earlier version
	rows[routeRow("spoiled")] = []byte("x")
	rows[routeRow("a month ago")] = marshal([]route{{URL: url, At: now - 31*86400}})
	if err := m.state.set(rows); err != nil {
		t.Fatal(err)
	}
	r.fresh = sweepRoutes
	if err := r.sweep(time.Now().Add(-keysKept)); err != nil {
		t.Fatal(err)
	}
	kept := func(key string) bool {
		ways, err := r.of(key)
		if err != nil {
			t.Fatal(err)
		}
		return len(ways) == 1 && ways[0].URL == url
	}
	for key, want := range map[string]bool{
		"maker": true, "a month ago": false, "stranger 000000": false, fmt.Sprintf("stranger %06d", maxRoutes+more-1): true, "nobody": false, "spoiled": false,
	} {
		if kept(key) != want {
			t.Errorf("the way to %s is kept: %v", key, !want)
		}
	}
	n := 0
	if err := m.state.each(tableRoute, nil, func([][]byte, []byte) error { n++; return nil }); err != nil || n != maxRoutes+1 {
		t.Errorf("the ways to %d keys are kept (%v), want %d", n, err, maxRoutes+1)
	}
}

// TestSameWay: a key that has not spoken is answered where the same person's other key is, until it speaks itself.
func TestSameWay(t *testing.T) {
	a := newInstance(t, "a")
	a.cfg.Outside = []string{"ws://127.0.0.1:1", "ws://127.0.0.1:2"}
	a.start()
	heard := func(key, url string) {
		if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, url), key); err != nil {
			t.Fatal(err)
		}
	}
	same := func(key, as string) {
		if err := a.mirror.SameWay(key, as); err != nil {
			t.Fatal(err)
		}
	}
	heard("parent", "ws://127.0.0.1:1")
	heard("speaks", "ws://127.0.0.1:2")
	same("child", "parent")
	same("speaks", "parent")
	same("local", "nobody")
	a.stop()
	a.start()
	for key, want := range map[string]string{"child": "ws://127.0.0.1:1", "speaks": "ws://127.0.0.1:2", "local": ""} {
		ways, err := a.mirror.routes.of(key)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, way := range ways {
			got += way.URL
		}
		if got != want {
			t.Errorf("%s is answered over %q, want %q", key, got, want)
		}
	}
}
