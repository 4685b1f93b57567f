package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
	"mostro/relay/reconcile"
)

// ReplicaConfig says of what a replica is one.
type ReplicaConfig struct {
	Primary string // address of its relay, ws:// or wss://
	// Sign signs with a key that the primary lists among its replicas (NIP-42).
	Sign   func(*nostr.Event) error
	Dial   Dial             // nil = Direct
	Logger *slog.Logger     // nil = silent
	Now    func() time.Time // nil = time.Now

	Node string // key of the primary's node, hex
	// Strict reports whether the relay shows messages to their parties only (Config.Strict); nil = it does not.
	Strict func() bool
	// Listing is whose offers make the book until the primary has said so. Keep is told what it says, for
	// the next start; nil = nobody is.
	Listing Listing
	Keep    func(Listing) error

	atOnce int // events that one comparing may find lacking; 0 = maxItems
}

// Replica keeps a relay equal to another one, its primary, from which it has everything: public
// events and messages. What clients publish goes to the primary and comes back from there. There is
// one writer and any number of replicas.
type Replica struct {
	cfg    ReplicaConfig
	log    *slog.Logger
	relay  *relay.Relay
	link   atomic.Pointer[link]
	ready  atomic.Bool  // it has been equal to the primary
	stored atomic.Int64 // events of the primary
	lost   atomic.Int64 // unix nanoseconds of the loss of the primary, 0 = it has been equal since

	unlisted atomic.Bool // the primary shows it what everybody may see, and nothing more

	*audience
	book    *book
	listed  atomic.Pointer[Listing]
	mostros sync.Map // by key of a Mostro that has published its terms: created_at of the last
}

// NewReplica makes a replica; nothing happens before Run.
func NewReplica(cfg ReplicaConfig) *Replica {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = Direct
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Strict == nil {
		cfg.Strict = func() bool { return false }
	}
	if cfg.atOnce == 0 {
		cfg.atOnce = maxItems
	}
	r := &Replica{cfg: cfg, log: cfg.Logger}
	r.listed.Store(&cfg.Listing)
	r.audience = newAudience(cfg.Node, cfg.Strict)
	r.isMostro, r.isFollowed = r.carries, r.Followed
	r.interest, _ = openInterest(nil, tableKey, cfg.Now) // nothing is read that could fail, as the next
	r.talks, _ = openInterest(nil, tableTalk, cfg.Now)
	r.book = &book{
		node: cfg.Node, now: time.Now, log: cfg.Logger, ends: make(map[reconcile.ID]int64),
		listing: r.listing, policy: func() Policy { return r.listed.Load().Policy }, news: r.news,
	}
	return r
}

// listing is the primary's. It is told so that nobody takes this for a primary.
func (r *Replica) listing() Listing {
	l := *r.listed.Load()
	l.Replica = true
	return l
}

// Attach names the relay; it comes before the relay serves, and before Run.
func (r *Replica) Attach(to *relay.Relay) error {
	r.relay, r.book.relay = to, to
	if err := r.book.load(context.Background()); err != nil {
		return err
	}
	terms, err := to.All(context.Background(), nostr.Filter{Kinds: []int{kindInfo}})
	for i := range terms {
		r.Stored(&terms[i])
	}
	return err
}

// Stored is told what the relay has just stored (relay.Federation.Stored).
func (r *Replica) Stored(ev *nostr.Event) {
	r.book.stored(ev)
	if ev.Kind == kindInfo {
		last, _ := r.mostros.Load(ev.PubKey)
		at, _ := last.(int64)
		r.mostros.Store(ev.PubKey, max(at, int64(ev.CreatedAt)))
	}
}

// news is as the book wants it. Before the replica was equal to its primary it may lack the last.
func (r *Replica) news(pubkey string) (at int64, known bool) {
	for _, f := range r.listed.Load().Follows {
		if f.Pubkey == pubkey && f.Platform == "" {
			last, _ := r.mostros.Load(pubkey)
			at, _ = last.(int64)
			return at, r.ready.Load()
		}
	}
	return 0, false
}

// Hidden reports whether an event is left out of answers (relay.Federation.Hidden), as the primary
// leaves it out.
func (r *Replica) Hidden(kind int, pubkey string, id reconcile.ID) bool {
	return r.book.hidden(kind, pubkey, id)
}

// Serve adds to the relay's pages those that the primary's mirror adds.
func (r *Replica) Serve() { r.book.pages() }

