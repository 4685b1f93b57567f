package escrow

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// How often the node is asked, whatever its streams say: a stream that has died without a
// word must not hold up a trade.
const (
	nodeEvery       = 5 * time.Second
	sayAgain        = 5 * time.Minute
	streamLife      = 30 * time.Second // then the stream is opened anew, and says the state again
	holdsPerChannel = 483              // lnd
	// unknownAfter is how long the node may not know a payment that it had acknowledged, or a hold
	// invoice that it had made, before it counts as lost: its index may lag.
	unknownAfter = 5 * time.Minute
)

// nodeView is what is known of the Lightning node now.
type nodeView struct {
	mu      sync.Mutex
	latest  lightning.Info
	balance lightning.Balance
	up      bool
	since   time.Time // of up being what it is
	said    time.Time // when it was last logged that the node is away
	height  uint32
	behind  time.Time // since when it answers and is not synced to the chain
	chain   string    // what is wrong with its view of the chain, as told last
	// asked is closed once the node has answered, or failed to, since this process began.
	asked chan struct{}
	once  sync.Once
}

func (v *nodeView) info() lightning.Info {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.latest
}

// ready tells that the node answers and is synced to the chain.
func (v *nodeView) ready() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.up && v.latest.Synced
}

func (v *nodeView) tip() uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.height
}

// local is what the node can send.
func (v *nodeView) local() order.Msat {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.balance.Local
}

// saw takes note of a block and tells whether it is new.
func (v *nodeView) saw(height uint32) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if height <= v.height {
		return false
	}
	v.height = height
	return true
}

// nodeFacts is what a take needs to know of the node.
func (e *Engine) nodeFacts() order.NodeFacts {
	promised, holds := e.live.load()
	promised, holds = promised+e.claims.promised, holds+e.claims.holds
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	free := e.node.balance.ActiveChannels*holdsPerChannel*9/10 - holds // a tenth is left for everything else
	if limit := e.cfg.Settings.HoldCap; limit > 0 {
		free = min(free, limit-holds)
	}
	return order.NodeFacts{
		Ready: e.node.up && e.node.latest.Synced, Pubkey: e.node.latest.Pubkey, Network: e.node.latest.Network,
		Height: e.node.height, Outbound: e.node.balance.Local - promised, Inbound: max(1, e.node.balance.Remote), Holds: free,
	}
}

// watchNode keeps the view of the node, and of the chain, up to date.
func (e *Engine) watchNode(ctx context.Context) {
	var streams sync.WaitGroup
	defer streams.Wait()
	streams.Add(1)
	go func() {
		defer streams.Done()
		e.again(ctx, func(ctx context.Context) error {
			return e.cfg.Node.WatchBlocks(ctx, func(height uint32) {
				if e.node.saw(height) {
					e.live.wake()
				}
			})
		})
	}()
	for {
		e.askNode(ctx)
		if !sleep(ctx, nodeEvery) {
			return
		}
	}
}

// awaitNode waits until something is known of the node, be it that it does not answer. In the
// moment after a start a take would be refused otherwise, as if the node were away; the wait
// is as long as one call at most.
func (e *Engine) awaitNode(ctx context.Context) {
	select {
	case <-e.node.asked:
	case <-e.stop:
	case <-ctx.Done():
	}
}

// askNode asks the node how it is, and says so when that has changed.
func (e *Engine) askNode(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := e.cfg.Node.Info(asking)
	if err == nil {
		err = e.meet(asking, info)
	}
	var balance lightning.Balance
	if err == nil {
		balance, err = e.cfg.Node.Balance(asking)
	}
	now := e.cfg.Clock()
	e.node.mu.Lock()
	was, old, since := e.node.up, e.node.latest, e.node.since
	e.node.up = err == nil
	if err == nil {
		e.node.latest, e.node.balance = info, balance
		e.node.height = max(e.node.height, info.Height)
	}
	hadChain := e.node.chain
	if err == nil {
		e.node.chain = e.node.chainTrouble(info, now)
	} else {
		e.node.behind = time.Time{} // it catches up anew when it is back
	}
	chain := e.node.chain
	if was != e.node.up || since.IsZero() {
		e.node.since = now
	}
	// Silence is said again now and then: an operator who starts to look must find it.
	say := err != nil && (was || now.Sub(e.node.said) > sayAgain)
	if say {
		e.node.said = now
	}
	e.node.mu.Unlock()
	e.node.once.Do(func() { close(e.node.asked) })
	switch {
	case say:
		e.log.Error("the Lightning node does not answer; trades wait for it", "error", err)
	case err == nil && !was:
		e.log.Info("the Lightning node answers", "alias", info.Alias, "pubkey", info.Pubkey, "network", info.Network, "height", info.Height, "synced", info.Synced)
	}
	e.tellChain(hadChain, chain, info)
	if err == nil && !was && !since.IsZero() { // it did not answer before
		e.giveBack(ctx, now.Sub(since))
	}
	if err == nil && (!was || old.Synced != info.Synced || old.Pubkey != info.Pubkey) {
		e.live.wake()
		signal(e.news)
	}
}

