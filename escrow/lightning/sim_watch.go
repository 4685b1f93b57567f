package lightning

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"mostro/escrow/order"
)

// SimChange is something that changed at a node, as its node reports it.
type SimChange struct {
	Node    string
	Hash    order.Hash   // of what changed, zero for a block
	Hold    *HoldInvoice // an invoice of the node, also an ordinary one
	Payment *Payment     // a payment of the node
	Height  uint32       // a new block, as seen by the node
}

// OnChange has listen called for every change at every running node, in the order of the
// changes, one at a time and after the call that made it has let go of the network: listen
// may call the network, and what changes by that is told next. Without other goroutines
// that is before the changing call returns. Like a stream, it says nothing of what happens
// while a node is stopped, and Notice faults apply.
func (n *SimNetwork) OnChange(listen func(SimChange)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(n.listeners, listen)
}

// tell delivers changes until there are none left. Only one caller does it at a time.
func (n *SimNetwork) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.delivering {
		return
	}
	n.delivering = true
	defer func() { n.delivering = false }() // also when a listener plays dead by a panic
	for len(n.changes) > 0 {
		change := n.changes[0]
		n.changes = n.changes[1:]
		for _, listen := range n.listeners {
			n.tellOne(listen, change)
		}
	}
}

// tellOne lets go of the network while the listener runs.
func (n *SimNetwork) tellOne(listen func(SimChange), change SimChange) {
	n.mu.Unlock()
	defer n.mu.Lock()
	listen(change)
}

// notify sends a notice the way faults want it: to the streams by push, to the listeners
// as change.
func (s *SimNode) notify(change SimChange, push func()) {
	if s.stopped {
		return
	}
	send := func() {
		push()
		if len(s.network.listeners) > 0 {
			s.network.changes = append(s.network.changes, change)
		}
	}
	notice := SimOnce
	if s.faults.Notice != nil {
		notice = s.faults.Notice(change.Hash)
	}
	switch notice {
	case SimLate:
		s.late = append(s.late, send)
	case SimTwice:
		send()
		send()
	default:
		send()
	}
}

func (s *SimNode) tellHeight() {
	height := s.network.height
	s.notify(SimChange{Node: s.name, Height: height}, func() {
		for _, stream := range s.blockStreams {
			stream.push(height)
		}
	})
}

func (s *SimNode) WatchHold(ctx context.Context, hash order.Hash, seen func(HoldInvoice)) error {
	var invoice *simInvoice
	stream := newSimWatch[HoldInvoice]()
	err := s.call(ctx, SimWatchHold, hash, func() (string, error) {
		if invoice = s.invoices[hash]; invoice == nil {
			return "", ErrNotFound
		}
		view := invoice.view()
		stream.push(view)
		invoice.streams = append(invoice.streams, stream)
		s.streams[stream] = struct{}{}
		return string(view.State), nil
	})
	if err == nil {
		err = stream.run(ctx, &s.network.mu, seen, func(view HoldInvoice) bool { return view.State.Final() })
	}
	if invoice != nil {
		s.forget(stream, func() { invoice.streams = without(invoice.streams, stream) })
	}
	if err != nil {
		return fmt.Errorf("watch hold invoice %s: %w", hash, err)
	}
	return nil
}

func (s *SimNode) Track(ctx context.Context, hash order.Hash, seen func(Payment)) error {
	var payment *simPayment
	stream := newSimWatch[Payment]()
	err := s.call(ctx, SimTrack, hash, func() (string, error) {
		found := s.payments[hash]
		if found == nil || s.unindexed(found) {
			return "", fmt.Errorf("%w: payment isn't initiated", ErrNotFound)
		}
		payment = found
		view := payment.view()
		stream.push(view)
		payment.streams = append(payment.streams, stream)
		s.streams[stream] = struct{}{}
		return string(view.State), nil
	})
	if err == nil {
		err = stream.run(ctx, &s.network.mu, seen, func(view Payment) bool { return view.State != InFlight })
	}
	if payment != nil {
		s.forget(stream, func() { payment.streams = without(payment.streams, stream) })
	}
	if err != nil {
		return fmt.Errorf("track payment %s: %w", hash, err)
	}
	return nil
}

func (s *SimNode) WatchBlocks(ctx context.Context, seen func(height uint32)) error {
	stream := newSimWatch[uint32]()
	err := s.call(ctx, SimWatchBlocks, order.Hash{}, func() (string, error) {
		stream.push(s.network.height)
		s.blockStreams = append(s.blockStreams, stream)
		s.streams[stream] = struct{}{}
		return "", nil
	})
	if err == nil {
		err = stream.run(ctx, &s.network.mu, seen, func(uint32) bool { return false })
	}
	s.forget(stream, func() { s.blockStreams = without(s.blockStreams, stream) })
	return fmt.Errorf("watch blocks: %w", err)
}

// forget takes a finished stream off the node's lists.
func (s *SimNode) forget(stream simStream, remove func()) {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	delete(s.streams, stream)
	remove()
}

func without[T any](streams []*simWatch[T], gone *simWatch[T]) []*simWatch[T] {
	return slices.DeleteFunc(streams, func(other *simWatch[T]) bool { return other == gone })
}

// simStream is a stream of any kind that can be cut.
type simStream interface{ cut(error) }

// simWatch carries notices to the goroutine that watches. Its fields belong to the lock of
// the network.
type simWatch[T any] struct {
	waiting []T
	err     error
	wake    chan struct{} // holds one token when there is something to see
}

func newSimWatch[T any]() *simWatch[T] { return &simWatch[T]{wake: make(chan struct{}, 1)} }

// push is in vain once the stream is cut, also while its watcher does not know yet.
func (w *simWatch[T]) push(notice T) {
	if w.err != nil {
		return
	}
	w.waiting = append(w.waiting, notice)
	w.signal()
}

// cut ends the stream; what it had not delivered is lost.
func (w *simWatch[T]) cut(err error) {
	w.waiting, w.err = nil, err
	w.signal()
}

func (w *simWatch[T]) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run delivers until a final notice, the end of the stream or of ctx.
func (w *simWatch[T]) run(ctx context.Context, mu *sync.Mutex, seen func(T), final func(T) bool) error {
	for {
		mu.Lock()
		notices, err := w.waiting, w.err
		w.waiting = nil
		mu.Unlock()
		for _, notice := range notices {
			seen(notice)
			if final(notice) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
