package mirror

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// interest knows whose mail, or which conversations, are fetched from the relays of followed Mostros,
// on disk. A replica has one in memory.
//
// Anybody can make keys without end, and a relay is asked for a thousand. So the places are shared out:
// no address has more than some of them or adds keys faster than people trade, whoever has most loses
// his first, and a relay is asked for one key of each address before it is asked for two of one.
// Of one address, keys that somebody has proven to hold come before those that were only asked for.
// Addresses are known while the process runs and never written down: a key that was read from
// disk is treated as if it were alone at its address.
type interest struct {
	state *state // nil = in memory
	table byte
	now   func() time.Time

	mu      sync.Mutex
	seen    map[mailbox]sign
	groups  map[string]map[mailbox]struct{} // by address
	dirty   map[mailbox]struct{}            // not on disk, or not yet gone from there
	changed chan struct{}                   // closed and made anew when a mailbox is added

	added *lru.Cache[claimant, *rate.Limiter]

	// forgotten are mailboxes for which relays may still send what they were asked for.
	forgotten *lru.Cache[mailbox, struct{}]
}

// mailbox is a key here and the followed Mostro that writes to it, "" for any of them.
type mailbox struct{ key, mostro string }

// sign is the last sign of life of a mailbox.
type sign struct {
	at time.Time
	claimant
}

// claimant is who wants a mailbox: an address, and whether it has proven to hold the key, by
// authentication (NIP-42) or a message by it.
type claimant struct {
	from   string
	proven bool
}

// near is the address of everybody who comes from this machine or its network: through Tor, or through a proxy
// that the settings do not list.
const near = "near"

// replicaFrom begins the address of everybody who comes over a replica, which shares its places out among them by the
// same rules.
const replicaFrom = "replica "

// claimantOf reads an address; what cannot be read is near.
func claimantOf(address string, proven bool) claimant {
	ip, err := netip.ParseAddr(address)
	ip = ip.Unmap().WithZone("")
	if err != nil || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() {
		return claimant{near, proven}
	}
	bits := 32
	if ip.Is6() {
		bits = 64 // one subscriber can fill it at will
	}
	return claimant{netip.PrefixFrom(ip, bits).Masked().String(), proven}
}

// budget is what one address may have: places, places that come before everybody's who has proven nothing, and
// new keys at once and a second.
type budget struct {
	places, first int
	burst         int
	perSecond     rate.Limit
}

func budgetOf(from string) budget {
	if from == near || strings.HasPrefix(from, replicaFrom) {
		return budget{maxKeys / 2, keysPerPeer / 2, maxKeys / 2, 1}
	}
	return budget{keysPerAddress, keysPerPeer / 10, keysPerAddress, keyRate}
}

func openInterest(st *state, table byte, now func() time.Time) (*interest, error) {
	in := &interest{
		state: st, table: table, now: now, seen: make(map[mailbox]sign), groups: make(map[string]map[mailbox]struct{}),
		dirty: make(map[mailbox]struct{}), changed: make(chan struct{}),
	}
	in.forgotten, _ = lru.New[mailbox, struct{}](maxKeys) // fails only for a size below 1, as the next
	in.added, _ = lru.New[claimant, *rate.Limiter](maxClients)
	if st == nil {
		return in, nil
	}
	err := st.each(table, nil, func(row [][]byte, value []byte) error {
		box := mailbox{string(row[0]), string(row[1])}
		proven := len(value) > timeSize
		in.put(box, sign{decodeTime(value[:min(len(value), timeSize)]), claimant{"key " + box.key, proven}})
		return nil
	})
	return in, err
}

// put files a mailbox.
func (in *interest) put(box mailbox, s sign) {
	if old, known := in.seen[box]; known {
		in.leave(box, old.from)
	}
	in.seen[box] = s
	if in.groups[s.from] == nil {
		in.groups[s.from] = make(map[mailbox]struct{})
	}
	in.groups[s.from][box] = struct{}{}
}

func (in *interest) leave(box mailbox, from string) {
	delete(in.groups[from], box)
	if len(in.groups[from]) == 0 {
		delete(in.groups, from)
	}
}

// add notes a sign of life. It reports whether the mailbox is new.
func (in *interest) add(box mailbox, by claimant) (fresh bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	last, known := in.seen[box]
	// Who has proven nothing takes nobody's key over, to lose it among his own.
	better := by.proven && (!last.proven || by.from != last.from)
	if known && !better {
		if now.Sub(last.at) >= time.Hour {
			last.at = now
			in.seen[box], in.dirty[box] = last, struct{}{}
		}
		return false
	}
	if !known || by.from != last.from {
		if !in.mayAdd(by, now) {
			return false
		}
		if group := in.groups[by.from]; len(group) >= budgetOf(by.from).places {
			in.forget(stalest(maps.Keys(group), in.worse))
		}
	}
	in.put(box, sign{now, by})
	if len(in.seen) > maxKeys {
		in.forget(stalest(maps.Keys(in.seen), in.fuller))
	}
	in.dirty[box] = struct{}{}
	in.wake()
	return !known
}

// mayAdd reports whether an address may add one more key now.
func (in *interest) mayAdd(by claimant, now time.Time) bool {
	limit, known := in.added.Get(by)
	if !known {
		limit = rate.NewLimiter(budgetOf(by.from).perSecond, budgetOf(by.from).burst)
		in.added.Add(by, limit)
	}
	return limit.AllowN(now, 1)
}

