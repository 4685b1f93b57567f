package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// person is a user with new words: a client of the relay, and a node of the network.
type person struct {
	*trader
	t     *testing.T
	lab   *lab
	label string // in the log
	words string
}

// person dials the relay; what the node says is logged.
func (l *lab) person(t *testing.T, ctx context.Context, of *trader, label string) (*person, error) {
	return l.personOn(t, ctx, "ws://"+l.address, of, label)
}

func (l *lab) personOn(t *testing.T, ctx context.Context, relay string, of *trader, label string) (*person, error) {
	words, err := mostro.NewMnemonic()
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, client.Config{
		RelayURL: relay, Node: l.key.Public(), Keys: client.Keys{Mnemonic: words},
		Heard: func(trade *client.Trade, m mostro.Message) {
			t.Logf("%s <- %s", label, wordsOf(m))
		},
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(c.Close)
	return &person{trader: &trader{name: of.name, client: c, wallet: of.wallet}, t: t, lab: l, label: label, words: words}, nil
}

// wordsOf is a message in a line of the test's log.
func wordsOf(m mostro.Message) string {
	text := string(m.Action)
	if status, ok := client.StatusOf(m); ok {
		text += ", order: " + string(status)
	}
	switch p := m.Payload; {
	case p == nil:
	case p.CantDo != nil:
		text += ": " + string(*p.CantDo)
	case p.TextMessage != nil:
		text += ": " + *p.TextMessage
	}
	return text
}

// say sends what the client has no method for, from the key of a trade that is open.
func (p *person) say(ctx context.Context, trade *client.Trade, m mostro.Message) error {
	key, err := mostro.DeriveKey(p.words, trade.Index())
	if err != nil {
		return err
	}
	identity, err := mostro.DeriveKey(p.words, 0)
	if err != nil {
		return err
	}
	m.Wrapper, m.ID = mostro.WrapOrder, trade.OrderID()
	p.t.Logf("%s -> %s", p.label, m.Action)
	return p.lab.publish(ctx, m, mostro.Party{Trade: key, Identity: identity})
}

// publish sends a message over a connection of its own and returns when the relay has taken it.
func (l *lab) publish(ctx context.Context, m mostro.Message, from mostro.Party) error {
	m.Version = mostro.NIP44.Version()
	ev, err := mostro.SealRequest(m, mostro.NIP44, from, l.key.Public(), time.Now().Unix(), 0)
	if err != nil {
		return err
	}
	relay, err := nostr.RelayConnect(ctx, "ws://"+l.address)
	if err != nil {
		return err
	}
	defer relay.Close()
	return relay.Publish(ctx, ev)
}

// desk is where an administrator or a solver sits: one key, and no trades.
type desk struct {
	lab  *lab
	t    *testing.T
	name string
	key  mostro.Secret
	mail *nostr.Subscription
}

// desk connects to the relay and asks for all mail to the key.
func (l *lab) desk(t *testing.T, ctx context.Context, name string, key mostro.Secret) *desk {
	t.Helper()
	relay, err := nostr.RelayConnect(ctx, "ws://"+l.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	mail, err := relay.Subscribe(ctx, nostr.Filters{{
		Kinds: []int{mostro.KindMessage}, Authors: []string{l.key.Public()}, Tags: nostr.TagMap{"p": {key.Public()}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &desk{lab: l, t: t, name: name, key: key, mail: mail}
}

// ask sends a request and returns the answer, which must be of the action want.
func (d *desk) ask(ctx context.Context, m mostro.Message, want mostro.Action) mostro.Message {
	d.t.Helper()
	id := rand.Uint64()
	m.Wrapper, m.RequestID = mostro.WrapDispute, &id
	d.t.Logf("%s -> %s", d.name, m.Action)
	if err := d.lab.publish(ctx, m, mostro.Party{Trade: d.key, Identity: d.key}); err != nil {
		d.t.Fatal(err)
	}
	answer, err := d.answer(ctx, id)
	if err == nil && answer.Action == mostro.SendDM { // the node is slow, and said so
		answer, err = d.answer(ctx, id)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	if answer.Action != want {
		d.t.Fatalf("%s is answered with %s", m.Action, wordsOf(answer))
	}
	return answer
}

// answer reads the mail until the answer to a request comes.
func (d *desk) answer(ctx context.Context, request uint64) (mostro.Message, error) {
	for {
		select {
		case ev, ok := <-d.mail.Events:
			if !ok {
				return mostro.Message{}, errors.New("the relay has closed the mail")
			}
			m, err := mostro.OpenReply(ev, d.key, d.lab.key.Public())
			if err != nil {
				return m, err
			}
			d.t.Logf("%s <- %s", d.name, wordsOf(m))
			if m.RequestID != nil && *m.RequestID == request {
				return m, nil
			}
		case <-ctx.Done():
			return mostro.Message{}, fmt.Errorf("wait for mail to %s: %w", d.name, ctx.Err())
		}
	}
}
