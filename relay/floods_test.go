package relay

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip44"

	"mostro/policies"
)

// innocent does what a client does, n times, and returns how long each took, sorted.
func innocent(t *testing.T, url string, n int) []time.Duration {
	t.Helper()
	secret := nostr.GeneratePrivateKey()
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = signed(t, secret, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
	}
	w, _ := greet(t, url)
	reader, _ := greet(t, url)
	reader.write(`["REQ","live",{"authors":["` + publicKey(t, secret) + `"],"limit":0}]`)
	reader.next()
	var took []time.Duration
	for i := range events {
		began := time.Now()
		if ok, reason := w.publish(events[i]); !ok {
			t.Fatal(reason)
		}
		if got := reader.event(reader.next()); got.ID != events[i].ID {
			t.Fatalf("live event %s", got.ID)
		}
		if found := w.query(`{"ids":["` + events[i].ID + `"]}`); len(found) != 1 {
			t.Fatal("a stored event was not found")
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// TestC3Floods: under each attack an innocent client is answered: what it publishes is stored,
// goes to its subscription and is found. How much slower it gets is told and not judged: attacker,
// client and relay share this machine's processors.
func TestC3Floods(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 5
	}
	stranger := nostr.GeneratePrivateKey()
	for i, a := range attacks(t) {
		if testing.Short() && i%6 != 0 {
			continue // the whole run has them all
		}
		t.Run(a.name, func(t *testing.T) {
			limits := DefaultLimits()
			limits.HalfOpen, limits.QueueBytes, limits.Connections = 100, 1<<20, 300
			rate := policies.RateByIP(policies.DefaultEventsPerSecond, policies.DefaultEventsBurst, policies.DefaultRateAddresses)
			r, url := serveWhole(t, Config{Dir: t.TempDir(), ServiceURL: serviceURL, Limits: limits, Policies: []Policy{rate}, Receive: func(_ context.Context, ev *nostr.Event) error {
				shared, err := nip44.GenerateConversationKey(ev.PubKey, nodeKey)
				if err == nil {
					_, err = nip44.Decrypt(ev.Content, shared)
				}
				return err
			}})
			var stored []nostr.Event
			for i := range 300 {
				ev := nostr.Event{Kind: 1, PubKey: publicKey(t, stranger), Content: fmt.Sprint(i, strings.Repeat(" word", 200)), Sig: strings.Repeat("0", 128), CreatedAt: nostr.Now()}
				ev.ID = ev.GetID()
				stored = append(stored, ev)
			}
			if err := r.Publish(t.Context(), stored...); err != nil {
				t.Fatal(err)
			}
			quiet := innocent(t, url, rounds)
			stop := attackFrom(t, a.name+" -> "+url)
			attacked := innocent(t, url, rounds)
			stop()
			p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
			t.Logf("p99 %v, without the attack %v: %.1f times as long", p99(attacked).Round(100*time.Microsecond),
				p99(quiet).Round(100*time.Microsecond), float64(p99(attacked))/float64(p99(quiet)))
		})
	}
}

// attackFrom starts an attacker, and returns when he is at it.
func attackFrom(t *testing.T, what string) (stop func()) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestAttacker$")
	child.Env = append(os.Environ(), attackVariable+"="+what)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	said := bufio.NewScanner(out)
	for said.Scan() && said.Text() != "attacking" {
	}
	return func() {
		t.Helper()
		in.Close()
		for said.Scan() {
		}
		if err := child.Wait(); err != nil {
			t.Errorf("the attacker ends with %v", err)
		}
	}
}
