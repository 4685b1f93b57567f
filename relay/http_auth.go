package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
)

// kindHTTPAuth is the event that signs an HTTP request (NIP-98).
const kindHTTPAuth = 27235

// authorize returns the key that signed an HTTP request with this body (NIP-98). The signature
// covers address, method and body, and is good for some seconds and one request.
func (r *Relay) authorize(req *http.Request, body []byte) (pubkey string, err error) {
	scheme, encoded, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Nostr") {
		return "", errors.New("auth-required: sign the request (NIP-98)")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errors.New("invalid: the authorization is not base64")
	}
	var ev nostr.Event
	if !json.Valid(raw) {
		return "", errors.New("invalid: the authorization is not an event")
	}
	if _, err := readEvent(raw, &ev); err != nil {
		return "", fmt.Errorf("invalid: the authorization is not an event: %w", err)
	}
	if reject, msg := policies.Shape(r.cfg.Limits.shape())(req.Context(), &ev); reject {
		return "", errors.New(msg)
	}
	sum := sha256.Sum256(body)
	now := r.store.opts.Now()
	age := now.Unix() - int64(ev.CreatedAt)
	window := int64(httpAuthWindow / time.Second)
	here := strings.Replace(r.cfg.ServiceURL, "ws", "http", 1)
	is := func(want string) func(string) bool { return func(value string) bool { return value == want } }
	switch {
	case r.cfg.ServiceURL == "":
		return "", errors.New("error: this relay has no address set, so no request to it can be signed")
	case ev.Kind != kindHTTPAuth:
		return "", fmt.Errorf("invalid: the authorization is not kind %d", kindHTTPAuth)
	case age > window || age < -window:
		return "", fmt.Errorf("invalid: the authorization is more than %d seconds from now", window)
	case !oneTag(&ev, "u", func(value string) bool { return sameAddress(value, here) }):
		return "", errors.New("invalid: the u tag is not " + here)
	case !oneTag(&ev, "method", is(req.Method)):
		return "", errors.New("invalid: the method tag is not " + req.Method)
	case !oneTag(&ev, "payload", is(hex.EncodeToString(sum[:]))):
		return "", errors.New("invalid: the payload tag is not the hash of the body")
	}
	if msg := r.verify(subscriberOf(req.RemoteAddr), &ev); msg != "" {
		return "", errors.New(msg)
	}
	if !r.management.first(ev.ID, now) {
		return "", errors.New("duplicate: this authorization was used already")
	}
	return ev.PubKey, nil
}
