package reviews

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// town is a relay's worth of events.
type town struct {
	*testing.T
	now    int64
	keys   byte
	events []*nostr.Event
}

func newTown(t *testing.T) *town {
	return &town{T: t, now: time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC).Unix()}
}

func (w *town) key() mostro.Secret {
	w.Helper()
	w.keys++
	key, err := mostro.NewSecret([32]byte{30: 1, 31: w.keys})
	if err != nil {
		w.Fatal(err)
	}
	return key
}

// say publishes an event of so many days ago.
func (w *town) say(by mostro.Secret, days int64, ev nostr.Event) *nostr.Event {
	w.Helper()
	ev.CreatedAt = nostr.Timestamp(w.now - days*day)
	if err := mostro.Sign(&ev, by); err != nil {
		w.Fatal(err)
	}
	w.events = append(w.events, &ev)
	return &ev
}

// node publishes its terms.
func (w *town) node(name string) mostro.Secret {
	w.Helper()
	key := w.key()
	w.say(key, 0, mostro.InfoEvent(mostro.NodeInfo{Fee: "0.006"}, mostro.Instance{Pubkey: key.Public(), Name: name}))
	return key
}

// fee publishes a development fee.
func (w *town) fee(node mostro.Secret, days, amount int64) {
	w.Helper()
	w.say(node, days, mostro.DevFeeEvent(mostro.DevFeePayment{OrderID: fmt.Sprint("order ", len(w.events)), Amount: amount}, mostro.Instance{}))
}

// fees lets a node publish the fees of several trades of so many days ago.
func (w *town) fees(node mostro.Secret, days int64, trades int, amount int64) {
	w.Helper()
	for range trades {
		w.fee(node, days, amount/int64(trades))
	}
}

// review lets the node prove a trade of so many days ago to a new person, who rates it.
func (w *town) review(node mostro.Secret, days int64, rating float64) {
	w.Helper()
	key := w.key()
	at := w.now - days*day
	proof, err := mostro.SignReviewProof(node, key.Public(), mostro.ReviewWeek(at))
	if err != nil {
		w.Fatal(err)
	}
	ev, err := mostro.Review{Proof: proof, Rating: rating, Text: "text", At: at}.Event(key)
	if err != nil {
		w.Fatal(err)
	}
	w.events = append(w.events, &ev)
}

// read summarizes all that was said, forwards and backwards, and twice.
func (w *town) read() map[string]Summary {
	w.Helper()
	r, back := NewReader(w.now), NewReader(w.now)
	for i := range w.events {
		r.Add(w.events[i])
		back.Add(w.events[len(w.events)-1-i])
		back.Add(w.events[len(w.events)-1-i])
	}
	all := make(map[string]Summary)
	for _, s := range r.Mostros() {
		all[s.Name] = s
	}
	for _, s := range back.Mostros() {
		if a, b := fmt.Sprintf("%+v", flat(s)), fmt.Sprintf("%+v", flat(all[s.Name])); a != b {
			w.Errorf("the order of events makes a difference:\n%s\n%s", a, b)
		}
	}
	return all
}

// flat prints the same for the same.
func flat(s Summary) string {
	score := "none"
	if s.Reviews.Score != nil {
		score = fmt.Sprintf("%.9f", *s.Reviews.Score)
	}
	return fmt.Sprint(s.Mostro, s.Facts.Since, s.Facts.Success, s.Facts.Disputes, s.Facts.DevFees, s.Facts.Fee, s.Facts.Bond, s.Reviews.Count,
		s.Reviews.Weeks, s.Reviews.Weight, s.Reviews.NoScore, s.Reviews.Unproven, s.Finished.Count, score, s.Recommendations, s.Labels)
}