// worse reports whether the first of two mailboxes goes before the second.
func (in *interest) worse(a, b mailbox) bool {
	x, y := in.seen[a], in.seen[b]
	if x.proven != y.proven {
		return y.proven
	}
	return x.at.Before(y.at)
}

// fuller is worse among mailboxes of different addresses.
func (in *interest) fuller(a, b mailbox) bool {
	if x, y := len(in.groups[in.seen[a].from]), len(in.groups[in.seen[b].from]); x != y {
		return x > y
	}
	return in.worse(a, b)
}

// stalest is the one of some mailboxes that is to go first.
func stalest(boxes iter.Seq[mailbox], before func(a, b mailbox) bool) (first mailbox) {
	looked := 0
	for box := range boxes { // of a map, in random order
		if looked == 0 || before(box, first) {
			first = box
		}
		if looked++; looked == 50 {
			break
		}
	}
	return first
}

func (in *interest) forget(box mailbox) {
	in.leave(box, in.seen[box].from)
	delete(in.seen, box)
	in.dirty[box] = struct{}{}
	in.forgotten.Add(box, struct{}{})
}

// stir lets whoever fetches look again.
func (in *interest) stir() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.wake()
}

func (in *interest) wake() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// has reports whether mail of a Mostro to a key is fetched.
func (in *interest) has(key string, mostros []string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	of := func(box mailbox) bool {
		_, ok := in.seen[box]
		return ok || in.forgotten.Contains(box)
	}
	return of(mailbox{key, ""}) || slices.ContainsFunc(mostros, func(mostro string) bool { return of(mailbox{key, mostro}) })
}

// fetches reports whether the mail of a Mostro to a key is fetched, alone or with that of all.
func (in *interest) fetches(box mailbox) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, one := in.seen[box]
	_, all := in.seen[mailbox{box.key, ""}]
	return one || all
}

// keys lists the keys whose mail by one of the Mostros is fetched, as many as one relay is asked for, in the
// order of their claim to a place, and a channel that is closed when there are others.
func (in *interest) keys(mostros []string) ([]string, <-chan struct{}) {
	claims, changed := in.claims(func(mostro string) bool { return mostro == "" || slices.Contains(mostros, mostro) })
	var keys []string
	twice := make(map[string]struct{})
	for _, c := range claims {
		if _, ok := twice[c.box.key]; !ok && len(keys) < keysPerPeer {
			twice[c.box.key] = struct{}{}
			keys = append(keys, c.box.key)
		}
	}
	return keys, changed
}

// claim is a mailbox with its claim to a place.
type claim struct {
	box  mailbox
	sign sign
	last bool // after the others
	rank int  // among those of the same address
}

// claims lists the mailboxes of some Mostros, in the order of their claim to a place, and a channel that is closed
// when there are others.
func (in *interest) claims(of func(mostro string) bool) ([]claim, <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	provenFirst := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	var claims []claim
	for from, group := range in.groups {
		var mine []claim
		for box := range group {
			if of(box.mostro) {
				mine = append(mine, claim{box: box, sign: in.seen[box]})
			}
		}
		slices.SortFunc(mine, func(a, b claim) int {
			return cmp.Or(provenFirst(a.sign.proven, b.sign.proven), b.sign.at.Compare(a.sign.at), strings.Compare(a.box.key, b.box.key))
		})
		for rank := range mine {
			mine[rank].rank, mine[rank].last = rank, !mine[rank].sign.proven || rank >= budgetOf(from).first
		}
		claims = append(claims, mine...)
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(provenFirst(!a.last, !b.last), cmp.Compare(a.rank, b.rank), b.sign.at.Compare(a.sign.at), strings.Compare(a.box.key, b.box.key))
	})
	return claims, in.changed
}

// keep writes down what is new, and forgets what has shown no sign of life for long.
func (in *interest) keep(ctx context.Context, log *slog.Logger, past func() time.Time) {
	wait := time.Second
	for end := false; !end; {
		select {
		case <-ctx.Done():
			end = true
		case <-time.After(wait):
		}
		wait = time.Second
		if err := in.write(past()); err != nil {
			wait = checkEvery
			log.Error("note whose mail is fetched", "error", err)
		}
	}
}

// write is one round of keep: what has given no sign of life since past is forgotten. What could not be written is written by the
// next one.
func (in *interest) write(past time.Time) error {
	in.mu.Lock()
	for box, last := range in.seen {
		if last.at.Before(past) {
			in.forget(box)
		}
	}
	rows := make(map[string][]byte)
	for box := range in.dirty {
		var value []byte // of one that is forgotten
		if last, known := in.seen[box]; known {
			if value = encodeTime(last.at); last.proven {
				value = append(value, 1)
			}
		}
		rows[string(stateRow(in.table, box.key, box.mostro))] = value
	}
	dirty := in.dirty
	in.dirty = make(map[mailbox]struct{})
	in.mu.Unlock()
	if len(rows) == 0 || in.state == nil {
		return nil
	}
	err := in.state.set(rows)
	if err != nil {
		in.mu.Lock()
		maps.Copy(in.dirty, dirty)
		in.mu.Unlock()
	}
	return err
}
