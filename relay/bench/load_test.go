package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const (
	leastAuthors    = 1000 // of notes and reactions
	leastRecipients = 2000 // of gift wraps
	nodes           = 10   // that publish orders

	signers = 4 // goroutines that sign
)

// setting reads a count from the environment.
func setting(b testing.TB, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s=%s is not a count", name, text)
	}
	return n
}

// settings reads counts with commas between them, which rise.
func settings(b testing.TB, name string, otherwise int) []int {
	b.Helper()
	if os.Getenv(name) == "" {
		return []int{otherwise}
	}
	var counts []int
	for text := range strings.SplitSeq(os.Getenv(name), ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || len(counts) > 0 && n <= counts[len(counts)-1] {
			b.Fatalf("%s=%s is not a count, nor a list of counts that rise", name, os.Getenv(name))
		}
		counts = append(counts, n)
	}
	return counts
}

// secret makes the secret key of a person of the load.
func secret(role string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "mostro bench %s %d", role, i))
	return hex.EncodeToString(sum[:])
}

// public is the key that belongs to secret. Recipients never sign, so that any 32 bytes do.
func public(b testing.TB, role string, i int) string {
	b.Helper()
	key, err := nostr.GetPublicKey(secret(role, i))
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// authors and recipients are how many there are in a load of n events. Beyond 100,000 they grow
// with it, so that a question has the same number of answers.
func authors(n int) int { return max(leastAuthors, n/100) }

func recipients(n int) int { return max(leastRecipients, n/400*8) }

func recipient(i int) string { return secret("recipient", i) }

// load is a number of signed events.
type load struct {
	events  []nostr.Event
	authors []string // public keys
}

// makeLoad signs n events whose times lie in the last hours. Beside times and the randomness of
// signatures, the same n gives the same events.
func makeLoad(b testing.TB, n int) *load {
	b.Helper()
	l := new(load)
	for i := range authors(n) {
		l.authors = append(l.authors, public(b, "author", i))
	}
	l.events = makeSigned(b, n, func(i int) (nostr.Event, string) { return draft(i, n) })
	return l
}

// makeWraps signs n gift wraps for the fewest recipients, like those of a load.
func makeWraps(b testing.TB, n int) []nostr.Event {
	b.Helper()
	return makeSigned(b, n, func(i int) (nostr.Event, string) { return draft(i/8*20+i%8, 0) })
}

// makeSigned signs n events, whose drafts come with the secret keys of their authors.
func makeSigned(b testing.TB, n int, draft func(i int) (nostr.Event, string)) []nostr.Event {
	b.Helper()
	events := make([]nostr.Event, n)
	began := nostr.Now() - nostr.Timestamp(3600*4)
	var work sync.WaitGroup
	for s := range signers {
		work.Go(func() {
			for i := s; i < n; i += signers {
				ev, key := draft(i)
				ev.CreatedAt = began + nostr.Timestamp(i*3600*3/n)
				if err := ev.Sign(key); err != nil {
					b.Error(err)
					return
				}
				events[i] = ev
			}
		})
	}
	work.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return events
}

// draft is event i of the load, unsigned, and the secret key of its author.
func draft(i, n int) (nostr.Event, string) {
	r := rand.New(rand.NewPCG(uint64(i), 0x6d6f7374726f))
	text := func(least, most int) string {
		raw := make([]byte, least+r.IntN(most-least))
		for i := range raw {
			raw[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"[r.IntN(64)]
		}
		return string(raw)
	}
	switch {
	case i%20 < 8:
		return nostr.Event{Kind: nostr.KindGiftWrap, Content: text(1000, 1600), Tags: nostr.Tags{{"p", recipient(i/20*8%recipients(n) + i%20)}}},
			secret("wrap", i)
	case i%20 < 14:
		return nostr.Event{Kind: nostr.KindTextNote, Content: text(300, 1000), Tags: nostr.Tags{{"t", "bitcoin"}}},
			secret("author", r.IntN(authors(n)))
	case i%20 < 19:
		return nostr.Event{Kind: 38383, Tags: nostr.Tags{
			{"d", fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), i)},
			{"k", []string{"sell", "buy"}[r.IntN(2)]},
			{"f", []string{"USD", "EUR", "ARS", "CUP", "VES"}[r.IntN(5)]},
			{"s", []string{"pending", "in-progress", "canceled", "success", "expired"}[r.IntN(5)]},
			{"amt", strconv.Itoa(r.IntN(1_000_000))}, {"fa", strconv.Itoa(r.IntN(1000))},
			{"pm", "bank transfer", "face to face"}, {"premium", "3"},
			{"rating", `{"total_reviews":12,"total_rating":4.51,"last_rating":5,"max_rate":5,"min_rate":1}`},
			{"source", "https://t.me/p2plightning/" + text(20, 40)}, {"network", "mainnet"}, {"layer", "lightning"},
			{"expiration", strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10)},
			{"y", "mostro", text(10, 30)}, {"z", "order"},
		}}, secret("node", r.IntN(nodes))
	}
	return nostr.Event{Kind: nostr.KindReaction, Content: "+", Tags: nostr.Tags{{"e", secret("note", r.IntN(n))}, {"p", secret("liked", r.IntN(authors(n)))}}},
		secret("author", r.IntN(authors(n)))
}

// frames encodes events as EVENT messages.
func frames(evs []nostr.Event) [][]byte {
	all := make([][]byte, len(evs))
	for i := range evs {
		all[i] = clientFrame(`["EVENT",` + evs[i].String() + `]`)
	}
	return all
}

// ofKind picks the events of a kind.
func (l *load) ofKind(kind, most int) []nostr.Event {
	var picked []nostr.Event
	for _, ev := range l.events {
		if ev.Kind == kind && len(picked) < most {
			picked = append(picked, ev)
		}
	}
	return picked
}

// quoted writes values as the elements of a JSON array.
func quoted(values ...string) string { return `"` + strings.Join(values, `","`) + `"` }
