package relay

import (
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"

	"mostro/policies"
)

// Limits bounds what one client can ask for. The same values are enforced and advertised
// (NIP-11).
type Limits struct {
	Connections         int           // open at once, over all clients; then who has most loses its oldest
	MessageBytes        int           // one WebSocket message from a client
	Fragments           int           // of one message
	Subscriptions       int           // open at once on one connection
	Filters             int           // in one REQ
	FilterValues        int           // in one list of a filter
	FilterTags          int           // tag names in one filter
	SubIDLength         int           // characters of a subscription id, at least 1
	Results             int           // stored events for a filter without a limit of its own
	BookResults         int           // the same, for filters that ask only for orders or messages
	MaxResults          int           // the most that a filter's limit can ask for
	ResultBytes         int           // stored events for one filter, by size; the oldest are left out
	QueryTime           time.Duration // of one request, without waiting for the client
	HalfOpen            int           // connections that are no sessions; the oldest goes when there are more
	HeaderTime          time.Duration // for a client to send its HTTP headers
	HandshakeTime       time.Duration // for a whole request, and for the answer to a WebSocket's handshake
	HeaderBytes         int           // of a request with its first line, over headerSlack
	Silence             time.Duration // of a client, pongs included, after which it is gone
	NegSessions         int           // negentropy sessions on one connection
	NegItems            int           // events of one negentropy session
	AllNegItems         int           // events of all negentropy sessions, 40 bytes each
	DuplicatesPerSecond float64       // from one address
	DuplicatesBurst     int
	AuthKeys            int           // that can authenticate on one connection
	AuthWindow          time.Duration // how far created_at of a login may be from now, whole seconds
	QueueBytes          int           // frames waiting for a client to read; one that lets more pile up is cut off
	QueueTime           time.Duration // for reading the live events that wait at one moment
	AllQueuesBytes      int           // stored events waiting for all clients; each gets little when there are more
	AllMessagesBytes    int           // long messages that are on their way in, over all clients
	SubscriptionValues  int           // in all subscriptions of one connection, and places for them in the index
	AllSubscriptions    int           // open at once, over all connections
	Comparisons         int           // subscriptions of one address that a new event is compared with
	EventTags           int
	IndexedTags         int           // the same, of the kinds that are indexed in memory whatever that takes
	TagBytes            int           // all tag elements of an event together
	ContentLength       int           // characters
	Past, Future        time.Duration // how far created_at may be from now, whole seconds
	WrapPast            time.Duration // the same as Past, for gift wraps
	OrderFuture         time.Duration // the same as Future, for what Mostros publish
	MinPow              int           // bits of proof of work (NIP-13) of every event
	Events              int           // stored altogether; the oldest go when there are more
	EventsPerKey        int           // stored of one key
	Deletions           int           // remembered; the oldest are forgotten, with all that is as old, when there are more
	IndexBytes          int           // memory of the index above which nothing more is taken from outside
}

const (
	day = 24 * time.Hour

	messageTime       = 30 * time.Second // from the first to the last fragment of a message
	maxDepth          = 100              // arrays and objects in each other, in a message; no event or filter that is right has more than 4
	controlWindow     = 10 * time.Second
	maxControls       = 100                   // pings and pongs in that time
	slice             = 2 * time.Millisecond  // of work for one client, while others wait
	breath            = 20 * time.Microsecond // between slices, for the runtime to look at the network
	halfLife          = time.Second           // of what an address has worked
	passes            = 2                     // turns for each address that waits, by which others may pass one that has worked more
	freeRefusals      = 100                   // refused messages of one address in refusalWindow that cost it nothing
	refusalWindow     = 10 * time.Second
	refusalPause      = 10 * time.Millisecond // for each more, of all its connections together
	maxRefusalPause   = time.Second
	writeTime         = 10 * time.Second       // one write to a client, of writeBuffer or of one frame
	writeBuffer       = 32 << 10               // bytes that are joined to one write
	spareBytes        = 8 << 10                // of a buffer for one, for the last frame in it
	relieveEvery      = lingerTime / 4         // while queues hold far too much
	spareFrames       = 4                      // in the queue that a connection keeps
	flushAtOnce       = 16                     // connections that a flusher takes on
	readBuffer        = 1 << 10                // bytes
	maxAhead          = 4 << 10                // bytes that are read while a request is worked on
	lookEvery         = 50 * time.Millisecond  // of that work, to see whether it is still wanted
	probeEvery        = 250 * time.Millisecond // the same, by a ping: the answers are counted
	intakeEvents      = 64                     // events of one client that are worked on at the same time
	intakeBytes       = 512 << 10              // the same, by size
	backlogBytes      = 32 << 20               // live events in all queues, above which publishers wait a little
	backlogTime       = 250 * time.Millisecond
	backlogPoll       = 2 * time.Millisecond
	maxPlacesOfAll    = 1_000_000   // places in the live index; above them who has many gets only small subscriptions
	smallSubscription = 200         // values and places
	lingerTime        = time.Second // for the rest of a message that is too long
	lingerBytes       = 4 << 20
	maxSearch         = 256              // bytes
	maxWords          = 10               // of a search
	maxSearched       = 8 << 10          // bytes of one event that are searched
	searchWeight      = 10               // comparisons for which one with a search counts
	searchScan        = 5000             // newest events that a search reads
	maxCounted        = 1_000_000        // events of one filter of a COUNT
	negReserve        = 1000             // items that a negentropy session counts at a time while it collects them
	firstBytes        = 4 << 10          // of a frame, for which there is room before they are there: most gift wraps are shorter
	shortMessage      = 8 << 10          // bytes; longer ones count while they are on their way
	shareOfAll        = 16               // part of what all may take together that an address may take in any case
	maxNegRounds      = 200              // messages of one negentropy session
	httpAuthWindow    = 30 * time.Second // NIP-98: created_at may be this far from now
	maxManagementBody = 64 << 10         // bytes
	maxReason         = 500              // bytes of a text that an administrator sets
	maxRules          = 10_000           // of one sort, and authorizations that are remembered
	answerTime        = time.Minute      // for a client to read the answer
	idleTime          = 2 * time.Minute  // between the requests of an HTTP connection
	headerSlack       = 4 << 10          // bytes that net/http reads beyond the headers' limit
	retainEvery       = time.Hour
	retainFirst       = 5 * time.Minute  // after the start
	eventsSlack       = 20               // part of the store by which it may grow until the oldest are removed
	wrapsStay         = 30 * day         // messages and gift wraps are not removed for lack of room before that
	floodedStay       = 3 * day          // the same, while they are most of what is stored
	answersLeft       = day              // and what the node has written that is over in so long
	outcomesStay      = 7 * day          // and what it has written to those who have no trade any more
	neededAtOnce      = 10_000           // of them that are looked at first, beside those that are to go
	vainWait          = 10 * time.Second // until the next look, for each neededAtOnce of them that were looked at in vain
	vainMost          = 10 * time.Minute // the same, of however many
	messagesPerDay    = 10_000           // of one address that are stored then
	messagesBurst     = 2000             // the same, at once
	alarmEvery        = time.Second      // between two looks at events that the node's key has signed
	maxRetired        = 50_000           // events that one rule of retention removes at a time
	retiredAtOnce     = 256              // events removed in one go
	sweepEvery        = time.Minute      // removal of expired events; they are hidden at once
)

