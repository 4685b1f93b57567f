package lnurl

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// publicName is the form of host that the guard lets through, said once more and differently.
var publicName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+([a-z]+|xn--[a-z0-9-]+)$`)

// checkGuarded complains about a URL that the guard accepted and should not have. It judges by
// what net/http would do with it.
func checkGuarded(t *testing.T, text string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, text, nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	host := strings.ToLower(req.URL.Hostname())
	onion := strings.HasSuffix(host, ".onion")
	switch port := req.URL.Port(); {
	case !publicName.MatchString(host) || net.ParseIP(host) != nil:
		t.Fatalf("%q leads to host %q", text, host)
	case req.URL.Scheme != "https" && !(req.URL.Scheme == "http" && onion):
		t.Fatalf("%q has scheme %q", text, req.URL.Scheme)
	case port != "" && !(port == "443" && req.URL.Scheme == "https") && !(port == "80" && onion && req.URL.Scheme == "http"):
		t.Fatalf("%q has port %q", text, port)
	case req.URL.User != nil || req.URL.Fragment != "" || strings.ContainsAny(text, "#\\ "):
		t.Fatalf("%q has more than host, path and query", text)
	case !strings.EqualFold(req.Host, req.URL.Host):
		t.Fatalf("%q asks %q for %q", text, req.URL.Host, req.Host)
	}
	for _, inner := range []string{"localhost", "local", "internal", "lan", "arpa", "test"} {
		if strings.HasSuffix(host, "."+inner) {
			t.Fatalf("%q leads to the inner name %q", text, host)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, seed := range hostileURLs {
		f.Add(seed)
	}
	for _, seed := range []string{"https://example.com/pay?x=1", "https://xn--bcher-kva.com:443", "http://" + onion + ":80/a", "https://EXAMPLE.com/%41?a=@"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := checkURL(text, false)
		if err != nil {
			return
		}
		checkGuarded(t, text)
		checkGuarded(t, u.String())
		asked := payParams{CommentAllowed: 5}.ask(u, 5000, "a&b=c#\x00")
		checkGuarded(t, asked.String())
		query, err := url.ParseQuery(asked.RawQuery[strings.LastIndex(asked.RawQuery, "amount="):])
		if err != nil || query.Get("amount") != "5000" || query.Get("comment") != "a&b=c" {
			t.Fatalf("%q asks %q", text, asked)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"alice@example.com", "lightning:alice@example.com", "lnurlp://example.com/a?b=c", "LNURLP://EXAMPLE.COM", "a@" + onion,
		encode(f, "https://example.com/.well-known/lnurlp/alice"), "a@127.1", "a@[::1]", "lnurlp://a@b.com", "..@example.com", "lnbc1", "a@b.c:443"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := Parse(text)
		if IsAddress(text) != (err == nil) {
			t.Fatalf("IsAddress(%q) and Parse disagree", text)
		}
		if err != nil {
			if !errors.Is(err, ErrUnsafe) || target != (Target{}) {
				t.Fatalf("Parse(%q) = %v, %v", text, target, err)
			}
			return
		}
		checkGuarded(t, target.url)
		again, err := Parse(target.String())
		if err != nil || again != target {
			t.Fatalf("Parse(%q) = %v, but parsed again %v, %v", text, target, again, err)
		}
	})
}
