package price

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// RatesTag is the d tag of published rates.
const RatesTag = "mostro-rates"

const (
	maxRates   = 64 << 10  // bytes of another node's rates
	ratesLimit = time.Hour // until published rates expire, at most
)

// offer is what one node published last.
type offer struct {
	quotes
	at int64 // unix seconds, as the node says
}

// listen takes over what other nodes published since the last round.
func (f *Feed) listen(ctx context.Context) {
	var pubkeys []string
	for _, s := range f.sources {
		pubkeys = slices.AppendSeq(pubkeys, maps.Keys(s.nodes))
	}
	if len(pubkeys) == 0 || f.cfg.Published == nil {
		return
	}
	slices.Sort(pubkeys)
	events, err := f.cfg.Published(ctx, pubkeys)
	if err != nil {
		f.cfg.Logger.Warn("look for rates that other nodes published, will try again", "err", err)
		return
	}
	for _, ev := range events[:min(len(events), maxNodes)] {
		if err := f.offer(&ev); err != nil {
			f.cfg.Logger.Debug("rates of another node are not taken", "node", ev.PubKey, "err", err)
		}
	}
}

// offer verifies an event, and keeps it when it is by a node of a Nodes source, new enough, and
// newer than the last one of that node. The error says why it is not kept.
func (f *Feed) offer(ev *nostr.Event) error {
	place := slices.IndexFunc(f.cfg.Sources, func(s Source) bool { return s.nodes[ev.PubKey] })
	at := int64(ev.CreatedAt)
	switch d := ev.Tags.GetD(); {
	case ev.Kind != mostro.KindRates || d != RatesTag:
		return errors.New("not published rates")
	case place < 0:
		return errors.New("not a trusted node")
	case !f.fresh(at, f.cfg.Now().Unix()):
		return errors.New("too old or from the future")
	case len(ev.Content) > maxRates:
		return errors.New("too long")
	}
	if ok, err := ev.CheckSignature(); err != nil || !ok {
		return errors.New("bad signature")
	}
	var content struct {
		BTC map[string]json.RawMessage `json:"BTC"`
	}
	if err := json.Unmarshal([]byte(ev.Content), &content); err != nil {
		return err
	}
	read := readQuotes(content.BTC)
	maps.DeleteFunc(read, func(code string, _ int64) bool { return !f.cfg.Sources[place].takes(code) })
	if at <= f.offers[ev.PubKey].at {
		return errors.New("not newer than the last")
	}
	f.offers[ev.PubKey] = offer{read, at}
	return nil
}

// fillGaps takes over other nodes' prices of currencies that no source of our own has a fresh
// price of. Of several nodes' they are combined as those of sources are.
func (f *Feed) fillGaps(next snapshot, now int64) {
	byCode := map[string][]quote{}
	for pubkey, offer := range f.offers {
		if !f.fresh(offer.at, now) {
			continue
		}
		place := slices.IndexFunc(f.cfg.Sources, func(s Source) bool { return s.nodes[pubkey] })
		for code, perBTC := range offer.quotes {
			byCode[code] = append(byCode[code], quote{source: place, perBTC: perBTC, at: offer.at})
		}
	}
	for code, quoted := range byCode {
		if own, ok := next[code]; ok && !own.relayed && f.fresh(own.At, now) {
			continue
		}
		if d, doubted := f.doubts[code]; doubted && !d.relayed {
			continue // others do not decide between sources of our own
		}
		c := combine(quoted, f.cfg.OutlierPPM)
		f.compare(code, quoted, c, true, now)
		if c.voices >= 2 || len(quoted) < 3 {
			f.believe(next, code, c, true, now)
		}
	}
}

// Rates is what to publish: the fresh prices that come from sources of our own, as an event of
// kind 30078 without author and time. It is false when there are none.
func (f *Feed) Rates() (nostr.Event, bool) {
	now := f.cfg.Now().Unix()
	prices := *f.prices.Load()
	var content strings.Builder
	var from uint64
	for _, code := range slices.Sorted(maps.Keys(prices)) {
		p := prices[code]
		if p.relayed || p.doubted || !f.fresh(p.At, now) {
			continue
		}
		if content.Len() > 0 {
			content.WriteByte(',')
		}
		from |= p.from
		fmt.Fprintf(&content, `"%s":%s`, code, formatMillionths(p.PerBTC)) // both need no escapes
	}
	if content.Len() == 0 {
		return nostr.Event{}, false
	}
	var names []string
	for i, s := range f.cfg.Sources {
		if from&(1<<i) != 0 {
			names = append(names, s.name)
		}
	}
	expiration := now + int64(min(2*f.cfg.Interval, ratesLimit)/time.Second)
	return nostr.Event{
		Kind: mostro.KindRates,
		Tags: nostr.Tags{
			{"d", RatesTag},
			{"published_at", strconv.FormatInt(now, 10)},
			{"source", strings.Join(names, ",")},
			{"expiration", strconv.FormatInt(expiration, 10)},
		},
		Content: `{"BTC":{` + content.String() + `}}`,
	}, true
}
