package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

const (
	maxOffers   = 5000
	maxMethods  = 50 // of one offer
	offersFresh = 2 * time.Second
)

// Offers is the book of everybody: pending offers, the newest first, at most maxOffers.
func (m *Mirror) Offers(ctx context.Context) ([]Offer, error) {
	m.mu.Lock()
	authors := []string{m.cfg.Pubkey}
	for pubkey := range m.followed {
		authors = append(authors, pubkey)
	}
	m.mu.Unlock()
	evs, err := m.relay.All(ctx, nostr.Filter{
		Kinds: []int{kindOrder}, Authors: authors, Tags: nostr.TagMap{"s": {"pending"}}, Limit: maxOffers,
	})
	if err != nil {
		return nil, err
	}
	offers := []Offer{}
	for i := range evs {
		if o, ok := m.read(&evs[i]); ok {
			offers = append(offers, o)
		}
	}
	return offers, nil
}

// read understands an offer; false when it is none, or hidden.
func (m *Mirror) read(ev *nostr.Event) (o Offer, ok bool) {
	o = Offer{Node: ev.PubKey, Own: ev.PubKey == m.cfg.Pubkey, Platform: "mostro", CreatedAt: int64(ev.CreatedAt)}
	if !o.Own {
		m.mu.Lock()
		f := m.followed[ev.PubKey]
		if f != nil && f.Platform != "" {
			o.Platform = f.Platform
		}
		m.mu.Unlock()
		if f == nil || m.Hidden(ev.Kind, ev.PubKey) {
			return o, false
		}
		o.Orphaned = m.Orphaned(ev.PubKey)
	}
	var kept, shown int64 // expiration, expires_at
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		value := tag[1]
		switch tag[0] {
		case "d":
			o.ID = value
		case "k":
			o.Side = value
		case "f":
			o.Fiat = value
		case "fa":
			o.Min, o.Max = value, value
			if len(tag) > 2 {
				o.Max = tag[2]
			}
		case "amt":
			o.Sats, _ = strconv.ParseInt(value, 10, 64) // what is no number of sats is no fixed price
		case "premium":
			o.Premium = value
		case "pm":
			o.Methods = methods(tag[1:])
		case "name":
			o.Name = cmp.Or(o.Name, value)
		case "y":
			// RoboSats and Mostros name the coordinator or the instance behind the platform.
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
	o.ExpiresAt = cmp.Or(shown, kept)
	o.Expired = o.ExpiresAt != 0 && o.ExpiresAt <= m.cfg.Now().Unix()
	return o, o.ID != "" && (o.Side == "buy" || o.Side == "sell") && o.Fiat != ""
}

// methods reads payment methods: Mostros and RoboSats have a value for each, lnp2pbot one value with
// commas.
func methods(values []string) []string {
	list := []string{}
	for _, value := range values {
		for method := range strings.SplitSeq(value, ",") {
			method = strings.TrimSpace(method)
			if method != "" && len(list) < maxMethods && !slices.Contains(list, method) {
				list = append(list, method)
			}
		}
	}
	return list
}

// ServeOffers answers with Offers as JSON, at most made anew each offersFresh, however many ask.
func (m *Mirror) ServeOffers() http.Handler {
	var mu sync.Mutex
	var answer []byte
	var made time.Time
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(made) > offersFresh {
			offers, err := m.Offers(req.Context())
			if err == nil {
				answer, err = json.Marshal(map[string]any{"offers": offers})
			}
			if err != nil {
				m.log.Error("answer with offers", "error", err)
				http.Error(w, "the offers cannot be read", http.StatusInternalServerError)
				return
			}
			made = now
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*") // it is public, as a REQ is
		_, _ = w.Write(answer)
	})
}