// giveBack returns the time that the node was away to who had something to do in it.
func (e *Engine) giveBack(ctx context.Context, away time.Duration) {
	if away < 2*nodeEvery {
		return
	}
	for _, id := range e.live.ids() {
		ev := e.newEvent(order.Resumed, id)
		ev.Pause = int64(away / time.Second)
		if err := e.apply(ctx, ev); err != nil {
			e.log.Warn("give back the time that the node was away", "order", id, "error", err)
		}
	}
}

// again runs a stream until ctx ends, with a pause after each end.
func (e *Engine) again(ctx context.Context, stream func(context.Context) error) {
	for tries := 0; ; tries++ {
		began := time.Now()
		_ = stream(ctx) // why it died is seen by askNode, once for all streams
		if time.Since(began) > streamLife {
			tries = 0
		}
		if !sleep(ctx, backoff(min(tries, 4))) {
			return
		}
	}
}

// sleep waits and tells whether to go on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// watchHashes keeps one watch for each hold invoice and each payment that is not final. At
// the start that is the question about every live hash; each answer is an event.
func (e *Engine) watchHashes(ctx context.Context) {
	type what struct {
		hash    order.Hash
		payment bool
	}
	ends := map[what]context.CancelFunc{}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		for _, w := range e.live.fetch() {
			each := what{w.hash, w.payment}
			if end := ends[each]; end != nil {
				end()
				delete(ends, each)
			}
			if w.end {
				continue
			}
			ctx, end := context.WithCancel(ctx)
			ends[each] = end
			running.Add(1)
			go func() {
				defer running.Done()
				e.watchHash(ctx, w)
			}()
		}
		select {
		case <-e.live.rewatched:
		case <-ctx.Done():
			return
		}
	}
}

// watchHash follows one hash until it is told to end, whatever becomes of its streams.
func (e *Engine) watchHash(ctx context.Context, w watch) {
	if w.payment {
		e.watchPayment(ctx, w)
	} else {
		e.watchHold(ctx, w)
	}
}

// watchHold turns the states of a hold invoice into events until it is final.
func (e *Engine) watchHold(ctx context.Context, w watch) {
	var last lightning.HoldState
	var missing time.Time
	e.again(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, streamLife)
		defer cancel()
		err := e.cfg.Node.WatchHold(ctx, w.hash, func(h lightning.HoldInvoice) {
			missing = time.Time{}
			if h.State == last {
				return
			}
			if err := e.sawHold(ctx, w, h); err != nil {
				e.log.Warn("apply news of a hold invoice, will hear it again", "order", w.order, "state", h.State, "error", err)
				cancel()
				return
			}
			last = h.State
		})
		if !errors.Is(err, lightning.ErrNotFound) {
			return err
		}
		last = "" // what it says when it knows it again is news
		return errors.Join(err, e.missedHold(ctx, w, &missing))
	})
}

// missedHold notes that the node does not know a hold invoice. Most are not opened yet: the call
// is in the outbox. One that was is news after a while.
func (e *Engine) missedHold(ctx context.Context, w watch, since *time.Time) error {
	e.live.heard(w)
	if since.IsZero() {
		*since = e.cfg.Clock()
	}
	if e.cfg.Clock().Sub(*since) < unknownAfter {
		return nil
	}
	ev := e.holdEvent(order.HoldUnknown, lightning.HoldInvoice{Hash: w.hash})
	ev.Order, ev.Bond = w.order, w.bond
	return e.apply(ctx, *ev)
}

// holdEvents are the states of a hold invoice that are news; open is none.
var holdEvents = map[lightning.HoldState]order.EventName{
	lightning.Accepted: order.HoldAccepted,
	lightning.Settled:  order.HoldSettled,
	lightning.Canceled: order.HoldCanceled,
}

// sawHold applies what the node says of a hold invoice.
func (e *Engine) sawHold(ctx context.Context, w watch, h lightning.HoldInvoice) error {
	if err := settledInFull(h); err != nil {
		return err
	}
	if name := holdEvents[h.State]; name != "" {
		ev := e.holdEvent(name, h)
		ev.Order, ev.Bond = w.order, w.bond
		if err := e.apply(ctx, *ev); err != nil {
			return err
		}
	}
	e.live.heard(w)
	return nil
}

