package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
	"mostro/escrow/price"
	"mostro/relay"
	"mostro/relay/mirror"
)

const (
	drainTime     = 10 * time.Second      // for clients and stores to finish at the end
	headerTime    = 10 * time.Second      // for a client of a server beside the relay's to send its HTTP headers
	maxHeader     = 16 << 10              // bytes
	meetTime      = 3 * time.Second       // for LND to say who it is, at the start
	readyPoll     = 50 * time.Millisecond // how often waitReady looks
	hoursToSecond = 3600
	daysToSecond  = 86400
)

// nodeConfig is what a node is made of.
type nodeConfig struct {
	dir       string
	settings  *Settings
	harmful   settingsError // in the settings
	key       mostro.Secret
	storeKey  escrow.StoreKey
	lightning lnd.Config
	listener  net.Listener // the node closes it
	metrics   net.Listener // the same; nil: no figures are served
	logger    *slog.Logger
	// closed: all coins are play money of this machine, and Lightning addresses may lead to it.
	// mostro dev and tests say so in code; no setting, flag or variable can.
	closed bool
}

// node is a relay and an escrow that know each other through two functions.
type node struct {
	cfg    nodeConfig
	url    string // of the relay, as clients dial it
	relay  *relay.Relay
	engine *escrow.Engine
	mirror *mirror.Mirror
	prices *price.Feed
	// started is engine for those who may ask before it is there.
	started atomic.Pointer[escrow.Engine]
	server  *http.Server
	// commands is where the operator's commands come in.
	commands net.Listener
	ln       *lnd.Node
	figures  *figures
	backedUp backedUp
}

// openNode opens the stores and connects the parts. Nothing is served before run.
func openNode(ctx context.Context, cfg nodeConfig) (*node, error) {
	slog.SetDefault(cfg.logger) // eventstore writes to the standard logger, which follows this one
	n := &node{cfg: cfg}
	if err := n.mayServe(); err != nil {
		return nil, err
	}
	secret, err := escrowSecret(cfg.dir)
	if err != nil {
		return nil, err
	}
	s := cfg.settings
	if err := s.space().Check(filepath.Join(cfg.dir, escrowDir), cfg.logger); err != nil {
		return nil, noRoom(err)
	}
	if n.url = s.Relay.URL; n.url == "" {
		n.url = "ws://" + dialable(cfg.listener.Addr().String())
	}
	if n.ln, err = lnd.Dial(cfg.lightning); err != nil {
		return nil, err
	}
	n.prices = n.newFeed()
	// The relay is open before the engine, which publishes into it, and takes no message
	// before run.
	mirroring, err := n.mirrorConfig()
	if err != nil {
		return nil, errors.Join(err, n.ln.Close())
	}
	if n.mirror, err = mirror.New(mirroring); err != nil {
		return nil, errors.Join(inUse(cfg.dir, err), n.ln.Close())
	}
	relaying, err := n.relayConfig()
	if err != nil {
		return nil, errors.Join(err, n.mirror.Close(), n.ln.Close())
	}
	if n.relay, err = relay.Open(relaying); err != nil {
		return nil, errors.Join(inUse(cfg.dir, err), n.mirror.Close(), n.ln.Close())
	}
	if err := n.mirror.Attach(n.relay); err != nil {
		return nil, errors.Join(err, n.relay.Close(ctx), n.mirror.Close(), n.ln.Close())
	}
	n.mirror.Serve()
	payees, err := n.newPayees()
	if err != nil {
		return nil, errors.Join(err, n.relay.Close(ctx), n.mirror.Close(), n.ln.Close())
	}
	n.engine, err = escrow.Open(escrow.Config{
		Dir:          filepath.Join(cfg.dir, escrowDir),
		StoreKey:     cfg.storeKey,
		Epoch:        filepath.Join(cfg.dir, epochFile),
		Space:        s.space(),
		Key:          cfg.key,
		EscrowSecret: secret,
		Node:         n.ln,
		Prices:       n.prices.Price,
		Publish:      n.mirror.Publish,
		Shown:        n.shownOrders,
		Turn:         relay.Turn,
		Stranger:     relay.Stranger,
		Heard:        n.mirror.Heard,
		SameWay:      n.mirror.SameWay,
		IsAddress:    payees.IsAddress,
		Resolve:      payees.resolve,
		Settings:     s.engine(),
		Instance:     mostro.Instance{Pubkey: cfg.key.Public(), Name: s.Mostro.Name, RelayURLs: n.relayURLs()},
		Logger:       cfg.logger,
	})
	if err != nil {
		return nil, errors.Join(storeKeyHint(inUse(cfg.dir, err)), n.relay.Close(ctx), n.mirror.Close(), n.ln.Close())
	}
	err = n.mayServe()
	if err == nil {
		err = n.meet(ctx)
	}
	if err == nil {
		n.commands, err = listenControl(cfg.dir)
	}
	if err != nil {
		return nil, errors.Join(err, n.engine.Close(), n.relay.Close(ctx), n.mirror.Close(), n.ln.Close())
	}
	n.started.Store(n.engine)
	n.server = n.relay.Server()
	n.figures = newFigures(cfg.metrics, cfg.logger)
	n.figures.MustRegister(newPeerFigures(n.mirror.Health))
	n.figures.MustRegister(newLightningFigures(n.engine.LightningStands)...)
	return n, nil
}

