package relay

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip70"
)

// ingest takes an event from a client and returns the answer for its OK. The cheap checks come
// first: verifying costs more than all others together.
func (r *Relay) ingest(ctx context.Context, ev *nostr.Event) (ok bool, answer string) {
	defer func() {
		if fault := recover(); fault != nil {
			r.logPanic(fault)
			ok, answer = false, "error: the event could not be handled"
		}
	}()
	if id, err := parseKey(ev.ID); err == nil && r.store.has(id) {
		return true, "duplicate: this event is stored already"
	}
	for _, refuse := range r.khatru.RejectEvent {
		if reject, msg := refuse(ctx, ev); reject {
			return false, reason(msg, "blocked")
		}
	}
	if !ev.CheckID() {
		return false, "invalid: the id does not fit the event"
	}
	// An error and false mean the same: this key did not sign it.
	if valid, _ := ev.CheckSignature(); !valid {
		return false, "invalid: the signature does not fit the event"
	}
	if nip70.IsProtected(*ev) {
		return false, "restricted: protected events are taken only from their authenticated author, which this relay does not offer"
	}
	// The client may leave while its event is being stored; the work goes on.
	ctx = context.WithoutCancel(ctx)
	if r.cfg.Receive != nil {
		switch toNode, others := r.recipients(ev); {
		case toNode && others:
			return false, "invalid: a message to this node has exactly one p tag"
		case toNode:
			if err := r.cfg.Receive(ctx, ev); err != nil {
				return false, reason(err.Error(), "error")
			}
			return true, ""
		}
	}
	return r.answer(r.keep(ctx, ev))
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

func (r *Relay) answer(became outcome, err error) (ok bool, answer string) {
	if err != nil {
		r.log.Error("take event", "error", err)
		return false, "error: the event could not be stored"
	}
	switch became {
	case stored:
		return true, ""
	case duplicate:
		return true, "duplicate: this event is stored already"
	case stale:
		return false, "duplicate: a newer version of this event is stored"
	case deleted:
		return false, "blocked: this event was deleted by its author"
	}
	panic(fmt.Sprintf("unknown outcome %d", became))
}
