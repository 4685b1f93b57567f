package relay

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	events "mostro/relay/store"
)

// intake holds the events of one client between the check of their signatures, which the
// session's reader does, and their answers. While some wait for the disk the reader checks the
// next ones; answers go out in the order of the events.
type intake struct {
	mu      sync.Mutex
	room    sync.Cond
	waiting []arrival
	held    int // events that have no answer yet
	bytes   int // their size
	working bool

	aside  map[string]int // by Mostro, messages that a replica has brought and that are on their way there
	asides sync.WaitGroup
}

// arrival is an event of a client on its way to an answer.
type arrival struct {
	ev     nostr.Event
	hooks  context.Context // of policies
	raw    []byte          // as the client wrote it, nil = not to be served like that
	size   int
	next   step
	ok     bool
	reason string
}

// step is what is left to do with an event.
type step int

const (
	toAnswer step = iota
	toStore
	toEscrow
	toMostro  // that this one follows
	toPrimary // of this replica
)

// take gives an event to the intake, and waits when that is full. Only the reader calls it.
func (s *session) take(a arrival) {
	in := &s.events
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.full(a.size) {
		in.mu.Unlock()
		s.aside(in.makeRoom(a.size))
		in.mu.Lock()
	}
	in.held++
	in.bytes += a.size
	in.waiting = append(in.waiting, a)
	if !in.working {
		in.working = true
		go s.work()
	}
}

func (in *intake) full(size int) bool {
	return in.held > 0 && (in.held >= intakeEvents || in.bytes+size > intakeBytes)
}

// makeRoom returns what waits for room for so many bytes. Nobody but the reader takes it up.
func (in *intake) makeRoom(size int) func() {
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		for in.full(size) {
			in.room.Wait()
		}
	}
}

// wait returns when all events have their answers.
func (in *intake) wait() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.held > 0 {
		in.room.Wait()
	}
}

// work finishes events until none wait.
func (s *session) work() {
	in := &s.events
	for {
		in.mu.Lock()
		batch := in.waiting
		in.waiting = nil
		if len(batch) == 0 {
			in.working = false
			in.mu.Unlock()
			return
		}
		in.mu.Unlock()
		for len(batch) > 0 {
			n := 1
			if batch[0].next == toMostro && s.relay.isPeer(s.keys.Load()) {
				s.carryAside(batch[0])
				batch = batch[1:]
				continue
			}
			for batch[0].next == toStore && n < len(batch) && batch[n].next == toStore {
				n++
			}
			s.relay.finish(s.from, batch[:n])
			bytes := 0
			for i := range batch[:n] {
				s.sendPatiently(outgoing{op: opText, body: okFrame(batch[i].ev.ID, batch[i].ok, batch[i].reason)})
				bytes += batch[i].size
			}
			s.flush()
			in.mu.Lock()
			in.held -= n
			in.bytes -= bytes
			in.room.Broadcast()
			in.mu.Unlock()
			batch = batch[n:]
		}
	}
}

// carryAside carries a message that a replica has brought: what others bring over it does not wait meanwhile for a Mostro
// that is away. Of each Mostro as many are on their way as one client of its own could have there.
func (s *session) carryAside(a arrival) {
	in := &s.events
	to := a.ev.Tags.Find("p")[1] // it has one: see goesElsewhere
	in.asides.Add(1)             // before who waits for those held looks
	in.mu.Lock()
	in.held--
	in.bytes -= a.size
	in.room.Broadcast()
	many := in.aside[to] >= intakeEvents
	if !many {
		if in.aside == nil {
			in.aside = make(map[string]int)
		}
		in.aside[to]++
	}
	in.mu.Unlock()
	if many {
		defer in.asides.Done()
		s.sendPatiently(outgoing{op: opText, body: okFrame(a.ev.ID, false, "rate-limited: too many messages are on their way to this Mostro, send it again in a while")})
		s.flush()
		return
	}
	go func() {
		defer in.asides.Done()
		batch := []arrival{a}
		s.relay.finish(s.from, batch)
		in.mu.Lock()
		if in.aside[to]--; in.aside[to] == 0 {
			delete(in.aside, to)
		}
		in.mu.Unlock()
		s.sendPatiently(outgoing{op: opText, body: okFrame(a.ev.ID, batch[0].ok, batch[0].reason)})
		s.flush()
	}()
}