// meet refuses another Lightning node than the one on which escrows lie. One that does not
// answer is met later; then the node ends.
func (n *node) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	return wrongNode(n.cfg.dir, n.engine.Meet(ctx))
}

// wrongNode says what to do about another Lightning node.
func wrongNode(dir string, err error) error {
	if errors.Is(err, escrow.ErrWrongNode) {
		return hint(err, "set [lightning] back to the node on which that order lies: it alone can settle, cancel and pay what is there",
			"to move to another node, first start beside the old one and let all trades end there: mostro mode drain --reason moving --data-dir "+dir)
	}
	return err
}

// inUse explains the error of a store that another process has open.
func inUse(dir string, err error) error {
	if !strings.Contains(err.Error(), "directory lock") {
		return err
	}
	return hint(fmt.Errorf("%s is in use: %w", dir, err), "another mostro runs on this data directory: stop it, or name another with --data-dir")
}

// engine translates settings to what the engine takes.
func (s *Settings) engine() escrow.Settings {
	l, m := &s.Lightning, &s.Mostro
	return escrow.Settings{
		Terms: order.Terms{
			FeePPM:              m.FeePPM,
			RoutingFeePPM:       m.MaxRoutingFeePPM,
			RoutingSubsidy:      order.Sat(l.RoutingSubsidy),
			WaitingSeconds:      m.ExpirationSeconds,
			PaymentAttempts:     l.Attempts,
			PaymentRetrySeconds: l.RetryInterval,
			PayoutGraceSeconds:  l.PayoutGrace,
			DevFeePPM:           m.DevFeePPM,
			DevFeeAddress:       m.DevFeeAddress,
			CLTVDelta:           uint32(l.CLTVDelta),
			HoldExpiryDelta:     uint32(l.HoldExpiry),
			Bond:                s.Bond.terms(),
		},
		Rules: order.Rules{
			MinAmount:     order.Sat(m.MinPaymentAmount),
			MaxAmount:     order.Sat(m.MaxOrderAmount),
			FiatCodes:     m.Fiat,
			PendingTime:   m.ExpirationHours * hoursToSecond,
			MaxPending:    m.MaxExpirationDays * daysToSecond,
			InvoiceWindow: l.InvoiceWindow,
			MaxFinalCLTV:  uint32(l.MaxFinalCLTV),
			MaxOpen:       int(m.MaxOpen),
			MaxTakes:      int(m.MaxTakes),
			MaxBonds:      int(s.Bond.MaxLive),
		},
		Guards:        s.Guards.engine(),
		HoldCap:       int(l.MaxHolds),
		PayoutCLTV:    uint32(l.PayoutCLTV),
		PayoutParts:   uint32(l.PayoutParts),
		PayoutTimeout: seconds(l.PayoutSeconds),
		MessageDays:   int(s.Expiration.DMDays),
		OrderDays:     int(s.Expiration.OrderDays),
		DisputeDays:   int(s.Expiration.DisputeDays),
		RatingDays:    int(s.Expiration.RatingDays),
		DevFeeDays:    int(s.Expiration.DevFeeDays),
		MaxOrders:     int(m.MaxOrders),
		Admins:        s.Admin.Pubkeys,
		InfoInterval:  seconds(m.InfoInterval),
		Metadata:      escrow.Metadata{Name: m.Name, About: m.About, Picture: m.Picture, Website: m.Website},
		Info:          s.info(),
	}
}

