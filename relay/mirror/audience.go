package mirror

import (
	"context"
	"slices"
	"sync"

	"github.com/fiatjaf/khatru"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nbd-wtf/go-nostr"

	"mostro/relay"
)

// audience learns from what clients of this relay ask and write whose mail is to be fetched elsewhere, and which
// conversations. A Mirror has one, and so has a Replica, which tells its primary.
type audience struct {
	node   string      // hex
	strict func() bool // Config.Strict

	wanted     func() bool              // whether anything could come from elsewhere
	isMostro   func(pubkey string) bool // that is followed
	isFollowed func(pubkey string) bool // the same, or another platform
	isReplica  func(pubkey string) bool // of this relay

	interest *interest // mail
	talks    *interest
	clients  *lru.Cache[string, *connection] // by connection
}

func newAudience(node string, strict func() bool) *audience {
	a := &audience{node: node, strict: strict, wanted: func() bool { return true }, isReplica: func(string) bool { return false }}
	a.clients, _ = lru.New[string, *connection](maxClients) // fails only for a size below 1
	return a
}

// Asked learns from a client's filter whose mail it waits for, and in which conversations it is. It
// refuses nothing (relay.ReadPolicy).
func (a *audience) Asked(ctx context.Context, f nostr.Filter) (reject bool, msg string) {
	messages, wraps := slices.Contains(f.Kinds, kindMessage), slices.Contains(f.Kinds, kindWrap)
	if !messages && !wraps || !a.wanted() {
		return false, ""
	}
	replica := a.replicaOf(ctx)
	switch {
	case replica != "":
		a.askedBy(claimant{replica, slices.Contains(f.Kinds, nostr.KindClientAuthentication)}, f, wraps)
	case len(f.Tags["p"]) > 0:
		a.askedMail(ctx, f, wraps)
	case messages && !isMirror(ctx):
		for _, key := range f.Authors {
			if a.isTrader(key) && (!a.strict() || relay.Authed(ctx, key)) {
				a.connection(ctx).talks(a, key, relay.Authed(ctx, key))
			}
		}
	}
	return false, ""
}

// isTrader reports whether a key may be one of somebody who trades.
func (a *audience) isTrader(key string) bool {
	return nostr.IsValidPublicKey(key) && key != a.node && !a.isFollowed(key)
}

// writers are those of whom mail is asked for: "" for anybody, which a gift wrap does not tell.
func (a *audience) writers(f nostr.Filter, wraps bool) []string {
	if len(f.Authors) == 0 || wraps {
		return []string{""}
	}
	return slices.DeleteFunc(slices.Clone(f.Authors), func(author string) bool { return author != a.node && !a.isMostro(author) })
}

func (a *audience) askedMail(ctx context.Context, f nostr.Filter, wraps bool) {
	from := a.writers(f, wraps)
	if slices.Contains(from, "") && isMirror(ctx) {
		return // else all who follow each other would ask each other for the mail of everybody, for ever
	}
	c := a.connection(ctx)
	for _, mostro := range from {
		c.deals(a, mostro)
		for _, key := range f.Tags["p"] {
			if mostro != a.node && a.isTrader(key) {
				c.learn(a.interest, mailbox{key, mostro}, relay.Authed(ctx, key))
			}
		}
	}
}

// A replica tells its primary what it has learned in questions of these forms, which other relays would understand
// too. With kind 22242 (NIP-42) among the kinds the clients have proven to hold the keys.
//
//	kinds 14, authors MOSTRO, #p KEYS     mail of a Mostro
//	kinds 14 and 1059, #p KEYS            mail of any
//	kinds 14, authors KEYS, #p MOSTRO     conversations of people who deal with a Mostro, or with the node
//	kinds 14, authors KEYS                the same, with one that cannot be told
func questionOf(talks bool, mostro string, proven bool, keys []string) nostr.Filter {
	f := nostr.Filter{Kinds: []int{kindMessage}, LimitZero: true}
	if talks {
		if f.Authors = keys; mostro != "" {
			f.Tags = nostr.TagMap{"p": {mostro}}
		}
	} else {
		if f.Tags = (nostr.TagMap{"p": keys}); mostro == "" {
			f.Kinds = append(f.Kinds, kindWrap)
		} else {
			f.Authors = []string{mostro}
		}
	}
	if proven {
		f.Kinds = append(f.Kinds, nostr.KindClientAuthentication)
	}
	return f
}

