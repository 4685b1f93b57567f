package main

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// handshakeProbes are those of what comes before a session and below it: requests, logins, frames and the disk.
func handshakeProbes(t testing.TB) []relayProbe {
	alice := nostr.GeneratePrivateKey()
	wants := func(s *served, what, got, want string) {
		s.Helper()
		if !strings.HasPrefix(got, want) {
			s.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	full := func(s *served) {
		wants(s, "no room", s.dial().publish(s.sign(alice, nostr.Event{Kind: 1})), "error: the disk of this relay is nearly full")
		if err := s.waitReadyWithoutLightning(); err != nil {
			s.Errorf("the node's own events: %v", err)
		}
		if status, err := s.engine.Status(); err != nil || !strings.Contains(status.Closed, "room on its disk") {
			s.Errorf("new orders: %q, %v", status.Closed, err)
		}
	}
	return []relayProbe{
		{[]string{"relay.max_header_seconds=600", "relay.max_handshake_seconds=600", "relay.max_header_bytes=20000"}, func(s *served) {
			begin := func(text string) net.Conn {
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					s.Fatal(err)
				}
				s.Cleanup(func() { conn.Close() })
				fmt.Fprint(conn, text)
				return conn
			}
			end := func(what string, conn net.Conn, text, want string) {
				s.Helper()
				fmt.Fprint(conn, text)
				if err := conn.SetReadDeadline(time.Now().Add(relayPatience)); err != nil {
					s.Fatal(err)
				}
				got, err := bufio.NewReader(conn).ReadString('\n')
				if wants(s, what, got, "HTTP/1.1 "+want); err != nil {
					s.Errorf("%s: %v", what, err)
				}
			}
			const health = "GET /healthz HTTP/1.1\r\nHost: x\r\nX: "
			headers := begin(health)
			body := begin("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/nostr+json+rpc\r\nContent-Length: 2\r\n\r\n{")
			end("long headers", begin(health), strings.Repeat("x", 19_000)+"\r\n\r\n", "200")
			end("longer headers", begin(health), strings.Repeat("x", 20_000), "431")
			time.Sleep(relay.DefaultLimits().HandshakeTime + time.Second)
			end("slow headers", headers, "x\r\n\r\n", "200")
			end("slow body", body, "}", "401")
		}},
		{[]string{"relay.max_auth_age_seconds=30"}, func(s *served) {
			login := func(age nostr.Timestamp) string {
				w := s.dial()
				ev := s.sign(alice, nostr.Event{Kind: 22242, CreatedAt: nostr.Now() - age, Tags: nostr.Tags{{"relay", s.url}, {"challenge", w.challenge}}})
				_, rest, _ := strings.Cut(w.ask(`["AUTH",`+ev.String()+`]`), ev.ID+" ")
				return rest
			}
			wants(s, "login of now", login(0), "true")
			wants(s, "late login", login(60), "false invalid: created_at is more than 30 seconds")
			wants(s, "early login", login(-60), "false invalid: created_at is more than 30 seconds")
		}},
		{[]string{"relay.max_silence_seconds=2"}, func(s *served) {
			w := s.dial()
			w.SetPingHandler(func(string) error { return nil })
			wants(s, "the end of a silent session", strings.Join(w.next(), " "), "closed 1001")
		}},
		{[]string{"relay.max_fragments=3"}, func(s *served) {
			for fragments, want := range map[int]string{3: "EOSE", 4: "closed"} {
				w := s.dial()
				send := func(head byte, text string) {
					if _, err := w.NetConn().Write(append([]byte{head, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil {
						s.Fatal(err)
					}
				}
				send(0x1, `["REQ",`)
				for range fragments - 2 {
					send(0x0, " ")
				}
				send(0x80, `"a",{"limit":0}]`)
				wants(s, fmt.Sprint(fragments, " fragments"), w.next()[0], want)
			}
		}},
		{[]string{"relay.deletions_per_hour=1", "relay.deletions_burst=5"}, func(s *served) {
			deletion := func(n int) nostr.Event {
				return s.sign(alice, nostr.Event{Kind: 5, Tags: slices.Repeat(nostr.Tags{{"e", publicOf(s, nostr.GeneratePrivateKey())}}, n)})
			}
			w := s.dial()
			wants(s, "5 deletions", w.publish(deletion(5)), "")
			wants(s, "one more", w.publish(deletion(1)), "rate-limited: too many deletions from your address")
			wants(s, "a note", w.publish(s.sign(alice, nostr.Event{Kind: 1})), "")
		}},
		{[]string{"relay.max_deletions=10"}, func(s *served) {
			w := s.dial()
			for i := range 25 {
				got := w.publish(s.sign(nostr.GeneratePrivateKey(), nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", publicOf(s, nostr.GeneratePrivateKey())}}}))
				if want := "error: this relay remembers too many deletions"; i >= 20 {
					wants(s, "deletion", got, want)
				} else if got != "" {
					s.Errorf("deletion %d: %s", i, got)
				}
			}
		}},
		{[]string{"relay.min_free_mib=100000000"}, full},
		{[]string{"relay.min_free_percent=100"}, full},
	}
}