// info is what the node tells clients of its terms (kind 38385). Sellers have as long to pay
// a hold invoice as any wait of a trade lasts.
func (s *Settings) info() mostro.NodeInfo {
	l, m := &s.Lightning, &s.Mostro
	return mostro.NodeInfo{
		MostroVersion:               version,
		MostroCommitHash:            commit(),
		MaxOrderAmount:              m.MaxOrderAmount,
		MinOrderAmount:              m.MinPaymentAmount,
		ExpirationHours:             m.ExpirationHours,
		ExpirationSeconds:           m.ExpirationSeconds,
		FiatCurrencies:              m.Fiat,
		MaxOrdersPerResponse:        m.MaxOrders,
		Fee:                         formatPPM(m.FeePPM),
		Pow:                         int(m.Pow),
		PowFirstContact:             int(m.PowFirstContact),
		HoldInvoiceExpirationWindow: m.ExpirationSeconds,
		HoldInvoiceCLTVDelta:        l.CLTVDelta,
		InvoiceExpirationWindow:     l.InvoiceWindow,
		Bond:                        s.Bond.info(),
	}
}

// run serves until ctx ends or a part fails, then ends all parts in order: first no new
// messages, then the engine, whose last events still reach the relay, then the stores. It
// returns nil when ctx ended it.
func (n *node) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	engineCtx, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	var parts sync.WaitGroup
	part := func(what string, f func() error) {
		parts.Add(1)
		go func() {
			defer parts.Done()
			err := f()
			if err != nil && ctx.Err() != nil && !errors.Is(err, context.Canceled) {
				n.cfg.logger.Error("a part failed while the node was ending", "part", what, "error", err)
			}
			if err != nil {
				cancel(partFailed{fmt.Errorf("%s: %w", what, err)})
			}
		}()
	}
	part("keep room on the disk", func() error { return n.keepRoom(ctx) })
	part("run escrow", func() error { return noRoom(wrongNode(n.cfg.dir, n.engine.Run(engineCtx))) })
	part("keep events", func() error { return n.relay.Watch(ctx) })
	part("serve", func() error {
		if err := n.server.Serve(n.cfg.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	backups, err := n.newBackups()
	switch {
	case err != nil:
		cancel(partFailed{err})
	case backups != nil:
		part("back up", func() error { return n.backUp(ctx, backups) })
	}
	part("copy from and to other relays", func() error { n.mirror.Run(ctx); return nil })
	part("serve commands", func() error { return n.serveControl(ctx) })
	part("serve figures", func() error { return n.figures.serve(ctx) })
	if len(n.cfg.settings.Price.sources()) > 0 {
		part("poll prices", func() error { n.prices.Run(ctx); return nil })
	}
	<-ctx.Done()

	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err = n.server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = n.server.Close() // a client that keeps its request open is cut
	}
	stopEngine()
	parts.Wait()
	// Clients are told and stores closed in a time of their own: a request that stands still uses the first one up.
	saving, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	n.lastBackup(saving, backups)
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err = errors.Join(err, n.close(closing))
	cause := context.Cause(ctx)
	if failed := (partFailed{}); errors.As(cause, &failed) || !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// partFailed is why a node ends by itself, also where the cause of that was that something had been canceled.
type partFailed struct{ error }

func (p partFailed) Unwrap() error { return p.error }

// waitReady returns when the node has told its terms to the world (kind 38385) with what its
// Lightning node says of itself in them.
func (n *node) waitReady(ctx context.Context) error {
	filter := nostr.Filter{Kinds: []int{mostro.KindInfo}, Authors: []string{n.cfg.key.Public()}, Limit: 1}
	for {
		events, err := n.relay.Query(ctx, filter)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if tag := ev.Tags.Find("lnd_node_pubkey"); tag != nil && tag[1] != "" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyPoll):
		}
	}
}