func TestFacts(t *testing.T) {
	w := newTown(t)
	node, other := w.node("one"), w.node("two")
	in := mostro.Instance{Pubkey: node.Public()}
	order := func(by mostro.Secret, id string, days int64, status mostro.Status) {
		w.say(by, days, mostro.OrderEvent(mostro.BookOrder{ID: id, Kind: mostro.Sell, Status: status}, in))
	}
	order(node, "a", 40, mostro.StatusPending)
	order(node, "a", 39, mostro.StatusSuccess)
	order(node, "b", 20, mostro.StatusSuccess)
	order(node, "c", 10, mostro.StatusCanceled)
	order(node, "d", 9, mostro.StatusInProgress)
	w.say(node, 38, mostro.DevFeeEvent(mostro.DevFeePayment{OrderID: "a", Amount: 90}, in))
	w.say(node, 50, mostro.DevFeeEvent(mostro.DevFeePayment{OrderID: "e", Amount: 10}, in))
	w.say(node, 8, mostro.DisputeEvent(mostro.DisputeState{ID: "x", Status: "initiated"}, in))
	w.say(node, 7, mostro.DisputeEvent(mostro.DisputeState{ID: "x", Status: "settled"}, in))
	order(other, "f", 400, mostro.StatusPending)
	order(node, "from the future", -1, mostro.StatusSuccess)
	forged := w.say(other, 300, mostro.OrderEvent(mostro.BookOrder{ID: "forged", Status: mostro.StatusSuccess}, in))
	forged.PubKey = node.Public()
	w.say(w.key(), 0, mostro.InfoEvent(mostro.NodeInfo{Fee: "0"}, in)) // another's d

	all := w.read()
	if len(all) != 2 {
		t.Fatalf("%d nodes", len(all))
	}
	f := all["one"].Facts
	if f.AgeDays != 50 || f.Success != 3 || f.Disputes != 1 || f.DevFees != 100 || f.Fee != "0.006" || f.Bond != "none" {
		t.Errorf("%+v", f)
	}
	if f.DisputeRate == nil || *f.DisputeRate < 0.333 || *f.DisputeRate > 0.334 {
		t.Errorf("dispute rate %v", f.DisputeRate)
	}
	if f := all["two"].Facts; f.AgeDays != 400 || f.DisputeRate != nil {
		t.Errorf("%+v", f)
	}
}

// TestFewReviews: four reviews, however good, are few reviews; a fifth makes a score.
func TestFewReviews(t *testing.T) {
	w := newTown(t)
	node := w.node("n")
	w.fees(node, 2, 5, 5000)
	for n := range 5 {
		if r := w.read()["n"].Reviews; r.Score != nil || r.Count != n || r.NoScore == "" {
			t.Errorf("after %d: %+v", n, r)
		}
		w.review(node, 2, 1)
	}
	w.review(node, 200, 0) // too old to count
	r := w.read()["n"].Reviews
	if r.Count != 5 || r.Weeks != 1 || r.Score == nil || *r.Score != 1 || r.Weight != 5000 || len(r.Texts) != maxQuoted {
		t.Errorf("%+v", r)
	}
}

// TestFewWithFees: reviews from months without fees do not turn a few into a score.
func TestFewWithFees(t *testing.T) {
	w := newTown(t)
	node := w.node("n")
	w.fees(node, 2, 5, 5000)
	for range 20 {
		w.review(node, 100, 0)
	}
	for n := range 5 {
		if r := w.read()["n"].Reviews; r.Score != nil || r.Count != 20+n || n > 0 && r.NoScore != tooFew {
			t.Errorf("after %d: %+v", n, r)
		}
		w.review(node, 2, 1)
	}
	if r := w.read()["n"].Reviews; r.Score == nil || *r.Score != 1 {
		t.Errorf("%+v", r)
	}
}

// TestWash: a node that praises itself gets no score without fees, and with them no more weight
// in a month than the months in which others have spoken.
func TestWash(t *testing.T) {
	w := newTown(t)
	node := w.node("washer")
	for range 50 {
		w.review(node, 2, 1)
	}
	if r := w.read()["washer"].Reviews; r.Score != nil || r.NoScore != noFees || r.Count != 50 || r.Weeks != 1 {
		t.Errorf("without fees: %+v", r)
	}
	for _, days := range []int64{40, 70, 100} {
		for range 10 {
			w.review(node, days, 0.2)
		}
		w.fees(node, days, 5, 20_000)
	}
	w.fees(node, 2, 25, 25*mostDevFee)
	r := w.read()["washer"].Reviews
	// Three honest months and one bought: (3*0.2 + 1) / 4.
	if r.Score == nil || *r.Score < 0.3999 || *r.Score > 0.4001 || r.Weight != 4*capMonth {
		t.Errorf("with fees: %+v", r)
	}

	w = newTown(t)
	node = w.node("quiet")
	for range 10 {
		w.review(node, 70, 0.2)
	}
	w.review(node, 2, 1)
	w.fees(node, 70, 5, 1_000_000)
	w.fees(node, 2, 5, 1_000_000)
	if r := w.read()["quiet"].Reviews; r.Weight != capMonth+capReview {
		t.Errorf("one review of a month weighs as much as ten of another: %+v", r)
	}
}

