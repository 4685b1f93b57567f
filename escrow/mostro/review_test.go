package mostro

import (
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// reviewVectors were made by a program of its own, with key 0 as the node, key 1 as the review key and zero auxiliary
// randomness: sig is BIP-340 over the SHA-256 of "mostro-review:<node>:<week>:<review key>".
var reviewVectors = []struct{ week, sig string }{
	{"2026-W48", "507045a77d61badfc3c6d5b40ff20731059eb19698892d69e7d89c466f66558ee5fcc34d536976ca3f0d84f84c409a3be4b0e0014a3d39b0243f8d2afca7991c"},
	{"2020-W53", "f108b561923747edbb1a92bfc86e230e5d2ec9fe63d153f2c15930815a33050d944a00233b6b52372707530889021b2aa0f0e9b9b34e55a20c65da1308f10153"},
}

func TestReviewProofVectors(t *testing.T) {
	keys := testKeys(t)
	for _, v := range reviewVectors {
		p, err := SignReviewProof(keys[0], keys[1].Public(), v.week)
		if err != nil || p.Sig != v.sig || p.Check() != nil {
			t.Errorf("%s: %s, %v, %v", v.week, p.Sig, err, p.Check())
		}
	}
}

func TestReviewWeek(t *testing.T) {
	for at, want := range map[string]string{
		"2026-11-23T00:00:00Z": "2026-W48", "2026-11-22T23:59:59Z": "2026-W47", "2026-11-29T23:59:59Z": "2026-W48",
		"2021-01-03T12:00:00Z": "2020-W53", "2021-01-04T00:00:00Z": "2021-W01", "2024-12-30T00:00:00Z": "2025-W01",
	} {
		moment, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := ReviewWeek(moment.Unix()); got != want {
			t.Errorf("%s is in %s, not %s", at, got, want)
		}
		monday, err := parseWeek(want)
		if err != nil || monday.Weekday() != time.Monday || moment.Sub(monday) < 0 || moment.Sub(monday) >= 7*24*time.Hour {
			t.Errorf("%s begins on %s: %v", want, monday, err)
		}
	}
	for _, bad := range []string{"", "2026", "2026-48", "2026-W00", "2026-W54", "2021-W53", "2026-W7", "2026-W+7", "-W07", "2026-W48 ", "02026-W48"} {
		if _, err := parseWeek(bad); err == nil {
			t.Errorf("%q is taken for a week", bad)
		}
	}
}

// TestSpendableAt: a review waits for the end of its trade, and not for ever.
func TestSpendableAt(t *testing.T) {
	p := ReviewProof{Week: "2026-W48"}
	for from, want := range map[int64]int64{
		0: 0, p.Begin() + 2*86400: p.Begin() + 2*86400, p.Begin() + 21*86400: p.Begin() + 21*86400,
		p.Begin() + 21*86400 + 1: p.Begin() + 21*86400, 1 << 62: p.Begin() + 21*86400,
	} {
		p.From = from
		if got := p.SpendableAt(); got != want {
			t.Errorf("from %d: %d, want %d", from, got, want)
		}
	}
}

// TestForgedReviews: whatever is changed in a good review, or taken from another, makes it none.
func TestForgedReviews(t *testing.T) {
	node, key, other := mustSecret(t, 1), mustSecret(t, 2), mustSecret(t, 3)
	monday, err := parseWeek("2026-W48")
	if err != nil {
		t.Fatal(err)
	}
	now := monday.Unix() + 86400
	proofFor := func(by, key Secret, week string) ReviewProof {
		p, err := SignReviewProof(by, key.Public(), week)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := Review{Proof: proofFor(node, key, "2026-W48"), Rating: 0.25, Text: "slow, but honest", At: now}
	ev, err := good.Event(key)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseReview(&ev, now)
	if err != nil || read != good {
		t.Fatalf("%+v, %v", read, err)
	}
	if _, err := good.Event(other); err == nil {
		t.Error("a review by another key than that of the proof")
	}
	for name, forge := range map[string]func(*nostr.Event) Secret{
		"another author":        func(*nostr.Event) Secret { return other },
		"proof of another key":  func(ev *nostr.Event) Secret { ev.Tags[3][1] = proofFor(node, other, "2026-W48").Sig; return key },
		"proof of another week": func(ev *nostr.Event) Secret { ev.Tags[3][1] = proofFor(node, key, "2026-W47").Sig; return key },
		"proof by another node": func(ev *nostr.Event) Secret { ev.Tags[3][1] = proofFor(other, key, "2026-W48").Sig; return key },
		"no proof":              func(ev *nostr.Event) Secret { ev.Tags = ev.Tags[:3]; return key },
		"two proofs":            func(ev *nostr.Event) Secret { ev.Tags = append(ev.Tags, ev.Tags[3]); return key },
		"an empty tag":          func(ev *nostr.Event) Secret { ev.Tags[3] = nostr.Tag{"sig"}; return key },
		"a proof of 65 bytes":   func(ev *nostr.Event) Secret { ev.Tags[3][1] += "00"; return key },
		"another node named":    func(ev *nostr.Event) Secret { ev.Tags[1][1] = other.Public(); return key },
		"another week in d": func(ev *nostr.Event) Secret {
			ev.Tags[0][1] = strings.Replace(ev.Tags[0][1], "W48", "W47", 1)
			return key
		},
		"more in d":        func(ev *nostr.Event) Secret { ev.Tags[0][1] += ":2"; return key },
		"rating above 1":   func(ev *nostr.Event) Secret { ev.Tags[2][1] = "1.01"; return key },
		"rating below 0":   func(ev *nostr.Event) Secret { ev.Tags[2][1] = "-0.1"; return key },
		"rating NaN":       func(ev *nostr.Event) Secret { ev.Tags[2][1] = "NaN"; return key },
		"rating no number": func(ev *nostr.Event) Secret { ev.Tags[2][1] = "five"; return key },
		"before its week":  func(ev *nostr.Event) Secret { ev.CreatedAt = nostr.Timestamp(monday.Unix() - 1); return key },
		"from the future":  func(ev *nostr.Event) Secret { ev.CreatedAt = nostr.Timestamp(now + reviewSlack + 1); return key },
		"too long":         func(ev *nostr.Event) Secret { ev.Content = strings.Repeat("x", MaxReview+1); return key },
		"another kind":     func(ev *nostr.Event) Secret { ev.Kind = KindRating; return key },
	} {
		forged, err := good.Event(key)
		if err != nil {
			t.Fatal(err)
		}
		by := forge(&forged)
		if err := Sign(&forged, by); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseReview(&forged, now); err == nil {
			t.Errorf("a review with %s is taken", name)
		}
	}
	ev.Content = "fast and honest" // not signed anew
	if _, err := ParseReview(&ev, now); err == nil {
		t.Error("a changed text is taken")
	}
}
