package lightning

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"mostro/escrow/order"
)

// SimMethod names a method of Node in faults and call logs.
type SimMethod string

const (
	SimInfo        SimMethod = "Info"
	SimBalance     SimMethod = "Balance"
	SimOpenHold    SimMethod = "OpenHold"
	SimLookup      SimMethod = "Lookup"
	SimSettle      SimMethod = "Settle"
	SimCancel      SimMethod = "Cancel"
	SimWatchHold   SimMethod = "WatchHold"
	SimSend        SimMethod = "Send"
	SimTrack       SimMethod = "Track"
	SimCanRoute    SimMethod = "CanRoute"
	SimWatchBlocks SimMethod = "WatchBlocks"
	SimInvoices    SimMethod = "Invoices"
	SimPayments    SimMethod = "Payments"
)

// Errors of a node that is in trouble. Both mean "unknown" to the caller.
var (
	ErrSimUnavailable = errors.New("rpc error: code = Unavailable desc = connection refused")
	ErrSimDropped     = errors.New("rpc error: code = Unavailable desc = error reading from server: EOF")
	// ErrSimHang, returned by a hook of Faults, makes the call hang until its context ends.
	ErrSimHang = errors.New("hang until the context ends")
)

// Faults are what goes wrong at a node; each field is one knob, nil is well-behaved. The
// functions decide by what they are asked and by the caller's own seed, so that a run can be
// replayed.
type Faults struct {
	// Before is asked before a call has any effect; its error is the answer.
	Before func(method SimMethod, hash order.Hash) error
	// After is asked when a call has had its effect; its error replaces the answer. For a
	// stream it is asked before the first notice.
	After func(method SimMethod, hash order.Hash) error

	// The functions below are called with the network locked and must not call it.

	// Fate is asked for each payment that Send starts.
	Fate func(hash order.Hash) SimFate
	// Notice is asked for each notice to streams and listeners; the hash is zero for blocks.
	Notice func(hash order.Hash) SimNotice
	// IndexDelay is how long after Send a payment stays unknown to Track.
	IndexDelay func(hash order.Hash) time.Duration
}

// SimFate is what a node does with a payment.
type SimFate int

const (
	SimNormal SimFate = iota
	// SimStuck: in flight without an HTLC, for ever. Unstick sends it, a restart fails it.
	SimStuck
	// SimFrozen: the payment goes its way, but the node says "in flight" until Unstick or a
	// restart.
	SimFrozen
	// SimLying: the payment goes its way, but the node says "failed" until Unstick. Sending
	// it again is answered by the truth.
	SimLying
)

// SimNotice is what becomes of a notice.
type SimNotice int

const (
	SimOnce SimNotice = iota
	SimTwice
	// SimLate: held back until ReleaseNotices, so that later ones overtake it.
	SimLate
)

// SimCall is a call of one of the Node methods.
type SimCall struct {
	Method  SimMethod
	Hash    order.Hash // zero for calls that are about none
	Outcome string     // a state, "ok", or the error in words
}

// SetFaults replaces all faults of the node.
func (s *SimNode) SetFaults(faults Faults) { s.network.update(func() { s.faults = faults }) }

// Unstick ends the fault of a payment.
func (s *SimNode) Unstick(hash order.Hash) {
	s.network.update(func() {
		payment := s.payments[hash]
		if payment == nil {
			return
		}
		fate := payment.fate
		payment.fate = SimNormal
		if fate == SimStuck && payment.state == InFlight {
			payment.attempt(1)
		}
		payment.changed()
	})
}

// ReleaseNotices delivers the notices that were held back.
func (s *SimNode) ReleaseNotices() {
	s.network.update(func() {
		late := s.late
		s.late = nil
		for _, send := range late {
			send()
		}
	})
}

// DropStreams ends every stream of the node with ErrSimDropped.
func (s *SimNode) DropStreams() {
	s.network.update(func() { s.cutStreams(ErrSimDropped) })
}

// Stop takes the node down: its streams end, calls fail, payments do not reach it. What it
// holds it keeps: others can settle and cancel towards it, it learns of that by starting.
func (s *SimNode) Stop() {
	s.network.update(func() {
		s.stopped = true
		s.late = nil
		s.cutStreams(ErrSimUnavailable)
	})
}

// Start brings the node back. It does what became due meanwhile, and payments that have no
// HTLC out fail: lnd makes no new attempt after a restart.
func (s *SimNode) Start() {
	s.network.update(func() {
		if !s.stopped {
			return
		}
		s.stopped = false
		overdue := s.overdue
		s.overdue = nil
		for _, invoice := range overdue {
			invoice.expireByTime(s.network.now())
			invoice.expireByHeight()
		}
		for _, hash := range slices.SortedFunc(maps.Keys(s.payments), func(a, b order.Hash) int {
			return slices.Compare(a[:], b[:])
		}) {
			payment := s.payments[hash]
			switch {
			case payment.fate == SimStuck && payment.state == InFlight:
				payment.fate = SimNormal
				payment.giveUp(reasonNoRoute)
			case payment.fate == SimFrozen:
				payment.fate = SimNormal
			}
		}
	})
}

// Restart is Stop and Start.
func (s *SimNode) Restart() {
	s.Stop()
	s.Start()
}

// Calls returns the last calls of the Node methods, oldest first, at most 10,000. Calls that
// were never answered are among them.
func (s *SimNode) Calls() []SimCall {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count is how often a method was called.
func (s *SimNode) Count(method SimMethod) int {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.counts[method]
}

func (s *SimNode) cutStreams(err error) {
	for stream := range s.streams {
		stream.cut(err)
	}
}

// unindexed tells whether Track does not find a payment yet.
func (s *SimNode) unindexed(payment *simPayment) bool {
	return s.faults.IndexDelay != nil &&
		s.network.now().Before(payment.sentAt.Add(s.faults.IndexDelay(payment.invoice.Hash)))
}

// call carries out one Node method, with its faults, and logs it.
func (s *SimNode) call(ctx context.Context, method SimMethod, hash order.Hash, effect func() (string, error)) error {
	outcome, err := s.tryCall(ctx, method, hash, effect)
	switch {
	case err != nil:
		outcome = err.Error()
	case outcome == "":
		outcome = "ok"
	}
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	s.counts[method]++
	if len(s.calls) == simMaxCallLog {
		s.calls = s.calls[1:]
	}
	s.calls = append(s.calls, SimCall{method, hash, outcome})
	return err
}

func (s *SimNode) tryCall(ctx context.Context, method SimMethod, hash order.Hash, effect func() (string, error)) (outcome string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s.network.mu.Lock()
	faults := s.faults
	s.network.mu.Unlock()
	if err := ask(ctx, faults.Before, method, hash); err != nil {
		return "", err
	}
	s.network.update(func() {
		if s.stopped {
			err = ErrSimUnavailable
			return
		}
		outcome, err = effect()
	})
	if fault := ask(ctx, faults.After, method, hash); fault != nil {
		return "", fault
	}
	return outcome, err
}

// ask asks a hook, if there is one, and hangs if it says so.
func ask(ctx context.Context, hook func(SimMethod, order.Hash) error, method SimMethod, hash order.Hash) error {
	if hook == nil {
		return nil
	}
	err := hook(method, hash)
	if errors.Is(err, ErrSimHang) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}
