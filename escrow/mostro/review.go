package mostro

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// ReviewProof is a node's word that whoever holds Key was one side of a trade whose escrow was
// accepted in Week. It names neither the order nor an amount, so that a review cannot be linked
// to a trade.
type ReviewProof struct {
	Key    string // of the reviewer, his choice, hex
	Mostro string // the node, hex
	Week   string // ISO 8601 in UTC, as 2026-W48
	Sig    string // BIP-340 by Mostro over the SHA-256 of the text of hash, hex
	// From is when the review may be published, unix seconds. The signature does not cover it:
	// it is a request to the reviewer, whose trade is not over yet.
	From int64
}

// Review is what a trader says of a node (kind 31986).
type Review struct {
	Proof  ReviewProof
	Rating float64 // 0 to 1
	Text   string
	At     int64 // unix seconds
}

// MaxReview bounds the text of a review, in bytes.
const MaxReview = 2000

// ReviewWeek is the ISO week of a moment, unix seconds.
func ReviewWeek(at int64) string {
	year, week := time.Unix(at, 0).UTC().ISOWeek()
	return fmt.Sprintf("%04d-W%02d", year, week)
}

// parseWeek returns the Monday with which an ISO week begins.
func parseWeek(text string) (time.Time, error) {
	wrong := fmt.Errorf("%q is not an ISO week as 2026-W48", text)
	y, w, ok := strings.Cut(text, "-W")
	year, err1 := strconv.Atoi(y)
	number, err2 := strconv.Atoi(w)
	if !ok || err1 != nil || err2 != nil || year < 1 || number < 1 {
		return time.Time{}, wrong
	}
	// ISO 8601: January 4 is always in week 1.
	first := time.Date(year, time.January, 4, 0, 0, 0, 0, time.UTC)
	monday := first.AddDate(0, 0, -(int(first.Weekday())+6)%7+7*(number-1))
	if ReviewWeek(monday.Unix()) != text {
		return time.Time{}, wrong
	}
	return monday, nil
}

// hash is what the node signs. The first word keeps the signature from meaning anything else:
// nothing else that a node signs begins so.
func (p ReviewProof) hash() [32]byte { return sha256.Sum256([]byte("mostro-review:" + p.d())) }

// d is the address of the review that the proof allows: one for each proof.
func (p ReviewProof) d() string { return p.Mostro + ":" + p.Week + ":" + p.Key }

// SignReviewProof signs a proof, as the node. The same trade and key give the same proof.
func SignReviewProof(node Secret, key, week string) (ReviewProof, error) {
	p := ReviewProof{Key: key, Mostro: node.Public(), Week: week}
	if !isPubkey(key) {
		return p, errors.New("prove a review: the review key is not 64 lower-case hex digits")
	}
	if _, err := parseWeek(week); err != nil {
		return p, fmt.Errorf("prove a review: %w", err)
	}
	var err error
	if p.Sig, err = node.sign(p.hash()); err != nil {
		return p, fmt.Errorf("prove a review: %w", err)
	}
	return p, nil
}

// Check tells what is wrong with a proof.
func (p ReviewProof) Check() error {
	if !isPubkey(p.Key) || !isPubkey(p.Mostro) {
		return errors.New("proof of a review: a key is not 64 lower-case hex digits")
	}
	if _, err := parseWeek(p.Week); err != nil {
		return fmt.Errorf("proof of a review: %w", err)
	}
	if !verify(p.Mostro, p.Sig, p.hash()) {
		return errors.New("proof of a review: not signed by the node")
	}
	return nil
}

// Begin is when the week of a proof begins, unix seconds; 0 of one that Check refuses.
func (p ReviewProof) Begin() int64 {
	monday, err := parseWeek(p.Week)
	if err != nil {
		return 0
	}
	return monday.Unix()
}

// longestTrade is the most that a review waits after the week of its proof, in seconds: no escrow
// is held longer (2016 blocks).
const longestTrade = 14 * 86400

// SpendableAt is when the review may be published, unix seconds: as the node asks, but a node
// cannot silence anybody with a From that never comes.
func (p ReviewProof) SpendableAt() int64 { return min(p.From, p.Begin()+7*86400+longestTrade) }

// CheckEvent tells what is wrong with the id or the signature of an event.
func CheckEvent(ev *nostr.Event) error {
	hash := eventHash(ev)
	if ev.ID != hex.EncodeToString(hash[:]) || !verify(ev.PubKey, ev.Sig, hash) {
		return errors.New("the event does not have its id or is not signed by its author")
	}
	return nil
}

// Event is the review, signed by the review key.
func (r Review) Event(key Secret) (nostr.Event, error) {
	ev := nostr.Event{Kind: KindReview, CreatedAt: nostr.Timestamp(r.At), Content: r.Text, Tags: nostr.Tags{
		{"d", r.Proof.d()},
		{"p", r.Proof.Mostro},
		{"rating", strconv.FormatFloat(r.Rating, 'f', -1, 64)},
		{"sig", r.Proof.Sig},
	}}
	if err := Sign(&ev, key); err != nil {
		return nostr.Event{}, err
	}
	_, err := ParseReview(&ev, r.At)
	return ev, err
}

// reviewSlack is by how much the clock of a reviewer may be ahead, in seconds.
const reviewSlack = 900

// ParseReview reads a review and checks it, the proof and both signatures. now is in unix
// seconds. A review from before its week, or from the future, is none.
func ParseReview(ev *nostr.Event, now int64) (Review, error) {
	fail := func(err error) (Review, error) { return Review{}, fmt.Errorf("read review %s: %w", ev.ID, err) }
	if ev.Kind != KindReview {
		return fail(errors.New("not a review"))
	}
	if err := CheckEvent(ev); err != nil {
		return fail(err)
	}
	tags := make(map[string]string)
	for _, name := range []string{"d", "p", "rating", "sig"} {
		for tag := range ev.Tags.FindAll(name) {
			if _, twice := tags[name]; twice || len(tag) < 2 {
				return fail(fmt.Errorf("want one tag %s", name))
			}
			tags[name] = tag[1]
		}
	}
	parts := strings.Split(tags["d"], ":")
	if len(parts) != 3 || parts[0] != tags["p"] || parts[2] != ev.PubKey {
		return fail(errors.New("the address is not that of the node, a week and the author"))
	}
	r := Review{Proof: ReviewProof{Key: parts[2], Mostro: parts[0], Week: parts[1], Sig: tags["sig"]}, Text: ev.Content, At: int64(ev.CreatedAt)}
	if err := r.Proof.Check(); err != nil {
		return fail(err)
	}
	var err error
	if r.Rating, err = strconv.ParseFloat(tags["rating"], 64); err != nil || math.IsNaN(r.Rating) || r.Rating < 0 || r.Rating > 1 {
		return fail(fmt.Errorf("the rating %q is not from 0 to 1", tags["rating"]))
	}
	if len(r.Text) > MaxReview || r.At < r.Proof.Begin() || r.At > now+reviewSlack {
		return fail(errors.New("too long, from before its week or from the future"))
	}
	return r, nil
}
