package mirror

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// State is how a connection stands.
type State string

const (
	Connecting State = "connecting"
	Syncing    State = "syncing" // what is stored there is being compared
	Live       State = "live"
	Waiting    State = "waiting" // to connect again
	Stopped    State = "stopped"
	Searching  State = "searching" // for a followed key whose relays nobody has named: there is no URL
)

// Health is how things stand with one other relay.
type Health struct {
	URL       string   `json:"url"`
	Mostros   []string `json:"mostros,omitempty"`   // followed keys
	Platforms []string `json:"platforms,omitempty"` // the same, of other platforms
	Outside   bool     `json:"outside,omitempty"`   // the node's own events go there
	// Left are Mostros that are followed no more, and until when their messages are still carried.
	Left map[string]time.Time `json:"left,omitempty"`

	State State     `json:"state"`
	Since time.Time `json:"since"`
	Retry time.Time `json:"retry,omitzero"` // of the next connection
	Error string    `json:"error,omitempty"`

	Negentropy bool `json:"negentropy"`    // the relay knows it
	Gap        bool `json:"gap,omitempty"` // not all may have come: it caps its answers below what one second holds
	Full       bool `json:"full,omitempty"`

	Backlog    int64     `json:"backlog"`     // events that comparing has found and that are still to come
	Stored     int64     `json:"stored"`      // events that were new here
	Known      int64     `json:"known"`       // that were not
	Refused    int64     `json:"refused"`     // by a rule
	Bad        int64     `json:"bad"`         // false, or not asked for
	Ahead      int64     `json:"ahead"`       // refused because they are from the future: whose clock is wrong?
	Checked    int64     `json:"checked"`     // whose signatures were verified
	Lag        float64   `json:"lag_seconds"` // between created_at and arrival of the last live event
	LastEvent  time.Time `json:"last_event,omitzero"`
	Synced     time.Time `json:"synced,omitzero"` // when all there was had been compared
	Published  int64     `json:"published"`       // own events that it confirmed
	Rejected   int64     `json:"rejected"`        // own events that it refused
	Waiting    int       `json:"waiting"`         // own events that it has not confirmed
	Oldest     time.Time `json:"waiting_since,omitzero"`
	CarriedTo  int64     `json:"carried_to"` // messages of clients here
	CarriedIn  int64     `json:"carried_in"` // messages for clients here
	Received   int64     `json:"received"`   // messages to the node
	Reviews    int64     `json:"reviews"`    // of Mostros, that were new here
	BytesIn    int64     `json:"bytes_in"`
	BytesOut   int64     `json:"bytes_out"`
	Sessions   int64     `json:"connections"` // made since the start
	Failures   int64     `json:"failures"`    // connections that ended, or never came about
	LastReason string    `json:"last_refusal,omitempty"`

	// Unheard are followed keys of which nothing has ever come though all there was has been compared.
	Unheard []string `json:"unheard,omitempty"`

	// Moved are followed keys that the operator has named this relay for and that say they are on others.
	Moved map[string][]string `json:"moved,omitempty"`
	// LeftOut counts pending offers of followed keys that are not kept: they have as many newer ones as may be.
	LeftOut map[string]int `json:"left_out,omitempty"`

	// RefusedBy counts what was refused here, by rule, and what the other relay refused, by its words
	// after "there: ".
	RefusedBy map[string]int64 `json:"refused_by,omitempty"`
	// RefusedFor counts the same by cause, of which there are few.
	RefusedFor map[Cause]int64 `json:"-"`
}

// Cause is why something was refused.
type Cause struct {
	There bool   // the other relay did
	Word  string // one of a few: a prefix of NIP-01 or what more is known
}

// tally counts for Health.
type tally struct {
	stored, known, refused, bad, ahead atomic.Int64
	checked                            atomic.Int64
	published, rejections              atomic.Int64
	carriedTo, carriedIn, received     atomic.Int64
	reviews, backlog                   atomic.Int64
	bytesIn, bytesOut                  atomic.Int64
	sessions, failures                 atomic.Int64
	negentropy, gap, full              atomic.Bool
	lag, lastEvent, synced             atomic.Int64 // nanoseconds, unix nanoseconds twice

	mu     sync.Mutex // guards the following
	state  State
	since  time.Time
	retry  time.Time
	err    string
	reason string
	causes map[string]int64 // of refusals
	words  map[Cause]int64  // the same
}

// maxCauses bounds how many causes are told apart: another relay chooses its words.
const maxCauses = 20

const (
	there   = "there: " // begins what the other relay has said
	unasked = "it was not asked for"
	ahead   = "invalid: the event is from the future: the clock there or here is wrong"
)

// causeOf tells causes apart by how they begin: the rest of the words may hold keys and ids, and the
// other relay chooses its own.
func causeOf(why string) Cause {
	c := Cause{Word: "other"}
	why, c.There = strings.CutPrefix(why, there)
	for _, w := range []struct{ begins, word string }{
		{unasked, "unasked"}, {crowded, "full"}, {ahead, "future"}, {"invalid: the id", "id"}, {"invalid: the signature", "signature"},
		{"invalid", "invalid"}, {"blocked", "blocked"}, {"rate-limited", "rate-limited"}, {"restricted", "restricted"}, {"pow", "pow"},
		{"auth-required", "auth-required"}, {"duplicate", "duplicate"}, {"error", "error"},
	} {
		if strings.HasPrefix(why, w.begins) {
			c.Word = w.word
			break
		}
	}
	return c
}

