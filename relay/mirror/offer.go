package mirror

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// Offer is a pending offer of this node, of a followed Mostro or of another platform, in one form
// whatever the platform's dialect of NIP-69 is. Amounts of fiat are texts, since platforms write
// fractions.
type Offer struct {
	ID       string `json:"id"`       // d tag: unique for its node only
	Node     string `json:"node"`     // who published it, hex
	Own      bool   `json:"own"`      // this node did
	Platform string `json:"platform"` // "mostro" or the name in the settings; what an event says of itself does not count
	Name     string `json:"name,omitempty"`

	Side    string   `json:"side"` // buy or sell
	Fiat    string   `json:"fiat"`
	Min     string   `json:"min"` // of fiat; Max is the same for an offer of one amount
	Max     string   `json:"max"`
	Sats    int64    `json:"sats"` // 0 = market price
	Premium string   `json:"premium"`
	Methods []string `json:"methods"`
	Network string   `json:"network,omitempty"` // mainnet, or one whose coins are worth nothing
	Layer   string   `json:"layer,omitempty"`   // lightning, onchain, ...
	Bond    string   `json:"bond,omitempty"`    // per cent of the amount that a trader puts up

	CreatedAt int64  `json:"created_at"` // unix seconds, as the following
	ExpiresAt int64  `json:"expires_at,omitempty"`
	Expired   bool   `json:"expired,omitempty"`
	Orphaned  bool   `json:"orphaned,omitempty"` // its Mostro has given no news of itself for long
	Source    string `json:"source,omitempty"`
}

// What is shown of one offer; whoever is followed chose its texts.
const (
	maxMethods = 20
	maxFiats   = 10
	maxText    = 60  // bytes of a name, a method, a price and the like
	maxID      = 100 // bytes; an offer whose id is longer cannot be taken
	maxSource  = 500 // bytes; a longer one leads nowhere
)

// readOffer understands an order event; false when it is no offer. Platforms differ in how they write one:
//
//   - payment methods: Mostro has a value for each, lnp2pbot one with commas; RoboSats splits its text
//     at the spaces, which nobody can undo;
//   - expiration: Mostro and lnp2pbot say in expires_at when the offer ends and in expiration until when
//     the event is kept, RoboSats in expiration alone, with the seconds in between as a second value;
//   - y: Mostro and RoboSats name the instance or the coordinator behind the platform.
//
// What is not understood is left out, and what is given twice counts once, but for lists.
func readOffer(ev *nostr.Event) (o Offer, ok bool) {
	o = Offer{Node: ev.PubKey, CreatedAt: int64(ev.CreatedAt), Methods: []string{}}
	var kept, shown int64 // expiration, expires_at
	var fiats []string
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		value := tag[1]
		switch tag[0] {
		case "d":
			o.ID = cmp.Or(o.ID, value)
		case "k":
			o.Side = cmp.Or(o.Side, strings.ToLower(value))
		case "f":
			for _, code := range tag[1:] {
				fiats = appendNew(fiats, []string{strings.ToUpper(code)}, maxFiats)
			}
		case "fa":
			if o.Min == "" {
				o.Min, o.Max = value, value
				if len(tag) > 2 && tag[2] != "" {
					o.Max = tag[2]
				}
			}
		case "amt":
			o.Sats = cmp.Or(o.Sats, satsOf(value))
		case "premium":
			o.Premium = cmp.Or(o.Premium, value)
		case "pm":
			for _, text := range tag[1:] {
				o.Methods = appendNew(o.Methods, strings.Split(text, ","), maxMethods)
			}
		case "name":
			o.Name = cmp.Or(o.Name, value)
		case "y":
			if len(tag) > 2 {
				o.Name = tag[2]
			}
		case "network":
			o.Network = value
		case "layer":
			o.Layer = value
		case "bond":
			o.Bond = value
		case "source":
			o.Source = value
		case "expires_at":
			shown, _ = strconv.ParseInt(value, 10, 64)
		case "expiration":
			kept, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	o.Fiat = strings.Join(fiats, ",")
	for _, text := range []*string{&o.Name, &o.Min, &o.Max, &o.Premium, &o.Network, &o.Layer, &o.Bond} {
		*text = short(*text)
	}
	if len(o.Source) > maxSource {
		o.Source = ""
	}
	o.ExpiresAt = cmp.Or(max(shown, 0), max(kept, 0))
	return o, o.ID != "" && len(o.ID) <= maxID && (o.Side == "buy" || o.Side == "sell") && o.Fiat != ""
}

// satsOf reads an amount of sats; some platforms write it with decimals. What is none is no fixed price.
func satsOf(text string) int64 {
	whole, rest, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 0 || strings.Trim(rest, "0") != "" {
		return 0
	}
	return n
}

// short cuts a text, between two characters.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// appendNew adds texts to a list that are not in it, up to a number of them.
func appendNew(list, texts []string, most int) []string {
	for _, text := range texts {
		if text = short(strings.TrimSpace(text)); text != "" && len(list) < most && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}
