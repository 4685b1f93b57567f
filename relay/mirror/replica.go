package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// ReplicaConfig says of what a replica is one.
type ReplicaConfig struct {
	Primary string // address of its relay, ws:// or wss://
	// Sign signs with a key that the primary lists among its replicas (NIP-42).
	Sign   func(*nostr.Event) error
	Dial   Dial         // nil = Direct
	Logger *slog.Logger // nil = silent
}

// Replica keeps a relay equal to another one, its primary, from which it has everything: public
// events and messages. What clients publish goes to the primary and comes back from there. There is
// one writer and any number of replicas.
type Replica struct {
	cfg   ReplicaConfig
	log   *slog.Logger
	relay *relay.Relay
	link  atomic.Pointer[link]
	ready atomic.Bool

	mostros sync.Map // keys of Mostros that have published their terms, set
}

// NewReplica makes a replica; nothing happens before Run.
func NewReplica(cfg ReplicaConfig) *Replica {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = Direct
	}
	return &Replica{cfg: cfg, log: cfg.Logger}
}

// Attach names the relay; it comes before the relay serves, and before Run.
func (r *Replica) Attach(to *relay.Relay) error {
	r.relay = to
	terms, err := to.All(context.Background(), nostr.Filter{Kinds: []int{kindInfo}})
	for i := range terms {
		r.Stored(&terms[i])
	}
	return err
}

// Stored is told what the relay has just stored (relay.Federation.Stored).
func (r *Replica) Stored(ev *nostr.Event) {
	if ev.Kind == kindInfo {
		r.mostros.Store(ev.PubKey, struct{}{})
	}
}

// Followed reports whether the primary takes a key for that of a Mostro, whose messages therefore
// are not for whoever asks by author (relay.Config.Followed). It takes terms of no others, and
// whom it follows by command no settings here can tell.
func (r *Replica) Followed(pubkey string) bool {
	_, is := r.mostros.Load(pubkey)
	return is
}

// Ready reports whether the replica has been equal to its primary since the last connection.
func (r *Replica) Ready() bool { return r.ready.Load() }

// Connected reports whether it is connected with its primary now.
func (r *Replica) Connected() bool { return r.link.Load() != nil }

// PrimaryKey asks a relay for its node's public key (NIP-11), "" when it has none.
func (d Dial) PrimaryKey(ctx context.Context, url string) (string, error) {
	a, err := d.describe(ctx, url)
	return a.Pubkey, err
}

var errNoPrimary = errors.New("error: the primary of this replica cannot be reached now, send it again in a while")

// Forward brings an event of a client to the primary (relay.Federation.Forward). Its answer is the
// primary's.
func (r *Replica) Forward(ctx context.Context, ev *nostr.Event) error {
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

// Run keeps the connection to the primary until ctx ends.
func (r *Replica) Run(ctx context.Context) {
	for wait := firstRetry; ctx.Err() == nil; {
		began := time.Now()
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
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
}

func (r *Replica) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l, err := r.cfg.Dial.connect(ctx, r.cfg.Primary, r.cfg.Sign)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.awaitLogin(ctx); err != nil {
		return err
	}
	r.link.Store(l)
	defer r.link.Store(nil)
	in := newIntake(ctx)
	var storing sync.WaitGroup
	defer storing.Wait()
	defer cancel(nil)
	storing.Go(func() {
		if err := in.run(r.store); err != nil {
			cancel(err)
		}
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
		if !r.ready.Swap(true) {
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

// level makes the replica equal to the primary: what it lacks is fetched, and what the primary has
// no more is removed. The list of what is here is made before the primary makes its own, so what
// comes live meanwhile is not taken for something to remove.
func (r *Replica) level(ctx context.Context, l *link, in *intake) error {
	if err := in.settle(); err != nil {
		return err
	}
	d, err := l.differ(ctx, nostr.Filter{}, maxItems, r.relay.Items)
	if err != nil {
		return fmt.Errorf("compare with the primary: %w", err)
	}
	if err := l.fetchIDs(ctx, d.Need, unhurried, in.take); err != nil {
		return err
	}
	if err := in.settle(); err != nil {
		return err
	}
	// What has been replaced meanwhile is gone already.
	for part := d.Have; len(part) > 0; {
		n := min(len(part), idsAtOnce)
		if err := r.relay.Remove(ctx, part[:n]...); err != nil {
			return fmt.Errorf("remove what the primary has no more: %w", err)
		}
		part = part[n:]
	}
	return nil
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
	}
	return nil
}
