package reviews

import (
	"cmp"
	"slices"

	"mostro/escrow/mostro"
)

// Limits of what a summary shows.
const (
	fewReviews = 5      // fewer have no score
	capMonth   = 10_000 // sat of development fees, the most that a month weighs
	capReview  = 1000   // sat, the most that a single review weighs
	window     = 180    // days; older reviews do not count, as readers of RoboSats do it
	maxQuoted  = 3      // texts of each shape
	maxLabels  = 10     // kinds of labels
	day        = 86400  // seconds
)

// Summary is what there is to know of a node.
type Summary struct {
	Mostro          string          `json:"mostro"` // hex
	Name            string          `json:"name"`
	Platform        string          `json:"platform,omitempty"` // by its own word, of who is no Mostro
	Facts           Facts           `json:"facts"`
	Reviews         Reviews         `json:"reviews"`
	Finished        Finished        `json:"finished"`
	Recommendations Recommendations `json:"recommendations"`
	Labels          []Label         `json:"labels"`
	// Partial is for the caller to set: the relay has more than was read.
	Partial bool `json:"partial,omitempty"`
}

// Facts follow from what the node itself has signed.
type Facts struct {
	Since    int64 `json:"since"`    // unix seconds of its first order or development fee, 0 = none; a node can date them back
	AgeDays  int64 `json:"age_days"` // from Since
	Offers   int   `json:"offers"`   // orders that wait for a taker
	Success  int   `json:"success"`  // orders that ended well
	Disputes int   `json:"disputes"` // that were opened
	DevFees  int64 `json:"dev_fees"` // sat, published as paid
	InfoAt   int64 `json:"info_at"`  // unix seconds of its terms
	// DisputeRate is disputes for each successful order, nil without orders.
	DisputeRate *float64 `json:"dispute_rate"`
	Fee         string   `json:"fee"`  // fraction of the amount, both sides together
	Bond        string   `json:"bond"` // "none", or who gives how much: "take 0.01"
}

// Reviews are those that carry the node's proof of a trade.
type Reviews struct {
	Count   int   `json:"count"`
	Weeks   int   `json:"weeks"`    // distinct weeks of trades
	AgeDays int64 `json:"age_days"` // of the oldest
	Weight  int64 `json:"weight"`   // sat of development fees behind the score, each month capped
	// Score is from 0 to 1, nil when NoScore says why there is none.
	Score    *float64 `json:"score"`
	NoScore  string   `json:"no_score,omitempty"`
	Unproven int      `json:"unproven"` // without a valid proof; they count for nothing
	Texts    []Text   `json:"texts"`    // newest first
}

// Why there is no score.
const (
	noReviews = "no reviews"
	tooFew    = "few reviews"
	noFees    = "no development fees behind them"
)

// Text is a quoted opinion.
type Text struct {
	By     string   `json:"by"` // hex
	At     int64    `json:"at"` // unix seconds
	Rating *float64 `json:"rating,omitempty"`
	Text   string   `json:"text"`
}

// Finished are reviews in the form of RoboSats, with the proof of a trade that has ended. The unhappy of other trades cannot
// write any, so they make no score.
type Finished struct {
	Count int    `json:"count"` // of different trades
	Texts []Text `json:"texts"` // newest first
}

// Recommendations are of kind 38000 and can be by anybody.
type Recommendations struct {
	Count int    `json:"count"` // of different people
	Texts []Text `json:"texts"` // newest first
}

// Label is one of kind 1985, which can be by anybody.
type Label struct {
	Namespace string `json:"namespace"`
	Label     string `json:"label"`
	Count     int    `json:"count"` // of different people
}

// summarize judges a node. now is in unix seconds.
func (n *node) summarize(now int64) Summary {
	name, platform := n.coordinator, n.platform
	if n.infoAt > 0 {
		name, platform = n.name, ""
	}
	return Summary{
		Mostro: n.pubkey, Name: name, Platform: platform, Facts: n.facts(now), Reviews: n.reviewed(now),
		Finished: n.ofFinished(now), Recommendations: recommended(n.recommendations), Labels: n.labeled(),
	}
}

