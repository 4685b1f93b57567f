package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/policies"
	"mostro/relay"
	"mostro/relay/mirror"
)

const (
	replicaDir  = "replica"
	listingFile = "book"    // holds whose offers make the primary's book, for a start without it
	primaryFile = "primary" // holds the public key of the primary, for a start without it
)

// replica is a relay without an escrow that has what its primary has.
type replica struct {
	url      string
	primary  string // its address as it was named
	listener net.Listener
	relay    *relay.Relay
	copies   *mirror.Replica
	figures  *figures // nil: none are served
	log      *slog.Logger
}

// serveReplica runs a replica of the relay at an address. Of the settings only [relay], [metrics] and
// network.proxy count, which should be those of the primary, and [federation] until the primary has said
// whose offers make its book.
func serveReplica(ctx context.Context, dir, primary string, overrides []string, logger *slog.Logger) error {
	if err := relayAddress(&primary); err != nil {
		return hint(fmt.Errorf("--replica-of %w", err), "name the primary's relay as clients dial it")
	}
	settings, err := readSettings(dir, overrides)
	if err != nil {
		return err
	}
	key, err := nodeKey(dir, settings)
	if err != nil {
		return err
	}
	listener, err := listen(settings.Relay.Listen)
	if err != nil {
		return err
	}
	metrics, err := settings.Metrics.listen()
	if err != nil {
		listener.Close()
		return err
	}
	r, err := openReplica(ctx, dir, primary, &settings.Settings, key, listener, logger)
	if err != nil {
		listener.Close()
		if metrics != nil {
			metrics.Close()
		}
		return err
	}
	r.figures = newFigures(metrics, logger)
	r.figures.MustRegister(newReplicaFigures(r.copies)...)
	logger.Info("serving a replica", "relay", r.url, "of", primary, "pubkey", key.Public(), "version", version)
	logger.Info("the primary must list this pubkey in federation.replicas and this machine's address in federation.peers")
	return r.run(ctx)
}

func openReplica(ctx context.Context, dir, primary string, settings *Settings, key mostro.Secret, listener net.Listener, logger *slog.Logger) (*replica, error) {
	dial, err := settings.Network.relayDial()
	if err != nil {
		return nil, err
	}
	if at := dialable(listener.Addr().String()); primary == "ws://"+at {
		return nil, noPrimary(primary)
	}
	node, err := primaryKey(ctx, dial, dir, primary)
	if err != nil {
		return nil, err
	}
	if node == key.Public() {
		return nil, hint(errors.New("this replica has the primary's own key"),
			"give the replica a data directory of its own, and a key there: mostro key --data-dir OTHER; this key stays with the primary",
			"if the key comes from "+nsecVariable+", leave that unset for the replica")
	}
	s := &settings.Relay
	r := &replica{url: s.URL, primary: primary, listener: listener, log: logger}
	if r.url == "" {
		r.url = "ws://" + dialable(listener.Addr().String())
	}
	file := filepath.Join(dir, listingFile)
	listing, err := settings.Federation.listing(file)
	if err != nil {
		return nil, err
	}
	if now, err := dial.PrimaryListing(ctx, primary); err == nil {
		if now.Replica {
			return nil, noPrimary(primary)
		}
		listing = now
		if err := keepListing(file, now); err != nil {
			return nil, err
		}
	}
	reads := r.readsOf(s.Reads, listing)
	r.tell(s.Reads, listing)
	r.copies = mirror.NewReplica(mirror.ReplicaConfig{
		Primary: primary,
		Node:    node,
		Strict:  func() bool { return r.relay.PrivateReads() == relay.ReadsStrict },
		Listing: listing,
		Keep: func(l mirror.Listing) error {
			r.relay.SetPrivateReads(r.readsOf(s.Reads, l))
			r.tell(s.Reads, l)
			return keepListing(file, l)
		},
		Sign:   func(ev *nostr.Event) error { return mostro.Sign(ev, key) },
		Dial:   dial,
		Logger: logger,
	})
	follows := slices.Concat(settings.Federation.Follow, settings.Federation.Platforms)
	followed := func(pubkey string) bool {
		return r.copies.Followed(pubkey) || slices.ContainsFunc(follows, func(f mirror.Followed) bool { return f.Pubkey == pubkey })
	}
	r.relay, err = relay.Open(relay.Config{
		Dir: filepath.Join(dir, replicaDir), Name: settings.Mostro.Name, Description: s.Description, Contact: s.Contact, Icon: s.Icon,
		Pubkey: node, ServiceURL: r.url, Version: version, Limits: s.limits(), TrustedProxies: s.TrustedProxies, PrivateReads: reads,
		Followed: followed, Formerly: r.copies.Formerly, Contents: s.ContentOf,
		Policies: []relay.Policy{
			policies.RateByIP(float64(s.EventsPerSecond), int(s.EventsBurst), policies.DefaultRateAddresses),
			policies.Deletions(float64(s.DeletionsPerHour), int(s.DeletionsBurst), policies.DefaultRateAddresses),
		},
		ReadPolicies: []relay.ReadPolicy{r.copies.Asked},
		Federation:   relay.Federation{Forward: r.copies.Forward, Primary: cmp.Or(listing.URL, primary), Stored: r.copies.Stored, Hidden: r.copies.Hidden},
		Space:        s.space(0),
		IndexBytes:   int(s.IndexMiB) << 20,
		Logger:       logger,
	})
	if err != nil {
		return nil, inUse(dir, err)
	}
	if err := r.copies.Attach(r.relay); err != nil {
		return nil, errors.Join(err, r.relay.Close(ctx))
	}
	r.copies.Serve()
	r.relay.Handle("GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch lost := r.copies.Lost(); {
		case r.copies.Ready() && lost == 0:
			fmt.Fprintln(w, "ok")
		case r.copies.Ready():
			fmt.Fprintf(w, "ok, without the primary for %s\n", lost.Round(time.Second))
		case r.copies.Unlisted():
			http.Error(w, "without messages: the primary does not list this replica's key in federation.replicas", http.StatusServiceUnavailable)
		case lost != 0:
			http.Error(w, fmt.Sprintf("stale: without the primary for %s", lost.Round(time.Second)), http.StatusServiceUnavailable)
		default:
			http.Error(w, "not equal to the primary yet", http.StatusServiceUnavailable)
		}
	}))
	return r, nil
}

