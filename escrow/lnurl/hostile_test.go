package lnurl

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// onion is a well-formed version 3 name of nobody.
var onion = strings.Repeat("abcdefg234567xyz", 4)[:56] + ".onion"

// hostileURLs lead where a stranger must not send this process, or can be read in two ways.
var hostileURLs = []string{
	// Schemes.
	"http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "ws://example.com/",
	"javascript:alert(1)", "data:application/json,{}", "https:example.com", "https:/example.com", "https:///example.com",
	"https:////example.com", "//example.com/", "example.com/", "/etc/passwd", "", "https://", "https://?a", "https://:443/", "https//example.com",
	"unix:///var/run/docker.sock", "https+unix://example.com/", "dict://example.com:443/",
	// Ports.
	"https://example.com:80/", "https://example.com:22/", "https://example.com:8443/", "https://example.com:0/", "https://example.com:65536/",
	"https://example.com:-443/", "https://example.com:/", "https://example.com:0443/", "https://example.com:443:443/", "https://example.com:https/",
	"https://example.com:10009/v1/getinfo",
	// User information, fragments, characters that parsers disagree about.
	"https://user@example.com/", "https://user:password@example.com/", "https://@example.com/", "https://example.com:443@127.0.0.1/",
	"https://example.com#@127.0.0.1/", "https://example.com/#", "https://example.com/pay#fragment", "https://example.com\\@127.0.0.1/", "https://example.com\\.evil.com/",
	"https:\\\\example.com\\", "https://example.com/\\..\\admin", "https://exam ple.com/", "https://example.com/ ", " https://example.com/",
	"https://example.com/\r\nHost: 127.0.0.1", "https://example.com/\n", "https://example.com/\t", "https://example.com/\x00", "https://exa\x7fmple.com/",
	"https://example.com/\"", "https://example.com/<a>", "https://example.com/{a}", "https://example.com/a|b", "https://example.com/^", "https://example.com/`id`",
	"https://127.0.0.1%2eexample.com/", "https://%65xample.com/", "https://example%2ecom/", "https://example.com%00.evil.com/", "https://example.com%23/",
	"https://example.com/%zz", "https://[example.com]/",
	// Address literals, in every notation.
	"https://127.0.0.1/", "https://127.0.0.1:443/", "https://93.184.216.34/", "https://0/", "https://0.0.0.0/", "https://127.1/", "https://127.0.1/", "https://2130706433/",
	"https://017700000001/", "https://0177.0.0.1/", "https://0x7f000001/", "https://0x7f.1/", "https://0x7f.0x0.0x0.0x1/", "https://0X7F.1/", "https://127.0.0.01/",
	"https://127.0.0.1./", "https://127.0.0.0x1/", "https://1.1/", "https://1.1.1.1.1/", "https://256.256.256.256/", "https://4294967296/",
	"https://example.0x7f/", "https://example.1/", "https://127.0.0.1.0/", "https://169.254.169.254/latest/meta-data/", "https://2852039166/",
	"https://0251.0376.0251.0376/", "https://0xa9fea9fe/", "https://100.100.100.200/", "https://168.63.129.16/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.1/",
	"https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
	"https://[2002:7f00:1::]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fd00:ec2::254]/", "https://[2606:2800:220:1::1]/", "https://[::1]:443/", "https://[::1/",
	"https://::1/", "https://[0:0:0:0:0:0:0:1]/",
	// International names and digits that normalize to others.
	"https://１２７.０.０.１/", "https://127。0。0。1/", "https://①②⑦.⓪.⓪.①/", "https://ｅxample.com/", "https://bücher.example.com/", "https://ⓛocalhost/",
	"https://example。com/", "https://exam\u00adple.com/", "https://exam\u200dple.com/", "https://xn--/", "https://xn--.com/", "https://xn--a.com/", "https://xn--localhost-.com/",
	"https://xn--80ak6aa92e-.com/", "https://xn--\u0430.com/", "https://ab--cd.com/", "https://xn--99999999.com/",
	// Names of inner networks, and of none.
	"https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://localhost.localdomain/", "https://foo.localhost/", "https://metadata/",
	"https://metadata.google.internal/", "https://kubernetes.default.svc.cluster.local/", "https://host.docker.internal/", "https://printer.local/", "https://router.lan/",
	"https://nas.home/", "https://nas.home.arpa/", "https://wiki.corp/", "https://wiki.intranet/", "https://server.private/", "https://1.0.0.127.in-addr.arpa/",
	"https://example.test/", "https://example.invalid/", "https://payee.example/", "https://payee.i2p/", "https://payee.alt/", "https://com/", "https://example/",
	// Dots, hyphens and lengths.
	"https://example.com./", "https://.example.com/", "https://example..com/", "https://../", "https://./", "https://-example.com/", "https://example-.com/", "https://example.-com/",
	"https://exa_mple.com/", "https://example.com,evil.com/", "https://example.com;evil.com/", "https://*.example.com/", "https://example.com&evil.com/", "https://example.com!/",
	"https://" + strings.Repeat("a", 64) + ".com/", "https://" + strings.Repeat("a.", 126) + "comm/", "https://example.com/" + strings.Repeat("a", maxURL),
	// Onion names, of this client without a proxy and malformed ones.
	"http://" + onion + "/", "https://" + onion + "/", "http://expyuzz4wqqyqhjn.onion/", "http://" + onion + ":8080/", "http://onion/", "http://.onion/",
	"http://" + strings.ReplaceAll(onion, "a", "1") + "/", "https://" + onion + "./", "http://" + onion + ".com/",
}

