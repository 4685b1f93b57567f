package price

import (
	"context"
	"maps"
	"sync"
	"time"
)

// source is a Source with what has been seen of it.
type source struct {
	Source
	quoted   map[string]bool // every currency it has quoted; nil before its first answer
	failures int             // in a row
	cooldown time.Duration
	restsTo  time.Time // not asked before, when it failed too often
}

// mayQuote tells whether a price of the currency is to be expected of the source. One that has
// not answered yet may quote anything that is taken from it.
func (s *source) mayQuote(code string) bool {
	return s.direct() && s.takes(code) && (s.quoted[code] || s.quoted == nil)
}

// Run asks the sources until ctx ends. A source that fails is logged once, and so is its
// recovery.
func (f *Feed) Run(ctx context.Context) {
	retry := firstRetry
	for {
		asked, answered, surprised := f.round(ctx)
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		// A node that has heard of no price yet looks again soon, too.
		failed := asked > 0 && answered == 0 || len(*f.prices.Load()) == 0
		wait, retry = pause(f.cfg.Interval, retry, failed, surprised)
		if f.cfg.Polled != nil {
			f.cfg.Polled()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// pause is how long to rest after a round, and what to call it with as retry after the next.
func pause(interval, retry time.Duration, failed, surprised bool) (wait, next time.Duration) {
	switch {
	case failed:
		return min(retry, interval), min(2*retry, interval)
	case surprised:
		return min(secondLook, interval), firstRetry
	}
	return interval, firstRetry
}

// round asks all sources that are due at once, and takes over what they agree on. It tells how
// many were asked and answered, and whether a price waits for a second look.
func (f *Feed) round(ctx context.Context) (asked, answered int, surprised bool) {
	f.listen(ctx)
	due := f.due(f.cfg.Now())
	answers, failures := make([]quotes, len(f.sources)), make([]error, len(f.sources))
	var group sync.WaitGroup
	for _, i := range due {
		group.Go(func() { answers[i], failures[i] = f.ask(ctx, f.sources[i].Source) })
	}
	group.Wait()
	if ctx.Err() != nil {
		return 0, 0, false // nobody's failure
	}
	now := f.cfg.Now()
	for _, i := range due {
		if f.note(&f.sources[i], answers[i], failures[i], now) {
			answered++
		}
	}
	before, doubted := maps.Clone(f.waiting), maps.Clone(f.doubts)
	f.endDoubts(now.Unix())
	f.update(func(next snapshot) {
		f.merge(next, answers, now.Unix())
		f.fillGaps(next, now.Unix())
	})
	f.tellDoubts(doubted)
	var jumped []string
	for code, q := range f.waiting {
		if q != before[code] {
			jumped = append(jumped, code+" "+formatMillionths(q.perBTC))
		}
	}
	if len(jumped) > 0 {
		f.cfg.Logger.Warn("prices jumped and wait for a second look", "per_btc", jumped)
	}
	return len(due), answered, len(jumped) > 0
}

// due lists the places of the sources to ask: those that do not rest, or else the one whose rest
// ends first, because a node without prices gains nothing by waiting.
func (f *Feed) due(now time.Time) (due []int) {
	first := -1
	for i := range f.sources {
		s := &f.sources[i]
		switch {
		case !s.direct():
		case !now.Before(s.restsTo):
			due = append(due, i)
		case first < 0 || s.restsTo.Before(f.sources[first].restsTo):
			first = i
		}
	}
	if len(due) == 0 && first >= 0 {
		due = []int{first}
	}
	return due
}

// note keeps the books of a source that was asked, and tells whether it answered.
func (f *Feed) note(s *source, answer quotes, failure error, now time.Time) bool {
	if failure == nil {
		if s.failures > 0 {
			f.cfg.Logger.Info("a price source answers again", "source", s.name)
		}
		s.failures, s.cooldown, s.restsTo = 0, 0, time.Time{}
		if s.quoted == nil {
			s.quoted = make(map[string]bool, len(answer))
		}
		for code := range answer {
			s.quoted[code] = true
		}
		return true
	}
	if s.failures == 0 {
		f.cfg.Logger.Warn("a price source fails; market orders stop when prices are stale", "source", s.name, "err", failure)
	}
	if s.failures++; s.failures >= f.cfg.Failures {
		s.cooldown = min(max(2*s.cooldown, f.cfg.Cooldown), maxCooldown)
		s.restsTo = now.Add(s.cooldown)
	}
	return false
}

// merge takes over one round's answers, by the place of their source. The dollar comes first:
// some sources quote by it.
func (f *Feed) merge(next snapshot, answers []quotes, now int64) {
	byCode := map[string][]quote{}
	add := func(perUSD bool, value func(int64) (int64, bool)) {
		for i, answer := range answers {
			if f.sources[i].perUSD != perUSD {
				continue
			}
			for code, quoted := range answer {
				if perBTC, ok := value(quoted); ok {
					byCode[code] = append(byCode[code], quote{source: i, perBTC: perBTC, at: now})
				}
			}
		}
	}
	settle := func(code string) {
		c := combine(byCode[code], f.cfg.OutlierPPM)
		f.compare(code, byCode[code], c, false, now)
		if c.voices >= 2 || !f.needsTwo(code) {
			f.believe(next, code, c, false, now)
		}
		delete(byCode, code)
	}
	add(false, func(perBTC int64) (int64, bool) { return perBTC, true })
	if len(byCode["USD"]) > 0 {
		settle("USD")
	}
	if usd := next["USD"]; usd.At == now && !usd.relayed && !usd.doubted {
		add(true, func(perUSD int64) (int64, bool) { return mulDiv(perUSD, usd.PerBTC, million) })
	}
	for code := range byCode {
		settle(code)
	}
}

// needsTwo tells whether two sources must agree on a currency: where three or more quote it.
func (f *Feed) needsTwo(code string) bool {
	n := 0
	for i := range f.sources {
		if f.sources[i].mayQuote(code) {
			n++
		}
	}
	return n >= 3
}