// learn asks the primary whose offers make its book, now and then: a command may change that.
func (r *Replica) learn(ctx context.Context) {
	for rounds := 1; ; rounds++ {
		l, err := r.cfg.Dial.PrimaryListing(ctx, r.cfg.Primary)
		if err == nil && !l.Replica && !reflect.DeepEqual(l, *r.listed.Load()) {
			r.listed.Store(&l)
			if r.cfg.Keep != nil {
				err = r.cfg.Keep(l)
			}
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("ask the primary whose offers make its book", "error", err)
		}
		if rounds%int(fullEvery/checkEvery) == 0 {
			if err := r.book.load(ctx); err != nil && ctx.Err() == nil {
				r.log.Error("find out when offers end", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkEvery):
		}
	}
}

// Followed reports whether the primary takes a key for that of a Mostro, whose messages therefore
// are not for whoever asks by author (relay.Config.Followed). It takes terms of no others, and
// says whom it follows.
func (r *Replica) Followed(pubkey string) bool {
	if _, is := r.mostros.Load(pubkey); is {
		return true
	}
	return slices.ContainsFunc(r.listed.Load().Follows, func(f Listed) bool { return f.Pubkey == pubkey && f.Platform == "" })
}

// Formerly reports whether the primary follows a Mostro or ever did (relay.Config.Formerly).
func (r *Replica) Formerly(pubkey string) bool {
	_, is := slices.BinarySearch(r.listed.Load().Formerly, pubkey)
	return is
}

// carries reports whether messages to a key may be carried by the primary.
func (r *Replica) carries(pubkey string) bool {
	return pubkey != r.cfg.Node && (r.Followed(pubkey) || r.Formerly(pubkey))
}

// Ready reports whether the replica has been equal to its primary, is listed there, so that it has messages, and has not
// been without it for too long since. It serves what it has all the same.
func (r *Replica) Ready() bool {
	return r.ready.Load() && !r.unlisted.Load() && r.Lost() < staleAfter
}

// Unlisted reports whether the primary does not know the replica, which therefore has what is public and no messages.
func (r *Replica) Unlisted() bool { return r.unlisted.Load() }

// Lost is for how long the replica, which has been equal to its primary, has been without it; 0 = it is not.
func (r *Replica) Lost() time.Duration {
	at := r.lost.Load()
	if at == 0 {
		return 0
	}
	return max(r.cfg.Now().Sub(time.Unix(0, at)), 1)
}

// Connected reports whether it is connected with its primary now.
func (r *Replica) Connected() bool { return r.link.Load() != nil }

// PrimaryKey asks a relay for its node's public key (NIP-11), "" when it has none.
func (d Dial) PrimaryKey(ctx context.Context, url string) (string, error) {
	a, err := d.describe(ctx, url)
	return a.Pubkey, err
}

// PrimaryListing asks a relay whose offers make its book, and what else replicas want to know.
func (d Dial) PrimaryListing(ctx context.Context, url string) (l Listing, err error) {
	return l, d.get(ctx, url, listingPath, "application/json", &l)
}

var errNoPrimary = errors.New("error: the primary of this replica cannot be reached now, send it again in a while")

// Forward brings an event of a client to the primary (relay.Federation.Forward). Its answer is the
// primary's.
func (r *Replica) Forward(ctx context.Context, ev *nostr.Event) error {
	if to := ev.Tags.Find("p"); to != nil && (ev.Kind == kindMessage || ev.Kind == kindWrap) && r.carries(to[1]) {
		r.connection(ctx).deals(r.audience, to[1])
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	l := r.link.Load()
	for end := time.Now().Add(carryWait); l == nil && time.Now().Before(end); l = r.link.Load() {
		time.Sleep(carryPoll)
	}
	if l == nil {
		return errNoPrimary
	}
	err := l.publish(ctx, ev)
	if refused := (*RefusedError)(nil); err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("error: the primary of this replica has not answered, send it again: %w", err)
	}
	return err
}

// ErrReplica says that what was named as the primary is a replica, perhaps this one, by another name or behind a balancer.
var ErrReplica = errors.New("the address of the primary leads to a replica")

// errAnother is why a replica keeps away from what it finds at the address of its primary, until that is back: it would throw
// away its own node's book for another one's.
var errAnother = errors.New("the address of the primary leads to another node")

// Run keeps the connection to the primary until ctx ends. It fails with ErrReplica when that is none and never was since
// the start: to wait does not help.
func (r *Replica) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	past := func() time.Time { return r.relay.Now().Add(-keysKept) }
	running.Go(func() { r.interest.keep(ctx, r.log, past) })
	running.Go(func() { r.talks.keep(ctx, r.log, past) })
	for wait := firstRetry; ctx.Err() == nil; {
		began := time.Now()
		err := safely(func() error { return r.session(ctx) })
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrReplica) && !r.ready.Load():
			return err
		}
		if time.Since(began) > steadyTime {
			wait = firstRetry
		}
		r.log.Warn("no connection to the primary", "relay", r.cfg.Primary, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, mostRetry)
	}
	return nil
}

