package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/relay/mirror"
)

// TestClientOffers: one list shows whose each offer is, how old, and which may not stand any more, and
// nothing that a stranger wrote leaves its line.
func TestClientOffers(t *testing.T) {
	other, robots := npub(aMostro), npub(aMostro[:63]+"f")
	now := time.Unix(1_800_000_000, 0)
	at := func(age time.Duration) int64 { return now.Add(-age).Unix() }
	offers := []mirror.Offer{
		{ID: "r1", Node: aMostro[:63] + "f", Platform: "robosats", Name: "lake\x1b[2J\nthis node", Side: "buy", Fiat: "EUR", Min: "10.5", Max: "99", Premium: "2.5", Methods: []string{"Revolut", "SEPA"}, CreatedAt: at(time.Minute), Expired: true},
		{ID: "m1", Node: aMostro, Platform: "mostro", Name: "Beta", Side: "sell", Fiat: "USD", Min: "50", Max: "50", Sats: 100_000, Methods: []string{"bank"}, CreatedAt: at(26 * time.Hour), Orphaned: true},
		{ID: "o1", Node: aMostro[:63] + "0", Own: true, Platform: "mostro", Side: "sell", Fiat: "USD", Min: "5", Max: "5", Premium: "0", Methods: []string{"cash"}, CreatedAt: at(3 * time.Minute)},
	}
	cmd := rootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	if err := (clientScreen{out: plainWriter{cmd}}).offers(offers, " --relay ws://r", now); err != nil {
		t.Fatal(err)
	}
	want := `this node
  ORDER  KIND  BITCOIN  FIAT   METHOD  AGE
  o1     sell  market   5 USD  cash    3m
  -> take one: mostro client take ORDER --relay ws://r

Mostro Beta ` + other + `
  ORDER  KIND  BITCOIN      FIAT    METHOD  AGE
  m1     sell  100,000 sat  50 USD  bank    26h  orphaned
  -> take one: mostro client take ORDER --mostro ` + other + ` --relay ws://r

robosats lake�[2J this node ` + robots + `
  ORDER  KIND  BITCOIN      FIAT         METHOD         AGE
  r1     buy   market 2.5%  10.5-99 EUR  Revolut, SEPA  1m   expired
  -> take one there: it is no Mostro
`
	trim := func(text string) string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.TrimRight(line, " \n"))
		}
		return strings.Join(lines, "\n")
	}
	if trim(out.String()) != trim(typed(cmd, want)) {
		t.Errorf("printed:\n%s\nwant:\n%s", out.String(), want)
	}

	// At a node that follows a Mostro, by the relay of a third: its own relay makes its book that of its money store.
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	b := serveWith(t, fmt.Sprintf("federation.follow=[%q]", key.Public()+"@ws://127.0.0.1:1"))
	tags := nostr.Tags{{"d", "an-order"}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "0"}, {"fa", "7"}, {"pm", "cash"}, {"premium", "3"}, {"y", "mostro", "Beta"}, {"z", "order"}}
	ev := nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: tags}
	if err := mostro.Sign(&ev, key); err != nil {
		t.Fatal(err)
	}
	over := ev
	over.Tags = append(nostr.Tags{{"d", "over"}, {"expires_at", "1"}}, tags[1:]...)
	if err := mostro.Sign(&over, key); err != nil {
		t.Fatal(err)
	}
	alive := nostr.Event{Kind: mostro.KindInfo, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", key.Public()}, {"y", "mostro", "Beta"}, {"z", "info"}}}
	if err := mostro.Sign(&alive, key); err != nil {
		t.Fatal(err)
	}
	if err := b.relay.Publish(t.Context(), ev, over, alive); err != nil {
		t.Fatal(err)
	}
	a := serveWith(t, fmt.Sprintf("federation.follow=[%q]", key.Public()+"@"+b.url))
	for _, id := range []string{"an-order", "over"} {
		found(t, a, "the order is at A", nostr.Filter{Kinds: []int{mostro.KindOrder}, Authors: []string{key.Public()}, Tags: nostr.TagMap{"d": {id}}})
	}
	out.Reset()
	cmd.SetArgs([]string{"client", "offers", "--relay", a.url})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.HasPrefix(text, "Mostro Beta "+npub(key.Public())) || !strings.Contains(text, "an-order  sell  market 3%  7 USD  cash") || !strings.Contains(text, "expired") {
		t.Error(text)
	}
	out.Reset()
	cmd.SetArgs([]string{"client", "offers", "--standing", "--relay", a.url})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "expired") || !strings.Contains(text, "an-order") {
		t.Error(text)
	}
	// Trading once with the Mostro that A carries does not make A's own node another than it was.
	dir := t.TempDir()
	for _, args := range [][]string{{"keys", "new"}, {"restore", "--timeout", "3s", "--mostro", npub(key.Public())}, {"restore", "--timeout", "3s"}} {
		fresh := rootCommand()
		fresh.SetOut(io.Discard)
		fresh.SetArgs(append(append([]string{"client"}, args...), "--dir", dir, "--relay", a.url))
		if err := fresh.ExecuteContext(t.Context()); err != nil && strings.Contains(err.Error(), "names the node") {
			t.Errorf("%v: %v", args, err)
		}
	}
	cmd.SetArgs([]string{"client", "offers", "--relay", "ws://127.0.0.1:1"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "ask the relay for offers") {
		t.Error(err)
	}
}

// TestTextsOfMostros: ages and fees as people read them, also those that make no sense.
func TestTextsOfMostros(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 59 * time.Second: "now", 61 * time.Second: "1m", 26*time.Hour + time.Minute: "26h", 200 * time.Hour: "8d",
	} {
		if got := aged(d); got != want {
			t.Errorf("aged(%s) = %q, want %q", d, got, want)
		}
	}
	for fee, want := range map[string]string{
		"0.006": "0.6% of the amount", "0": "0% of the amount", "1e-9": "0% of the amount", "": `""`, "lots\x1b[2J": `"lots\x1b[2J"`, "-1": `"-1"`, "NaN": `"NaN"`, "7": `"7"`,
	} {
		if got := feeText(fee); got != want {
			t.Errorf("feeText(%q) = %s, want %s", fee, got, want)
		}
	}
}