func (n *node) facts(now int64) Facts {
	f := Facts{Since: n.since, Disputes: len(n.disputes), InfoAt: n.infoAt, Fee: n.fee, Bond: n.bond}
	if n.since > 0 {
		f.AgeDays = max(0, (now-n.since)/day)
	}
	well := make(map[string]bool)
	for id, o := range n.orders {
		switch o.status {
		case mostro.StatusSuccess:
			well[id] = true
		case mostro.StatusPending:
			f.Offers++
		}
	}
	for id, fee := range n.fees {
		well[id] = true // only such an order owes one
		f.DevFees += fee.amount
	}
	f.Success = len(well)
	if f.Success > 0 {
		rate := float64(f.Disputes) / float64(f.Success)
		f.DisputeRate = &rate
	}
	return f
}

// reviewed weighs the reviews: those of a month share what their node has paid in it. A trade that
// ended well has two sides: a month with more reviews than those weighs less by what is too many, since
// trades that end without a fee prove reviews as well, and who trades with himself pays for nothing else.
func (n *node) reviewed(now int64) Reviews {
	r := Reviews{Unproven: len(n.unproven), Texts: []Text{}}
	weeks, months := make(map[string]bool), make(map[string][]mostro.Review)
	oldest := now
	for _, review := range n.reviews {
		begin := review.Proof.Begin()
		if now-begin > window*day {
			continue
		}
		r.Count++
		weeks[review.Proof.Week] = true
		oldest = min(oldest, begin)
		month := monthOf(begin)
		months[month] = append(months[month], review)
		if review.Text != "" {
			rating := review.Rating
			r.Texts = append(r.Texts, Text{By: review.Proof.Key, At: review.At, Rating: &rating, Text: review.Text})
		}
	}
	r.Weeks, r.AgeDays, r.Texts = len(weeks), (now-oldest)/day, newest(r.Texts)
	paid, sides := make(map[string]int64), make(map[string]int64)
	for _, fee := range n.fees {
		paid[monthOf(fee.at)] += fee.amount
		sides[monthOf(fee.at)] += 2
	}
	var sum float64
	weighing := 0 // reviews that make the score
	for month, reviews := range months {
		said := int64(len(reviews))
		weight := min(paid[month], capMonth, said*capReview) * min(said, sides[month]) / said
		r.Weight += weight
		if weight > 0 {
			weighing += len(reviews)
		}
		var ratings float64
		for _, review := range reviews {
			ratings += review.Rating
		}
		sum += float64(weight) * ratings / float64(len(reviews))
	}
	switch {
	case r.Count == 0:
		r.NoScore = noReviews
	case r.Count < fewReviews:
		r.NoScore = tooFew
	case r.Weight == 0:
		r.NoScore = noFees
	case weighing < fewReviews:
		r.NoScore = tooFew // the others are from months without fees and say nothing in it
	default:
		score := sum / float64(r.Weight)
		r.Score = &score
	}
	return r
}

func (n *node) ofFinished(now int64) Finished {
	f := Finished{Texts: []Text{}}
	for _, review := range n.finished {
		if now-review.At > window*day {
			continue
		}
		f.Count++
		if review.Text != "" {
			rating := review.Rating
			f.Texts = append(f.Texts, Text{By: review.Key, At: review.At, Rating: &rating, Text: review.Text})
		}
	}
	f.Texts = newest(f.Texts)
	return f
}

func recommended(by map[string]Text) Recommendations {
	r := Recommendations{Count: len(by), Texts: []Text{}}
	for _, text := range by {
		if text.Text != "" {
			r.Texts = append(r.Texts, text)
		}
	}
	r.Texts = newest(r.Texts)
	return r
}

// labeled lists the commonest labels first.
func (n *node) labeled() []Label {
	labels := []Label{}
	for l, by := range n.labels {
		labels = append(labels, Label{Namespace: l[0], Label: l[1], Count: len(by)})
	}
	slices.SortFunc(labels, func(a, b Label) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Label, b.Label))
	})
	return labels[:min(len(labels), maxLabels)]
}

// newest keeps the newest texts.
func newest(texts []Text) []Text {
	slices.SortFunc(texts, func(a, b Text) int { return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.By, b.By)) })
	return texts[:min(len(texts), maxQuoted)]
}
