package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
	"mostro/relay/reconcile"
)

// Policy says how offers of others that may not stand any more are shown: marked, or not at all, neither
// in the book nor in what the relay answers.
type Policy struct {
	// OrphanedAfter is the time without news of a Mostro (kind 38385) after which its offers are
	// orphaned; 0 = never.
	OrphanedAfter time.Duration `json:"orphaned_after"` // nanoseconds
	HideOrphaned  bool          `json:"hide_orphaned"`
	HideExpired   bool          `json:"hide_expired"`
}

// Listing says whose offers make the book beside the node's own, and how they are shown, and what else replicas
// learn from their primary.
type Listing struct {
	Follows  []Listed `json:"follows"`
	Formerly []string `json:"formerly,omitempty"`      // Mostros that are or were followed
	Reads    string   `json:"private_reads,omitempty"` // who reads messages there: relay.PrivateReads by name
	URL      string   `json:"url,omitempty"`           // the primary's address for clients; its replicas may reach it by another one
	Replica  bool     `json:"replica,omitempty"`       // who says this is a replica, not the primary
	Policy
}

// Listed is a followed key. Platform is as in Followed.
type Listed struct {
	Pubkey   string `json:"pubkey"`
	Platform string `json:"platform,omitempty"`
}

// book shows the offers of a node and of those whom it follows, of a Mirror and of a Replica alike.
type book struct {
	node  string // hex
	now   func() time.Time
	log   *slog.Logger
	relay *relay.Relay

	listing func() Listing
	policy  func() Policy // of the same; it is asked for each event of an answer
	// news is when a followed Mostro last gave news of itself, unix seconds; false for others, and while
	// that is not known.
	news func(pubkey string) (at int64, known bool)

	mu        sync.RWMutex
	ends      map[reconcile.ID]int64 // when offers of others end that are kept for longer, unix seconds
	meanwhile map[reconcile.ID]int64 // those that were stored while load looks; nil while it does not

	answering sync.Mutex
	answer    []byte
	made      time.Time
}

const (
	maxOffers   = 5000
	maxEnds     = 200_000
	offersFresh = 2 * time.Second
)

// load notes when the stored offers end, and forgets those that are not stored any more.
func (b *book) load(ctx context.Context) error {
	ends := make(map[reconcile.ID]int64)
	b.mu.Lock()
	b.meanwhile = make(map[reconcile.ID]int64)
	b.mu.Unlock()
	err := b.relay.Each(ctx, nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}}}, func(ev *nostr.Event) {
		if end := b.endOf(ev); end != 0 && len(ends) < maxEnds {
			ends[idOf(ev.ID)] = end
		}
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		maps.Copy(ends, b.meanwhile)
		b.ends = ends
	}
	b.meanwhile = nil
	if err != nil {
		return fmt.Errorf("read offers: %w", err)
	}
	return nil
}

// endOf is when an offer of another ends, in unix seconds, 0 = never. The node's own are taken out of the book by it.
func (b *book) endOf(ev *nostr.Event) int64 {
	if ev.PubKey == b.node || !isPending(ev) {
		return 0
	}
	o, ok := readOffer(ev)
	if !ok {
		return 0
	}
	return o.ExpiresAt
}

// stored notes when an offer ends.
func (b *book) stored(ev *nostr.Event) {
	end := b.endOf(ev)
	if end == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ends) < maxEnds { // load makes room
		b.ends[idOf(ev.ID)] = end
	}
	if b.meanwhile != nil && len(b.meanwhile) < maxEnds {
		b.meanwhile[idOf(ev.ID)] = end
	}
}

// hidden reports whether an event is left out of what the relay answers.
func (b *book) hidden(kind int, pubkey string, id reconcile.ID) bool {
	if kind != kindOrder || pubkey == b.node {
		return false
	}
	p := b.policy()
	if p.HideExpired {
		b.mu.RLock()
		end := b.ends[id]
		b.mu.RUnlock()
		if end != 0 && end <= b.now().Unix() {
			return true
		}
	}
	return p.HideOrphaned && b.orphaned(pubkey)
}

