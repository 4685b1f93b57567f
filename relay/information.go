package relay

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	events "mostro/relay/store"
)

// furtherLimits are limits that clients can meet and NIP-11 has no field for. They stand in the relay's description as
// mostro_limitation, with the units of NIP-11.
type furtherLimits struct {
	Filters            int          `json:"max_filters"`             // in one request
	FilterValues       int          `json:"max_filter_values"`       // in one list of a filter
	FilterTags         int          `json:"max_filter_tags"`         // tag names in one filter
	SubscriptionValues int          `json:"max_subscription_values"` // in all subscriptions of a connection
	TagBytes           int          `json:"max_tag_bytes"`           // of all tags of an event
	EventsPerKey       int          `json:"max_events_per_key"`      // that are stored
	AuthKeys           int          `json:"max_auth_keys"`           // on one connection
	NegSessions        int          `json:"max_negentropy_sessions"` // on one connection
	NegItems           int          `json:"max_negentropy_events"`   // in one session
	SearchBytes        int          `json:"max_search_bytes"`        // of what is searched for (NIP-50)
	SearchWords        int          `json:"max_search_words"`        // in it
	Searched           int          `json:"max_searched_bytes"`      // of an event, that are looked through
	Kinds              []kindLimits `json:"kinds"`                   // what is stricter, or wider, for some kinds
}

// kindLimits hold for some kinds in place of the field of the same name for all.
type kindLimits struct {
	Kinds        []int `json:"kinds"`
	LowerLimit   int64 `json:"created_at_lower_limit,omitempty"`
	UpperLimit   int64 `json:"created_at_upper_limit,omitempty"`
	EventTags    int   `json:"max_event_tags,omitempty"`
	ContentBytes *int  `json:"max_content_bytes,omitempty"`
	DefaultLimit int   `json:"default_limit,omitempty"`
}

// further are the limits as they are enforced: the relay's own policies are made from the same values.
func (r *Relay) further() furtherLimits {
	l := r.cfg.Limits
	told := furtherLimits{
		Filters: l.Filters, FilterValues: l.FilterValues, FilterTags: l.FilterTags, SubscriptionValues: l.SubscriptionValues,
		TagBytes: l.TagBytes, EventsPerKey: l.EventsPerKey, AuthKeys: l.AuthKeys, NegSessions: l.NegSessions, NegItems: l.NegItems,
		SearchBytes: maxSearch, SearchWords: maxWords, Searched: maxSearched,
		Kinds: []kindLimits{
			{Kinds: []int{nostr.KindGiftWrap}, LowerLimit: int64(min(l.WrapPast, l.Past) / time.Second)},
			{Kinds: tradeKinds, UpperLimit: int64(min(l.OrderFuture, l.Future) / time.Second)},
			{Kinds: events.AlwaysInMemory(), EventTags: min(l.IndexedTags, l.EventTags)},
			{Kinds: bookKinds, DefaultLimit: l.BookResults},
		},
	}
	for _, kind := range slices.Sorted(maps.Keys(r.cfg.Contents)) {
		most := r.cfg.Contents[kind]
		told.Kinds = append(told.Kinds, kindLimits{Kinds: []int{kind}, ContentBytes: &most})
	}
	return told
}

// inform answers with khatru's description of the relay (NIP-11) and further limits behind it.
func (r *Relay) inform(w http.ResponseWriter, req *http.Request) {
	req.Header.Set("Accept", informationType) // khatru compares the whole header
	whole := held{ResponseWriter: w}
	r.khatru.ServeHTTP(&whole, req)
	told := bytes.TrimSpace(whole.body.Bytes())
	if len(told) > 0 && told[len(told)-1] == '}' {
		further, _ := json.Marshal(r.further()) // numbers always encode
		told = append(append(append(told[:len(told)-1], `,"mostro_limitation":`...), further...), "}\n"...)
	}
	_, _ = w.Write(told) // the client may be gone
}

// held holds the body of an answer back.
type held struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (h *held) Write(b []byte) (int, error) { return h.body.Write(b) }
