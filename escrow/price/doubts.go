package price

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// doubt is that quotes of one currency disagreed.
type doubt struct {
	at      int64  // unix seconds, of the last time
	relayed bool   // they are other nodes'
	says    string // who says what
}

// compare notes whether quotes of one currency disagree. Until they agree they are doubted, also what one of them says
// while the other is silent: nobody knows which was right. After as long as a price lasts one may speak alone again.
func (f *Feed) compare(code string, quotes []quote, c combined, relayed bool, now int64) {
	switch d := f.doubts[code]; {
	case c.voices >= 2:
		delete(f.doubts, code)
	case len(quotes) >= 2:
		f.doubts[code] = doubt{at: now, relayed: relayed, says: f.says(code, quotes)}
	case d.relayed != relayed:
		delete(f.doubts, code)
	}
}

// believe takes over what quotes of a currency add up to. When they are doubted, the price that is known counts no
// more either.
func (f *Feed) believe(next snapshot, code string, c combined, relayed bool, now int64) {
	if _, doubted := f.doubts[code]; !doubted {
		f.accept(next, code, c, relayed, now)
	} else if p, known := next[code]; known {
		p.doubted = true
		next[code] = p
	}
}

// says is who quotes what, by their places.
func (f *Feed) says(code string, quotes []quote) string {
	text := code
	for _, q := range slices.SortedFunc(slices.Values(quotes), func(a, b quote) int { return cmp.Compare(a.source, b.source) }) {
		text += fmt.Sprintf(" %s=%s", f.cfg.Sources[q.source].name, formatMillionths(q.perBTC))
	}
	return text
}

// endDoubts forgets what nobody has contradicted for as long as a price lasts, also where no source quotes the currency any more.
func (f *Feed) endDoubts(now int64) {
	maps.DeleteFunc(f.doubts, func(_ string, d doubt) bool { return !f.fresh(d.at, now) })
}

// Doubted lists the currencies of orders whose sources disagree, with what each says: "USD yadio=60000 coingecko=90000".
func (f *Feed) Doubted() []string {
	if list := f.unsure.Load(); list != nil {
		return *list
	}
	return nil
}

// tellDoubts logs what has come to be doubted since before, and what is doubted no more.
func (f *Feed) tellDoubts(before map[string]doubt) {
	var all, begun, ended []string
	others := func(code string) bool { return len(f.cfg.Orders) > 0 && !slices.Contains(f.cfg.Orders, code) }
	for _, code := range slices.Sorted(maps.Keys(f.doubts)) {
		if others(code) {
			continue
		}
		all = append(all, f.doubts[code].says)
		if _, told := before[code]; !told {
			begun = append(begun, f.doubts[code].says)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(before)) {
		if _, still := f.doubts[code]; !still && !others(code) {
			ended = append(ended, code)
		}
	}
	f.unsure.Store(&all)
	if len(begun) > 0 {
		f.cfg.Logger.Warn("price sources disagree; market orders in these currencies stop until they agree: of two sources at once, of more when the last price is stale",
			"per_btc", begun, "remedy", "a third source; or price.providers.NAME.except for who is wrong there")
	}
	if len(ended) > 0 {
		f.cfg.Logger.Info("prices are doubted no more", "currencies", ended)
	}
}
