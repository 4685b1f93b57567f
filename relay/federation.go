package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	"mostro/relay/reconcile"
	events "mostro/relay/store"
)

// Federation is what other relays have to do with this one. All of it is optional. The functions
// can be called for many clients at once.
type Federation struct {
	// Carry takes a message (kind 14 or 1059) whose only p tag is that of a Mostro elsewhere to where
	// that one reads. nil means that it has arrived there; the text of an error goes to the client with
	// OK false. Such a message is not stored here.
	Carry func(ctx context.Context, ev *nostr.Event) error
	// Carries reports whether Carry is for a recipient; nil means that it is for nobody.
	Carries func(pubkey string) bool
	// Forward makes this relay a replica: what clients publish is verified, goes to the primary,
	// and is answered as the primary does. What is stored comes through Replicate only.
	Forward func(ctx context.Context, ev *nostr.Event) error
	// Primary is the address of the primary of a replica, as clients know it: who asks it to forget him (NIP-62) asks both.
	Primary string
	// Again is told each event that a client has published and that was stored already. Its signature was not looked at.
	// It must not wait.
	Again func(ctx context.Context, ev *nostr.Event)
	// Stored is told each new event, in the order of commits. It must not wait.
	Stored func(ev *nostr.Event)
	// Peer reports whether a key may read all private events once it has authenticated: that of a
	// replica. Of what it brings it has seen to that the author may.
	Peer func(pubkey string) bool
	// Hidden reports whether an order event is left out of all answers, by its author and id. It must
	// not wait.
	Hidden func(kind int, pubkey string, id reconcile.ID) bool
}

// ShownAll is what a relay says to a peer that has authenticated, so that a replica knows that it sees everything.
const ShownAll = "replica: every event is shown to this key"

// Taken is what became of an event that was copied from another relay.
type Taken struct {
	New     bool   // it was stored
	Known   bool   // it was stored already, or something newer or a deletion has overtaken it
	Refused string // why it was refused, in the form of NIP-01
	Err     error  // it could not be stored; the same may succeed later
	Checked bool   // its signature was, which costs more than all the rest
}

// copied are the rules for events from other relays: those for clients but for rates, which the
// one who copies has for a peer as a whole, for proof of work, and for who may publish here, which is whoever is copied.
func (r *Relay) copied() []Policy {
	l, now := &r.cfg.Limits, r.store.opts.Now
	shape := l.shape()
	if r.cfg.Federation.Forward != nil {
		shape = widest()
	}
	rules := []Policy{policies.Shape(shape), policies.Banned(r.management.banned), policies.NotForRelays(), policies.NotExpired(now)}
	if r.cfg.Federation.Forward != nil {
		return rules // a replica has what the primary has
	}
	anybody := func(string) bool { return true }
	rules = append(rules,
		policies.Tags(l.IndexedTags, events.AlwaysInMemory()...), policies.Sizes(r.cfg.Contents),
		policies.Authors(r.denied, anybody), policies.Kinds(r.takes), policies.TimeWindow(l.Past, l.Future, now),
		policies.TimeWindow(l.WrapPast, l.Future, now, nostr.KindGiftWrap), policies.NotOutlived(r.cfg.Retention, now), policies.NotProtected())
	if r.cfg.Pubkey != "" {
		rules = append(rules, policies.OwnKey(r.cfg.Pubkey))
	}
	return append(rules, r.handedOver)
}

// handedOver refuses what is not stored when it comes here, but handed over to the node or carried to a Mostro: a copy would make
// of it one that has come before, whoever shows it and for whatever question, and it would never get there.
func (r *Relay) handedOver(_ context.Context, ev *nostr.Event) (reject bool, msg string) {
	toNode, _ := r.recipients(ev)
	elsewhere, _ := r.goesElsewhere(ev)
	return toNode && r.cfg.Receive != nil || elsewhere, "blocked: a message to a Mostro is not copied"
}