// TestHostileURLs gives each of them as an LNURL, in LUD-17 form, and as the callback of a payee
// that is in order up to there.
func TestHostileURLs(t *testing.T) {
	if len(hostileURLs) < 120 {
		t.Errorf("there are %d hostile URLs; is this test still about something?", len(hostileURLs))
	}
	w := newWorld(t, Config{})
	good := parseWith(t, w.client, "alice@example.com")
	callback := ""
	w.mux.HandleFunc("/.well-known/lnurlp/alice", func(rw http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(rw).Encode(map[string]any{"tag": "payRequest", "callback": callback, "minSendable": 1, "maxSendable": 1_000_000})
	})
	refused := func(where, url string, err error) {
		t.Helper()
		if !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s %q: %v, want ErrUnsafe", where, url, err)
		}
	}
	for _, url := range hostileURLs {
		_, err := w.client.Parse(encode(t, url))
		refused("LNURL", url, err)
		if rest, ok := strings.CutPrefix(url, "https://"); ok && strings.TrimSpace(url) == url {
			_, err := w.client.Parse("lnurlp://" + rest)
			refused("lnurlp", url, err)
		}
		// As a target that some other code let through.
		_, err = w.client.Resolve(t.Context(), Target{text: url, url: url}, 1000, "")
		refused("target", url, err)
		if asked, dialed, fetched := w.seen(); len(asked)+len(dialed)+len(fetched) != 0 {
			t.Fatalf("%q: looked up %v, dialed %v, fetched %v", url, asked, dialed, fetched)
		}
		callback = url
		_, err = w.client.Resolve(t.Context(), good, 1000, "")
		refused("callback", url, err)
		if asked, dialed, fetched := w.seen(); len(asked) != 1 || len(dialed) != 1 || len(fetched) != 1 {
			t.Fatalf("callback %q: looked up %v, dialed %v, fetched %v", url, asked, dialed, fetched)
		}
	}
}

