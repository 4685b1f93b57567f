package mirror

import (
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const (
	dialTime      = 15 * time.Second
	aboutTime     = 5 * time.Second
	writeTime     = 10 * time.Second
	pingEvery     = 25 * time.Second
	silenceTime   = 75 * time.Second // nothing heard, not even a pong: the relay is gone
	answerTime    = 30 * time.Second // for the next frame of an answer
	pageTime      = 5 * time.Minute  // for all of one answer
	askTime       = 10 * time.Second // for all of one answer for which somebody waits
	negAll        = 10 * time.Minute // for one reconciling
	okTime        = 15 * time.Second // for the OK of an event
	okGap         = 5 * time.Second  // for the next OK, after one
	okMost        = 90 * time.Second // for the OKs of all that were sent together
	negTime       = 6 * time.Second  // for the first word about negentropy; relays without it are silent
	loginTime     = 5 * time.Second  // for a relay to find out who this is
	firstSlow     = 5 * time.Second  // before a question is asked again that was one too many (rate-limited)
	mostSlow      = time.Minute
	maxSlow       = 10               // times that it is asked
	firstAgain    = 5 * time.Second  // before an own event is sent again that a relay did not take for now
	mostAgain     = 30 * time.Second // so that a relay that takes events again has the book within a minute
	delaysKept    = time.Hour        // of an event that was not sent again though it was due
	neverAgain    = 50 * time.Minute // the same, of one that it would never take: its rules may change, and rewalkEvery is longer
	firstPatience = time.Minute      // before a relay is asked again for what it does not give out
	mostPatience  = 30 * time.Minute
	negAgain      = time.Hour // before a relay is tried that has ended the connection at the word negentropy
	maxBroken     = 2         // connections in a row that end so
	maxSilent     = 2         // words of negentropy to which a relay says nothing; then it does not know it

	firstRetry    = time.Second
	mostRetry     = 30 * time.Second // so that a relay that is back has the book within a minute
	badRetry      = 5 * time.Minute  // after a relay that lies
	mostBad       = time.Hour
	steadyTime    = time.Minute // a connection that lasted so long was a good one
	maxChallenges = 16          // that are answered on one connection
	strikes       = 20          // bad events of one relay; after each so many the connection ends
	maxFrame      = 640 << 10   // bytes from a relay
	maxNegFrame   = 2<<20 + 256 // the same of an answer of negentropy, in hex; others give 500,000 bytes (strfry) or 1 MiB (khatru)
	queueFrames   = 256         // frames that wait to be written

	pageEvents    = 500     // asked for at once, where negentropy is not known
	fewestPage    = 20      // that any relay gives out at once
	maxSecond     = 10_000  // events of one second, of which a relay gives out the same page again and again
	idsAtOnce     = 200     // of events that are fetched by id
	fewestIDs     = 20      // the same, where a relay gives out few of them
	batchEvents   = 256     // verified and stored together
	backlogAtOnce = 2       // batches of a followed Mostro: one being verified, one being committed
	maxPages      = 100_000 // of one walk
	negBytes      = 24 << 10
	negRounds     = 200
	maxRefused    = 1000      // parts of time that a relay refuses to reconcile for their size
	maxSlices     = 1000      // in which a relay names its events that does not name all at once
	maxEmpty      = 25        // answers without events to questions for events that the relay says to have
	maxItems      = 1_000_000 // of one reconciling
	resyncEvery   = 10 * time.Minute
	rewalkEvery   = time.Hour            // the same for relays without negentropy
	fullEvery     = 24 * time.Hour       // between two walks through everything there
	overlap       = 48 * time.Hour       // that a walk goes back before the last one, for what came late
	lateTime      = time.Hour            // the same of comparing with a relay that wastes it
	barrenRound   = 1000                 // events that were fetched for nothing, which is a waste
	orderFuture   = time.Minute          // how far an order may be ahead of the clock; it would hide later ones
	maxReviews    = 5000                 // that a Mostro has proven, of one
	maxOpinions   = 500                  // of each other kind, about one; anybody can write them
	maxSaid       = 30_000               // that are read for them at one relay
	partsSaid     = 30                   // of the time of which there are more
	reviewPast    = 180 * 24 * time.Hour // readers take no older ones
	opinionRate   = 1                    // a second, live, of one relay
	opinionBurst  = 100
	mostMissed    = 15 * time.Minute // before it is looked for what came too fast, or for more room
	maxHeld       = 2 << 20          // bytes of events of the future that wait for their time
	intakeBytes   = 4 << 20          // of events of one duty of a connection that wait to be stored, or are being stored
	maxHold       = 15 * time.Minute
	liveRate      = 200 // events a second of a followed Mostro, once the backlog is in
	liveBurst     = 5000
	liveBytes     = 1 << 20 // a second, the same
	liveBurstB    = 16 << 20
	messageRate   = 50 // a second, of messages to the node from another relay
	messageBurst  = 1000
	receiveLanes  = 8 // in which they are handed over
	letterRate    = 5 // a second, of messages to clients here; anybody can write to a known key, and these are kept
	letterBurst   = 5000
	rationRate    = 1.0 / 60 // the same of one key, which the others leave it
	rationBurst   = 100

	keysKept       = 30 * 24 * time.Hour
	leftKept       = 30 * 24 * time.Hour // that messages of a Mostro are carried after it was followed, longer than a trade lasts
	maxKeys        = 20_000              // whose mail is fetched elsewhere
	keysPerPeer    = 1000                // the first of them, asked of one relay; so many conversations beside them fit into what a relay like this one grants
	fewestKeys     = 20                  // asked for at once, however little a relay says that it takes
	keysPerReq     = 200
	mailSlack      = 200 // subscribed beside them, before those that are not among them any more go
	widenRate      = 5   // a second, that a subscription gets more keys
	widenBurst     = 10
	keysPerClient  = 500                // that one connection can add, and as many that it has proven to hold
	keysPerAddress = 500                // that one address has
	keyRate        = 0.1                // a second, that one address adds
	maxClients     = 10_000             // connections of which that is remembered
	mailPast       = 72 * time.Hour     // gift wraps are dated back by up to two days (NIP-59), also those that come live
	mostOld        = 20_000             // messages that are fetched at once for the keys of one question
	talkPast       = 7 * 24 * time.Hour // of conversations, as far as clients ask back
	maxDealings    = 16                 // Mostros that one connection deals with
	talksPerClient = 100                // that are remembered until it is known with whom the connection deals
	talkRate       = 1                  // a second, of one conversation
	talkBurst      = 200
	talkLevelled   = 1000             // the newest of one, that are looked for elsewhere
	talkQueue      = 1000             // messages of conversations that wait for one relay
	carryTime      = 8 * time.Second  // for the answer of another relay to a carried message
	carryWait      = 3 * time.Second  // for a connection to come back
	forwardTime    = 15 * time.Second // for the answer of a primary
	staleAfter     = 5 * time.Minute  // without its primary a replica is not ready any more
	carryPoll      = 50 * time.Millisecond
	marksKept      = 50_000          // names of messages that crossed
	carryAgain     = 2 * time.Second // before a message that failed is tried again
	maxRoutes      = 100_000         // keys without a part in a trade, the way to which is remembered
	sweepRoutes    = 10_000          // new keys, after which it is looked for such as are too many
	sweptAtOnce    = 500
	mostBrought    = 50        // answers of each kind that are sent over a new way, the newest
	broughtBytes   = 256 << 10 // of all of them
	maxOutbox      = 20_000    // replies that wait for one outside relay
	maxQueued      = 10_000    // public events that wait for one outside relay, and of which more than the id is in memory
	sentAtOnce     = 64        // events that wait for the OK of a relay
	againAtOnce    = 16        // of them, that were sent before
	discoverEvery  = time.Minute
	moveEvery      = 10 * time.Minute // that a followed key is followed to other relays; it cuts connections that others share
	moveBurst      = 3
	maxLiars       = 1000        // relays of which it is remembered that they misbehave
	checkEvery     = time.Minute // of what a followed Mostro holds here
)

// Kinds that are copied of a followed Mostro, and of a platform that trades otherwise.
var (
	mostroKinds   = []int{0, 8383, 10002, 30078, kindOrder, 38384, kindInfo, 38386}
	platformKinds = []int{0, kindOrder}
	privateKinds  = []int{nostr.KindEncryptedDirectMessage, kindMessage, kindWrap} // that a relay stores and shows to some only
)

const (
	kindReview         = 31986
	kindRecommendation = 38000
	kindLabel          = 1985

	kindVanish    = 62
	kindMessage   = 14
	kindWrap      = 1059
	kindRelayList = 10002
	kindOrder     = 38383
	kindInfo      = 38385
)