// Take stores events that were copied from other relays, in their order, and sends them to
// subscriptions. All that could be stored are verified, as many at once as there are processors. It does not ask who
// wrote them or what for: that is the caller's part. from names the other relay; each gets its turn.
func (r *Relay) Take(ctx context.Context, from string, evs []*nostr.Event) []Taken {
	r.messages.Add(int64(len(evs)))
	out := make([]Taken, len(evs))
	rules := r.copied()
	var check sync.WaitGroup
	var next sync.Mutex
	at := 0
	claim := func() (i int) {
		next.Lock()
		defer next.Unlock()
		i, at = at, at+1
		return i
	}
	for range min(runtime.GOMAXPROCS(0), len(evs)) {
		check.Go(func() {
			for i := claim(); i < len(evs); i = claim() {
				out[i] = r.inspect(ctx, from, evs[i], rules)
			}
		})
	}
	check.Wait()
	var good []events.Item
	var places []int
	for i := range out {
		if out[i] == (Taken{Checked: true}) {
			// A primary has decided about deletions, by what it remembers of them.
			good, places = append(good, events.Item{Event: evs[i], Given: r.cfg.Federation.Forward != nil}), append(places, i)
		}
	}
	for i, done := range r.keep(ctx, good...) {
		if out[places[i]] = taken(done); out[places[i]].New {
			r.agrees(good[i].Event)
		}
	}
	return out
}

// inspect does everything for an event that needs no disk; when it has only been checked it can be
// stored.
func (r *Relay) inspect(ctx context.Context, from string, ev *nostr.Event, rules []Policy) (t Taken) {
	defer func() {
		if fault := recover(); fault != nil {
			r.logPanic(fault)
			t = Taken{Refused: "error: the event could not be handled"}
		}
	}()
	if id, err := parseKey(ev.ID); err == nil && r.store.has(id) {
		return Taken{Known: true}
	}
	for _, refuse := range rules {
		if reject, msg := refuse(ctx, ev); reject {
			return Taken{Refused: reason(msg, "blocked")}
		}
	}
	if r.store.Overtaken(ev) {
		return Taken{Known: true}
	}
	t.Checked = true
	if t.Refused = r.verify(from, ev); t.Refused == "" && r.cfg.Federation.Forward == nil {
		if reject, msg := r.room(ctx, ev); reject {
			t.Refused = msg
		}
	}
	return t
}

// taken is what became of an event that was checked.
func taken(done events.Outcome) Taken {
	t := Taken{Checked: true}
	switch done.Status {
	case events.Stored:
		t.New = true
	case events.Failed:
		t.Err = done.Err
	case events.TooOld:
		t.Refused = tooOldToKnow
	case events.Expired:
		t.Refused = "invalid: the event has expired"
	default:
		t.Known = true
	}
	return t
}

// Deliver gives a message to the node that arrived on another relay to Receive, by the rules for
// messages that arrive here. The error has the form of NIP-01. What is stored here, such as what the node itself has
// written to somebody elsewhere, is no news.
func (r *Relay) Deliver(ctx context.Context, from string, ev *nostr.Event) error {
	if id, err := parseKey(ev.ID); err == nil && r.store.has(id) {
		return nil
	}
	for _, refuse := range r.khatru.RejectEvent {
		if reject, msg := refuse(ctx, ev); reject {
			return errors.New(reason(msg, "blocked"))
		}
	}
	if msg := r.verify(from, ev); msg != "" {
		return errors.New(msg)
	}
	for _, refuse := range r.cfg.Verified {
		if reject, msg := refuse(ctx, ev); reject {
			return errors.New(reason(msg, "blocked"))
		}
	}
	if toNode, others := r.recipients(ev); !toNode || others || r.cfg.Receive == nil {
		return errors.New("invalid: a message to this node has exactly one p tag")
	}
	ration := Policy(func(_ context.Context, ev *nostr.Event) (bool, string) { return r.delivered(from, ev) })
	if err := r.cfg.Receive(context.WithValue(ctx, strangerKey{}, ration), ev); err != nil {
		return errors.New(reason(err.Error(), "error"))
	}
	r.agrees(ev)
	return nil
}

// Remove takes events away without a trace: they may come back. A replica does so with what its
// primary has no more.
func (r *Relay) Remove(ctx context.Context, ids ...reconcile.ID) error {
	keys := make([]key, len(ids))
	for i := range ids {
		keys[i] = ids[i]
	}
	return r.remove(ctx, keys...)
}

// Items lists all stored events that match f, private ones included, for reconciling; more than
// most are an error.
func (r *Relay) Items(ctx context.Context, f nostr.Filter, most int) (reconcile.Set, error) {
	found, err := r.store.Items(ctx, f, events.QueryOptions{}, most)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	set := make(reconcile.Set, len(found))
	for i := range found {
		set[i] = reconcile.Item{Created: uint64(found[i].CreatedAt), ID: found[i].ID}
	}
	set.Sort()
	return set, nil
}

