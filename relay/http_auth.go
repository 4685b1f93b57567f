package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
)

// kindHTTPAuth is the event that signs an HTTP request (NIP-98).
const kindHTTPAuth = 27235

// authorize returns the key of an administrator who signed an HTTP request with this body (NIP-98),
// or an error and the HTTP status for it. The signature covers address, method and body, and is good
// for some seconds and one request.
func (r *Relay) authorize(req *http.Request, body []byte) (pubkey string, status int, err error) {
	ev, err := r.signedRequest(req, body)
	switch {
	case err != nil:
		return "", http.StatusUnauthorized, err
	case !slices.Contains(r.cfg.Admins, ev.PubKey):
		return "", http.StatusForbidden, errors.New("restricted: this key does not manage this relay")
	// Only now: what strangers have signed is not to fill the memory of it.
	case !r.management.first(ev.ID, r.store.opts.Now()):
		return "", http.StatusUnauthorized, errors.New("duplicate: this authorization was used already")
	}
	return ev.PubKey, http.StatusOK, nil
}

// signedRequest returns the event that signs an HTTP request.
func (r *Relay) signedRequest(req *http.Request, body []byte) (*nostr.Event, error) {
	scheme, encoded, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Nostr") {
		return nil, errors.New("auth-required: sign the request (NIP-98)")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("invalid: the authorization is not base64")
	}
	var ev nostr.Event
	if !json.Valid(raw) {
		return nil, errors.New("invalid: the authorization is not an event")
	}
	if _, err := readEvent(raw, &ev); err != nil {
		return nil, fmt.Errorf("invalid: the authorization is not an event: %w", err)
	}
	if reject, msg := policies.Shape(r.cfg.Limits.shape())(req.Context(), &ev); reject {
		return nil, errors.New(msg)
	}
	sum := sha256.Sum256(body)
	age := r.store.opts.Now().Unix() - int64(ev.CreatedAt)
	window := int64(httpAuthWindow / time.Second)
	here := strings.Replace(r.cfg.ServiceURL, "ws", "http", 1)
	is := func(want string) func(string) bool { return func(value string) bool { return value == want } }
	switch {
	case r.cfg.ServiceURL == "":
		return nil, errors.New("error: this relay has no address set, so no request to it can be signed")
	case ev.Kind != kindHTTPAuth:
		return nil, fmt.Errorf("invalid: the authorization is not kind %d", kindHTTPAuth)
	case age > window || age < -window:
		return nil, fmt.Errorf("invalid: the authorization is more than %d seconds from now", window)
	// A clock that was ahead at the start says so of everything; what was used before it is too old by then.
	case int64(ev.CreatedAt) < r.began && time.Since(r.up) <= 2*httpAuthWindow:
		return nil, errors.New("invalid: the authorization is from before the start of this relay, which does not know whether it was used: sign it anew")
	// NIP-98 wants the address of the request here, NIP-86 that of the relay.
	case !oneTag(&ev, "u", func(value string) bool { return sameAddress(value, here) || sameAddress(value, r.cfg.ServiceURL) }):
		return nil, errors.New("invalid: the u tag is not " + here)
	case !oneTag(&ev, "method", is(req.Method)):
		return nil, errors.New("invalid: the method tag is not " + req.Method)
	case !oneTag(&ev, "payload", is(hex.EncodeToString(sum[:]))):
		return nil, errors.New("invalid: the payload tag is not the hash of the body")
	}
	if msg := r.verify(subscriberOf(req.RemoteAddr), &ev); msg != "" {
		return nil, errors.New(msg)
	}
	return &ev, nil
}
