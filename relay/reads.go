package relay

import (
	"fmt"
	"slices"
)

// PrivateReads says who reads events of private kinds: 4, 14, 1059 and 21059 (messages and gift
// wraps, the last one not kept). The author and the recipients (p tags) always do, once they have authenticated
// (NIP-42).
type PrivateReads int

const (
	// ReadsNamed, the default, also gives such an event out to a REQ that names one of its
	// recipients in #p, or its author in authors unless that is the node or a Mostro that is or was followed,
	// which write to everybody. Clients in the field do not authenticate, and ask so. All else
	// (no #p, ids, COUNT, negentropy) finds nothing.
	ReadsNamed PrivateReads = iota
	// ReadsOpen gives everything to everybody, as most relays do. Today's push servers, which
	// read all gift wraps, work only with it.
	ReadsOpen
	// ReadsStrict demands authentication.
	ReadsStrict
)

// ParsePrivateReads reads the name of a mode: open, default or strict.
func ParsePrivateReads(name string) (PrivateReads, error) {
	switch name {
	case "open":
		return ReadsOpen, nil
	case "default", "":
		return ReadsNamed, nil
	case "strict":
		return ReadsStrict, nil
	}
	return 0, fmt.Errorf("private reads %q: want open, default or strict", name)
}

func (m PrivateReads) String() string {
	switch m {
	case ReadsOpen:
		return "open"
	case ReadsStrict:
		return "strict"
	}
	return "default"
}

// Stricter is the one of two modes that shows less.
func (m PrivateReads) Stricter(other PrivateReads) PrivateReads {
	for _, strict := range []PrivateReads{ReadsStrict, ReadsNamed} {
		if m == strict || other == strict {
			return strict
		}
	}
	return ReadsOpen
}

// PrivateReads is who reads events of private kinds now: Config.PrivateReads until SetPrivateReads.
func (r *Relay) PrivateReads() PrivateReads { return PrivateReads(r.reads.Load()) }

// SetPrivateReads changes who reads events of private kinds.
func (r *Relay) SetPrivateReads(m PrivateReads) { r.reads.Store(int32(m)) }

// keys are the public keys that a connection has proven to hold. That of a peer is the first.
type keys []key

// parties answers whether one of the keys is a recipient of an event.
type parties func(keys) bool

// shows reports whether an event that f matches goes out for f to a connection with these keys.
// Every way out asks here: stored, live, counted, reconciled.
func (r *Relay) shows(f *ask, kind int, author, id key, authed *keys, to parties) bool {
	if r.isPeer(authed) {
		return true
	}
	if r.hides(kind, author, id) {
		return false
	}
	if !isPrivate(kind) || r.PrivateReads() == ReadsOpen {
		return true
	}
	if r.PrivateReads() == ReadsNamed && !f.blind {
		if len(f.plain.Tags["p"]) > 0 || len(f.authors) > 0 && !r.writesToAll(author) {
			return true
		}
	}
	return authed != nil && (slices.Contains(*authed, author) || to(*authed))
}

// writesToAll reports whether author is the node or a Mostro that is or was followed, whose key everybody
// knows.
func (r *Relay) writesToAll(author key) bool {
	if author == r.node {
		return true
	}
	name := author.String()
	return r.cfg.Followed != nil && r.cfg.Followed(name) || r.cfg.Formerly != nil && r.cfg.Formerly(name)
}

// shown is shows for stored events; the store calls it with its index locked.
func (r *Relay) shown(f *ask, rec *record, authed *keys) bool {
	return r.shows(f, rec.kind, rec.author, rec.id, authed, func(authed keys) bool {
		return slices.ContainsFunc(authed, func(k key) bool { return rec.names(k) })
	})
}

// hopeless reports whether f can show nothing because nobody has authenticated.
func (r *Relay) hopeless(f *ask, authed *keys) bool {
	return r.PrivateReads() == ReadsStrict && authed == nil && len(f.kinds) > 0 &&
		!slices.ContainsFunc(f.kinds, func(kind int) bool { return !isPrivate(kind) })
}
