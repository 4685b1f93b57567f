package mirror

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// liarAt is liar at the end of a cable.
func liarAt(t *testing.T, c *cable, answer func(say func(parts ...any), label string, parts []json.RawMessage)) {
	server := &http.Server{Handler: sockets(t, func() func(func(...any), string, []json.RawMessage) { return answer })}
	go server.Serve(c)
	t.Cleanup(func() {
		server.Close()
		c.set(refused)
	})
}

// following starts an instance that follows somebody at the end of a cable.
func following(t *testing.T, c *cable, who ...person) *instance {
	a := newInstance(t, "a")
	a.listen, a.cfg.Dial = newCable().listen, c.dial
	for _, w := range who {
		a.cfg.Follow = append(a.cfg.Follow, Followed{Pubkey: w.public, Relays: []string{hostileURL}})
	}
	a.start()
	return a
}

const hostileURL = "ws://relay.test"

// TestC3Silent: a relay that never comes to the end of an answer, or says an event now and then for
// ever, does not hold a connection for ever, and the pauses before the next one grow.
func TestC3Silent(t *testing.T) {
	for _, kind := range []string{"never ends", "drips"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, c := newPerson(t), newCable()
				offer := b.offer(t, "x", 0)
				liarAt(t, c, func(say func(...any), label string, parts []json.RawMessage) {
					if label != "REQ" {
						return
					}
					var f nostr.Filter
					_ = json.Unmarshal(parts[1], &f)
					if kind == "drips" && f.Limit == 1 { // the subscription stands, comparing does not end
						say("EOSE", parts[0])
						return
					}
					go func() {
						for kind == "drips" && t.Context().Err() == nil {
							say("EVENT", parts[0], offer)
							time.Sleep(answerTime / 2)
						}
					}()
				})
				a := following(t, c, b)
				eventually(t, "it is connected", func() bool { return a.health(hostileURL).State == Syncing })
				began := time.Now()
				for a.health(hostileURL).State != Waiting {
					if time.Since(began) > 2*pageTime {
						t.Fatalf("it holds the connection for ever: %+v", a.health(hostileURL))
					}
					time.Sleep(time.Second)
				}
				t.Logf("given up after %s: %s", time.Since(began), a.health(hostileURL).Error)
				if h := a.health(hostileURL); !strings.Contains(h.Error, errNoAnswer.Error()) || h.Stored > 1 || h.BytesIn > 1<<20 {
					t.Errorf("health: %+v", h)
				}
			})
		})
	}
}

// TestC3SlowFrames: a relay that sends a frame byte by byte is given up.
func TestC3SlowFrames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, c := newPerson(t), newCable()
		server := &http.Server{Handler: sockets(t, func() func(func(...any), string, []json.RawMessage) {
			return func(func(...any), string, []json.RawMessage) {}
		})}
		slow := &slowListener{Listener: c}
		go server.Serve(slow)
		t.Cleanup(func() { server.Close(); c.set(refused) })
		a := following(t, c, b)
		began := time.Now()
		eventuallyFor(t, 3*silenceTime, "it is given up", func() bool { return a.health(hostileURL).Error != "" })
		t.Logf("after %s: %s", time.Since(began), a.health(hostileURL).Error)
	})
}

// slowListener writes the first bytes as they are, and then one each second.
type slowListener struct{ net.Listener }

type slowConn struct{ net.Conn }

func (l *slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{conn}, nil
}

