package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"

	"mostro/escrow/price"
)

const (
	maxText  = 2000 // bytes, of a free text
	maxPath  = 4096 // bytes
	maxItems = 500  // entries of a list
	samePow  = -1   // mostro.pow_first_contact: as mostro.pow
	ppmOne   = 1_000_000
)

// literal is a value as it stands in TOML, before any key gives it a meaning. Numbers keep
// their digits, so that a decimal never passes through a floating-point number.
type literal struct {
	kind  literalKind
	text  string   // of a string, number or boolean
	items []string // of a list of strings
}

type literalKind string

const (
	aString  literalKind = "a string"
	aNumber  literalKind = "a number"
	aBoolean literalKind = "a boolean"
	aList    literalKind = "a list of strings"
	aThing   literalKind = "something else"
)

// value is where a setting goes. set checks and stores it; its error says what is wanted.
// takes describes the values that it takes, for the template; "" when the meaning says all.
type value interface {
	set(literal) error
	takes() string
}

func wants(want literalKind, got literal) error {
	if got.kind != want {
		return fmt.Errorf("is %s, want %s", got.kind, want)
	}
	return nil
}

// textValue is a free text.
type textValue struct {
	to  *string
	max int // bytes
}

func (v *textValue) set(l literal) error {
	if err := wants(aString, l); err != nil {
		return err
	}
	if len(l.text) > v.max {
		return fmt.Errorf("has %d bytes, at most %d fit", len(l.text), v.max)
	}
	*v.to = l.text
	return nil
}

func (v *textValue) takes() string { return "" }

// secretText is a secret that no formatting verb prints.
type secretText string

func (secretText) String() string   { return "[secret]" }
func (secretText) GoString() string { return "[secret]" }

// secretValue is a secret; its errors never quote it.
type secretValue struct{ to *secretText }

func (v *secretValue) set(l literal) error {
	if l.kind != aString {
		return fmt.Errorf("is %s, want %s", l.kind, aString)
	}
	*v.to = secretText(l.text)
	return nil
}

func (v *secretValue) takes() string { return "" }

// intValue is a whole number from min to max.
type intValue struct {
	to       *int64
	min, max int64
}

func (v *intValue) set(l literal) error {
	n, err := strconv.ParseInt(strings.ReplaceAll(l.text, "_", ""), 10, 64)
	if l.kind != aNumber || err != nil || n < v.min || n > v.max {
		return fmt.Errorf("is %.40s, want a whole number from %d to %d", quoted(l), v.min, v.max)
	}
	*v.to = n
	return nil
}

func (v *intValue) takes() string { return fmt.Sprintf("%d to %d", v.min, v.max) }

// ppmValue is a decimal fraction, kept in parts per million.
type ppmValue struct {
	to       *int64
	min, max int64 // parts per million
}

func (v *ppmValue) set(l literal) error {
	n, err := parsePPM(l.text)
	if l.kind != aNumber || err != nil || n < v.min || n > v.max {
		return fmt.Errorf("is %.40s, want a decimal from %s to %s with at most six digits after the point",
			quoted(l), formatPPM(v.min), formatPPM(v.max))
	}
	*v.to = n
	return nil
}

func (v *ppmValue) takes() string { return formatPPM(v.min) + " to " + formatPPM(v.max) }

// parsePPM reads a decimal such as 0.006 exactly. It refuses what has more than six digits
// after the point rather than to round a fee.
func parsePPM(s string) (int64, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(whole) == 0 || len(whole) > 6 || len(fraction) > 6 {
		return 0, errors.New("not a decimal of this size")
	}
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 63)
	return int64(n), err
}

