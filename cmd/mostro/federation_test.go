package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/relay"
	"mostro/relay/mirror"
)

const aMostro = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"

func TestFederationSettings(t *testing.T) {
	l, err := loadSettings("f", []byte(`[nostr]
relays = ["wss://out.example/", "ws://127.0.0.1:1"]
[federation]
follow = ["`+aMostro+`", "npub1xtscya34g58tk0z605fvr788k263gsu6cy9x0mhnm87echrgufzsevkk5s@wss://a.example,wss://b.example"]
platforms = ["robosats:7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4f@wss://r.example"]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := [][]mirror.Followed{l.Federation.Follow, l.Federation.Platforms}
	want := [][]mirror.Followed{
		{{Pubkey: aMostro}, {Pubkey: "32e1827635450ebb3c5a7d12c1f8e7b2b514439ac10a67eef3d9fd9c5c68e245", Relays: []string{"wss://a.example", "wss://b.example"}}},
		{{Pubkey: aMostro[:63] + "f", Relays: []string{"wss://r.example"}, Platform: "robosats"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"wss://out.example", "ws://127.0.0.1:1"}, l.Nostr.Relays); diff != "" {
		t.Error(diff)
	}
}

// TestFederationCareless: what an operator may get wrong about other relays is told at the start, with
// what to do.
func TestFederationCareless(t *testing.T) {
	secret, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		fmt.Sprintf("federation.follow=[%q]", aMostro[1:]):                                "npub1... or 64 hex digits",
		fmt.Sprintf("federation.follow=[%q]", aMostro+"@relay.example"):                   "an address that starts with wss://",
		fmt.Sprintf("federation.follow=[%q]", aMostro+"@http://relay.example"):            "an address that starts with wss://",
		fmt.Sprintf("federation.platforms=[%q]", "Mostro:"+aMostro+"@ws://relay.example"): "a Mostro belongs into federation.follow",
		fmt.Sprintf("federation.follow=[%q]", aMostro+"@ws://relay.example?x=1"):          "nothing after a question mark",
		fmt.Sprintf("federation.follow=[%q]", aMostro+"@"):                                "an address that starts with wss://",
		fmt.Sprintf("federation.follow=[%q,%q]", aMostro, aMostro):                        "twice",
		fmt.Sprintf("federation.follow=[%q]", secret.Nsec()):                              "treat that secret as leaked",
		fmt.Sprintf("federation.platforms=[%q]", aMostro+"@wss://relay.example"):          "NAME:KEY@RELAY",
		fmt.Sprintf("federation.platforms=[%q]", "robosats:"+aMostro):                     "NAME:KEY@RELAY",
		fmt.Sprintf("nostr.relays=[%q]", "relay.example"):                                 "an address that starts with wss://",
		fmt.Sprintf("federation.replicas=[%q]", "wss://relay.example"):                    "npub1... or 64 hex digits",
	} {
		if _, err := loadSettings("f", nil, []string{setting}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", setting, err, want)
		}
	}
	both := []string{fmt.Sprintf("federation.follow=[%q]", aMostro), fmt.Sprintf("federation.platforms=[%q]", "robosats:"+aMostro+"@wss://r.example")}
	if _, err := loadSettings("f", nil, both); err == nil || !strings.Contains(err.Error(), "leave it in one of them") {
		t.Errorf("one key as two things: %v", err)
	}
	l, err := loadSettings("f", nil, []string{fmt.Sprintf("federation.follow=[%q]", secret.Public())})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.checkOwn(secret.Public()); err == nil || !strings.Contains(err.Error(), "federation.follow names this node itself") {
		t.Errorf("it follows itself: %v", err)
	}
	var out bytes.Buffer
	printPeers(&out, []mirror.Health{{State: mirror.Searching, Mostros: []string{aMostro}}}, time.Now())
	if want := "mostro peers follow " + npub(aMostro) + "@wss://"; !strings.Contains(out.String(), want) {
		t.Errorf("mostro peers does not say %q:\n%s", want, &out)
	}
}

// found waits until a relay has an event that matches.
func found(t *testing.T, n *served, what string, f nostr.Filter) nostr.Event {
	t.Helper()
	for end := time.Now().Add(relayPatience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		evs, err := n.relay.All(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(evs) > 0 {
			return evs[0]
		}
	}
	t.Fatalf("never: %s", what)
	return nostr.Event{}
}

// TestFederation: two nodes by their settings. A copies B's terms, publishes its own at B, says so
// in its relay list, and shows how that stands.
func TestFederation(t *testing.T) {
	b := serveWith(t)
	bKey, bURL := b.cfg.key.Public(), "ws://"+b.address
	a := serveWith(t, fmt.Sprintf("federation.follow=[%q]", bKey+"@"+bURL), fmt.Sprintf("nostr.relays=[%q]", bURL))
	aKey := a.cfg.key.Public()
	found(t, a, "B's terms are at A", nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{bKey}})
	// B does not know A yet, and refuses its terms; what anybody may publish it takes.
	list := found(t, b, "A's relay list is at B", nostr.Filter{Kinds: []int{10002}, Authors: []string{aKey}})
	if diff := cmp.Diff(nostr.Tags{{"r", a.url}, {"r", bURL}}, nostr.Tags(slices.Collect(list.Tags.FindAll("r")))); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	run := func(args ...string) {
		cmd := rootCommand()
		cmd.SetOut(&out)
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Followed by command, A publishes its terms there with the next connection.
	run("peers", "follow", aKey+"@"+a.url, "--data-dir", b.cfg.dir)
	found(t, b, "A's terms are at B", nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{aKey}})
	run("peers", "found", "--data-dir", a.cfg.dir)
	run("peers", "unfollow", aKey, "--data-dir", b.cfg.dir)
	run("peers", "--data-dir", a.cfg.dir)
	for _, want := range []string{bURL, "copies from " + npub(bKey) + ", by negentropy", "publishes there",
		"It is followed from now on", "It is followed no more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("mostro peers does not say %q:\n%s", want, out.String())
		}
	}
	t.Log(out.String())
}

// serveReplicaOf runs a replica of a node that lists its key, until stop or the end of the test.
func serveReplicaOf(t *testing.T, p *served, dir string, key mostro.Secret, overrides ...string) (r *replica, stop func()) {
	t.Helper()
	l, err := loadSettings("none", nil, append(overrides, "relay.min_free_mib=0"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err = openReplica(t.Context(), dir, "ws://"+p.address, &l.Settings, key, listener, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	for end := time.Now().Add(relayPatience); !r.copies.Ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica is never ready")
		}
	}
	return r, stop
}

// TestServeReplica: a replica by its settings has the node's terms, passes on what clients publish,
// and is ready when it is equal.
func TestServeReplica(t *testing.T) {
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	p := serveWith(t, fmt.Sprintf("federation.replicas=[%q]", key.Public()), `federation.peers=["127.0.0.1"]`,
		fmt.Sprintf("federation.follow=[%q]", aMostro+"@ws://127.0.0.1:1"), "federation.hide_expired=true")
	terms := found(t, p, "the node's terms are out", nostr.Filter{Kinds: []int{mostro.KindInfo}})
	dir := t.TempDir()
	r, stop := serveReplicaOf(t, p, dir, key)
	if has, err := r.relay.Has(t.Context(), terms.ID); err != nil || !has {
		t.Errorf("the node's terms are not there (%v)", err)
	}
	// It knows whose offers make the book, by no settings of its own, and for the next start.
	var listing mirror.Listing
	for end := time.Now().Add(relayPatience); len(listing.Follows) == 0; time.Sleep(10 * time.Millisecond) {
		if listing, err = new(FederationSettings).listing(filepath.Join(dir, listingFile)); err != nil || time.Now().After(end) {
			t.Fatalf("the listing %+v (%v)", listing, err)
		}
	}
	if f := listing.Follows[0]; f.Pubkey != aMostro || !listing.HideExpired || listing.OrphanedAfter != 24*time.Hour {
		t.Errorf("the listing %+v", listing)
	}
	// A message to a Mostro that the primary follows gets the primary's answer.
	ev := nostr.Event{Kind: 14, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", aMostro}}, Content: "a message"}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	w := (&served{TB: t, address: strings.TrimPrefix(r.url, "ws://")}).dial()
	if got, want := w.ask(`["EVENT",`+ev.String()+`]`), "OK "+ev.ID+" false error: this Mostro cannot be reached"; !strings.HasPrefix(got, want) {
		t.Errorf("a message to another Mostro: %s, want %s", got, want)
	}
	for _, at := range []string{p.url, r.url} {
		if offers, err := offersAt(t.Context(), at); err != nil || len(offers) != 0 {
			t.Errorf("%s: %d offers (%v)", at, len(offers), err)
		}
	}
	// A replica is no primary, whether it is another one or the same after its first start.
	l, err := loadSettings("none", nil, []string{"relay.min_free_mib=0"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, primary := range []string{r.url, "ws://" + listener.Addr().String()} {
		if _, err := openReplica(t.Context(), dir, primary, &l.Settings, key, listener, slog.New(slog.DiscardHandler)); !errors.Is(err, mirror.ErrReplica) {
			t.Errorf("a replica of %s: %v", primary, err)
		}
	}
	stop()
	// The primary's key is known now; another primary's is refused.
	if other, err := primaryKey(t.Context(), mirror.Direct, dir, "ws://127.0.0.1:1"); err != nil || other != p.cfg.key.Public() {
		t.Errorf("without the primary its key is %s (%v)", other, err)
	}
	second := serveWith(t)
	if _, err := primaryKey(t.Context(), mirror.Direct, dir, "ws://"+second.address); err == nil || !strings.Contains(err.Error(), "this is a replica of") {
		t.Errorf("another primary: %v", err)
	}
}

// TestReplicaReads: who may read messages at a replica is as at its primary, also at a start without it; a
// stricter setting of its own counts, and a difference is told.
func TestReplicaReads(t *testing.T) {
	for _, c := range []struct{ there, own, want string }{
		{"strict", "default", "strict"}, {"default", "open", "default"}, {"open", "default", "default"},
		{"default", "strict", "strict"}, {"strict", "strict", "strict"}, {"open", "open", "open"},
	} {
		key, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		p := serveWith(t, fmt.Sprintf("federation.replicas=[%q]", key.Public()), `federation.peers=["127.0.0.1"]`, "relay.private_reads="+c.there)
		dir := t.TempDir()
		r, stop := serveReplicaOf(t, p, dir, key, "relay.private_reads="+c.own)
		if got := r.relay.PrivateReads().String(); got != c.want {
			t.Errorf("%s there and %s here make %s, want %s", c.there, c.own, got, c.want)
		}
		var said strings.Builder
		own, err := relay.ParsePrivateReads(c.own)
		if err != nil {
			t.Fatal(err)
		}
		(&replica{log: slog.New(slog.NewTextHandler(&said, nil))}).tell(own, mirror.Listing{Reads: c.there})
		if told := strings.Contains(said.String(), "there="+c.there+" counts="+c.want); told != (c.own != c.there) {
			t.Errorf("%s there and %s here: said %q", c.there, c.own, said.String())
		}
		stop()
		// Without the primary it is as the last time.
		p.stop()
		l, err := new(FederationSettings).listing(filepath.Join(dir, listingFile))
		if err != nil || r.readsOf(own, l).String() != c.want {
			t.Errorf("%s there and %s here make %s without the primary (%v)", c.there, c.own, r.readsOf(own, l), err)
		}
	}
}

// TestOnionRelays: an onion service among the relays needs a proxy, and gets all that is sent to it
// through that.
func TestOnionRelays(t *testing.T) {
	onion := "ws://" + strings.Repeat("abcdefg234567xyz", 4)[:56] + ".onion"
	for _, setting := range []string{
		fmt.Sprintf("nostr.relays=[%q]", onion), fmt.Sprintf("federation.follow=[%q]", aMostro+"@"+onion),
		fmt.Sprintf("federation.platforms=[%q]", "robosats:"+aMostro+"@"+onion),
	} {
		path, _, _ := strings.Cut(setting, "=")
		if _, err := loadSettings("f", nil, []string{setting}); err == nil || !strings.Contains(err.Error(), path+" names "+onion) || !strings.Contains(err.Error(), "network.proxy") {
			t.Errorf("%s: %v", setting, err)
		}
		if _, err := loadSettings("f", nil, []string{setting, "network.proxy=socks5h://127.0.0.1:9050"}); err != nil {
			t.Errorf("%s with a proxy: %v", setting, err)
		}
	}
	proxy, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	asked := make(chan string, 64)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			go socksGreeting(conn, asked)
		}
	}()
	serveWith(t, fmt.Sprintf("nostr.relays=[%q]", onion), "network.proxy=socks5h://"+proxy.Addr().String())
	if got := <-asked; got != strings.TrimPrefix(onion, "ws://")+":80" {
		t.Errorf("the proxy is asked for %s", got)
	}
}

// TestReviewsElsewhere: what a trader says of B on B's relay, with B's proof, shows to those who ask
// A for the Mostros that it knows; what only claims to be a review is taken nowhere.
func TestReviewsElsewhere(t *testing.T) {
	b := serveWith(t)
	a := serveWith(t, fmt.Sprintf("federation.follow=[%q]", b.cfg.key.Public()+"@"+b.url))
	now := time.Now()
	review := func(proofBy mostro.Secret, text string) nostr.Event {
		key, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		proof, err := mostro.SignReviewProof(b.cfg.key, key.Public(), mostro.ReviewWeek(now.Unix()))
		if err != nil {
			t.Fatal(err)
		}
		ev, err := mostro.Review{Proof: proof, Rating: 0.8, Text: text, At: now.Unix()}.Event(key)
		if err != nil {
			t.Fatal(err)
		}
		if proofBy.Public() != b.cfg.key.Public() {
			forged, err := mostro.SignReviewProof(proofBy, key.Public(), proof.Week)
			if err != nil {
				t.Fatal(err)
			}
			ev.Tags.Find("sig")[1] = forged.Sig
			if err := mostro.Sign(&ev, key); err != nil {
				t.Fatal(err)
			}
		}
		relay, err := nostr.RelayConnect(t.Context(), b.url)
		if err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		err = relay.Publish(t.Context(), ev)
		if forged := proofBy.Public() != b.cfg.key.Public(); forged && (err == nil || !strings.Contains(err.Error(), "invalid: the review has no proof")) || !forged && err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return ev
	}
	forged, good := review(a.cfg.key, "forged"), review(b.cfg.key, "fast and friendly")
	found(t, a, "the review is at A", nostr.Filter{IDs: []string{good.ID}})
	found(t, a, "B's terms are at A", nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{b.cfg.key.Public()}})
	if has, err := a.relay.Has(t.Context(), forged.ID); err != nil || has {
		t.Errorf("a review without a proof is at A (%v)", err)
	}
	var out bytes.Buffer
	cmd := rootCommand()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"client", "mostros", "--relay", a.url})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, npub(b.cfg.key.Public())) || !strings.Contains(text, "4.0 of 5 stars: fast and friendly") {
		t.Error(text)
	}
}
