package mirror

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

const onion = "abcdefghijklmnopabcdefghijklmnopabcdefghijklmnopabcdefgh.onion"

// socksProxy is a SOCKS5 proxy (RFC 1928) that leads every name to one address, and tells what it
// was asked for.
func socksProxy(t *testing.T, to string) (proxy *url.URL, asked chan string) {
	t.Helper()
	listener := listenAt(t, "127.0.0.1:0")
	t.Cleanup(func() { listener.Close() })
	asked = make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				name, err := socksGreeting(conn)
				if err != nil {
					return
				}
				asked <- name
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
					return
				}
				go func() { _, _ = io.Copy(out, conn) }()
				_, _ = io.Copy(conn, out)
			}()
		}
	}()
	return &url.URL{Scheme: "socks5h", Host: listener.Addr().String()}, asked
}

// socksGreeting reads the name and the port that a client of a proxy wants.
func socksGreeting(conn net.Conn) (string, error) {
	head := make([]byte, 300)
	if _, err := io.ReadFull(conn, head[:2]); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, head[:head[1]]); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, head[:5]); err != nil {
		return "", err
	}
	if head[3] != 3 {
		return "", errors.New("an address and no name")
	}
	rest := make([]byte, int(head[4])+2)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return "", err
	}
	name := rest[:head[4]]
	return fmt.Sprintf("%s:%d", name, binary.BigEndian.Uint16(rest[head[4]:])), nil
}

// TestProxy: through a SOCKS proxy a Mostro that is an onion service is followed and traded with,
// and its name is resolved by nobody but the proxy. Without one it is not looked for at all.
func TestProxy(t *testing.T) {
	b := newInstance(t, "b")
	handled := b.escrow()
	b.start()
	there := b.offer(t, "x", 0)
	b.publish(there)
	proxy, asked := socksProxy(t, b.address)
	address := "ws://" + onion
	a := newInstance(t, "a")
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{address}}}
	var err error
	if a.cfg.Dial, err = Through(proxy); err != nil {
		t.Fatal(err)
	}
	a.start()
	eventually(t, "the offer came", func() bool { return a.has(there.ID) })
	message := newPerson(t).message(t, b.public, "hello")
	if ok, reason := dialClient(t, a.url()).send(message); !ok || handled(message.ID) != 1 {
		t.Errorf("a message is not carried: %q", reason)
	}
	a.stop()
	for len(asked) > 0 {
		if name := <-asked; name != onion+":80" {
			t.Errorf("the proxy was asked for %s", name)
		}
	}

	a.cfg.Dial = nil
	a.start()
	eventually(t, "there is no way", func() bool { return strings.Contains(a.health(address).Error, errOnion.Error()) })

	// What is of the operator's own network needs no proxy.
	a.stop()
	a.cfg.Follow[0].Relays = []string{b.url()}
	if a.cfg.Dial, err = Through(&url.URL{Scheme: "socks5h", Host: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	a.start()
	eventually(t, "B is reached directly", func() bool { return a.health(b.url()).State == Live })
}

// TestC3Redirect: a relay cannot lead the mirror to another place, neither by a redirect nor by its
// list of relays.
func TestC3Redirect(t *testing.T) {
	var led atomic.Int64
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	t.Cleanup(inner.Close)
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		http.Redirect(w, req, inner.URL, http.StatusFound)
	}))
	t.Cleanup(evil.Close)
	if _, err := Dial(Direct).describe(t.Context(), "ws"+strings.TrimPrefix(evil.URL, "http")); err == nil {
		t.Error("a redirect is taken for a description")
	}
	if _, err := Dial(Direct).connect(t.Context(), "ws"+strings.TrimPrefix(evil.URL, "http"), agent, nil); err == nil {
		t.Error("a redirect is taken for a relay")
	}

	a, b := newInstance(t, "a"), newPerson(t)
	p := newPlain(t, 100, "127.0.0.1:0")
	var tags nostr.Tags
	for _, address := range []string{
		inner.URL, "ws" + strings.TrimPrefix(inner.URL, "http"), "ws://localhost:1", "ws://10.0.0.1", "ws://[::1]:1", "ws://[::ffff:127.0.0.1]:1",
		"ws://169.254.169.254", "ws://0.0.0.0:1", "ws://user:word@relay.example.com", "ws://", a.url(), p.url, p.url + "/",
	} {
		tags = append(tags, nostr.Tag{"r", address})
	}
	p.add(b.sign(t, nostr.Event{Kind: kindRelayList, Tags: tags}))
	a.cfg.Outside, a.cfg.Follow = []string{p.url}, []Followed{{Pubkey: b.public}}
	a.cfg.Own = a.url()
	a.start()
	eventually(t, "its relays are looked for", func() bool {
		a.mirror.discover(t.Context())
		return len(a.health(p.url).Mostros) == 1
	})
	if h := a.mirror.Health(); len(h) != 1 {
		t.Errorf("the list leads to %+v", h)
	}
	if asked.Load() != 2 || led.Load() != 0 {
		t.Errorf("asked %d times, led elsewhere %d times", asked.Load(), led.Load())
	}
}