// TestProofsForNothing: who trades with himself and cancels gets proofs that cost nobody a fee. However many reviews he
// makes of them, a month says no more than for its trades that ended well.
func TestProofsForNothing(t *testing.T) {
	w := newTown(t)
	node := w.node("honest")
	for _, days := range []int64{2, 40, 70, 100} {
		w.fees(node, days, 5, 5000)
		for range 10 {
			w.review(node, days, 1)
		}
	}
	before := w.read()["honest"].Reviews
	for range 200 {
		w.review(node, 2, 0)
	}
	r := w.read()["honest"].Reviews
	if *before.Score != 1 || before.Weight != 20_000 || r.Count != 240 || r.Score == nil || *r.Score < 0.98 {
		t.Errorf("%v of %+v, it was %v of %+v", *r.Score, r, *before.Score, before)
	}
}

// TestAbsurdFees: a node that publishes fees of more than there is, of which the sum does not fit into a number, erases
// no month and turns none round. They are no sign of its age either.
func TestAbsurdFees(t *testing.T) {
	for _, trick := range [][]int64{{math.MaxInt64}, {math.MaxInt64, math.MaxInt64 - 4998}, {math.MaxInt64, math.MaxInt64 - 13998}, {2_100_000_000_000_000}, {mostDevFee + 1}} {
		w := newTown(t)
		node := w.node("n")
		for i, days := range []int64{2, 70} {
			w.fees(node, days, 5, 5000)
			for range 10 {
				w.review(node, days, float64(i))
			}
		}
		for _, amount := range trick {
			w.fee(node, 71, amount)
		}
		s := w.read()["n"]
		if r := s.Reviews; r.Score == nil || *r.Score != 0.5 || r.Weight != 10_000 || s.Facts.DevFees != 10_000 || s.Facts.AgeDays != 70 {
			t.Errorf("%d: %+v, %+v", trick, r, s.Facts)
		}
	}
}

// TestMonths: the fees of a trade stand behind its reviews also in the first days of each month, when its week began in
// the month before.
func TestMonths(t *testing.T) {
	for month := range 13 {
		w := newTown(t)
		w.now = time.Date(2026, time.January+time.Month(month), 1, 12, 0, 0, 0, time.UTC).Unix()
		node := w.node("n")
		w.fees(node, 0, 5, 5000)
		for range 5 {
			w.review(node, 0, 1)
		}
		if r := w.read()["n"].Reviews; r.Score == nil || r.Weight != 5000 {
			t.Fatalf("%s: %+v", time.Unix(w.now, 0).UTC().Format(time.DateOnly), r)
		}
	}
}

// TestOrder: a node that dates an event back is not the first in the list, on more days than another.
func TestOrder(t *testing.T) {
	w := newTown(t)
	liar, honest := w.node("liar"), w.node("honest")
	w.fee(honest, 100, 5)
	w.fee(liar, 3000, 5)
	firsts := 0
	for range 40 {
		r := NewReader(w.now)
		for _, ev := range w.events {
			r.Add(ev)
		}
		all := r.Mostros()
		if len(all) != 2 || all[0].Mostro == all[1].Mostro {
			t.Fatalf("%+v", all)
		}
		if all[0].Mostro == liar.Public() {
			firsts++
		}
		w.now += day
	}
	if firsts < 10 || firsts > 30 {
		t.Errorf("the older one is the first on %d of 40 days", firsts)
	}
}

// TestCoordinators: a review of a coordinator of RoboSats, with a proof as they give it, counts apart and once.
func TestCoordinators(t *testing.T) {
	var real nostr.Event
	if err := real.UnmarshalJSON([]byte(robosats)); err != nil {
		t.Fatal(err)
	}
	r := NewReader(int64(real.CreatedAt) + day)
	r.Add(&real)
	r.Add(&real)
	s := r.of(real.Tags.Find("p")[1]).summarize(r.now)
	if s.Finished.Count != 1 || s.Reviews.Count != 0 || s.Reviews.Unproven != 0 || s.Reviews.Score != nil {
		t.Errorf("%+v", s)
	}
	r.now += (window + 1) * day
	if s := r.of(real.Tags.Find("p")[1]).summarize(r.now); s.Finished.Count != 0 {
		t.Errorf("an old one counts: %+v", s)
	}
}