// finish does what is left to do for events that take the same next step, and gives them their
// answers.
func (r *Relay) finish(from string, batch []arrival) {
	defer func() {
		if fault := recover(); fault != nil {
			r.logPanic(fault)
			for i := range batch {
				batch[i].ok, batch[i].reason = false, "error: the event could not be handled"
			}
		}
	}()
	// The client may leave while its events are being stored; the work goes on.
	ctx := context.WithoutCancel(batch[0].hooks)
	switch batch[0].next {
	case toEscrow:
		turn := func() func() { return r.turn(from) }
		handOver(batch, func(ctx context.Context, ev *nostr.Event) error {
			ctx = context.WithValue(ctx, strangerKey{}, r.rations)
			err := r.cfg.Receive(context.WithValue(ctx, turnKey{}, turn), ev)
			if err == nil {
				r.agrees(ev)
			}
			return err
		})
	case toMostro:
		handOver(batch, r.cfg.Federation.Carry)
	case toPrimary:
		handOver(batch, r.cfg.Federation.Forward)
	case toStore:
		items := make([]events.Item, len(batch))
		for i := range batch {
			items[i] = events.Item{Event: &batch[i].ev, Raw: batch[i].raw}
		}
		for i, out := range r.keep(ctx, items...) {
			if batch[i].ok, batch[i].reason = r.answer(out); batch[i].ok {
				r.agrees(&batch[i].ev)
			}
		}
		r.letFanOutCatchUp(from)
	}
}

// turnKey is where the context of Receive has the turns of its sender.
type turnKey struct{}

// Turn waits for the turn of who sent the message that a Receive was called for with ctx; done ends it. What costs as much
// as a signature, such as decrypting, is done in one, so that it counts like all else that a client has done for it, and the
// next turn is of the address that has worked least. The disk is not waited for in it.
func Turn(ctx context.Context) (done func()) {
	if take, ok := ctx.Value(turnKey{}).(func() func()); ok {
		return take()
	}
	return func() {}
}

// strangerKey is where the context of Receive has the policy for messages of strangers.
type strangerKey struct{}

// Stranger refuses a message that a Receive was called for with ctx, from a key that has no trade, when messages are so many
// that each address has rations of what is stored: the node's answer would be stored, too. Whose a message is shows only
// when it is open.
func Stranger(ctx context.Context, ev *nostr.Event) error {
	if ration, ok := ctx.Value(strangerKey{}).(Policy); ok {
		if reject, msg := ration(ctx, ev); reject {
			return errors.New(msg)
		}
	}
	return nil
}

// turn is a turn of an address for something other than its messages.
func (r *Relay) turn(from string) (done func()) {
	r.slots.take(from)
	began := time.Now()
	return func() {
		took := time.Since(began)
		if r.turned.Add(int64(took)) >= int64(slice) {
			r.turned.Store(0)
			r.breathe()
		}
		r.slots.give(from, took)
	}
}

// handOver gives events to whoever answers for them.
func handOver(batch []arrival, take func(context.Context, *nostr.Event) error) {
	for i := range batch {
		a := &batch[i]
		if err := take(context.WithoutCancel(a.hooks), &a.ev); err != nil {
			a.reason = reason(err.Error(), "error")
		} else {
			a.ok = true
		}
	}
}

// letFanOutCatchUp delays a publisher while more live events wait for their readers than can be
// written: else clients that read as fast as they can would be cut off. It is for a moment
// only, so that clients that do not read can hold nobody up; and what waits for the readers of one address delays
// the publishers of that address more than all others.
func (r *Relay) letFanOutCatchUp(from string) {
	for end := time.Now().Add(backlogTime); r.backlog.Load() > backlogBytes && r.backlogFor(from) > backlogBytes && time.Now().Before(end); {
		time.Sleep(backlogPoll)
	}
}

// backlogFor is how many bytes of live events wait, as far as they concern a publisher: all for the address itself, and of
// each other one no more than its part. All who wait for that to become less share one look at all addresses.
func (r *Relay) backlogFor(from string) int64 {
	const part = backlogBytes / shareOfAll
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= backlogPoll {
		r.looked, r.parts = now, 0
		for _, o := range r.origins {
			r.parts += min(o.backlog.Load(), part)
		}
	}
	bytes := r.parts
	if o := r.origins[from]; o != nil {
		bytes += max(o.backlog.Load()-part, 0)
	}
	return bytes
}