// askedBy learns what a replica says of its clients.
func (a *audience) askedBy(by claimant, f nostr.Filter, wraps bool) {
	to, keys, mostros := a.interest, f.Tags["p"], a.writers(f, wraps)
	isOne := func(key string) bool { return key == a.node || a.isMostro(key) }
	switch {
	case len(keys) == 0:
		to, keys, mostros = a.talks, f.Authors, []string{""}
	case len(keys) == 1 && isOne(keys[0]):
		to, keys, mostros = a.talks, f.Authors, keys
	}
	for _, mostro := range mostros {
		for _, key := range keys {
			if a.isTrader(key) && (to == a.talks || mostro != a.node) {
				to.add(mailbox{key, mostro}, by)
			}
		}
	}
}

// wrote learns from a message to a followed Mostro whose answer it is to fetch. false means that it will not be fetched,
// since the client, or all at its address, have brought too many keys. Of a gift wrap nobody can tell.
func (a *audience) wrote(ctx context.Context, ev *nostr.Event, to string) bool {
	replica, c, box := a.replicaOf(ctx), a.connection(ctx), mailbox{ev.PubKey, to}
	if replica == "" {
		c.deals(a, to)
	}
	switch {
	case ev.Kind != kindMessage:
		return true
	case replica != "":
		a.interest.add(box, claimant{replica, true})
	default:
		c.learn(a.interest, box, true)
	}
	return a.interest.fetches(box)
}

// isMirror reports whether the one who asks is another relay's mirror, which asks for its clients.
func isMirror(ctx context.Context) bool { return agentOf(ctx) == agent }

func agentOf(ctx context.Context) string {
	if conn := khatru.GetConnection(ctx); conn != nil {
		return conn.Request.Header.Get("User-Agent")
	}
	return ""
}

// replicaOf is a replica of this relay that asks or writes, "" when it is none. Anybody may say that he is one; what
// counts is that he has proven to hold the key of one.
func (a *audience) replicaOf(ctx context.Context) string {
	if agentOf(ctx) != replicaAgent {
		return ""
	}
	if key := relay.AuthedAs(ctx, a.isReplica); key != "" {
		return replicaFrom + key
	}
	return ""
}

// connection is one of a client to this relay. nil is somebody without a connection.
type connection struct {
	from string // its address

	mu     sync.Mutex // guards the following
	added  int        // mailboxes that were not known before, of keys that it has not proven to hold
	held   int        // the same, of those that it has
	with   []string   // Mostros that it deals with; "" is one that cannot be told
	keys   []string   // of its conversations
	proven map[string]bool
}

func (a *audience) connection(ctx context.Context) *connection {
	conn := khatru.GetConnection(ctx)
	if conn == nil {
		return nil
	}
	if c, ok := a.clients.Get(conn.Challenge); ok {
		return c
	}
	a.clients.ContainsOrAdd(conn.Challenge, &connection{from: khatru.GetIP(ctx), proven: make(map[string]bool)})
	c, _ := a.clients.Get(conn.Challenge)
	return c
}

// learn adds a mailbox, as long as the connection that it comes from has not added too many. proven says that
// the client holds its key; such ones are counted apart.
func (c *connection) learn(to *interest, box mailbox, proven bool) {
	if c == nil {
		to.add(box, claimant{near, proven})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(to, box, proven)
}

func (c *connection) add(to *interest, box mailbox, proven bool) {
	count := &c.added
	if proven {
		count = &c.held
	}
	if *count < keysPerClient && to.add(box, claimantOf(c.from, proven)) {
		*count++
	}
}

// deals notes that the client deals with a Mostro.
func (c *connection) deals(a *audience, mostro string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.with) >= maxDealings || slices.Contains(c.with, mostro) {
		return
	}
	c.with = append(c.with, mostro)
	for _, key := range c.keys {
		c.add(a.talks, mailbox{key, mostro}, c.proven[key])
	}
}

// talks notes that the client is in a conversation.
func (c *connection) talks(a *audience, key string, proven bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.keys, key) && len(c.keys) < talksPerClient {
		c.keys = append(c.keys, key)
	}
	if proven && slices.Contains(c.keys, key) {
		c.proven[key] = true
	}
	for _, mostro := range c.with {
		c.add(a.talks, mailbox{key, mostro}, proven)
	}
}