// Newest is Items of the newest events only, so many at most.
func (r *Relay) Newest(ctx context.Context, f nostr.Filter, most int) (reconcile.Set, error) {
	var set reconcile.Set
	err := r.store.Scan(ctx, []nostr.Filter{f}, events.QueryOptions{}, func(m *events.Meta) bool {
		set = append(set, reconcile.Item{Created: uint64(m.CreatedAt), ID: m.ID})
		return len(set) < most
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	set.Sort()
	return set, nil
}

// Get returns the stored events with these ids, those that are still there.
func (r *Relay) Get(ctx context.Context, ids ...reconcile.ID) ([]nostr.Event, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	names := make([]string, len(ids))
	for i := range ids {
		names[i] = hex.EncodeToString(ids[i][:])
	}
	return r.All(ctx, nostr.Filter{IDs: names})
}

// All is Query without the limits that clients have.
func (r *Relay) All(ctx context.Context, f nostr.Filter) (found []nostr.Event, err error) {
	err = r.Each(ctx, f, func(ev *nostr.Event) { found = append(found, *ev) })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Each is All for those who need not hold them all.
func (r *Relay) Each(ctx context.Context, f nostr.Filter, visit func(*nostr.Event)) error {
	var bad error
	err := r.store.Query(ctx, []nostr.Filter{f}, events.QueryOptions{}, func(e events.Found) bool {
		ev, err := decode(e.Raw)
		if err != nil {
			bad = err
			return false
		}
		visit(ev)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return nil
}

// Count is how many stored events match f, and their size in bytes of JSON.
func (r *Relay) Count(ctx context.Context, f nostr.Filter) (number, bytes int, err error) {
	err = r.store.Scan(ctx, []nostr.Filter{f}, events.QueryOptions{}, func(m *events.Meta) bool {
		number++
		bytes += m.Size
		return true
	})
	return number, bytes, err
}

// authedKey finds the keys of a connection in the context of policies.
type authedKey struct{}

// Authed reports whether the client of a policy's context has proven to hold a key (NIP-42), be it one of
// several.
func Authed(ctx context.Context, pubkey string) bool {
	held, _ := ctx.Value(authedKey{}).(*atomic.Pointer[keys])
	if held == nil {
		return false
	}
	k, err := parseKey(pubkey)
	all := held.Load()
	return err == nil && all != nil && slices.Contains(*all, k)
}

// AuthedAs is the first key that the client of a policy's context has proven to hold and that is such a one, "" when
// there is none.
func AuthedAs(ctx context.Context, is func(pubkey string) bool) string {
	held, _ := ctx.Value(authedKey{}).(*atomic.Pointer[keys])
	if held == nil {
		return ""
	}
	if all := held.Load(); all != nil {
		for _, k := range *all {
			if name := k.String(); is(name) {
				return name
			}
		}
	}
	return ""
}

// isPeer reports whether a connection with these keys may read everything. It is asked for each comparison of an event with
// a subscription, so it looks at one key.
func (r *Relay) isPeer(authed *keys) bool {
	if r.cfg.Federation.Peer == nil || authed == nil || len(*authed) == 0 {
		return false
	}
	return r.cfg.Federation.Peer((*authed)[0].String())
}

// hides reports whether an event is left out of answers.
func (r *Relay) hides(kind int, author, id key) bool {
	return kind == kindOrder && r.cfg.Federation.Hidden != nil && r.cfg.Federation.Hidden(kind, author.String(), reconcile.ID(id))
}

// goesElsewhere reports whether ev is a message to a followed Mostro, to be carried there, and whether it is to others as well,
// so that it cannot be.
func (r *Relay) goesElsewhere(ev *nostr.Event) (is, others bool) {
	if r.cfg.Federation.Carries == nil || ev.Kind != nostr.KindDirectMessage && ev.Kind != nostr.KindGiftWrap {
		return false, false
	}
	tags := 0
	for tag := range ev.Tags.FindAll("p") {
		if tags++; tags <= maxCarriedTo {
			is = is || r.cfg.Federation.Carries(tag[1])
		}
	}
	return is, tags > 1
}

// maxCarriedTo is how many recipients of a message are looked at: whoever names a thousand before a Mostro means none.
const maxCarriedTo = 20