func (c *slowConn) Write(b []byte) (int, error) {
	for i := range b {
		time.Sleep(time.Second / 10)
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func eventuallyFor(t testing.TB, most time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestC3Negentropy: reconciling that never ends, lists of ids that nobody has, and what is no message
// of the protocol cost little and end.
func TestC3Negentropy(t *testing.T) {
	number := func(b []byte, n int) []byte { // as the protocol writes numbers
		var digits []byte
		for first := true; first || n > 0; first = false {
			digits = append(digits, byte(n&0x7f))
			n >>= 7
		}
		slices.Reverse(digits)
		for i := range digits[:len(digits)-1] {
			digits[i] |= 0x80
		}
		return append(b, digits...)
	}
	random := rand.New(rand.NewPCG(1, 11))
	for name, message := range map[string]func() []byte{
		"fingerprints that never fit": func() []byte {
			b := append([]byte{0x61}, 0, 0, 1) // to the end of time, a fingerprint
			for range 2 {
				b = binary.LittleEndian.AppendUint64(b, random.Uint64())
			}
			return b
		},
		"ids that do not exist": func() []byte {
			b := number(append([]byte{0x61}, 0, 0, 2), 9000)
			for range 4 * 9000 {
				b = binary.LittleEndian.AppendUint64(b, random.Uint64())
			}
			return b
		},
		"a length without an end":  func() []byte { return append([]byte{0x61, 0, 0, 2}, slices.Repeat([]byte{0xff}, 1000)...) },
		"nothing":                  func() []byte { return []byte{} },
		"another version for ever": func() []byte { return []byte{0x60} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, c := newPerson(t), newCable()
				var rounds, questions atomic.Int64
				server := &http.Server{Handler: knowing(sockets(t, func() func(func(...any), string, []json.RawMessage) {
					return func(say func(...any), label string, parts []json.RawMessage) {
						switch label {
						case "NEG-OPEN", "NEG-MSG":
							rounds.Add(1)
							say("NEG-MSG", parts[0], hex.EncodeToString(message()))
						case "REQ":
							questions.Add(1)
							say("EOSE", parts[0])
						}
					}
				}))}
				go server.Serve(c)
				t.Cleanup(func() { server.Close(); c.set(refused) })
				a := following(t, c, b)
				eventually(t, "the connection has an end, or goes on without", func() bool {
					h := a.health(hostileURL)
					return h.Error != "" || h.State == Live
				})
				t.Logf("%d rounds, %d questions: %+v", rounds.Load(), questions.Load(), a.health(hostileURL).Error)
				if rounds.Load() > negRounds+10 || questions.Load() > 200 {
					t.Errorf("%d rounds, %d questions", rounds.Load(), questions.Load())
				}
			})
		})
	}
}

// TestC3NegentropyRefused: a relay that refuses each part of time, or each that is not of a few seconds, is compared
// without negentropy after a while.
func TestC3NegentropyRefused(t *testing.T) {
	for name, takes := range map[string]func(nostr.Filter) bool{
		"all":             func(nostr.Filter) bool { return false },
		"all but seconds": func(f nostr.Filter) bool { return f.Since != nil && f.Until != nil && *f.Until-*f.Since < 4 },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, c := newPerson(t), newCable()
				offer := b.offer(t, "x", 0)
				var opened atomic.Int64
				server := &http.Server{Handler: knowing(sockets(t, func() func(func(...any), string, []json.RawMessage) {
					return func(say func(...any), label string, parts []json.RawMessage) {
						var f nostr.Filter
						switch label {
						case "NEG-OPEN":
							if _ = json.Unmarshal(parts[1], &f); opened.Add(1) > 3*maxRefused {
								return // the test has failed
							}
							if takes(f) {
								say("NEG-MSG", parts[0], "61")
							} else {
								say("NEG-ERR", parts[0], "blocked: not for you")
							}
						case "REQ":
							if _ = json.Unmarshal(parts[1], &f); f.Limit > 1 {
								say("EVENT", parts[0], offer)
							}
							say("EOSE", parts[0])
						}
					}
				}))}
				go server.Serve(c)
				t.Cleanup(func() { server.Close(); c.set(refused) })
				a := following(t, c, b)
				eventually(t, "what is stored there comes", func() bool { return a.has(offer.ID) })
				if n := opened.Load(); n > 2*maxRefused+10 {
					t.Errorf("it was asked %d times", n)
				}
			})
		})
	}
}

// knowing says of a relay that it knows negentropy.
func knowing(h http.Handler) http.Handler { return saying(`{"supported_nips":[1,77]}`, h) }

