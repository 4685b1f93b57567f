package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip70"

	"mostro/policies"
)

// khatru's accessors (GetAuthed, GetIP, GetSubscriptionID) look under these untyped constants.
const (
	connectionKey   = 0
	subscriptionKey = 1
)

// newConnection is what policies learn of the connection of req. It keeps what they may ask for
// and not the rest of the request.
func newConnection(req *http.Request) *khatru.WebSocket {
	header := make(http.Header)
	for _, name := range []string{"Origin", "User-Agent"} {
		if value := req.Header.Get(name); value != "" {
			header.Set(name, value)
		}
	}
	return &khatru.WebSocket{
		Request:   &http.Request{Method: req.Method, URL: req.URL, Host: req.Host, Header: header, RemoteAddr: req.RemoteAddr},
		Challenge: newChallenge(),
	}
}

func within(ctx context.Context, ws *khatru.WebSocket) context.Context {
	//lint:ignore SA1029 khatru looks it up under this key
	return context.WithValue(ctx, connectionKey, ws)
}

// introduce makes the context of policies.
func (s *session) introduce() {
	s.hooks = context.WithValue(within(s.ctx, s.about), authedKey{}, &s.keys)
}

// newChallenge makes 32 random bytes, in hex (NIP-42).
func newChallenge() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// onAuth adds a key to those that the connection has proven to hold (NIP-42). They all count:
// a client has a key for every trade.
func (s *session) onAuth(raw json.RawMessage) {
	var ev nostr.Event
	switch id, err := readEvent(raw, &ev); {
	case err == nil:
		msg := s.login(&ev)
		if msg != "" {
			s.refusals++
		}
		ok := msg == ""
		if ok && s.relay.isPeer(s.keys.Load()) {
			msg = ShownAll
		}
		s.send(okFrame(ev.ID, ok, msg))
	case id == "":
		s.refuse(noticeFrame("invalid: " + err.Error()))
	default:
		s.refuse(okFrame(id, false, "invalid: "+err.Error()))
	}
}

func (s *session) login(ev *nostr.Event) string {
	r := s.relay
	if reject, msg := policies.Shape(r.cfg.Limits.shape())(s.hooks, ev); reject {
		return msg
	}
	age := r.store.opts.Now().Unix() - int64(ev.CreatedAt)
	window := int64(r.cfg.Limits.AuthWindow / time.Second)
	switch {
	case r.cfg.ServiceURL == "":
		return "error: this relay has no address set, so nobody can authenticate to it"
	case ev.Kind != nostr.KindClientAuthentication:
		return fmt.Sprintf("invalid: authentication is kind %d", nostr.KindClientAuthentication)
	case !oneTag(ev, "challenge", func(value string) bool { return value == s.about.Challenge }):
		return "invalid: the challenge is not that of this connection"
	case !oneTag(ev, "relay", func(value string) bool { return sameAddress(value, r.cfg.ServiceURL) }):
		return "invalid: the relay tag is not " + r.cfg.ServiceURL
	case age > window || age < -window:
		return fmt.Sprintf("invalid: created_at is more than %d seconds from now", window)
	}
	if msg := r.verify(s.from, ev); msg != "" {
		return msg
	}
	author, err := parseKey(ev.PubKey)
	if err != nil {
		return "invalid: " + err.Error()
	}
	var held keys
	if old := s.keys.Load(); old != nil {
		held = *old
	}
	switch {
	case slices.Contains(held, author):
		return ""
	case len(held) >= r.cfg.Limits.AuthKeys:
		return fmt.Sprintf("rate-limited: %d keys have authenticated on this connection already", len(held))
	}
	at := len(held)
	if r.isPeer(&keys{author}) {
		at = 0
	}
	held = slices.Insert(slices.Clone(held), at, author)
	s.keys.Store(&held)
	s.about = &khatru.WebSocket{
		Request: s.about.Request, Challenge: s.about.Challenge, AuthedPublicKey: ev.PubKey,
	}
	s.introduce()
	return ""
}

// oneTag reports whether ev has exactly one tag of this name and its value is right.
func oneTag(ev *nostr.Event, name string, right func(value string) bool) bool {
	found, fits := 0, false
	for tag := range ev.Tags.FindAll(name) {
		found++
		fits = right(tag[1])
	}
	return found == 1 && fits
}

// sameAddress compares two addresses of a relay, as far as clients write them differently:
// case of scheme and host, the scheme's own port, a slash at the end.
func sameAddress(a, b string) bool {
	x, y := plainAddress(a), plainAddress(b)
	return x != "" && x == y
}

func plainAddress(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "wss", "https":
		host = strings.TrimSuffix(host, ":443")
	case "ws", "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
}

// protected refuses an event that only its author may publish (NIP-70) unless it comes from
// there, or over a replica, and one that repeats such an event (NIP-18).
func (s *session) protected(ev *nostr.Event) string {
	if !nip70.IsProtected(*ev) {
		if repeatsProtected(ev) {
			return "restricted: a repost of an event that only its author may publish has no content"
		}
		return ""
	}
	held := s.keys.Load()
	switch author, err := parseKey(ev.PubKey); {
	case s.relay.isPeer(held):
		return "" // its author has authenticated there
	case held == nil && s.relay.cfg.ServiceURL != "":
		return "auth-required: this event may only be published by its author"
	case held == nil || err != nil || !slices.Contains(*held, author):
		return "restricted: this event may only be published by its author"
	}
	return ""
}

// repeatsProtected reports whether ev is a repost whose content is an event that only its author may
// publish.
func repeatsProtected(ev *nostr.Event) bool {
	const repost, genericRepost = 6, 16
	if ev.Kind != repost && ev.Kind != genericRepost {
		return false
	}
	var within struct{ Tags []nostr.Tag }
	// Content that is no event repeats none.
	return json.Unmarshal([]byte(ev.Content), &within) == nil && nip70.IsProtected(nostr.Event{Tags: within.Tags})
}
