package lnurl

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

const (
	maxURL   = 2000 // characters
	maxName  = 253  // characters of a host name (RFC 1035)
	maxLabel = 63   // characters between two dots of it
)

// checkURL reads a URL that a stranger chose and tells what is wrong with it. It accepts less
// than the standard does: what two parsers could read in two ways is refused. lax lifts
// the rules as Config.AllowPrivate says.
func checkURL(text string, lax bool) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, errors.New("the URL is too long")
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return nil, errors.New("the URL has a character that does not belong there")
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	host := u.Hostname()
	switch {
	case u.Opaque != "" || u.Host == "":
		return nil, errors.New("the URL has no host")
	case u.User != nil:
		return nil, errors.New("the URL has user information")
	case strings.Contains(text, "#"):
		return nil, errors.New("the URL has a fragment")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the URL is not https")
	}
	// net/http and the checks below must see one and the same host.
	if rest := strings.TrimPrefix(text[len(u.Scheme):], "://"); !strings.HasPrefix(rest, u.Host) {
		return nil, errors.New("the URL's host is written in an unusual way")
	}
	u.Host, host = strings.ToLower(u.Host), strings.ToLower(host)
	if lax {
		return u, nil
	}
	if err := checkHost(host); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !isOnion(host) {
		return nil, errors.New("the URL is not https")
	}
	if standard := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]; u.Host != host && u.Host != host+standard {
		return nil, errors.New("the URL has an unusual port")
	}
	return u, nil
}

func isOnion(host string) bool { return strings.HasSuffix(host, ".onion") }

// checkHost accepts the names of hosts on the public internet and of onion services, in
// lower case. Names that only mean something within a network, and numbers in any of the
// notations that a resolver may take for an address, are refused.
func checkHost(host string) error {
	if host == "" || len(host) > maxName {
		return errors.New("the host name is empty or too long")
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return errors.New("the host name has no domain")
	}
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	top := labels[len(labels)-1]
	if top == "onion" {
		// A version 3 address: a key, a checksum and a version in base32, with subdomains.
		if name := labels[len(labels)-2]; len(name) != 56 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			return errors.New("the onion name is malformed")
		}
		return nil
	}
	if !strings.HasPrefix(top, "xn--") && strings.Trim(top, "abcdefghijklmnopqrstuvwxyz") != "" {
		return errors.New("the host name ends in a number") // 127.1, 0x7f.1, 2130706433
	}
	if slices.Contains(innerDomains(), top) {
		return errors.New("the host name is not one of the public internet")
	}
	return nil
}

// innerDomains are top-level domains that never lead to a public host: reserved ones (RFC 2606,
// 6761, 6762, 8375, 9476), and those that networks and clouds use for themselves.
func innerDomains() []string {
	return []string{"alt", "arpa", "corp", "docker", "example", "home", "i2p", "internal", "intranet",
		"invalid", "lan", "local", "localdomain", "localhost", "mail", "private", "test"}
}

func checkLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return errors.New("the host name has an empty or too long part")
	}
	if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return errors.New("the host name has a character that does not belong there")
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("the host name has a part that begins or ends with a hyphen")
	}
	// IDN names come in their ASCII form, which must be the one that their Unicode form has.
	if len(label) > 3 && label[2:4] == "--" {
		unicode, err := idna.Lookup.ToUnicode(label)
		if err != nil || unicode == label {
			return errors.New("the host name has a malformed international part")
		}
		if ascii, err := idna.Lookup.ToASCII(unicode); err != nil || ascii != label {
			return errors.New("the host name has a malformed international part")
		}
	}
	return nil
}
