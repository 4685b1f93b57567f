package relay

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
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
	secret, node := nostr.GeneratePrivateKey(), publicKey(t, nodeKey)
	shared, err := nip44.GenerateConversationKey(node, secret)
	if err != nil {
		t.Fatal(err)
	}
	events, messages := make([]nostr.Event, n), make([]nostr.Event, n)
	for i := range events {
		events[i] = signed(t, secret, nostr.Event{Kind: 1, Content: fmt.Sprint(i)})
		text, err := nip44.Encrypt(fmt.Sprint("message ", i), shared)
		if err != nil {
			t.Fatal(err)
		}
		messages[i] = signed(t, secret, nostr.Event{Kind: 14, Content: text, Tags: nostr.Tags{{"p", node}}})
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
		if ok, reason := w.publish(messages[i]); !ok {
			t.Fatalf("a message to the escrow: %s", reason)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// TestC3Floods: under each attack an innocent client is answered: what it publishes is stored,
// goes to its subscription and is found, and its message to the escrow is decrypted. How much slower it gets is told, in a table at the end, and not judged: attacker,
// client and relay share this machine's processors. MOSTRO_FLOODS_EVENTS says how many events are stored, 300 if not set.
func TestC3Floods(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 5
	}
	stored := 300
	if text := os.Getenv("MOSTRO_FLOODS_EVENTS"); text != "" {
		var err error
		if stored, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	dir := filledWith(t, stored)
	p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100].Round(100 * time.Microsecond) }
	table := fmt.Sprintf("p99 of publish, live event, query and message to the escrow, %d events stored:\n%10s %10s %7s\n", stored, "without", "with", "times")
	for i, a := range attacks(t) {
		if testing.Short() && i%6 != 0 {
			continue // the whole run has them all
		}
		t.Run(a.name, func(t *testing.T) {
			limits := DefaultLimits()
			limits.QueueBytes, limits.Connections = 1<<20, 300
			rate := policies.RateByIP(policies.DefaultEventsPerSecond, policies.DefaultEventsBurst, policies.DefaultRateAddresses)
			_, url := serveWhole(t, Config{Dir: dir, ServiceURL: serviceURL, Limits: limits, Policies: []Policy{rate}, Receive: decrypt})
			quiet := innocent(t, url, rounds)
			stop := attackFrom(t, a.name+" -> "+url)
			attacked := innocent(t, url, rounds)
			stop()
			table += fmt.Sprintf("%10v %10v %7.1f  %s\n", p99(quiet), p99(attacked), float64(p99(attacked))/float64(p99(quiet)), a.name)
		})
	}
	t.Log(table)
}

// filledWith is a folder with so many events of a relay that has ended.
func filledWith(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	r, err := Open(Config{Dir: dir, Pubkey: publicKey(t, nodeKey)})
	if err != nil {
		t.Fatal(err)
	}
	author := publicKey(t, nostr.GeneratePrivateKey())
	for from := 0; from < n; from += 1000 {
		var evs []nostr.Event
		for i := from; i < min(from+1000, n); i++ {
			ev := nostr.Event{Kind: 1, PubKey: author, Content: fmt.Sprint(i, strings.Repeat(" word", 200)), Sig: strings.Repeat("0", 128), CreatedAt: nostr.Now()}
			ev.ID = ev.GetID()
			evs = append(evs, ev)
		}
		if err := r.Publish(t.Context(), evs...); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// decrypt does for a message what the escrow does first, in its turn as there.
func decrypt(ctx context.Context, ev *nostr.Event) error {
	defer Turn(ctx)()
	shared, err := nip44.GenerateConversationKey(ev.PubKey, nodeKey)
	if err == nil {
		_, err = nip44.Decrypt(ev.Content, shared)
	}
	return err
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
