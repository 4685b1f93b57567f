package reviews

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// Reader takes public events in any order and any number of times.
type Reader struct {
	now   int64
	nodes map[string]*node // by key
}

// node is what was read of one.
type node struct {
	pubkey, name, fee, bond string
	infoAt, since           int64
	platform, coordinator   string // that its last order names; "" = it is a Mostro's
	platformAt              int64
	orders                  map[string]bookOrder // by id
	fees                    map[string]devFee    // by order
	disputes                map[string]bool      // by id
	reviews                 map[string]mostro.Review
	finished                map[[2]string]mostro.CoordinatorReview // by key and order: one for each proof
	unproven                map[string]bool                        // by event
	recommendations         map[string]Text                        // by author
	labels                  map[[2]string]map[string]bool
}

type bookOrder struct {
	at     int64
	status mostro.Status
}

type devFee struct{ at, amount int64 }

// NewReader begins to read. now is in unix seconds; what is from later is not believed.
func NewReader(now int64) *Reader { return &Reader{now: now, nodes: make(map[string]*node)} }

const (
	clockSlack = 900        // seconds by which another clock may be ahead
	maxLabeled = 1000       // labels of one event, each about one node
	mostDevFee = 10_000_000 // sat of one trade: all of a fee of 1 % of 10 BTC, more than a channel of lnd holds
)

// Add reads one event. What is forged, unreadable or of no use changes nothing.
func (r *Reader) Add(ev *nostr.Event) {
	if int64(ev.CreatedAt) > r.now+clockSlack || mostro.CheckEvent(ev) != nil {
		return
	}
	switch ev.Kind {
	case mostro.KindInfo:
		r.info(ev)
	case mostro.KindOrder, mostro.KindDevFee, mostro.KindDispute:
		r.of(ev.PubKey).record(ev)
	case mostro.KindReview:
		r.review(ev)
	case mostro.KindRecommendation:
		r.recommendation(ev)
	case mostro.KindLabel:
		r.label(ev)
	}
}

// Mostros are the nodes that have published their terms, in an order that is another one each day. A rank by score would be
// worth washing for, one by age dating events back, and one by key looking for a small one.
func (r *Reader) Mostros() []Summary {
	return r.those(func(n *node) bool { return n.infoAt > 0 })
}

// Coordinators are those who have published orders of other platforms, and no terms of a Mostro, in such an order.
func (r *Reader) Coordinators() []Summary {
	return r.those(func(n *node) bool { return n.infoAt == 0 && n.platform != "" })
}

func (r *Reader) those(wanted func(*node) bool) []Summary {
	var all []Summary
	for _, n := range r.nodes {
		if wanted(n) {
			all = append(all, n.summarize(r.now))
		}
	}
	place := func(s Summary) []byte {
		sum := sha256.Sum256(fmt.Append(nil, r.now/day, s.Mostro))
		return sum[:]
	}
	slices.SortFunc(all, func(a, b Summary) int { return bytes.Compare(place(a), place(b)) })
	return all
}

func (r *Reader) of(pubkey string) *node {
	n := r.nodes[pubkey]
	if n == nil {
		n = &node{
			pubkey: pubkey, orders: make(map[string]bookOrder), fees: make(map[string]devFee), disputes: make(map[string]bool),
			reviews: make(map[string]mostro.Review), finished: make(map[[2]string]mostro.CoordinatorReview), unproven: make(map[string]bool),
			recommendations: make(map[string]Text), labels: make(map[[2]string]map[string]bool),
		}
		r.nodes[pubkey] = n
	}
	return n
}

func (r *Reader) info(ev *nostr.Event) {
	n := r.of(ev.PubKey)
	if tag(ev, "d") != ev.PubKey || int64(ev.CreatedAt) < n.infoAt {
		return
	}
	n.infoAt, n.fee, n.bond = int64(ev.CreatedAt), tag(ev, "fee"), "none"
	if tag(ev, "bond_enabled") == "true" {
		n.bond = tag(ev, "bond_apply_to") + " " + tag(ev, "bond_amount_pct")
	}
	if y := ev.Tags.Find("y"); len(y) > 2 {
		n.name = y[2]
	}
}