// formatPPM is the shortest decimal of n parts per million.
func formatPPM(n int64) string {
	s := fmt.Sprintf("%d.%06d", n/ppmOne, n%ppmOne)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// boolValue is true or false.
type boolValue struct{ to *bool }

func (v *boolValue) set(l literal) error {
	if err := wants(aBoolean, l); err != nil {
		return err
	}
	*v.to = l.text == "true"
	return nil
}

func (v *boolValue) takes() string { return "true or false" }

// hostValue is host:port, with https:// in front if need be, which is dropped.
type hostValue struct {
	to       *string
	optional bool
}

func (v *hostValue) set(l literal) error {
	if err := wants(aString, l); err != nil {
		return err
	}
	if l.text == "" && v.optional {
		*v.to = ""
		return nil
	}
	text := strings.TrimSuffix(strings.TrimPrefix(l.text, "https://"), "/")
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strings.ContainsAny(host, "/@") {
		return fmt.Errorf("is %.80q, want host:port, such as 127.0.0.1:10009", l.text)
	}
	*v.to = net.JoinHostPort(host, strconv.FormatUint(n, 10))
	return nil
}

func (v *hostValue) takes() string { return "" }

// percentValue is a percentage, kept in parts per million.
type percentValue struct {
	to       *int64
	min, max int64 // parts per million
}

func (v *percentValue) set(l literal) error {
	n, err := parsePPM(l.text) // millionths of a percent
	if l.kind != aNumber || err != nil || n%100 != 0 || n/100 < v.min || n/100 > v.max {
		return fmt.Errorf("is %.40s, want a percentage from %s with at most four digits after the point", quoted(l), v.takes())
	}
	*v.to = n / 100
	return nil
}

func (v *percentValue) takes() string { return formatPPM(v.min*100) + " to " + formatPPM(v.max*100) }

// urlValue is an absolute URL of one of the schemes, without user, query and fragment. http is
// for this machine and onion services only; ws is for anywhere, because a relay of a local network or an onion
// service has no TLS.
type urlValue struct {
	to      *string
	schemes []string // the one with TLS first
}

func (v *urlValue) set(l literal) error {
	if err := wants(aString, l); err != nil {
		return err
	}
	if l.text == "" {
		*v.to = ""
		return nil
	}
	u, err := url.Parse(l.text)
	if err != nil || !slices.Contains(v.schemes, u.Scheme) || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("is %.80q, want an address that starts with %s://", l.text, v.schemes[0])
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && !strings.HasSuffix(u.Hostname(), ".onion") {
		return fmt.Errorf("is %.80q: without TLS anyone on the way could set the price; want https://", l.text)
	}
	*v.to = strings.TrimSuffix(l.text, "/")
	return nil
}

func (v *urlValue) takes() string { return "" }

// urlsValue is a list of such URLs, with or without TLS.
type urlsValue struct{ to *[]string }

func (v *urlsValue) set(l literal) error {
	urls, err := list(l)
	if err != nil {
		return err
	}
	for i := range urls {
		one := urlValue{&urls[i], []string{"https", "http"}}
		if urls[i] == "" {
			return errors.New("has an empty address")
		}
		if err := one.set(literal{kind: aString, text: urls[i]}); err != nil {
			return err
		}
	}
	*v.to = urls
	return nil
}

func (v *urlsValue) takes() string { return "" }

// proxyValue is the URL of a SOCKS5 proxy. It may hold a password, so errors never quote it.
type proxyValue struct{ to *secretText }

func (v *proxyValue) set(l literal) error {
	if l.kind != aString {
		return fmt.Errorf("is %s, want %s", l.kind, aString)
	}
	if l.text == "" {
		*v.to = ""
		return nil
	}
	u, err := url.Parse(l.text)
	if err != nil || u.Scheme != "socks5" && u.Scheme != "socks5h" || u.Hostname() == "" || u.Port() == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("is not of the form socks5h://host:port or socks5://host:port")
	}
	*v.to = secretText(l.text)
	return nil
}

func (v *proxyValue) takes() string { return "" }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// codesValue is a list of currency codes.
type codesValue struct{ to *[]string }

func (v *codesValue) set(l literal) error {
	codes, err := list(l)
	if err != nil {
		return err
	}
	for _, code := range codes {
		if len(code) != 3 || strings.ToUpper(code) != code || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("has %.20q, want codes of three capitals such as \"USD\"", code)
		}
	}
	*v.to = codes
	return nil
}

func (v *codesValue) takes() string { return "" }

// fiatValue is a list of currencies that have a price.
type fiatValue struct{ to *[]string }

func (v *fiatValue) set(l literal) error {
	codes, err := list(l)
	if err != nil {
		return err
	}
	for _, code := range codes {
		if !price.IsFiat(code) {
			return fmt.Errorf("has %.20q, want codes of currencies such as \"USD\"", code)
		}
	}
	*v.to = codes
	return nil
}

func (v *fiatValue) takes() string { return "" }

// ratesValue is a list of prices of a bitcoin, each CODE=PRICE, kept in millionths.
type ratesValue struct{ to *map[string]int64 }

func (v *ratesValue) set(l literal) error {
	texts, err := list(l)
	if err != nil {
		return err
	}
	rates := make(map[string]int64, len(texts))
	for _, text := range texts {
		code, number, _ := strings.Cut(text, "=")
		rate, err := price.ParseMillionths(number)
		if err != nil || !price.IsFiat(code) || rates[code] != 0 {
			return fmt.Errorf("has %.40q, want each currency once, such as \"USD=100000\" or \"EUR=90000.5\"", text)
		}
		rates[code] = rate
	}
	*v.to = rates
	return nil
}

func (v *ratesValue) takes() string { return "" }

// pubkeysValue is a list of public keys, kept as hex.
type pubkeysValue struct{ to *[]string }

func (v *pubkeysValue) set(l literal) error {
	keys, err := list(l)
	if err != nil {
		return err
	}
	for i, key := range keys {
		if strings.Contains(strings.ToLower(key), "nsec1") { // however it is written, it is not quoted
			return errors.New("holds a secret key (nsec1...), want public keys (npub1...); treat that secret as leaked")
		}
		if prefix, decoded, err := nip19.Decode(key); err == nil && prefix == "npub" {
			keys[i] = decoded.(string)
		}
		if !nostr.IsValidPublicKey(keys[i]) {
			return fmt.Errorf("has %.80q, want npub1... or 64 hex digits", key)
		}
	}
	*v.to = keys
	return nil
}

func (v *pubkeysValue) takes() string { return "" }

func list(l literal) ([]string, error) {
	if err := wants(aList, l); err != nil {
		return nil, err
	}
	if len(l.items) > maxItems {
		return nil, fmt.Errorf("has %d entries, at most %d fit", len(l.items), maxItems)
	}
	return slices.Clone(l.items), nil
}

func quoted(l literal) string {
	switch l.kind {
	case aString:
		return strconv.Quote(l.text)
	case aNumber, aBoolean:
		return l.text
	}
	return string(l.kind)
}
