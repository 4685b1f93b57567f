package lnurl

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

const maxUser = 64 // characters before the @ of an address

// Target is a Lightning address or an LNURL-pay link of good form. The zero value is none.
type Target struct {
	text string
	url  string
}

// String is the target as the person wrote it, in lower case where case has no meaning and
// without "lightning:". Parse reads it again.
func (t Target) String() string { return t.text }

// IsAddress tells whether Parse accepts the text, which may then be kept until there is
// something to pay. It needs no network.
func IsAddress(text string) bool {
	_, err := Parse(text)
	return err == nil
}

// Parse reads user@domain (LUD-16), lnurl1... (LUD-01) or lnurlp://... (LUD-17), each with or
// without "lightning:" before it. It checks the form and that the text leads to a host of
// the public internet or to an onion service, without any network. Errors are ErrUnsafe.
func Parse(text string) (Target, error) { return parse(text, false) }

// Parse is the function Parse by the rules of this client: without a proxy it refuses onion
// names, and with AllowPrivate it accepts hosts that Parse does not.
func (c *Client) Parse(text string) (Target, error) {
	t, err := parse(text, c.cfg.AllowPrivate)
	if err != nil {
		return Target{}, err
	}
	if _, err := c.check(t.url); err != nil {
		return Target{}, fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return t, nil
}

// IsAddress is the function IsAddress by the rules of this client.
func (c *Client) IsAddress(text string) bool {
	_, err := c.Parse(text)
	return err == nil
}

// check is checkURL by the rules of this client.
func (c *Client) check(text string) (*url.URL, error) {
	u, err := checkURL(text, c.cfg.AllowPrivate)
	if err == nil && isOnion(u.Hostname()) && c.cfg.Proxy == "" {
		return nil, errors.New("onion names need a proxy")
	}
	return u, err
}

func parse(text string, lax bool) (t Target, err error) {
	t.text = strings.TrimSpace(text)
	if prefix := "lightning:"; len(t.text) > len(prefix) && strings.EqualFold(t.text[:len(prefix)], prefix) {
		t.text = t.text[len(prefix):]
	}
	scheme, rest, isURL := strings.Cut(t.text, "://")
	switch {
	case isURL && strings.EqualFold(scheme, "lnurlp"):
		t.text = "lnurlp://" + rest
		t.url = schemeFor(rest) + rest
	case !isURL && strings.Contains(t.text, "@"):
		t.text = strings.ToLower(t.text) // LUD-16 has lower case only; phones begin with a capital
		t.url, err = addressURL(t.text)
	case !isURL && len(t.text) > 5 && strings.EqualFold(t.text[:5], "lnurl"):
		t.text = strings.ToLower(t.text)
		t.url, err = decodeLNURL(t.text)
	default:
		err = errors.New("neither a Lightning address nor an LNURL")
	}
	if err == nil {
		_, err = checkURL(t.url, lax)
	}
	if err != nil {
		return Target{}, fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return t, nil
}

// addressURL is where LUD-16 places the service of an address.
func addressURL(address string) (string, error) {
	user, host, _ := strings.Cut(address, "@")
	if user == "" || len(user) > maxUser {
		return "", errors.New("the name before the @ is empty or too long")
	}
	if strings.Trim(user, "abcdefghijklmnopqrstuvwxyz0123456789-_.+") != "" || strings.Trim(user, ".") == "" {
		return "", errors.New("the name before the @ has a character that does not belong there")
	}
	if strings.ContainsAny(host, "/?#@%") {
		return "", errors.New("the part after the @ is not a domain")
	}
	return schemeFor(host) + host + "/.well-known/lnurlp/" + user, nil
}

// schemeFor is https, but http for onion names, which are authentic and private by themselves
// (LUD-01), and for this machine, which only a client with AllowPrivate reaches.
func schemeFor(hostAndMore string) string {
	host := hostAndMore
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if bare := (&url.URL{Host: host}).Hostname(); isOnion(strings.ToLower(bare)) || isLocal(bare) {
		return "http://"
	}
	return "https://"
}

// isLocal tells whether a host is this machine by name, or an address literal.
func isLocal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// decodeLNURL reads the URL out of its bech32 form.
func decodeLNURL(text string) (string, error) {
	if len(text) > maxURL*2 { // 8 characters hold 5 bytes
		return "", errors.New("the LNURL is too long")
	}
	prefix, data, err := bech32.DecodeNoLimit(text)
	if err != nil || prefix != "lnurl" {
		return "", errors.New("the LNURL is malformed")
	}
	decoded, err := bech32.ConvertBits(data, 5, 8, false)
	if err != nil {
		return "", errors.New("the LNURL is malformed")
	}
	return string(decoded), nil
}