// record reads what a node says of its trades.
func (n *node) record(ev *nostr.Event) {
	at := int64(ev.CreatedAt)
	switch id := tag(ev, "d"); ev.Kind {
	case mostro.KindOrder:
		if id == "" {
			return
		}
		if o := n.orders[id]; at >= o.at {
			n.orders[id] = bookOrder{at: at, status: mostro.Status(tag(ev, "s"))}
		}
		if at >= n.platformAt {
			n.onPlatform(ev)
		}
	case mostro.KindDispute:
		if id != "" {
			n.disputes[id] = true
		}
		return // no sign of age: a dispute has had an order
	case mostro.KindDevFee:
		amount, err := strconv.ParseInt(tag(ev, "amount"), 10, 64)
		order := tag(ev, "order-id")
		if err != nil || amount <= 0 || amount > mostDevFee || order == "" {
			return // none that anybody has paid; sums of such would not fit into a number
		}
		// One order has one fee: of two that claim to be, the lesser counts, and the older of equal ones.
		if other, known := n.fees[order]; !known || cmp.Or(cmp.Compare(amount, other.amount), cmp.Compare(at, other.at)) < 0 {
			n.fees[order] = devFee{at: at, amount: amount}
		}
	}
	if n.since == 0 || at < n.since {
		n.since = at
	}
}

// onPlatform reads on which platform an order is (NIP-69): y names it, and perhaps who coordinates there.
func (n *node) onPlatform(ev *nostr.Event) {
	n.platformAt, n.platform, n.coordinator = int64(ev.CreatedAt), tag(ev, "y"), ""
	if strings.HasPrefix(strings.ToLower(n.platform), "mostro") {
		n.platform = ""
	} else if y := ev.Tags.Find("y"); len(y) > 2 {
		n.coordinator = y[2]
	}
}

func (r *Reader) review(ev *nostr.Event) {
	review, err := mostro.ParseReview(ev, r.now)
	if err != nil {
		r.coordinatorReview(ev)
		return
	}
	n := r.of(review.Proof.Mostro)
	if address := tag(ev, "d"); n.reviews[address].At <= review.At {
		n.reviews[address] = review
	}
}

// coordinatorReview reads a review in the form of RoboSats, or one that has no proof at all.
func (r *Reader) coordinatorReview(ev *nostr.Event) {
	review, err := mostro.ParseCoordinatorReview(ev, r.now)
	if err != nil {
		if about := tag(ev, "p"); about != "" {
			r.of(about).unproven[ev.ID] = true
		}
		return
	}
	n, proof := r.of(review.Coordinator), [2]string{review.Key, review.Order}
	if n.finished[proof].At <= review.At {
		n.finished[proof] = review
	}
}

// recommendation reads NIP-87: k is the kind that is recommended and d its d, a its address.
func (r *Reader) recommendation(ev *nostr.Event) {
	about := tag(ev, "d")
	if tag(ev, "k") != strconv.Itoa(mostro.KindInfo) || tag(ev, "a") != Address(about) || about == ev.PubKey {
		return
	}
	n := r.of(about)
	if at := int64(ev.CreatedAt); n.recommendations[ev.PubKey].At <= at {
		n.recommendations[ev.PubKey] = Text{By: ev.PubKey, At: at, Text: ev.Content}
	}
}

// label reads NIP-32: the labels of namespaces, about a node's key or its terms. Of one event no more counts than maxLabeled:
// some hundred of each in 100 kB would be a million together.
func (r *Reader) label(ev *nostr.Event) {
	spaces := make(map[string]bool)
	for t := range ev.Tags.FindAll("L") {
		spaces[t[1]] = true
	}
	var labels [][2]string
	for t := range ev.Tags.FindAll("l") {
		if len(t) > 2 && spaces[t[2]] {
			labels = append(labels, [2]string{t[2], t[1]})
		}
	}
	about := make(map[string]bool)
	room := maxLabeled
	label := func(pubkey string) {
		if pubkey == ev.PubKey || about[pubkey] {
			return // a node does not label itself
		}
		about[pubkey] = true
		for _, l := range labels[:min(room, len(labels))] {
			room--
			n := r.of(pubkey)
			if n.labels[l] == nil {
				n.labels[l] = make(map[string]bool)
			}
			n.labels[l][ev.PubKey] = true
		}
	}
	for t := range ev.Tags.FindAll("p") {
		label(t[1])
	}
	for t := range ev.Tags.FindAll("a") {
		if pubkey := t[1][strings.LastIndexByte(t[1], ':')+1:]; t[1] == Address(pubkey) {
			label(pubkey)
		}
	}
}

// Address is that of a node's terms.
func Address(pubkey string) string {
	return strconv.Itoa(mostro.KindInfo) + ":" + pubkey + ":" + pubkey
}

// tag is the value of an event's first tag of a name, "" when it has none.
func tag(ev *nostr.Event, name string) string {
	if t := ev.Tags.Find(name); t != nil {
		return t[1]
	}
	return ""
}

// monthOf is the month in which the ISO week of a moment begins: a review says only the week of its trade, so
// what was paid for it is counted by weeks too.
func monthOf(at int64) string {
	t := time.Unix(at, 0).UTC()
	return t.AddDate(0, 0, -(int(t.Weekday())+6)%7).Format("2006-01")
}