// TestListedTwice: a relay that a list names in several ways is one, and this one is known however it is named.
func TestListedTwice(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	a.cfg.Own, a.cfg.Follow = "wss://Here.example.com:443", []Followed{{Pubkey: b.public}}
	var err error
	if a.mirror, err = New(a.cfg); err != nil {
		t.Fatal(err)
	}
	defer a.mirror.Close()
	var tags nostr.Tags
	for _, address := range []string{
		"wss://here.example.com/", "wss://one.example.com", "WSS://One.Example.com/", "wss://one.example.com:443", "wss://one.example.com/#again", "wss://one.example.com?",
		"ws://one.example.com:443/Path/", "ws://[2001:DB8::1]:80",
	} {
		tags = append(tags, nostr.Tag{"r", address})
	}
	a.mirror.movedTo(new(b.sign(t, nostr.Event{Kind: kindRelayList, Tags: tags})))
	want := []string{"wss://one.example.com", "ws://one.example.com:443/Path", "ws://[2001:db8::1]"}
	if diff := cmp.Diff(want, a.mirror.followed[b.public].relays()); diff != "" {
		t.Error(diff)
	}
}

// TestSelf: a followed Mostro whose relay turns out to be this one, under another name, harms nobody:
// nothing circles, and its mail is asked for no longer than clients want it.
func TestSelf(t *testing.T) {
	a, ghost := newInstance(t, "a"), newPerson(t)
	g := newGate(t, a.address) // another name
	a.cfg.Follow = []Followed{{Pubkey: ghost.public, Relays: []string{g.url}}}
	a.start()
	eventually(t, "it is connected to itself", func() bool { return a.health(g.url).State == Live })
	c := dialClient(t, a.url())
	reader := newPerson(t)
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {reader.public}}})
	c.hear("EOSE")
	wanted := a.wanted(reader.public)
	if ok, reason := c.send(newPerson(t).message(t, ghost.public, "hello")); ok || reason != errUnderway.Error() {
		t.Errorf("%v %q", ok, reason)
	}
	offer := ghost.offer(t, "x", 0)
	if ok, reason := c.send(offer); !ok {
		t.Error(reason)
	}
	eventually(t, "its offer has come back", func() bool { return a.health(g.url).Known > 0 })
	h := a.health(g.url)
	if h.Known > 2 || h.Stored > 0 || h.Bad > 0 {
		t.Errorf("health: %+v", h)
	}
	if got := a.wanted(reader.public); wanted.IsZero() || !got.Equal(wanted) {
		t.Errorf("the mailbox was wanted at %s and now %s", wanted, got)
	}
}

// wanted is when mail of any Mostro to a key was last asked for.
func (i *instance) wanted(key string) time.Time {
	in := i.mirror.interest
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.seen[mailbox{key, ""}].at
}

// TestInterestEcho: relays that follow each other do not ask each other for the mail of each other's
// clients, which would never end.
func TestInterestEcho(t *testing.T) {
	x, y := newInstance(t, "x"), newInstance(t, "y")
	x.cfg.Follow = []Followed{{Pubkey: y.public, Relays: []string{y.url()}}}
	y.cfg.Follow = []Followed{{Pubkey: x.public, Relays: []string{x.url()}}}
	x.start()
	y.start()
	eventually(t, "both are connected", func() bool { return x.health(y.url()).State == Live && y.health(x.url()).State == Live })
	reader := newPerson(t)
	c := dialClient(t, x.url())
	c.say("REQ", "mail", nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {reader.public}}})
	c.hear("EOSE")
	// When mail that Y has comes to X, X has asked for it.
	mail := newPerson(t).sign(t, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", reader.public}}})
	y.publish(mail)
	eventually(t, "the mail comes", func() bool { return x.has(mail.ID) })
	if y.mirror.interest.has(reader.public, []string{x.public}) {
		t.Error("Y asks X for the mail of X's own client")
	}
}