// watchPayment turns the final state of a payment into an event. The node's "not found"
// about a payment that it had acknowledged is never taken for a failure.
func (e *Engine) watchPayment(ctx context.Context, w watch) {
	var missing time.Time
	e.again(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, streamLife)
		defer cancel()
		err := e.cfg.Node.Track(ctx, w.hash, func(p lightning.Payment) {
			missing = time.Time{}
			if err := e.sawPayment(ctx, w, p); err != nil {
				e.log.Warn("apply news of a payment, will hear it again", "order", w.order, "state", p.State, "error", err)
				cancel()
			}
		})
		if !errors.Is(err, lightning.ErrNotFound) {
			return err
		}
		return errors.Join(err, e.missedPayment(ctx, w, &missing))
	})
}

// missedPayment notes that the node does not know a payment; after a while it counts as lost.
func (e *Engine) missedPayment(ctx context.Context, w watch, since *time.Time) error {
	if since.IsZero() {
		*since = e.cfg.Clock()
	}
	if e.cfg.Clock().Sub(*since) < unknownAfter {
		return nil
	}
	ev := e.paymentEvent(order.PayUnknown, lightning.Payment{Hash: w.hash}, w.try)
	ev.Order, ev.Bond = w.order, w.bond
	return e.apply(ctx, *ev)
}

// sawPayment applies what the node says of a payment.
func (e *Engine) sawPayment(ctx context.Context, w watch, p lightning.Payment) error {
	name := finalEvent[p.State]
	if name == "" {
		return nil
	}
	p.Hash = w.hash
	ev := e.paymentEvent(name, p, w.try)
	ev.Order, ev.Bond = w.order, w.bond
	return e.apply(ctx, *ev)
}

// heartbeat is how often the engine notes that it lives.
const heartbeat = 15 * time.Second

// resume gives everybody who had something to do the time back that this process was away.
func (e *Engine) resume(ctx context.Context) error {
	var last int64
	err := e.db.View(func(txn *badger.Txn) error {
		_, err := get(txn, []byte{tableAlive}, &last)
		return err
	})
	if err != nil {
		return err
	}
	e.looked = max(e.looked, last)
	pause := e.now() - last
	if last > 0 && pause > int64(2*heartbeat/time.Second) {
		for _, id := range e.live.ids() {
			ev := e.newEvent(order.Resumed, id)
			ev.Pause = pause
			if err := e.apply(ctx, ev); err != nil {
				return err
			}
		}
		for _, id := range e.live.unpaidBonds() {
			ev := e.newEvent(order.Resumed, "")
			ev.Bond, ev.Pause = id, pause
			if err := e.apply(ctx, ev); err != nil {
				return err
			}
		}
	}
	return e.beat(ctx)
}

func (e *Engine) beat(ctx context.Context) error {
	up := e.uptime.tick(e.now(), e.node.ready())
	return e.submit(ctx, "", func(_ *badger.Txn, w *writes) error {
		return first(w.set([]byte{tableAlive}, e.now()), w.set([]byte{tableUptime}, up))
	})
}

// watchClock lets the clock have its word: at each deadline and each block.
func (e *Engine) watchClock(ctx context.Context) {
	for err := e.resume(ctx); err != nil && ctx.Err() == nil; err = e.resume(ctx) {
		e.log.Error("note how long the node was away, will try again", "error", err)
		sleep(ctx, nodeEvery)
	}
	beats := time.NewTicker(heartbeat)
	defer beats.Stop()
	for {
		e.uptime.tick(e.now(), e.node.ready())
		if err := e.lookAtClock(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("try payouts after the clock was set back, will try again", "error", err)
		}
		for _, id := range e.live.dueBonds(e.now(), e.node.ready()) {
			if err := e.tickBond(ctx, id); err != nil && ctx.Err() == nil {
				e.log.Warn("apply a deadline, will try again", "bond", id, "error", err)
			}
		}
		for _, id := range e.live.due(e.now(), e.node.tip(), e.node.ready()) {
			if err := e.tick(ctx, id); err != nil && ctx.Err() == nil {
				e.log.Warn("apply a deadline, will try again", "order", id, "error", err)
			}
		}
		if e.drain(ctx) {
			e.live.wake()
		}
		select {
		case <-time.After(time.Second):
		case <-e.live.changed:
		case <-beats.C:
			if err := e.beat(ctx); err != nil && ctx.Err() == nil {
				e.log.Warn("note that the node lives", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// tick applies what is due for an order. The deadline is read from the order itself, so a
// late or doubled tick finds nothing to do.
func (e *Engine) tick(ctx context.Context, id string) error {
	if told, err := e.lookBeforeBlame(ctx, id); told || err != nil {
		return err
	}
	return e.submit(ctx, id, func(txn *badger.Txn, w *writes) error {
		var o order.Order
		if ok, err := get(txn, rowKey(tableOrder, id), &o); err != nil || !ok {
			return err
		}
		due := order.DueWake(&o, e.now(), e.node.tip())
		if due == "" {
			return nil
		}
		return e.stepOrder(txn, w, e.newEvent(due, id), nil)
	})
}