// noPrimary says what to do about an address that leads to a replica.
func noPrimary(primary string) error {
	return hint(fmt.Errorf("--replica-of %s: %w", primary, mirror.ErrReplica),
		"name the relay of the node itself, by an address that leads to no replica and over no balancer in front of them")
}

// readsOf is who may read messages here: nobody who may not at the primary, and by the own setting fewer.
func (r *replica) readsOf(own relay.PrivateReads, l mirror.Listing) relay.PrivateReads {
	there, err := relay.ParsePrivateReads(l.Reads) // "" of a primary that does not say is the default
	if err != nil {
		there = relay.ReadsStrict // a mode that only a newer version knows
	}
	return own.Stricter(there)
}

// tell says so when the own setting is another one than the primary's.
func (r *replica) tell(own relay.PrivateReads, l mirror.Listing) {
	if reads := r.readsOf(own, l); l.Reads != "" && l.Reads != own.String() {
		r.log.Warn("who may read messages is set otherwise here than at the primary: the stricter setting counts",
			"relay.private_reads", own, "there", l.Reads, "counts", reads)
	}
}

// listing is whose offers make the primary's book: as it said at an earlier start, or as these settings
// say.
func (s *FederationSettings) listing(path string) (l mirror.Listing, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return l, hint(fmt.Errorf("read %s: %w", path, err), "remove the file: the primary says again what is in it")
	default:
		return l, nil
	}
	l.Policy = s.policy()
	for _, f := range slices.Concat(s.Follow, s.Platforms) {
		l.Follows = append(l.Follows, mirror.Listed{Pubkey: f.Pubkey, Platform: f.Platform})
	}
	return l, nil
}

func keepListing(path string, l mirror.Listing) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return writeWhole(path, append(text, '\n'))
}

// primaryKey is the public key of the primary's node: as it says, or as it said at an earlier start.
func primaryKey(ctx context.Context, dial mirror.Dial, dir, primary string) (string, error) {
	path := filepath.Join(dir, primaryFile)
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the primary's key: %w", err)
	}
	was := strings.TrimSpace(string(known))
	switch now, err := dial.PrimaryKey(ctx, primary); {
	case err != nil && was != "":
		return was, nil
	case err != nil:
		return "", hint(fmt.Errorf("reach the primary %s: %w", primary, err), "the first start of a replica needs it: is the address right, and does it run?")
	case !nostr.IsValidPublicKey(now):
		return "", hint(fmt.Errorf("%s is not the relay of a Mostro: it names no public key", primary), "replicas are of a relay that mostro serves")
	case was != "" && was != now:
		return "", hint(fmt.Errorf("the primary has the key %s, this is a replica of %s", now, was), "use another data directory for a replica of another node")
	case was == "":
		return now, writeWhole(path, []byte(now+"\n"))
	default:
		return now, nil
	}
}

// run serves until ctx ends or a part fails.
func (r *replica) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := r.relay.Server()
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := r.copies.Run(ctx); err != nil {
			cancel(noPrimary(r.primary))
		}
	})
	if r.figures != nil {
		parts.Go(func() {
			if err := r.figures.serve(ctx); err != nil {
				cancel(fmt.Errorf("serve figures: %w", err))
			}
		})
	}
	parts.Go(func() {
		if err := r.relay.Watch(ctx); err != nil {
			cancel(fmt.Errorf("keep events: %w", err))
		}
	})
	parts.Go(func() {
		if err := server.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve: %w", err))
		}
	})
	<-ctx.Done()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	parts.Wait()
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err = errors.Join(err, r.relay.Close(closing))
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}