// robosats was taken from public relays.
const robosats = `{"id":"8fcb094d5e4ac8a7602e85c66c80a9673728ec71fa340a2ddd27e3026df92124","pubkey":"96342850bbc9cb0a9ac67d6880c4745971aa19881a3403a297b7330c332ba3cb","created_at":1791409659,"kind":31986,"tags":[["sig","578f47cb33da9bf538db09c6eef357d777523b640898e5f95b28afaa3f5c3701309b743243669cf695dc4e8640af0df59cadd04e2bf08903e9009a405de223b0"],["d","lake:138621"],["p","f2d4855df39a7db6196666e8469a07a131cddc08dcaa744a344343ffcf54a10c"],["rating","1"]],"content":"","sig":"92ac2010a329672f8b376ac1ed4579963e6ddd04899629835cee162500396fa77f4a9bc75e1965eb4f6cffc83f69648796dd18758154ddd3d80717eb21298570"}`

// TestShapes: the three shapes of opinions stand apart, none of them lends weight to another,
// and a node does not speak for itself.
func TestShapes(t *testing.T) {
	w := newTown(t)
	node := w.node("n")
	w.fees(node, 2, 5, 5000)
	for range 5 {
		w.review(node, 2, 0)
	}
	recommend := func(by mostro.Secret, days int64, text string) {
		w.say(by, days, nostr.Event{Kind: mostro.KindRecommendation, Content: text, Tags: nostr.Tags{
			{"k", "38385"}, {"d", node.Public()}, {"a", Address(node.Public())}}})
	}
	label := func(by mostro.Secret, about nostr.Tag) {
		w.say(by, 1, nostr.Event{Kind: mostro.KindLabel, Tags: nostr.Tags{{"L", "trust"}, {"l", "good", "trust"}, {"l", "stray", "else"}, about}})
	}
	fan, other := w.key(), w.key()
	recommend(fan, 3, "old")
	recommend(fan, 2, "new")
	recommend(node, 1, "best of all")
	label(fan, nostr.Tag{"p", node.Public()})
	label(fan, nostr.Tag{"p", node.Public()})
	label(other, nostr.Tag{"a", Address(node.Public())})
	label(node, nostr.Tag{"p", node.Public()})
	// A review in the form of RoboSats, whose proof says nothing here.
	w.say(other, 1, nostr.Event{Kind: mostro.KindReview, Tags: nostr.Tags{
		{"sig", strings.Repeat("0", 128)}, {"d", node.Public() + ":order"}, {"p", node.Public()}, {"rating", "1"}}})

	s := w.read()["n"]
	if r := s.Reviews; r.Count != 5 || r.Unproven != 1 || r.Score == nil || *r.Score != 0 {
		t.Errorf("%+v", r)
	}
	if r := s.Recommendations; r.Count != 1 || len(r.Texts) != 1 || r.Texts[0].Text != "new" {
		t.Errorf("%+v", r)
	}
	if len(s.Labels) != 1 || s.Labels[0] != (Label{"trust", "good", 2}) {
		t.Errorf("%+v", s.Labels)
	}
}

// TestManyLabels: one event that labels a thousand nodes with a thousand labels does not fill the memory of who reads it.
func TestManyLabels(t *testing.T) {
	w := newTown(t)
	node := w.node("n")
	tags := nostr.Tags{{"L", "trust"}, {"p", node.Public()}, {"l", "good", "trust"}}
	for i := range 900 {
		tags = append(tags, nostr.Tag{"p", fmt.Sprintf("%064x", i)}, nostr.Tag{"l", fmt.Sprint(i), "trust"})
	}
	w.say(w.key(), 1, nostr.Event{Kind: mostro.KindLabel, Tags: tags})
	r := NewReader(w.now)
	for _, ev := range w.events {
		r.Add(ev)
	}
	counted := 0
	for _, n := range r.nodes {
		counted += len(n.labels)
	}
	if counted != maxLabeled || len(r.nodes) > 2 {
		t.Errorf("%d labels of %d nodes are in memory", counted, len(r.nodes))
	}
	if l := r.of(node.Public()).labels[[2]string{"trust", "good"}]; len(l) != 1 {
		t.Error("the first is not among them")
	}
}