// TestHostileAddresses are texts that are no Lightning address and no LNURL.
func TestHostileAddresses(t *testing.T) {
	texts := []string{
		"", " ", "@", "a@", "@example.com", "alice", "alice@example", "alice@@example.com", "alice@bob@example.com", "alice@example.com@127.0.0.1",
		"alice@127.0.0.1", "alice@[::1]", "alice@localhost", "alice@2130706433", "alice@0x7f.1", "alice@example.com:8080", "alice@example.com.", "alice@.example.com",
		"alice@example.com/admin", "alice@example.com?x=1", "alice@example.com#x", "alice@example.com%2f", "alice@example.com\\x", "alice@example.com x",
		"alice/../admin@example.com", "../admin@example.com", "..@example.com", ".@example.com", "al%2e@example.com", "al ice@example.com", "al\nice@example.com",
		"al?ce@example.com", "al#ce@example.com", "al:ce@example.com", "\"alice\"@example.com", "ålice@example.com", "₿alice@example.com", "alice@exämple.com",
		strings.Repeat("a", maxUser+1) + "@example.com", "mailto:alice@example.com", "https://alice@example.com", "lightning:lightning:alice@example.com",
		"lightning:", "lnurl", "lnurl1", "lnurl1garbage", "LNURL1DP68gurn8ghj7", "lnurlp://", "lnurlp:///", "lnurlp:example.com/", "lnurlp://example.com:1/", "lnurlw://example.com/",
		"lnurlc://example.com/", "keyauth://example.com/", "https://example.com/.well-known/lnurlp/alice", "lnurlp://alice@example.com/", "lnbc1garbage",
		invoice(1000), "npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9", "alice@metadata.google.internal", "alice@" + onion[:40] + ".onion",
		"lnurl1" + strings.Repeat("q", 3*maxURL), strings.Repeat("alice@", 1000) + "example.com",
	}
	w := newWorld(t, Config{})
	for _, text := range texts {
		if _, err := w.client.Parse(text); !errors.Is(err, ErrUnsafe) {
			t.Errorf("Parse(%.80q) = %v, want ErrUnsafe", text, err)
		}
		if IsAddress(text) || w.client.IsAddress(text) {
			t.Errorf("IsAddress(%.80q)", text)
		}
	}
	if asked, dialed, _ := w.seen(); len(asked)+len(dialed) != 0 {
		t.Errorf("looked up %v, dialed %v", asked, dialed)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.com":                         "https://example.com/.well-known/lnurlp/alice",
		" Alice@Example.com\n":                      "https://example.com/.well-known/lnurlp/alice",
		"LIGHTNING:alice+tag_1.2-3@a-b.example.com": "https://a-b.example.com/.well-known/lnurlp/alice+tag_1.2-3",
		"alice@xn--bcher-kva.com":                   "https://xn--bcher-kva.com/.well-known/lnurlp/alice",
		"alice@example.xn--p1ai":                    "https://example.xn--p1ai/.well-known/lnurlp/alice",
		"alice@" + onion:                            "http://" + onion + "/.well-known/lnurlp/alice",
		"lnurlp://example.com/a/B?c=D":              "https://example.com/a/B?c=D",
		"LNURLP://Example.com:443":                  "https://Example.com:443",
		"lnurlp://" + onion + "/p":                  "http://" + onion + "/p",
		encode(t, "https://Example.com/P?q=1"):      "https://Example.com/P?q=1",
		encode(t, "http://"+onion+":80/p"):          "http://" + onion + ":80/p",
	} {
		target, err := Parse(text)
		if err != nil || target.url != want {
			t.Errorf("Parse(%q) leads to %q, %v; want %q", text, target.url, err, want)
		}
		if !IsAddress(text) {
			t.Errorf("IsAddress(%q) is false", text)
		}
	}
	// The example of LUD-01.
	target, err := Parse("LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS")
	if want := "https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df"; err != nil || target.url != want {
		t.Errorf("LUD-01 example: %q, %v", target.url, err)
	}
}

