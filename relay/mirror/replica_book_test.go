package mirror

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestReplicaBook: a replica answers with the book of everybody as its primary does, whatever the policy
// is, and leaves out of its answers what the primary does, also when a command lets the primary follow
// somebody else, and after a start without the primary.
func TestReplicaBook(t *testing.T) {
	p := newPlain(t, 100, "127.0.0.1:0")
	alive, silent, robots, agreed := newPerson(t), newPerson(t), newPerson(t), newPerson(t)
	now := nostr.Now()
	over := robots.sign(t, nostr.Event{Kind: kindOrder, Tags: nostr.Tags{
		{"d", "over"}, {"k", "buy"}, {"f", "EUR"}, {"s", "pending"}, {"fa", "9"}, {"pm", "cash"}, {"y", "robosats", "lake"},
		{"expires_at", fmt.Sprint(int64(now) - 60)}, {"expiration", fmt.Sprint(int64(now) + 3600)},
	}})
	p.add(alive.info(t, 0), alive.offer(t, "x", now-1), silent.info(t, now-7200), silent.offer(t, "x", now-2), over, agreed.info(t, 0), agreed.offer(t, "y", now-3))
	for _, policy := range []Policy{
		{}, {OrphanedAfter: time.Hour}, {OrphanedAfter: time.Hour, HideOrphaned: true}, {HideExpired: true}, {OrphanedAfter: time.Hour, HideOrphaned: true, HideExpired: true},
	} {
		t.Run(fmt.Sprintf("%+v", policy), func(t *testing.T) {
			copier := newPerson(t)
			primary := newInstance(t, "primary")
			primary.change = func(cfg *relay.Config) {
				cfg.Federation.Peer = func(pubkey string) bool { return pubkey == copier.public }
			}
			primary.cfg.Policy = policy
			primary.cfg.Follow = []Followed{
				{Pubkey: alive.public, Relays: []string{p.url}}, {Pubkey: silent.public, Relays: []string{p.url}}, {Pubkey: robots.public, Relays: []string{p.url}, Platform: "robosats"},
			}
			primary.start()
			primary.publish(primary.info(t, 0), primary.offer(t, "own", now))
			eventually(t, "the primary has all", func() bool {
				return primary.has(over.ID) && len(primary.book(alive.public)) > 0 && len(primary.book(silent.public)) > 0 && primary.health(p.url).State == Live
			})
			for _, who := range primary.mirror.listing().Follows {
				if err := primary.mirror.survey(t.Context(), who.Pubkey); err != nil {
					t.Fatal(err)
				}
			}
			dir, address := t.TempDir(), freeAddress(t)
			r, replica, stop := startReplica(t, primary, copier, dir, address)
			equal := func(what string) {
				t.Helper()
				want, got := "", ""
				eventually(t, what, func() bool {
					want, got = page(t, primary.url(), "/offers"), page(t, "ws://"+address, "/offers")
					time.Sleep(100 * time.Millisecond)
					return want == got && len(want) > len(`{"offers":[]}`)
				})
				for _, who := range []person{primary.person, alive, silent, robots, agreed} {
					f := nostr.Filter{Kinds: []int{kindOrder}, Authors: []string{who.public}}
					if want, got := orders(t, primary.url(), f), orders(t, "ws://"+address, f); want != got {
						t.Errorf("%s: the primary answers\n%s\nthe replica\n%s", what, want, got)
					}
				}
			}
			eventually(t, "the replica is ready", replica.Ready)
			equal("the books are equal")
			if err := primary.mirror.Agree(Followed{Pubkey: agreed.public, Relays: []string{p.url}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the primary has one more", func() bool { return len(primary.book(agreed.public)) > 0 })
			eventually(t, "so has the replica", func() bool {
				has, err := r.Has(t.Context(), p.all(nostr.Filter{Authors: []string{agreed.public}})[0].ID)
				return has && err == nil
			})
			stop()
			_, replica, _ = startReplica(t, primary, copier, dir, address)
			eventually(t, "the replica is ready again", replica.Ready)
			equal("the books are equal after a command")
		})
	}
}

func page(t testing.TB, url, path string) string {
	t.Helper()
	answer, err := http.Get("http" + strings.TrimPrefix(url, "ws") + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	return string(text)
}

func orders(t testing.TB, url string, f nostr.Filter) string {
	t.Helper()
	return string(lines(newPerson(t).visit(t, url).finds(f)))
}