// admit does everything for an event of a client that needs no disk: the cheap checks first,
// verifying last, because it costs more than all others together.
func (r *Relay) admit(ctx context.Context, s *session, ev *nostr.Event) (next step, ok bool, answer string) {
	defer func() {
		if fault := recover(); fault != nil {
			r.logPanic(fault)
			next, ok, answer = toAnswer, false, "error: the event could not be handled"
		}
	}()
	// Who knows an id alone does not learn whether its event is here.
	if id, err := parseKey(ev.ID); err == nil && r.store.has(id) && ev.CheckID() {
		if reject, msg := r.repeated(ctx, ev); reject {
			return toAnswer, false, msg
		}
		if reject, msg := r.expired(ctx, ev); reject { // on disk until the sweep, and served to nobody
			return toAnswer, false, msg
		}
		if r.cfg.Federation.Again != nil {
			r.cfg.Federation.Again(ctx, ev)
		}
		return toAnswer, true, "duplicate: this event is stored already"
	}
	for _, refuse := range r.khatru.RejectEvent {
		if reject, msg := refuse(ctx, ev); reject {
			if ev.PubKey == r.cfg.Pubkey {
				r.suspect(ev)
			}
			return toAnswer, false, reason(msg, "blocked")
		}
	}
	if msg := r.verify(s.from, ev); msg != "" {
		return toAnswer, false, msg
	}
	for _, refuse := range r.cfg.Verified {
		if reject, msg := refuse(ctx, ev); reject {
			return toAnswer, false, reason(msg, "blocked")
		}
	}
	if ev.Kind == kindVanish && !r.vanishes(ev) {
		if primary := r.cfg.Federation.Primary; primary != "" {
			return toAnswer, false, "invalid: this is a copy of a relay, which forgets what that one forgets: name " + primary
		}
		return toAnswer, false, "invalid: this request to vanish does not name this relay"
	}
	if msg := s.protected(ev); msg != "" {
		return toAnswer, false, msg
	}
	if r.cfg.Federation.Forward != nil {
		return toPrimary, false, ""
	}
	switch elsewhere, others := r.goesElsewhere(ev); {
	case elsewhere && others:
		return toAnswer, false, "invalid: a message to a Mostro has exactly one p tag"
	case elsewhere:
		return toMostro, false, ""
	}
	if r.cfg.Receive != nil {
		switch toNode, others := r.recipients(ev); {
		case toNode && others:
			return toAnswer, false, "invalid: a message to this node has exactly one p tag"
		case toNode:
			return toEscrow, false, ""
		}
	}
	if reject, msg := r.room(ctx, ev); reject {
		return toAnswer, false, msg
	}
	return toStore, false, ""
}

// verify checks id and signature of an event from an address, and says what is wrong. Only as many are checked at the same
// time as there are processors.
func (r *Relay) verify(from string, ev *nostr.Event) string {
	r.verifiers.take(from)
	began := time.Now()
	defer func() { r.verifiers.give(from, time.Since(began)) }()
	out := r.buffers.Get().(*outBuffer)
	defer r.buffers.Put(out)
	return checkSigned(ev, out.b)
}

func (r *Relay) logPanic(fault any) {
	r.log.Error("handle client message", "panic", fault, "stack", string(debug.Stack()))
}

// recipients reports whether ev is a message whose p tags name the node, and whether there is
// more than that one p tag.
func (r *Relay) recipients(ev *nostr.Event) (toNode, others bool) {
	if ev.Kind != nostr.KindDirectMessage && ev.Kind != nostr.KindGiftWrap {
		return false, false
	}
	tags := 0
	for tag := range ev.Tags.FindAll("p") {
		tags++
		toNode = toNode || tag[1] == r.cfg.Pubkey
	}
	return toNode, tags > 1
}

// tooOldToKnow is why an event is refused that a deletion may have been for, which was forgotten.
const tooOldToKnow = "invalid: created_at is too old: this relay does not remember what was deleted then"

func (r *Relay) answer(out events.Outcome) (ok bool, answer string) {
	switch out.Status {
	case events.Failed:
		if errors.Is(out.Err, events.ErrFull) {
			return false, "error: the disk of this relay is nearly full"
		}
		if errors.Is(out.Err, events.ErrTombstones) {
			return false, "error: this relay remembers too many deletions, try again in some days"
		}
		r.log.Error("take event", "error", out.Err)
		return false, "error: the event could not be stored"
	case events.TooOld:
		return false, tooOldToKnow
	case events.Expired:
		return false, "invalid: the event has expired"
	case events.Stored:
		return true, ""
	case events.Duplicate:
		return true, "duplicate: this event is stored already"
	case events.Superseded:
		return false, "duplicate: a newer version of this event is stored"
	case events.Deleted:
		return false, "blocked: this event was deleted by its author"
	}
	panic(fmt.Sprintf("unknown outcome %d", out.Status))
}