// TestPrivateAddresses: names that resolve to places that are not public are not connected to,
// neither when asked for first nor for the callback.
func TestPrivateAddresses(t *testing.T) {
	private := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16",
		"169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1",
		"192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
		"64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::",
		"2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:2800:220:1::1%eth0",
	}
	w := newWorld(t, Config{})
	w.payee(t, 0, map[string]any{"callback": "https://inner.example.com/pay/alice?id=7"})
	inner, outer := parseWith(t, w.client, "alice@inner.example.com"), parseWith(t, w.client, "alice@example.com")
	for _, addr := range private {
		for _, found := range [][]string{{addr}, {public, addr}, {addr, public}, {public, "2606:2800:220:1::1", addr}} {
			w.names["inner.example.com."] = found
			if _, err := w.client.Resolve(t.Context(), inner, 5000, ""); !errors.Is(err, ErrUnsafe) {
				t.Errorf("%v: %v, want ErrUnsafe", found, err)
			}
			if _, dialed, _ := w.seen(); len(dialed) != 0 {
				t.Errorf("%v: dialed %v", found, dialed)
			}
			if _, err := w.client.Resolve(t.Context(), outer, 5000, ""); !errors.Is(err, ErrUnsafe) {
				t.Errorf("callback at %v: %v, want ErrUnsafe", found, err)
			}
			if _, dialed, _ := w.seen(); len(dialed) != 1 {
				t.Errorf("callback at %v: dialed %v", found, dialed)
			}
		}
	}
	for _, addr := range []string{"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "172.15.255.255", "172.32.0.0",
		"192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8"} {
		if !isPublic(netip.MustParseAddr(addr)) {
			t.Errorf("%s is public", addr)
		}
	}
}

// TestRebinding: a name server that answers differently each time gains nothing, because the
// connection goes to what was checked.
func TestRebinding(t *testing.T) {
	w := newWorld(t, Config{})
	w.payee(t, 0, nil)
	lookups := 0
	w.client.cfg.Resolver = resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		lookups++
		return []netip.Addr{netip.MustParseAddr([]string{"127.0.0.1", public}[lookups%2])}, nil
	})
	target := parseWith(t, w.client, "alice@example.com")
	for range 10 {
		_, err := w.client.Resolve(t.Context(), target, 5000, "")
		if !errors.Is(err, ErrUnsafe) { // the callback's look-up is each second one
			t.Errorf("%v, want ErrUnsafe", err)
		}
	}
	_, dialed, fetched := w.seen()
	if lookups != 20 || len(dialed) != 10 || len(fetched) != 10 {
		t.Errorf("%d look-ups, dialed %v, fetched %v; want 20, 10, 10", lookups, dialed, fetched)
	}
	for _, addr := range dialed {
		if addr != public+":443" {
			t.Errorf("dialed %s", addr)
		}
	}
}

// TestSocketIsCheckedAgain goes around the resolver: the socket itself refuses to connect.
func TestSocketIsCheckedAgain(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp4 127.0.0.1:0", "tcp6 [::1]:0"} {
		name, address, _ := strings.Cut(network, " ")
		listener, err := net.Listen(name, address)
		if err != nil {
			t.Log("no", name, "here:", err)
			continue
		}
		defer listener.Close()
		if conn, err := c.dial(t.Context(), "tcp", listener.Addr().String()); !errors.Is(err, ErrUnsafe) {
			t.Errorf("dial %s: %v, %v", listener.Addr(), conn, err)
		}
	}
	for address, safe := range map[string]bool{
		"93.184.216.34:443": true, "[2606:4700::1111]:443": true, "93.184.216.34:80": false, "93.184.216.34:22": false, "[::ffff:127.0.0.1]:443": false,
		"[fe80::1%eth0]:443": false, "169.254.169.254:443": false, "/run/docker.sock": false, "": false,
	} {
		if err := c.control("tcp", address, nil); (err == nil) != safe || err != nil && !errors.Is(err, ErrUnsafe) {
			t.Errorf("control(%q) = %v", address, err)
		}
	}
}
