package escrow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// lose makes a call of the node fail, before or after its effect.
func (s *Simulation) lose(m lightning.SimMethod, _ order.Hash) error {
	if !s.faulty {
		return nil
	}
	if s.chance(4) {
		s.say("  the node's answer to %s is lost", m)
		return lightning.ErrSimDropped
	}
	if s.chance(1) {
		s.say("  the process dies in %s", m)
		panic(crash{})
	}
	return nil
}

// longestLie is how long the node of a simulation takes its time to say what is (M1: 122 s were
// seen). A node that lies for longer than the grace of payouts cannot be survived by asking it.
const longestLie = 180 * time.Second

// fate makes payments hang, or called failed while they are not.
func (s *Simulation) fate(hash order.Hash) lightning.SimFate {
	if !s.faulty {
		return lightning.SimNormal
	}
	switch s.r.IntN(20) {
	case 0:
		return lightning.SimStuck
	case 1:
		return lightning.SimFrozen
	case 2, 3:
		s.lies[hash] = s.wall.Add(time.Duration(s.r.Int64N(int64(longestLie))))
		return lightning.SimLying
	}
	return lightning.SimNormal
}

// indexDelay keeps a quarter of the payments unknown for a while after they were sent.
func (s *Simulation) indexDelay(hash order.Hash) time.Duration {
	if hash[0] >= 64 {
		return 0
	}
	return time.Duration(hash[1]) * longestLie / 256
}

// advance moves the clock, and ends the lies that are over.
func (s *Simulation) advance(d time.Duration) {
	s.pass(d)
	s.wall = s.net.Now()
	over := slices.DeleteFunc(slices.Collect(maps.Keys(s.lies)), func(h order.Hash) bool { return s.lies[h].After(s.wall) })
	slices.SortFunc(over, func(a, b order.Hash) int { return cmp.Compare(a.String(), b.String()) })
	for _, hash := range over {
		s.say("  payment %.4s was not failed", hash)
		delete(s.lies, hash)
		s.node.Unstick(hash)
	}
}

// resolve is the payees' server, which may be away or lie about the amount.
func (s *Simulation) resolve(_ context.Context, address string, amount order.Msat) (string, error) {
	if s.faulty && s.chance(15) {
		return "", errors.New("the payee's server is away")
	}
	if s.faulty && s.chance(10) {
		amount += 5000
	}
	for _, p := range append(s.people, s.dev) {
		if p.name+"@sim" == address {
			return p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: 6 * time.Hour, CLTVDelta: 40}), nil
		}
	}
	return "", errors.New("nobody of that name")
}

// publish is the event store; it checks that the book only moves forward (I9).
func (s *Simulation) publish(_ context.Context, events ...nostr.Event) error {
	if s.faulty && s.chance(3) {
		return errors.New("the event store is away")
	}
	if s.faulty && s.chance(1) {
		s.say("  the process dies in publish")
		panic(crash{})
	}
	for _, ev := range events {
		if ev.Kind < 30000 {
			continue
		}
		at, address := int64(ev.CreatedAt), fmt.Sprint(ev.Kind, ev.Tags.GetD())
		if at < s.stamps[address] {
			return fmt.Errorf("I9: %s goes back from %d to %d", address, s.stamps[address], at)
		}
		s.stamps[address] = at
		if ev.Kind == mostro.KindOrder {
			id := ev.Tags.GetD()
			s.public[id] = ev.Tags.Find("s")[1]
			if !s.known[id] {
				s.known[id] = true
				s.orders = append(s.orders, id)
			}
		}
	}
	return nil
}
