package relay

import (
	"fmt"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// filter is a client's filter, checked and in the index's terms.
type filter struct {
	plain   nostr.Filter
	ids     []key
	authors []key
	kinds   []int
	tags    [][]tagKey // one list per tag name; one value of each must occur
	limit   int        // stored events to answer with
	never   bool
}

// compile checks f against the limits. The error is for the client, with a prefix of NIP-01.
func compile(f nostr.Filter, limits Limits) (filter, error) {
	c := filter{
		plain: f, kinds: f.Kinds, limit: limits.results(f),
	}
	if f.Search != "" {
		return c, fmt.Errorf("unsupported: this relay does not search")
	}
	if f.Limit < 0 {
		return c, fmt.Errorf("invalid: limit is negative")
	}
	if len(f.Tags) > limits.FilterTags {
		return c, fmt.Errorf("invalid: filter has %d tag names, at most %d are taken", len(f.Tags), limits.FilterTags)
	}
	longest := max(len(f.IDs), len(f.Authors), len(f.Kinds))
	for _, values := range f.Tags {
		longest = max(longest, len(values))
	}
	if longest > limits.FilterValues {
		return c, fmt.Errorf("invalid: filter has a list of %d values, at most %d are taken", longest, limits.FilterValues)
	}
	var err error
	if c.ids, err = parseKeys(f.IDs); err != nil {
		return c, fmt.Errorf("invalid: ids: %w", err)
	}
	if c.authors, err = parseKeys(f.Authors); err != nil {
		return c, fmt.Errorf("invalid: authors: %w", err)
	}
	c.plain.Tags = nil
	for name, values := range f.Tags {
		if !isLetter(name) {
			return c, fmt.Errorf("unsupported: only tags of one letter can be asked for")
		}
		var keys []tagKey
		for _, value := range values {
			keys = append(keys, newTagKey(name[0], value))
		}
		c.tags = append(c.tags, keys)
		if c.plain.Tags == nil {
			c.plain.Tags = make(nostr.TagMap, len(f.Tags))
		}
		// go-nostr's names lie in the client's message, all of which they would keep.
		c.plain.Tags[strings.Clone(name)] = values
		c.never = c.never || len(values) == 0
	}
	c.never = c.never || f.Since != nil && f.Until != nil && *f.Since > *f.Until ||
		f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0
	return c, nil
}

func parseKeys(values []string) ([]key, error) {
	var keys []key
	for _, value := range values {
		k, err := parseKey(value)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// isPrivate reports whether events of this kind go out by the rule of PrivateReads only.
func isPrivate(kind int) bool {
	switch kind {
	case nostr.KindEncryptedDirectMessage, nostr.KindDirectMessage, nostr.KindGiftWrap, kindEphemeralWrap:
		return true
	}
	return false
}
