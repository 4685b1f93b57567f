package main

import (
	"context"
	"net/url"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/price"
)

// publishPricesTime bounds handing a round's prices over.
const publishPricesTime = 30 * time.Second

// newFeed makes the feed of prices that the settings ask for. It finds what other Mostros publish
// in this node's own relay, and publishes there.
func (n *node) newFeed() *price.Feed {
	s := &n.cfg.settings.Price
	cfg := price.Config{
		Sources:    s.sources(),
		Interval:   seconds(s.UpdateSeconds),
		Staleness:  seconds(s.StalenessSeconds),
		Timeout:    seconds(s.TimeoutSeconds),
		OutlierPPM: s.OutlierPPM,
		JumpPPM:    s.JumpPPM,
		Failures:   int(s.Failures),
		Cooldown:   seconds(s.CooldownSeconds),
		Orders:     n.cfg.settings.Mostro.Fiat,
		Published: func(ctx context.Context, pubkeys []string) ([]nostr.Event, error) {
			return n.relay.Query(ctx, nostr.Filter{
				Kinds: []int{mostro.KindRates}, Authors: pubkeys, Tags: nostr.TagMap{"d": {price.RatesTag}},
			})
		},
		Logger: n.cfg.logger,
	}
	if proxy := string(n.cfg.settings.Network.Proxy); proxy != "" {
		cfg.Proxy, _ = url.Parse(proxy) // the settings have made sure of its form
	}
	if s.Publish {
		cfg.Polled = n.publishPrices
	}
	return price.New(cfg)
}

// publishPrices puts the prices of a round out.
func (n *node) publishPrices() {
	rates, ok := n.prices.Rates()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishPricesTime)
	defer cancel()
	if err := n.engine.Publish(ctx, rates); err != nil {
		n.cfg.logger.Warn("publish prices, next with the next round", "err", err)
	}
}
