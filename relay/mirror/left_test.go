package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// TestLeft: trades with a Mostro go on when it is followed no more, by command or by the settings, also after a start: messages
// cross both ways. Its offers go and no more come. After leftKept its clients are told, and nothing is kept as if it had arrived.
func TestLeft(t *testing.T) {
	for _, by := range []string{"command", "settings"} {
		t.Run(by, func(t *testing.T) {
			b, a := newInstance(t, "b"), newInstance(t, "a")
			handled := b.escrow()
			b.start()
			a.receive = func(context.Context, *nostr.Event) error { return errors.New("invalid: not for me") }
			away := time.Duration(0)
			a.cfg.Now = func() time.Time { return time.Now().Add(away) }
			follow := Followed{Pubkey: b.public, Relays: []string{b.url()}}
			if by == "settings" {
				a.cfg.Follow = []Followed{follow}
			}
			a.start()
			if by == "command" {
				if err := a.mirror.Agree(follow); err != nil {
					t.Fatal(err)
				}
			}
			first := b.offer(t, "first", 0)
			b.publish(first)
			eventually(t, "the offer is copied", func() bool { return a.has(first.ID) })
			trader := newPerson(t)
			trade := func(text string) {
				t.Helper()
				c := dialClient(t, a.url())
				c.say("REQ", "mail", nostr.Filter{Kinds: []int{14}, Tags: nostr.TagMap{"p": {trader.public}}})
				c.hear("EOSE")
				message := trader.message(t, b.public, text)
				if ok, reason := c.send(message); !ok {
					t.Fatalf("%s: %s", text, reason)
				}
				if n := handled(message.ID); n != 1 {
					t.Fatalf("%s: B has handled it %d times", text, n)
				}
				eventually(t, "the answer comes", func() bool { return strings.Contains(string(c.hear("EVENT")[2]), "to "+message.ID) })
			}
			trade("take")
			end := func() {
				a.stop()
				a.cfg.Follow = nil
				a.start()
			}
			if by == "command" {
				end = func() {
					if err := a.mirror.Disagree(b.public); err != nil {
						t.Fatal(err)
					}
				}
			}
			carried := func() bool { h := a.health(b.url()); return h.State == Live && len(h.Mostros) == 0 && len(h.Left) == 1 }
			end()
			eventually(t, "messages are carried still", carried)
			trade("fiat sent")
			eventually(t, "the offer has gone", func() bool { return !a.has(first.ID) })
			second := b.offer(t, "second", 0)
			b.publish(second)
			trade("release")
			a.stop()
			a.start()
			eventually(t, "messages are carried after a start", carried)
			trade("rate")
			if a.has(second.ID) || a.mirror.Followed(b.public) || len(a.mirror.listing().Follows) > 0 {
				t.Error("it is followed still")
			}

			a.stop()
			away = leftKept + time.Hour
			a.start()
			late := trader.message(t, b.public, "late")
			if ok, reason := dialClient(t, a.url()).send(late); ok || reason != errLeft.Error() || a.has(late.ID) {
				t.Errorf("after %s: %v %q, kept: %v", leftKept, ok, reason, a.has(late.ID))
			}
			if err := a.mirror.Agree(follow); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its offers are back", func() bool { return a.has(first.ID) && a.has(second.ID) })
		})
	}
}

// TestLeftByEarlier: a Mostro that an earlier version has followed, with which no relays were noted, is found by its list; one
// that is nowhere is not taken for reached.
func TestLeftByEarlier(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	a.change = func(cfg *relay.Config) { cfg.Receive = func(context.Context, *nostr.Event) error { return nil } }
	a.start()
	if err := a.mirror.state.set(map[string][]byte{string(stateRow(tableMostro, b.public)): {1}}); err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.start()
	lost := func(h Health) bool { _, left := h.Left[b.public]; return left && h.State == Searching }
	if all := a.mirror.Health(); !slices.ContainsFunc(all, lost) {
		t.Errorf("%+v", all)
	}
	message := newPerson(t).message(t, b.public, "cancel")
	if ok, reason := dialClient(t, a.url()).send(message); ok || reason != errLeft.Error() {
		t.Errorf("%v %q", ok, reason)
	}
}