// cause counts a refusal.
func (t *tally) cause(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.words == nil {
		t.words = make(map[Cause]int64)
	}
	t.words[causeOf(why)]++
	if len(why) > 100 {
		why = why[:100]
	}
	if _, known := t.causes[why]; !known && len(t.causes) >= maxCauses {
		why = "other"
	}
	if t.causes == nil {
		t.causes = make(map[string]int64)
	}
	t.causes[why]++
}

func (t *tally) set(state State, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != state {
		t.state, t.since = state, time.Now()
	}
	t.retry = time.Time{}
	if err != nil {
		t.err = err.Error()
	}
	if state == Live {
		t.err = ""
	}
}

// failed notes why there is no connection, and reports whether that is news.
func (t *tally) failed(err error, retry time.Time) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures.Add(1)
	text := ""
	if err != nil {
		text, _, _ = strings.Cut(err.Error(), "\n") // without the stack of a fault
	}
	news = text != t.err
	t.state, t.since, t.retry, t.err = Waiting, time.Now(), retry, text
	return news
}

func (t *tally) refusal(reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reason = reason
}

// refuse counts an event that is refused by a rule.
func (t *tally) refuse(reason string) {
	t.refused.Add(1)
	t.cause(reason)
	t.refusal(reason)
}

// counted adds up a connection that has ended.
func (p *peer) counted(l *link) {
	p.sessions.Add(1)
	p.bytesIn.Add(l.in.Load())
	p.bytesOut.Add(l.sent.Load())
}

func (p *peer) health() Health {
	h := Health{
		URL: p.url, Mostros: p.duties.mostros, Platforms: p.duties.platforms, Outside: p.duties.outside,
		Negentropy: p.negentropy.Load(), Gap: p.gap.Load(), Full: p.full.Load(),
		Stored: p.stored.Load(), Known: p.known.Load(), Refused: p.refused.Load(), Bad: p.bad.Load(), Ahead: p.ahead.Load(), Checked: p.checked.Load(),
		Lag: time.Duration(p.lag.Load()).Seconds(), Published: p.published.Load(), Rejected: p.rejections.Load(),
		CarriedTo: p.carriedTo.Load(), CarriedIn: p.carriedIn.Load(), Received: p.received.Load(), Reviews: p.reviews.Load(), Backlog: p.backlog.Load(),
		BytesIn: p.bytesIn.Load(), BytesOut: p.bytesOut.Load(), Sessions: p.sessions.Load(), Failures: p.failures.Load(),
	}
	if p.duties.outside {
		public, since := p.out.waits()
		replies, earliest, err := p.m.state.waits(p.url)
		if err != nil {
			p.m.log.Error("count what waits for a relay", "relay", p.url, "error", err)
		}
		h.Waiting, h.Oldest = public+replies, earlier(since, earliest)
	}
	if l := p.link.Load(); l != nil {
		h.BytesIn += l.in.Load()
		h.BytesOut += l.sent.Load()
		h.Sessions++
	}
	if at := p.lastEvent.Load(); at != 0 {
		h.LastEvent = time.Unix(0, at)
	}
	if at := p.synced.Load(); at != 0 {
		h.Synced = time.Unix(0, at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.State, h.Since, h.Retry, h.Error, h.LastReason = p.state, p.since, p.retry, p.err, p.reason
	h.RefusedBy, h.RefusedFor = maps.Clone(p.causes), maps.Clone(p.words)
	return h
}

// Why nothing is copied of a key.
const (
	onlyOwn = "its only relay is this one"
	noneFit = "its list of relays (kind 10002) names none that may be used: those in an inner network are only when you name them yourself"
)

// unheard marks where a followed key should be and is not. The caller holds mu.
func (m *Mirror) unheard(all []Health, pubkey string, f *followed) {
	if !f.now() || f.counted.IsZero() || f.events > 0 {
		return
	}
	for i := range all {
		if !all[i].Synced.IsZero() && slices.Contains(f.relays(), all[i].URL) {
			all[i].Unheard = append(all[i].Unheard, pubkey)
		}
	}
}

// Health is how things stand with all other relays, by address, and then which followed keys have
// none.
func (m *Mirror) Health() []Health {
	all := []Health{}
	for _, p := range m.list() {
		all = append(all, p.health())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range all {
		all[i].Moved = m.movedFrom(&all[i])
		all[i].LeftOut = m.leftOut(slices.Concat(all[i].Mostros, all[i].Platforms)...)
	}
	for _, pubkey := range slices.Sorted(maps.Keys(m.followed)) {
		f := m.followed[pubkey]
		m.unheard(all, pubkey, f)
		switch {
		case f.now() && len(f.relays()) > 0 && !slices.ContainsFunc(f.relays(), func(url string) bool { return url != m.here }):
			all = append(all, Health{Mostros: []string{pubkey}, State: Searching, Error: onlyOwn, LeftOut: m.leftOut(pubkey)})
		case f.now() && len(f.relays()) == 0:
			h := Health{Mostros: []string{pubkey}, State: Searching, LeftOut: m.leftOut(pubkey)}
			if f.noneFit {
				h.Error = noneFit
			}
			all = append(all, h)
		case !f.now() && len(f.relays()) == 0:
			all = append(all, Health{Left: map[string]time.Time{pubkey: f.left}, State: Searching})
		case !f.now():
			for i := range all {
				if slices.Contains(f.relays(), all[i].URL) {
					if all[i].Left == nil {
						all[i].Left = make(map[string]time.Time)
					}
					all[i].Left[pubkey] = f.left
				}
			}
		}
	}
	return all
}
