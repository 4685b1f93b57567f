// Package price tells the escrow what one bitcoin costs in each fiat currency.
//
// A Feed polls one source and keeps the last good price of each currency with the time at
// which it was read. The rules it keeps:
//
//   - Reading never waits: Price looks at an immutable snapshot, whatever the network does.
//   - An old price is no price: beyond the staleness limit Price reports none, and the
//     escrow refuses market orders instead of trading at a wrong rate.
//   - A source is not trusted: bodies are bounded, redirects are not followed, and a value
//     that is not a plausible price of a plausible currency is dropped alone, without the
//     rest of the answer.
//   - Money stays exact: decimals are read digit by digit into millionths, never through
//     a floating-point number.
//
// The package knows nothing of orders beyond the type of a price, nor of Nostr.
package price

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"mostro/escrow/order"
)

const (
	// maxBody bounds the answer of a source in bytes; the largest seen is 10 kB.
	maxBody = 1 << 20
	// maxCurrencies bounds how many currencies are kept.
	maxCurrencies = 512
	// firstRetry is the wait after a failed poll; it doubles up to the poll interval.
	firstRetry = 15 * time.Second
)

// Config is what a Feed needs. All fields but Client, Now and Logger are required.
type Config struct {
	URL       string        // base URL of a source in Yadio's format
	Interval  time.Duration // between polls
	Staleness time.Duration // age beyond which a price is not used
	Timeout   time.Duration // of one request, from dialing to the last byte
	Client    *http.Client  // nil: a client of its own; its Timeout and redirects are set here
	Now       func() time.Time
	Logger    *slog.Logger
}

// Feed keeps prices fresh while Run runs.
type Feed struct {
	cfg    Config
	client http.Client
	prices atomic.Pointer[map[string]order.Price]
}

// New makes a Feed without prices; Run fills it.
func New(cfg Config) *Feed {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Feed{cfg: cfg}
	if cfg.Client != nil {
		f.client = *cfg.Client
	}
	f.client.Timeout = cfg.Timeout
	f.client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect could leave TLS or reach an inner address
	}
	f.prices.Store(&map[string]order.Price{})
	return f
}

// Price returns the last good price of a currency (ISO 4217, upper-case), and false when
// there is none or it is older than the staleness limit.
func (f *Feed) Price(fiat string) (order.Price, bool) {
	p, ok := (*f.prices.Load())[fiat]
	if !ok || f.cfg.Now().Sub(time.Unix(p.At, 0)) > f.cfg.Staleness {
		return order.Price{}, false
	}
	return p, true
}

// Run polls until ctx ends. A source that fails is asked again soon, then at growing
// intervals; its failure is logged once, and so is its recovery.
func (f *Feed) Run(ctx context.Context) {
	retry, failing := firstRetry, false
	for {
		wait := f.cfg.Interval
		err := f.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(retry, f.cfg.Interval)
			retry = min(2*retry, f.cfg.Interval)
			if !failing {
				f.cfg.Logger.Warn("no fresh prices; market orders stop when the last ones are stale",
					"err", err, "retry_in", wait)
			}
		case failing:
			f.cfg.Logger.Info("prices are fresh again")
		}
		if failing = err != nil; !failing {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// poll asks the source once and merges its answer: a currency that is missing from it
// keeps its last price with its old time.
func (f *Feed) poll(ctx context.Context) error {
	body, err := f.get(ctx, f.cfg.URL+"/exrates/BTC")
	if err != nil {
		return err
	}
	perBTC, err := parseYadio(body)
	if err != nil {
		return fmt.Errorf("read prices of %s: %w", f.cfg.URL, err)
	}
	merged := maps.Clone(*f.prices.Load())
	at := f.cfg.Now().Unix()
	for code, value := range perBTC {
		if _, known := merged[code]; known || len(merged) < maxCurrencies {
			merged[code] = order.Price{PerBTC: value, At: at}
		}
	}
	f.prices.Store(&merged)
	return nil
}

func (f *Feed) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for prices: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for prices: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for prices: get %s: status %s", url, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("ask for prices: get %s: %w", url, err)
	}
	if len(body) > maxBody {
		return nil, errors.New("ask for prices: get " + url + ": the answer is larger than 1 MiB")
	}
	return body, nil
}
