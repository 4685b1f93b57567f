package escrow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// Faults of a simulation, by the words in which they are counted and written into a story. Those
// of the first block are decided one by one, and a story keeps only those that it needs; those of
// the second are steps of the world.
const (
	faultDelayed       = "a message is delayed"
	faultDoubled       = "a message comes twice"
	faultLostBefore    = "a call to the node is lost"
	faultLostAfter     = "an answer of the node is lost"
	faultLateRequest   = "a call to the node arrives late"
	faultRepeated      = "the node says something again"
	faultOldNews       = "the node's news come out of order"
	faultStream        = "a stream of the node dies"
	faultStuck         = "a payment hangs without an HTLC"
	faultFrozen        = "a payment is in flight for ever"
	faultLie           = "a payment is called failed and succeeds"
	faultUnindexed     = "a payment is not found for a while after it was sent"
	faultLostPayment   = "the node deletes a payment before it has said how it ended"
	faultServer        = "the payee's server is away"
	faultServerLies    = "the payee's server asks for another amount"
	faultPublish       = "the event store refuses"
	faultPublished     = "the event store has stored, and says that it has not"
	faultWrongAmount   = "an invoice over another amount"
	faultHoldInvoice   = "an invoice that its payee holds"
	faultShortInvoice  = "an invoice that soon expires"
	faultOverpaid      = "a hold invoice is overpaid"
	faultChange        = "a taker thinks again"
	faultStranger      = "somebody wants what is not his"
	crashBeforeCall    = "the process dies before a call"
	crashAfterCall     = "the process dies after a call, its answer unheard"
	crashBeforeCommit  = "the process dies before a commit, or the disk refuses it"
	crashAfterCommit   = "the process dies after a commit, or the disk lies about it"
	crashBeforePublish = "the process dies before publishing"
	crashAfterPublish  = "the process dies after publishing, its rows not done"

	crashBeforeEpoch = "the process dies before the epoch's file is written"
	crashAfterEpoch  = "the process dies after the epoch's file was written"

	worldCrash      = "the process dies between two steps"
	worldAway       = "the process is away for hours"
	worldNodeDown   = "the node stops"
	worldNodeHours  = "the node is away for hours"
	worldUnsynced   = "the node is behind the chain"
	worldBlocks     = "many blocks at once"
	worldClockBack  = "the clock is set back"
	worldClockAhead = "the clock is set forward"
	worldHidden     = "a paid hash is no longer found"
	worldForgotten  = "the node deletes an old payment"
	worldCollected  = "the node deletes a canceled invoice"
	worldLostHold   = "the node loses a hold invoice"
	worldAutoCancel = "the node cancels at the deadline"
	worldOldStore   = "an old copy of the store is put back"
	worldSnapshot   = "an old copy of the whole machine is put back"
	worldNoRoute    = "a payee cannot be reached"
	worldDearRoute  = "the way to a payee costs more than it may"
	worldReordered  = "a message is overtaken"
	worldSentAgain  = "a message is sent again after a crash"
	worldSettings   = "the process starts with other settings"
	worldPrice      = "the price is another one"
	crashInStart    = "the process dies while it starts"
)

// simFaults are all of them, in the order in which they are printed.
func simFaults() []string {
	return []string{
		faultDelayed, faultDoubled, worldReordered, worldSentAgain,
		faultLostBefore, faultLostAfter, faultLateRequest, faultRepeated, faultOldNews, faultStream,
		faultStuck, faultFrozen, faultLie, faultUnindexed, faultLostPayment, worldHidden, worldForgotten, worldCollected, worldLostHold, worldAutoCancel,
		worldNodeDown, worldNodeHours, worldUnsynced, worldBlocks, worldClockBack, worldClockAhead, worldNoRoute, worldDearRoute,
		faultServer, faultServerLies, faultPublish, faultPublished,
		faultWrongAmount, faultHoldInvoice, faultShortInvoice, faultOverpaid, faultChange, faultStranger,
		crashBeforeCall, crashAfterCall, crashBeforeCommit, crashAfterCommit, crashBeforePublish, crashAfterPublish, crashBeforeEpoch, crashAfterEpoch,
		worldCrash, worldAway, worldOldStore, worldSnapshot, crashInStart, worldSettings, worldPrice,
	}
}

