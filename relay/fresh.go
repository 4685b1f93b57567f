package relay

import (
	"fmt"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// fresh is a new event as filters are compared with it. Thousands can be, while every publisher waits: what takes long
// is found out once, and what is left to do for a filter grows with the filter or with the event, but not with both.
type fresh struct {
	ev         *nostr.Event
	id, author key
	tags       []tagKey            // each once
	tagged     map[tagKey]struct{} // the same, nil while they are few

	// Made when first needed.
	recipients map[key]struct{}
	text       *string
}

const fewOfEvent = 8 // tags, up to which looking through them beats a map

func newFresh(ev *nostr.Event) (*fresh, error) {
	e := &fresh{ev: ev, tags: tagKeys(ev)}
	var err error
	if e.id, err = parseKey(ev.ID); err != nil {
		return nil, fmt.Errorf("read id: %w", err)
	}
	if e.author, err = parseKey(ev.PubKey); err != nil {
		return nil, fmt.Errorf("read author: %w", err)
	}
	if len(e.tags) > fewOfEvent {
		e.tagged = make(map[tagKey]struct{}, len(e.tags))
		for _, tag := range e.tags {
			e.tagged[tag] = struct{}{}
		}
	}
	return e, nil
}

// matches reports whether f asks for the event, whoever asks.
func (e *fresh) matches(f *ask) bool {
	plain := &f.plain
	switch {
	case plain.Since != nil && e.ev.CreatedAt < *plain.Since, plain.Until != nil && e.ev.CreatedAt > *plain.Until,
		len(f.kinds) > 0 && !slices.Contains(f.kinds, e.ev.Kind),
		len(f.ids) > 0 && !slices.Contains(f.ids, e.id),
		len(f.authors) > 0 && !slices.Contains(f.authors, e.author):
		return false
	}
	for _, values := range f.tags {
		if !slices.ContainsFunc(values, e.has) {
			return false
		}
	}
	return f.words == nil || isSearched(e.ev.Kind) && f.finds(e.searched())
}

func (e *fresh) has(tag tagKey) bool {
	if e.tagged == nil {
		return slices.Contains(e.tags, tag)
	}
	_, ok := e.tagged[tag]
	return ok
}

func (e *fresh) searched() string {
	if e.text == nil {
		text := searchText(e.ev)
		e.text = &text
	}
	return *e.text
}

// isFor reports whether one of the keys is a recipient.
func (e *fresh) isFor(authed keys) bool {
	if e.recipients == nil {
		e.recipients = make(map[key]struct{})
		for tag := range e.ev.Tags.FindAll("p") {
			if k, err := parseKey(tag[1]); err == nil {
				e.recipients[k] = struct{}{}
			}
		}
	}
	return slices.ContainsFunc(authed, func(k key) bool {
		_, ok := e.recipients[k]
		return ok
	})
}