// saying lets a relay describe itself (NIP-11).
func saying(about string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Accept") == "application/nostr+json" {
			fmt.Fprint(w, about)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// TestC3Future: no kind of a followed Mostro gets in from the far future, where it would stand above
// everything later.
func TestC3Future(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	var ahead, now []nostr.Event
	for _, kind := range mostroKinds {
		for _, later := range []nostr.Timestamp{3600, 1e9, 4e9 - nostr.Now()} {
			ahead = append(ahead, b.sign(t, nostr.Event{Kind: kind, CreatedAt: nostr.Now() + later, Tags: nostr.Tags{{"d", fmt.Sprint(later)}}}))
		}
		now = append(now, b.sign(t, nostr.Event{Kind: kind, CreatedAt: nostr.Now() - 10, Tags: nostr.Tags{{"d", "now"}}}))
	}
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			for _, ev := range slices.Concat(ahead, now) {
				say("EVENT", parts[0], ev)
			}
			say("EOSE", parts[0])
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	eventually(t, "what is of now came", func() bool {
		return !slices.ContainsFunc(now, func(ev nostr.Event) bool { return !a.has(ev.ID) })
	})
	for _, ev := range ahead {
		if a.has(ev.ID) {
			t.Errorf("of the future: kind %d at %d", ev.Kind, ev.CreatedAt)
		}
	}
}

// TestC3Deletions: nobody but its author deletes what was copied, and a relay that sends deletions
// unasked deletes nothing. The author may, here or there.
func TestC3Deletions(t *testing.T) {
	a, b, stranger := newInstance(t, "a"), newPerson(t), newPerson(t)
	offers := []nostr.Event{b.offer(t, "x", nostr.Now()-10), b.offer(t, "y", nostr.Now()-10)}
	deletion := func(by person, of nostr.Event) nostr.Event {
		return by.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", of.ID}, {"a", fmt.Sprint(kindOrder, ":", b.public, ":", of.Tags.GetD())}}})
	}
	url := liar(t, func(say func(...any), label string, parts []json.RawMessage) {
		if label == "REQ" {
			for _, ev := range append(offers, deletion(stranger, offers[0]), deletion(b, offers[0])) {
				say("EVENT", parts[0], ev)
			}
			say("EOSE", parts[0])
		}
	})
	a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{url}}}
	a.start()
	eventually(t, "all has been read", func() bool { return a.health(url).Bad >= 4 })
	client := dialClient(t, a.url())
	client.send(deletion(stranger, offers[1])) // taken or not, it is a stranger's
	if !a.has(offers[0].ID) || !a.has(offers[1].ID) {
		t.Error("an offer is gone")
	}
	if ok, reason := client.send(deletion(b, offers[1])); !ok {
		t.Error(reason)
	}
	eventually(t, "its author has deleted it", func() bool { return !a.has(offers[1].ID) })
	a.stop()
	a.start()
	eventually(t, "the relay has given it out again", func() bool { return a.health(url).Known > 0 })
	if a.has(offers[1].ID) {
		t.Error("what was deleted came back")
	}
}

// FuzzFrame: no frame of a relay makes the link fail other than by an error.
func FuzzFrame(f *testing.F) {
	for _, frame := range []string{
		`["EVENT","1",{"id":""}]`, `["EOSE","1"]`, `["CLOSED","1","x"]`, `["OK","1",true,""]`, `["OK","1"]`, `["NEG-MSG","1","6100000201"]`,
		`["NEG-ERR","1","closed"]`, `["NOTICE","NEG"]`, `["AUTH","x"]`, `["EVENT","1"]`, `[]`, `["EVENT",1,2,3]`, `{}`, `["NEG-MSG","1","zz"]`, `["CLOSED","1"]`,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		l := &link{
			out: make(chan []byte, 10), unsent: make(chan struct{}), ended: make(chan struct{}),
			loggedIn: make(chan struct{}), logins: make(map[string]struct{}),
			subs: make(map[string]*sub), oks: make(map[string][]chan error),
			sign: func(*nostr.Event) error { return nil },
		}
		l.subs["1"] = &sub{id: "1", event: func(ev *nostr.Event) { _ = ev.CheckID() }, end: func(error) {}, neg: func([]byte, error) {}}
		for range 3 {
			if err := l.handle(frame); err != nil && !errors.Is(err, errNoise) {
				t.Error(err)
			}
		}
	})
}