// die ends the process, as a kill does.
func (s *Simulation) die() { panic(crash{}) }

// commit is what a simulation has each commit go through: the process may die on either side of
// it, which is also all that a failing disk can do.
func (s *Simulation) commit(written []*badger.Entry, commit func() error) error {
	if s.fault(crashBeforeCommit, 2) {
		s.die()
	}
	if err := commit(); err != nil {
		return err
	}
	for _, entry := range written { // bonds look at their orders as these were
		if entry.Key[0] == tableBond {
			s.wrote(entry.Key, entry.Value)
		}
	}
	for _, entry := range written {
		if entry.Key[0] != tableBond {
			s.wrote(entry.Key, entry.Value)
		}
	}
	if s.fault(crashAfterCommit, 2) {
		s.die()
	}
	return nil
}

func (s *Simulation) beforeCall(m lightning.SimMethod, hash order.Hash) error {
	if !s.quiet {
		s.breach = first(s.breach, s.intended(m, hash), s.mayEnd(m, hash))
	}
	switch {
	case s.at != nil && looks(m):
	case s.fault(faultLostBefore, 40):
		s.say("  in %s", m)
		return lightning.ErrSimDropped
	case s.fault(crashBeforeCall, 4):
		s.say("  in %s", m)
		s.die()
	}
	return nil
}

func (s *Simulation) afterCall(m lightning.SimMethod, _ order.Hash) error {
	switch {
	case s.at != nil && looks(m):
	case s.fault(faultLostAfter, 40):
		s.say("  in %s", m)
		return lightning.ErrSimDropped
	case s.fault(crashAfterCall, 4):
		s.say("  in %s", m)
		s.die()
	}
	return nil
}

// looks tells of calls that ask how the node is, and nothing else.
func looks(m lightning.SimMethod) bool { return m == lightning.SimInfo || m == lightning.SimBalance }

// simLateNode is the node behind a slow network: a call that has failed for its caller may be
// carried out afterwards.
type simLateNode struct {
	*lightning.SimNode
	s *Simulation
}

// latestRequest is how long a call can be under way: ours end after ten seconds, and the node may
// have it in a queue.
const latestRequest = time.Minute

func (n simLateNode) late(do func(context.Context)) error {
	if !n.s.fault(faultLateRequest, 15) {
		return nil
	}
	until := n.s.wall.Add(latestRequest)
	n.s.requests = append(n.s.requests, func() {
		if n.s.wall.Before(until) {
			n.s.quietly(func() { do(context.Background()) })
		}
	})
	return lightning.ErrSimDropped
}

func (n simLateNode) OpenHold(ctx context.Context, req lightning.HoldRequest) (lightning.HoldInvoice, error) {
	if err := n.late(func(ctx context.Context) {
		_, _ = n.SimNode.OpenHold(ctx, req)
		n.s.orphans[req.Hash] = true
	}); err != nil {
		return lightning.HoldInvoice{}, err
	}
	return n.SimNode.OpenHold(ctx, req)
}

func (n simLateNode) Settle(ctx context.Context, p order.Preimage) error {
	if err := n.late(func(ctx context.Context) { _ = n.SimNode.Settle(ctx, p) }); err != nil {
		return err
	}
	return n.SimNode.Settle(ctx, p)
}

func (n simLateNode) Cancel(ctx context.Context, h order.Hash) error {
	if err := n.late(func(ctx context.Context) { _ = n.SimNode.Cancel(ctx, h) }); err != nil {
		return err
	}
	return n.SimNode.Cancel(ctx, h)
}

func (n simLateNode) Send(ctx context.Context, req lightning.PayRequest) (lightning.Payment, error) {
	n.s.seeSend(ctx, req)
	if err := n.late(func(ctx context.Context) { _, _ = n.SimNode.Send(ctx, req) }); err != nil {
		if inv, err := lightning.Decode(req.Invoice); err == nil {
			n.s.sends[inv.Hash] = n.s.wall.Add(latestRequest)
		}
		return lightning.Payment{}, err
	}
	return n.SimNode.Send(ctx, req)
}