// orphaned reports whether a followed Mostro has given no news of itself for too long: its offers
// cannot be trusted to stand.
func (b *book) orphaned(pubkey string) bool {
	after := b.policy().OrphanedAfter
	at, known := b.news(pubkey)
	return after != 0 && known && b.now().Unix()-at > int64(after/time.Second)
}

// offers is the book of everybody: pending offers, the newest first, at most maxOffers.
func (b *book) offers(ctx context.Context) ([]Offer, error) {
	l := b.listing()
	platforms := map[string]string{b.node: ""}
	authors := []string{b.node}
	for _, f := range l.Follows {
		authors, platforms[f.Pubkey] = append(authors, f.Pubkey), f.Platform
	}
	evs, err := b.events(ctx, authors)
	if err != nil {
		return nil, err
	}
	offers := []Offer{}
	now := b.now().Unix()
	for i := range evs {
		o, ok := readOffer(&evs[i])
		if !ok || b.hidden(kindOrder, evs[i].PubKey, idOf(evs[i].ID)) {
			continue
		}
		o.Own = o.Node == b.node
		o.Platform = cmp.Or(platforms[o.Node], "mostro")
		o.Expired = o.ExpiresAt != 0 && o.ExpiresAt <= now
		o.Orphaned = !o.Own && b.orphaned(o.Node)
		offers = append(offers, o)
	}
	return offers, nil
}

// events are the pending offers of some authors, the newest first. When there are too many, those who have
// most give way: whoever floods his book hides nobody else's.
func (b *book) events(ctx context.Context, authors []string) (all []nostr.Event, err error) {
	counts := make([]int, len(authors))
	for i, author := range authors {
		if counts[i], _, err = b.relay.Count(ctx, pendingOf(author)); err != nil {
			return nil, err
		}
	}
	for i, n := range shares(counts, maxOffers) {
		if n == 0 {
			continue
		}
		f := pendingOf(authors[i])
		f.Limit = n
		evs, err := b.relay.All(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, evs...)
	}
	slices.SortFunc(all, func(a, b nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// shares gives to each what he wants, or less to those who want most, so that all together get at most so
// much.
func shares(wants []int, most int) []int {
	gets := slices.Clone(wants)
	order := make([]int, len(wants))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(wants[i], wants[j]) })
	for n, i := range order {
		gets[i] = min(wants[i], most/(len(order)-n))
		most -= gets[i]
	}
	return gets
}

// pages adds the book to the relay's pages, and whose it is.
func (b *book) pages() {
	b.relay.Handle("GET /offers", http.HandlerFunc(b.serve))
	b.relay.Handle("GET "+listingPath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sendPublic(w, marshal(b.listing()))
	}))
}

// listingPath is where a primary says whose offers make its book.
const listingPath = "/offers/from"

// serve answers with the offers as JSON.
func (b *book) serve(w http.ResponseWriter, req *http.Request) {
	answer, err := b.current(req.Context())
	if err != nil {
		b.log.Error("answer with offers", "error", err)
		http.Error(w, "the offers cannot be read", http.StatusInternalServerError)
		return
	}
	sendPublic(w, answer)
}

// current is the answer, at most made anew each offersFresh, however many ask. It is made for all of them: that one of
// them leaves ends nothing, and nobody waits here for a client that does not read.
func (b *book) current(ctx context.Context) ([]byte, error) {
	b.answering.Lock()
	defer b.answering.Unlock()
	if now := time.Now(); now.Sub(b.made) > offersFresh {
		offers, err := b.offers(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		if b.answer, err = json.Marshal(map[string]any{"offers": offers}); err != nil {
			return nil, err
		}
		b.made = now
	}
	return b.answer, nil
}

// sendPublic sends JSON that any page may read, as it may ask the relay.
func sendPublic(w http.ResponseWriter, answer []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	_, _ = w.Write(answer)
}
