package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// TestFederatedTrade plays whole trades with a Mostro B on real nodes by people of whom one or both
// are connected to A only, another Mostro that follows B, or to a replica of A: on both transports, with the conversation
// in which they settle how to pay, while B is killed and comes back in the middle of each.
func TestFederatedTrade(t *testing.T) {
	t.Parallel()
	l := startLab(t)
	b := "ws://" + l.address
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	a := serveWith(t, fmt.Sprintf("federation.follow=[%q]", l.key.Public()+"@"+b),
		fmt.Sprintf("federation.replicas=[%q]", key.Public()), `federation.peers=["127.0.0.1"]`)
	copied, _ := serveReplicaOf(t, a, t.TempDir(), key)
	for _, where := range []struct{ name, seller, buyer string }{
		{"buyer elsewhere", b, a.url}, {"seller elsewhere", a.url, b}, {"both elsewhere", a.url, a.url},
		{"buyer on a replica", b, copied.url}, {"seller on a replica", copied.url, a.url},
	} {
		for name, transport := range map[string]mostro.Transport{"v1": mostro.GiftWrap, "v2": mostro.NIP44} {
			t.Run(where.name+" "+name, func(t *testing.T) {
				ctx := labContext(t)
				x := l.newTrade(t, ctx)
				x.makes, x.takes = client.Mode{Transport: transport}, client.Mode{Transport: transport}
				x.seller, x.buyer = l.personAt(t, ctx, where.seller, l.demo.alice, "seller"), l.personAt(t, ctx, where.buyer, l.demo.bob, "buyer")
				x.run(ctx, x.funding())
				x.settleHowToPay(ctx)
				if err := l.kill(); err != nil {
					t.Fatal(err)
				}
				if err := l.start(ctx); err != nil {
					t.Fatal(err)
				}
				// What is on its way while B comes back is refused to the one who sends it, who sends it again.
				err := waitUntil(ctx, "B to be reached", func() (bool, error) {
					err := x.fiatSent(ctx)
					return err == nil, err
				})
				if err != nil {
					t.Fatal(err)
				}
				x.run(ctx, x.payingOut()[1:])
				x.account(ctx)
			})
		}
	}
	// Both have the same book, byte for byte.
	own := nostr.Filter{Kinds: []int{mostro.KindOrder, mostro.KindInfo, mostro.KindRelayList}, Authors: []string{l.key.Public()}}
	err = waitUntil(labContext(t), "equal books", func() (bool, error) {
		there, err := l.events(t.Context(), own)
		if err != nil {
			return false, err
		}
		here, err := a.relay.All(t.Context(), own)
		texts := make(map[string]bool)
		for i := range here {
			texts[here[i].String()] = true
		}
		for _, ev := range there {
			if !texts[ev.String()] {
				return false, err
			}
		}
		return len(here) == len(there) && len(there) > 6, err
	})
	if err != nil {
		t.Error(err)
	}
	l.settle(t)
}

// personAt is a person who is connected to another relay.
func (l *lab) personAt(t *testing.T, ctx context.Context, relay string, of *trader, label string) *person {
	t.Helper()
	p, err := l.personOn(t, ctx, relay, of, label)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// settleHowToPay: the seller tells where to pay, and the buyer answers.
func (x *labTrade) settleHowToPay(ctx context.Context) {
	x.t.Helper()
	type side struct {
		*client.Chat
		heard chan string
	}
	open := func(of *client.Trade, with string) side {
		chat, err := of.Chat(with)
		if err != nil {
			x.t.Fatal(err)
		}
		s := side{chat, make(chan string, 10)}
		go func() {
			_ = chat.Watch(ctx, func(ms []mostro.ChatMessage) { // ends with the test
				for _, m := range ms {
					s.heard <- m.Text
				}
			})
		}()
		return s
	}
	seller, buyer := open(x.sold, x.bought.Pubkey()), open(x.bought, x.sold.Pubkey())
	for _, said := range []struct {
		by   side
		text string
	}{{seller, "pay to account 12 of the bank of Nowhere"}, {buyer, "I have paid, reference 34"}} {
		if err := said.by.Say(ctx, said.text); err != nil {
			x.t.Fatal(err)
		}
		for _, s := range []side{seller, buyer} {
			select {
			case text := <-s.heard:
				if text != said.text {
					x.t.Errorf("heard %q, want %q", text, said.text)
				}
			case <-ctx.Done():
				x.t.Fatalf("%q is never heard", said.text)
			}
		}
	}
}