// quietly does something that the engine does not do now, without faults.
func (s *Simulation) quietly(do func()) {
	faulty, at := s.faulty, s.at
	s.faulty, s.at, s.quiet = false, nil, true
	do()
	s.faulty, s.at, s.quiet = faulty, at, false
}

// longestLie is how long the node of a simulation takes its time to say what is (M1: 122 s were
// seen). A node that lies for longer than the grace of payouts cannot be survived by asking it.
const longestLie = 180 * time.Second

// fate makes payments hang, or called failed while they are not, or not found for a while.
func (s *Simulation) fate(hash order.Hash) lightning.SimFate {
	if s.fault(faultUnindexed, 250) {
		s.unindexed[hash] = time.Duration(s.r.Int64N(int64(longestLie)))
	}
	switch {
	case s.fault(faultStuck, 50):
		return lightning.SimStuck
	case s.fault(faultFrozen, 50):
		return lightning.SimFrozen
	case s.fault(faultLie, 100):
		s.lied[hash] = true
		s.lies[hash] = s.wall.Add(time.Duration(s.r.Int64N(int64(longestLie))))
		return lightning.SimLying
	}
	return lightning.SimNormal
}

// indexDelay keeps a payment unknown for a while after it was sent, or for as long as the node
// has lost it.
func (s *Simulation) indexDelay(hash order.Hash) time.Duration {
	if s.hidden[hash] {
		return 1 << 62
	}
	return s.unindexed[hash]
}

// advance moves the clock. The process may die in it: what has become of the world is noted first.
func (s *Simulation) advance(d time.Duration) {
	s.say("wait %s", d)
	s.pass(d)
	s.noteTime()
	_ = s.e.beat(context.Background())
}

// noteTime takes note of the time, and ends the lies that are over.
func (s *Simulation) noteTime() {
	s.wall = s.net.Now()
	over := slices.DeleteFunc(slices.Collect(maps.Keys(s.lies)), func(h order.Hash) bool { return s.lies[h].After(s.wall) })
	slices.SortFunc(over, byText)
	for _, hash := range over {
		s.say("  payment %.4s was not failed", hash)
		delete(s.lies, hash)
		s.node.Unstick(hash)
	}
}

func byText(a, b order.Hash) int { return cmp.Compare(a.String(), b.String()) }

// resolve is the payees' server, which may be away or lie about the amount.
func (s *Simulation) resolve(_ context.Context, address string, amount order.Msat) (string, error) {
	if s.fault(faultServer, 150) {
		return "", errors.New("the payee's server is away")
	}
	if s.fault(faultServerLies, 100) {
		amount += 5000
	}
	for _, p := range append(s.people, s.dev) {
		if p.name+"@sim" == address {
			return p.wallet.AddInvoice(lightning.SimInvoiceRequest{Amount: amount, Expiry: 6 * time.Hour, CLTVDelta: 40}), nil
		}
	}
	return "", errors.New("nobody of that name")
}

var errEventStore = errors.New("the event store is away")

// publish is the event store; it checks that the book only moves forward (I9).
func (s *Simulation) publish(_ context.Context, events ...nostr.Event) error {
	if s.fault(faultPublish, 30) {
		return errEventStore
	}
	if s.fault(crashBeforePublish, 8) {
		s.die()
	}
	for _, ev := range events {
		if s.stored[ev.ID] {
			continue // a duplicate
		}
		s.stored[ev.ID] = true
		if ev.Kind < 30000 {
			continue
		}
		at, address := int64(ev.CreatedAt), fmt.Sprint(ev.Kind, ev.Tags.GetD())
		if at <= s.stamps[address] {
			s.breach = first(s.breach, fmt.Errorf("I9: %s goes from %d to %d", address, s.stamps[address], at))
		}
		s.stamps[address] = at
		if ev.Kind == mostro.KindDispute {
			s.public[ev.Tags.GetD()] = ev.Tags.Find("s")[1]
		}
		if ev.Kind == mostro.KindOrder {
			id := ev.Tags.GetD()
			s.public[id] = ev.Tags.Find("s")[1]
			if !s.known[id] {
				s.known[id] = true
				s.orders = append(s.orders, id)
			}
		}
	}
	if s.fault(crashAfterPublish, 8) {
		s.die()
	}
	if s.fault(faultPublished, 30) {
		return errEventStore
	}
	return nil
}