func (r *Replica) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if l, err := r.cfg.Dial.PrimaryListing(ctx, r.cfg.Primary); err == nil && l.Replica {
		return ErrReplica
	}
	if key, err := r.cfg.Dial.PrimaryKey(ctx, r.cfg.Primary); err != nil {
		return err
	} else if key != r.cfg.Node {
		return fmt.Errorf("%w: its key is %.64q, not %s", errAnother, key, r.cfg.Node)
	}
	l, err := r.cfg.Dial.connect(ctx, r.cfg.Primary, replicaAgent, r.cfg.Sign)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.awaitLogin(ctx); err != nil {
		return err
	}
	r.link.Store(l)
	defer r.leave()
	in := newIntake(ctx)
	var storing sync.WaitGroup
	defer storing.Wait()
	defer cancel(nil)
	storing.Go(func() { r.learn(ctx) })
	storing.Go(func() {
		if err := r.tell(ctx, l); err != nil {
			cancel(err)
		}
	})
	storing.Go(func() {
		if err := in.run(r.store); err != nil {
			cancel(err)
		}
	})
	l.whenRemoved(func(ids []reconcile.ID) {
		// What came before it is stored first: of that it may be. The reader does not wait for it: the primary takes away much
		// at once, and cuts off whoever is slow to read.
		in.then(func() error {
			if err := r.relay.Remove(ctx, ids...); err != nil {
				return fmt.Errorf("remove what the primary has taken away: %w", err)
			}
			return nil
		})
	})
	context.AfterFunc(ctx, l.close)
	ended := make(chan error, 1)
	stands := make(chan struct{}, 1)
	s := &sub{event: in.take, end: func(err error) {
		if err != nil {
			ended <- err
			return
		}
		select {
		case stands <- struct{}{}:
		default: // it has said so before
		}
	}}
	// Who is a Mostro comes before its messages: see Followed.
	if err := l.fetch(ctx, nostr.Filter{Kinds: []int{kindInfo}}, in.take); err != nil {
		return err
	}
	if err := in.settle(); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if err := l.subscribe(s, nostr.Filter{LimitZero: true}); err != nil {
		return err
	}
	select {
	case <-stands:
	case err := <-ended:
		return err
	case <-time.After(answerTime):
		return l.noAnswer()
	}
	for {
		if err := r.level(ctx, l, in); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		r.lost.Store(0)
		if !r.ready.Swap(true) && !r.unlisted.Load() {
			r.log.Info("equal to the primary", "relay", r.cfg.Primary)
		}
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resyncEvery):
		}
	}
}

// leave notes that the primary is lost.
func (r *Replica) leave() {
	r.link.Store(nil)
	if r.ready.Load() {
		r.lost.CompareAndSwap(0, r.cfg.Now().UnixNano())
	}
}

// level makes the replica equal to the primary: what it lacks is fetched, and what the primary has
// no more is removed. The list of what is here is made before the primary makes its own, so what
// comes live meanwhile is not taken for something to remove. What is too much for one comparing is fetched, as far
// as it is known, before the next one.
func (r *Replica) level(ctx context.Context, l *link, in *intake) error {
	if err := in.settle(); err != nil {
		return err
	}
	d, err := reconcile.Difference{}, errTooMuch
	for errors.Is(err, errTooMuch) {
		if d, err = l.differ(ctx, nostr.Filter{}, r.cfg.atOnce, r.relay.Items); err != nil && !errors.Is(err, errTooMuch) {
			return fmt.Errorf("compare with the primary: %w", err)
		}
		before := r.stored.Load()
		if err := l.fetchIDs(ctx, d.Need, nil, unhurried, in.take); err != nil {
			return err
		}
		if err := in.settle(); err != nil {
			return err
		}
		if err != nil && r.stored.Load() == before { // the next round would be the same
			return fmt.Errorf("compare with the primary: %w, and none of them can be stored", err)
		}
	}
	gone := d.Have
	r.unlisted.Store(!l.shownAll.Load())
	if r.unlisted.Load() {
		r.log.Warn("the primary does not know this replica, so messages are neither copied nor removed: list its key in federation.replicas there", "relay", r.cfg.Primary)
		if gone, err = r.public(ctx, gone); err != nil {
			return err
		}
	}
	// What has been replaced meanwhile is gone already.
	for part := gone; len(part) > 0; {
		n := min(len(part), idsAtOnce)
		if err := r.relay.Remove(ctx, part[:n]...); err != nil {
			return fmt.Errorf("remove what the primary has no more: %w", err)
		}
		part = part[n:]
	}
	return nil
}

// public are those of some stored events that are not of private kinds.
func (r *Replica) public(ctx context.Context, ids []reconcile.ID) (public []reconcile.ID, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	messages, err := r.relay.Items(ctx, nostr.Filter{Kinds: privateKinds}, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	private := make(map[reconcile.ID]struct{}, len(messages))
	for _, m := range messages {
		private[m.ID] = struct{}{}
	}
	return slices.DeleteFunc(ids, func(id reconcile.ID) bool { _, is := private[id]; return is }), nil
}

// store keeps events of the primary. It is trusted with what it gives out, and verified all the same.
func (r *Replica) store(ctx context.Context, evs []*nostr.Event) error {
	for i, t := range r.relay.Take(ctx, r.cfg.Primary, evs) {
		if t.Err != nil {
			return fmt.Errorf("store event: %w", t.Err)
		}
		if t.Refused != "" {
			r.log.Warn("an event of the primary is refused", "id", evs[i].ID, "reason", t.Refused)
		}
		if t.New {
			r.stored.Add(1)
		}
	}
	return nil
}