// DefaultLimits leaves room for what clients in the field do: 20 subscriptions and more, all
// trade keys in one filter, the whole order book or all mail without a limit, gift wraps dated
// back by days.
func DefaultLimits() Limits {
	return Limits{
		Connections:         5000,
		MessageBytes:        128 << 10,
		Fragments:           1000,
		Subscriptions:       50,
		Filters:             10,
		FilterValues:        500,
		FilterTags:          6,
		SubIDLength:         64,
		Results:             500,
		BookResults:         5000,
		MaxResults:          5000,
		ResultBytes:         16 << 20,
		QueryTime:           2 * time.Second,
		HalfOpen:            2000,
		HeaderTime:          5 * time.Second,
		HandshakeTime:       10 * time.Second,
		HeaderBytes:         8 << 10,
		Silence:             75 * time.Second,
		NegSessions:         4,
		NegItems:            200_000,
		AllNegItems:         2_000_000,
		DuplicatesPerSecond: 200,
		DuplicatesBurst:     5000,
		AuthKeys:            64,
		AuthWindow:          10 * time.Minute, // NIP-42
		QueueBytes:          4 << 20,
		QueueTime:           5 * time.Second,
		AllQueuesBytes:      256 << 20,
		AllMessagesBytes:    64 << 20,
		SubscriptionValues:  10_000,
		AllSubscriptions:    100_000,
		Comparisons:         2000,
		EventTags:           2000,
		IndexedTags:         100,
		TagBytes:            65_535,
		ContentLength:       65_535,
		Past:                10 * 365 * day,
		Future:              15 * time.Minute,
		WrapPast:            3 * day,
		OrderFuture:         time.Minute,
		Events:              2_000_000,
		EventsPerKey:        10_000,
		Deletions:           2_000_000,
		IndexBytes:          1 << 30,
	}
}

// pingEvery is how often a client is asked for a sign of life: twice before it would be gone, and in time for proxies that
// close what is silent for a minute.
func (l Limits) pingEvery() time.Duration { return l.Silence * 2 / 5 }

func (l Limits) shape() policies.ShapeLimits {
	return policies.ShapeLimits{Tags: l.EventTags, TagBytes: l.TagBytes, ContentLength: l.ContentLength}
}

func (l Limits) advertised() *nip11.RelayLimitationDocument {
	return &nip11.RelayLimitationDocument{
		MaxMessageLength:    l.MessageBytes,
		MaxSubscriptions:    l.Subscriptions,
		MaxLimit:            l.MaxResults,
		DefaultLimit:        l.Results,
		MaxSubidLength:      l.SubIDLength,
		MaxEventTags:        l.EventTags,
		MaxContentLength:    l.ContentLength,
		MinPowDifficulty:    l.MinPow,
		CreatedAtLowerLimit: int64(l.Past / time.Second),
		CreatedAtUpperLimit: int64(l.Future / time.Second),
	}
}

// results is how many stored events f gets.
func (l Limits) results(f nostr.Filter) int {
	switch {
	case f.LimitZero:
		return 0
	case f.Limit > 0:
		return min(f.Limit, l.MaxResults)
	}
	if len(f.Kinds) == 0 || slices.ContainsFunc(f.Kinds, func(kind int) bool { return !slices.Contains(bookKinds, kind) }) {
		return l.Results
	}
	return l.BookResults
}

// bookKinds are orders and messages, of which clients ask for all without a limit.
var bookKinds = []int{kindOrder, nostr.KindGiftWrap, nostr.KindDirectMessage}

const (
	kindOrder         = 38383 // peer-to-peer order, NIP-69
	kindEphemeralWrap = 21059 // gift wrap that is not kept, NIP-59
)
