package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// ask is a filter of a client, with what the store does not know of.
type ask struct {
	filter
	words []string // NIP-50: all must occur; nil without a search
	blind bool     // for COUNT and negentropy, which name nobody
	round uint64   // of the last event that it was compared with; guarded by the live index
}

// ask reads and checks one filter. The error is for the client.
func (r *Relay) ask(part json.RawMessage, blind bool) (ask, error) {
	var plain nostr.Filter
	if part[0] != '{' {
		return ask{}, errors.New("invalid: a filter is an object")
	}
	if err := checkFilter(part); err != nil {
		return ask{}, err
	}
	if err := plain.UnmarshalJSON(part); err != nil {
		return ask{}, errors.New("invalid: the filter cannot be read")
	}
	words, err := searchWords(plain.Search)
	if err != nil {
		return ask{}, err
	}
	plain.Search = ""
	f, err := compile(plain, r.cfg.Limits)
	return ask{filter: f, words: words, blind: blind}, err
}

// asks reads the filters of a REQ or COUNT. The error is for the client.
func (s *session) asks(id string, parts []json.RawMessage, blind bool) ([]ask, error) {
	r := s.relay
	switch {
	case len(parts) == 0:
		return nil, fmt.Errorf("invalid: a filter is missing")
	case len(parts) > r.cfg.Limits.Filters:
		return nil, fmt.Errorf("invalid: there are %d filters, at most %d are taken", len(parts), r.cfg.Limits.Filters)
	}
	//lint:ignore SA1029 khatru looks it up under this key
	ctx := context.WithValue(s.hooks, subscriptionKey, id)
	asks := make([]ask, len(parts))
	hopeless := 0
	for i, part := range parts {
		f, err := r.ask(part, blind)
		if err != nil {
			return nil, err
		}
		for _, refuse := range r.khatru.RejectFilter {
			if reject, msg := refuse(ctx, f.plain); reject {
				return nil, errors.New(reason(msg, "blocked"))
			}
		}
		if r.hopeless(&f, s.keys.Load()) {
			hopeless++
		}
		asks[i] = f
	}
	if hopeless == len(asks) {
		return nil, errors.New("auth-required: messages are given out to their authors and recipients only")
	}
	return asks, nil
}

// searchWords splits a search (NIP-50). Words with a colon are extensions of other relays, which
// are to be ignored.
func searchWords(search string) ([]string, error) {
	if len(search) > maxSearch {
		return nil, fmt.Errorf("invalid: a search has at most %d bytes", maxSearch)
	}
	var words []string
	for word := range strings.FieldsSeq(strings.ToLower(search)) {
		if !strings.Contains(word, ":") {
			words = append(words, word)
		}
	}
	if len(words) > maxWords {
		return nil, fmt.Errorf("invalid: a search has at most %d words", maxWords)
	}
	return words, nil
}

// finds reports whether a text has what f searches for.
func (f *ask) finds(text string) bool {
	return !slices.ContainsFunc(f.words, func(word string) bool { return !strings.Contains(text, word) })
}

// findsRaw is finds for a stored event, of a kind that is searched.
func (f *ask) findsRaw(raw []byte) bool {
	if f.words == nil {
		return true
	}
	ev, err := decode(raw)
	return err == nil && f.finds(searchText(ev))
}

// searchText is what searches look through, in lower case: the beginning of the tags that people write and read, and of the
// content behind them.
func searchText(ev *nostr.Event) string {
	var text strings.Builder
	add := func(s string) {
		if left := maxSearched - text.Len(); left > 0 {
			text.WriteString(s[:min(len(s), left)])
			text.WriteByte('\n')
		}
	}
	for _, tag := range ev.Tags {
		switch tag[0] {
		case "title", "summary", "subject", "pm", "f", "t":
			for _, element := range tag[1:] {
				add(element)
			}
		}
	}
	add(ev.Content)
	return strings.ToLower(text.String())
}

// isSearched: only kinds of public text and orders are searched.
func isSearched(kind int) bool {
	switch kind {
	case nostr.KindProfileMetadata, nostr.KindTextNote, 11, 42, 1111, nostr.KindArticle, kindOrder:
		return true
	}
	return false
}
