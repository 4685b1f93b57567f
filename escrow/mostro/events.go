package mostro

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Instance is what the public events of a node say about the node.
type Instance struct {
	Pubkey, Name string
	RelayURLs    []string
	Network      string // "mainnet", "testnet", "signet", "regtest", "simnet"
}

// BookOrder is an order as the public book shows it (kind 38383, NIP-69).
type BookOrder struct {
	ID                   string
	Kind                 OrderKind
	Status               Status // public: pending, in-progress, success or canceled
	Amount               int64  // sat, 0 = market price
	FiatCode             string
	FiatAmount           int64
	MinAmount, MaxAmount *int64 // of a range order, fiat
	PaymentMethod        string // several are separated by commas
	Premium              int64  // percent
	Rating               *Rating
	ExpiresAt            int64 // unix seconds; when a pending order ends
	Expiration           int64 // unix seconds; when relays may forget the event (NIP-40)
}

// Rating is the maker's reputation; nil is shown as none.
type Rating struct {
	TotalReviews int64
	TotalRating  float64
	Days         int64 // since the user's first order
}

// DisputeState is a dispute as everybody may see it (kind 38386).
type DisputeState struct {
	ID        string
	Status    string // initiated, in-progress, seller-refunded, settled
	Initiator string // buyer or seller, "" = unknown
	CreatedAt int64  // unix seconds; when the dispute was opened
	// Expiration is in unix seconds (NIP-40).
	Expiration int64
}

// OrderEvent is the order in the public book, without author and time. Clients take d, k,
// f, s, amt, fa, pm, premium, expiration and z for granted.
func OrderEvent(o BookOrder, in Instance) nostr.Event {
	pending := o.Status == StatusPending
	tags := nostr.Tags{
		{"d", o.ID},
		{"k", string(o.Kind)},
		{"f", o.FiatCode},
		{"s", string(o.Status)},
		{"amt", decimal(o.Amount)},
		fiatTag(o),
		methodTag(o.PaymentMethod),
		{"premium", decimal(o.Premium)},
	}
	if pending && o.Rating != nil {
		tags = append(tags, nostr.Tag{"rating", o.Rating.json()})
	}
	if pending && len(in.RelayURLs) > 0 {
		tags = append(tags, nostr.Tag{"source",
			fmt.Sprintf("mostro:%s?relays=%s&mostro=%s", o.ID, strings.Join(in.RelayURLs, ","), in.Pubkey)})
	}
	tags = append(tags,
		nostr.Tag{"network", in.Network},
		nostr.Tag{"layer", "lightning"},
		nostr.Tag{"expires_at", decimal(o.ExpiresAt)},
		nostr.Tag{"expiration", decimal(o.Expiration)},
		in.tag(),
		nostr.Tag{"z", "order"},
	)
	return nostr.Event{Kind: KindOrder, Tags: tags}
}

// fiatTag shows the range of an order until somebody takes it; then it has one amount.
func fiatTag(o BookOrder) nostr.Tag {
	if o.FiatAmount == 0 && o.MinAmount != nil && o.MaxAmount != nil {
		return nostr.Tag{"fa", decimal(*o.MinAmount), decimal(*o.MaxAmount)}
	}
	return nostr.Tag{"fa", decimal(o.FiatAmount)}
}

func methodTag(methods string) nostr.Tag {
	tag := nostr.Tag{"pm"}
	for method := range strings.SplitSeq(methods, ",") {
		if method = strings.TrimSpace(method); method != "" {
			tag = append(tag, method)
		}
	}
	if len(tag) == 1 {
		tag = append(tag, methods)
	}
	return tag
}

func (r Rating) json() string {
	var e encoder
	e.open('[')
	e.text("rating")
	e.open('{')
	e.key("total_reviews").int(r.TotalReviews)
	e.key("total_rating").float(r.TotalRating)
	e.key("days").int(r.Days)
	e.close('}')
	e.close(']')
	return string(e.buf)
}

// DisputeEvent is the dispute in public, without author and time.
func DisputeEvent(d DisputeState, in Instance) nostr.Event {
	initiator := d.Initiator
	if initiator == "" {
		initiator = "unknown"
	}
	return nostr.Event{Kind: KindDispute, Tags: nostr.Tags{
		{"d", d.ID},
		{"expiration", decimal(d.Expiration)},
		{"s", d.Status},
		{"initiator", initiator},
		{"created_at", decimal(d.CreatedAt)},
		in.tag(),
		{"z", "dispute"},
	}}
}

// MetadataEvent is the node's profile (kind 0), without author and time. Empty fields are
// left out.
func MetadataEvent(name, about, picture, website, nip05 string) nostr.Event {
	var e encoder
	e.open('{')
	e.omitText("name", name)
	e.omitText("about", about)
	e.omitText("picture", picture)
	e.omitText("website", website)
	e.omitText("nip05", nip05)
	e.close('}')
	return nostr.Event{Kind: KindMetadata, Tags: nostr.Tags{}, Content: string(e.buf)}
}

// RelayListEvent names the relays where the node reads and writes (kind 10002, NIP-65),
// without author and time. Mobile leaves every relay that is not in it.
func RelayListEvent(urls []string) nostr.Event {
	tags := nostr.Tags{}
	for _, url := range urls {
		tags = append(tags, nostr.Tag{"r", url})
	}
	return nostr.Event{Kind: KindRelayList, Tags: tags}
}

func (in Instance) tag() nostr.Tag {
	if in.Name == "" {
		return nostr.Tag{"y", "mostro"}
	}
	return nostr.Tag{"y", "mostro", in.Name}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// UserRating is what others have said of a user, as kind 38384 shows it.
type UserRating struct {
	TradeKey     string // of the rated user in the trade that the last rating comes from
	TotalReviews int64
	TotalRating  float64 // average
	LastRating   int64
	MaxRate      int64
	MinRate      int64
	Days         int64
	Expiration   int64 // unix seconds
}

// RatingEvent publishes a user's rating (kind 38384), without author and time. It is filed
// under the user's trade key, which links it to one trade and not to his identity.
func RatingEvent(r UserRating, in Instance) nostr.Event {
	return nostr.Event{Kind: KindRating, Tags: nostr.Tags{
		{"d", r.TradeKey},
		{"expiration", decimal(r.Expiration)},
		{"total_reviews", decimal(r.TotalReviews)},
		{"total_rating", strconv.FormatFloat(r.TotalRating, 'f', -1, 64)},
		{"last_rating", decimal(r.LastRating)},
		{"max_rate", decimal(r.MaxRate)},
		{"min_rate", decimal(r.MinRate)},
		{"days", decimal(r.Days)},
		in.tag(),
		{"z", "rating"},
	}}
}

// DevFeePayment is a development fee that was paid, as everybody may see it (kind 8383).
type DevFeePayment struct {
	OrderID     string
	Amount      int64  // sat
	Hash        string // of the payment
	Destination string // Lightning address
	Expiration  int64  // unix seconds
}

// DevFeeEvent is the public record of a development fee, without author and time. It names no
// trade key.
func DevFeeEvent(p DevFeePayment, in Instance) nostr.Event {
	return nostr.Event{Kind: KindDevFee, Tags: nostr.Tags{
		{"order-id", p.OrderID},
		{"amount", decimal(p.Amount)},
		{"hash", p.Hash},
		{"destination", p.Destination},
		{"network", in.Network},
		in.tag(),
		{"z", "dev-fee-payment"},
		{"expiration", decimal(p.Expiration)},
	}}
}
