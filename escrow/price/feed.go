// Package price tells the escrow what one bitcoin costs in each fiat currency.
//
// A Feed asks its sources in rounds, makes one price of what they say, and keeps the last good
// price of each currency with the time at which it was read. The rules it keeps:
//
//   - Reading never waits: Price looks at an immutable snapshot, whatever the network does.
//   - An old price is no price: beyond the staleness limit Price reports none, and the
//     escrow refuses market orders instead of trading at a wrong rate.
//   - No source is trusted alone. Bodies and times are bounded, redirects to other hosts are
//     not followed, values that are no price are dropped. Of three or more quotes those far
//     from the median do not count; where three or more sources quote a currency, two
//     must agree; where two quote it and disagree there is no price until they agree; and a
//     price far from the last one waits until a second look confirms it.
//   - Other nodes' published prices only fill gaps, and what is known only through them is not
//     published again, so that nodes do not confirm each other's echo.
//   - Money stays exact: decimals are read digit by digit into millionths, and all
//     arithmetic is on integers, never on floating-point numbers.
//
// The sources' addresses are the operator's, so they may lie in the operator's own network. The
// package knows nothing of orders beyond the type of a price. Of Nostr it knows one event, the
// published rates; keeping, finding and sending it is for others.
package price

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/order"
)

const (
	maxBody      = 1 << 20  // bytes of an answer; the largest of the known sources has 10 kB
	maxHeader    = 64 << 10 // bytes of an answer's headers
	maxRedirects = 3        // within the host that was asked
	maxNodes     = 64       // other nodes whose rates are kept
	maxSources   = 64       // as many as there are bits to note them in

	firstRetry  = 15 * time.Second // after a round without answers; doubles up to the interval
	secondLook  = 30 * time.Second // until a surprising price is looked at again
	maxCooldown = 30 * time.Minute // of a source that keeps failing
	clockSkew   = 60               // seconds that other clocks may be ahead of ours

	defaultOutlierPPM = 50_000
	defaultFailures   = 3
	defaultCooldown   = 2 * time.Minute

	elToqueWindow = 23 * time.Hour // of the rates that are asked for; the API takes less than 24
)

// Config is what a Feed needs. Sources, Interval, Staleness and Timeout are required.
type Config struct {
	Sources   []Source      // at most 64
	Interval  time.Duration // between rounds
	Staleness time.Duration // age beyond which a price is not used
	Timeout   time.Duration // of one request, from dialing to the last byte
	// OutlierPPM is how far from the median of three or more quotes, and two quotes that agree
	// from each other, a quote may be, in parts per million; 0 = 5 %.
	OutlierPPM int64
	// JumpPPM is how far from the last one a price may be without a second look; 0 = any.
	JumpPPM int64
	// After Failures (0 = 3) in a row a source is left alone for Cooldown (0 = 2 min), doubling
	// up to 30 min. There is always one that is asked.
	Failures int
	Cooldown time.Duration
	Proxy    *url.URL // socks5://, for hosts outside the operator's network; nil = none
	// Orders are the currencies of orders, empty = all. What is doubted of others is not told.
	Orders []string
	// Published finds the rates (kind 30078) that these nodes published last, where this node keeps
	// events; asked before each round when there is a Nodes source.
	Published func(ctx context.Context, pubkeys []string) ([]nostr.Event, error)
	Polled    func() // called by Run after each round, for publishing Rates; may be nil
	Now       func() time.Time
	Logger    *slog.Logger
}

// Feed keeps prices fresh while Run runs.
type Feed struct {
	cfg    Config
	client *http.Client
	prices atomic.Pointer[snapshot]
	unsure atomic.Pointer[[]string] // see Doubted

	// What follows belongs to Run.
	sources []source
	offers  map[string]offer // by the node's key
	waiting map[string]quote // surprising prices, until they are looked at again
	doubts  map[string]doubt // currencies whose quotes disagree
}

// snapshot is the prices at one moment. It is never changed.
type snapshot map[string]entry

type entry struct {
	order.Price
	from    uint64 // a bit for the place of each source in it
	relayed bool   // known through other nodes only
	doubted bool   // the two that quote it disagree now: it counts for a second look only
}

// New makes a Feed without prices; Run fills it.
func New(cfg Config) *Feed {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OutlierPPM <= 0 {
		cfg.OutlierPPM = defaultOutlierPPM
	}
	if cfg.Failures <= 0 {
		cfg.Failures = defaultFailures
	}
	if cfg.Cooldown <= 0 {
		cfg.Cooldown = defaultCooldown
	}
	f := &Feed{
		cfg:     cfg,
		client:  newClient(cfg.Proxy),
		offers:  map[string]offer{},
		waiting: map[string]quote{},
		doubts:  map[string]doubt{},
	}
	for _, s := range cfg.Sources[:min(len(cfg.Sources), maxSources)] {
		f.sources = append(f.sources, source{Source: s})
	}
	f.prices.Store(&snapshot{})
	return f
}

// Price returns the last good price of a currency (ISO 4217, upper-case), and false when
// there is none, it is older than the staleness limit, or its two sources disagree.
func (f *Feed) Price(fiat string) (order.Price, bool) {
	p, ok := (*f.prices.Load())[fiat]
	if !ok || p.doubted || !f.fresh(p.At, f.cfg.Now().Unix()) {
		return order.Price{}, false
	}
	return p.Price, true
}

// fresh tells whether what was read at a time may be used now. A time in the future means that
// the clock was set back, and says nothing.
func (f *Feed) fresh(at, now int64) bool {
	return now-at <= int64(f.cfg.Staleness/time.Second) && at-now <= clockSkew
}

// update replaces the snapshot by a changed copy.
func (f *Feed) update(change func(next snapshot)) {
	next := maps.Clone(*f.prices.Load())
	change(next)
	f.prices.Store(&next)
}

// accept makes a price that its sources agree on the price of a currency, unless it is so far
// from the fresh one that it has to wait for a later quote that confirms it.
func (f *Feed) accept(next snapshot, code string, c combined, relayed bool, now int64) {
	old, known := next[code]
	if f.cfg.JumpPPM > 0 && known && f.fresh(old.At, now) && !within(old.PerBTC, c.perBTC, f.cfg.JumpPPM) {
		seen, again := f.waiting[code]
		confirmed := again && seen.at < c.at && within(seen.perBTC, c.perBTC, f.cfg.JumpPPM)
		if !confirmed {
			if !again || seen.at < c.at {
				f.waiting[code] = quote{perBTC: c.perBTC, at: c.at}
			}
			return
		}
	}
	delete(f.waiting, code)
	next[code] = entry{Price: order.Price{PerBTC: c.perBTC, At: c.at}, from: c.from, relayed: relayed}
}
