package lightning

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"

	"mostro/escrow/order"
)

// Defaults of a simulated network.
const (
	simHeight          = 1000                           // blocks
	simFunds           = 100 * 100_000_000 * 1000       // msat a node: 100 BTC
	simChannels        = 10                             // channels a node
	simHoldExpiryDelta = 12                             // blocks; lnd's invoices.holdexpirydelta
	simEpoch           = 1_780_000_000                  // unix seconds: where the clock of a network starts
	simSlots           = 483                            // HTLCs a channel, BOLT 2
	simBlockPadding    = 3                              // blocks that lnd's payer adds to the final CLTV delta
	simMaxTimelock     = 2016                           // blocks; lnd's max-cltv-expiry
	simMinCLTV         = 18                             // blocks; lnd's least cltv_expiry of an invoice
	simDefaultCLTV     = 80                             // blocks; lnd's default of an invoice
	simInvoiceExpiry   = time.Hour                      // of an ordinary invoice; lnd's default is a day
	simHoldExpiry      = 24 * time.Hour                 // of a hold invoice; lnd's default
	simShardTimeout    = 120 * time.Second              // lnd releases an incomplete set of parts after it
	simMaxInvoiceLife  = 365 * 24 * time.Hour           // lnd's longest expiry of an invoice
	simMaxCallLog      = 10_000                         // calls that a node remembers
	simVersion         = "0.20.1-beta commit=simulated" // what a node says it runs
)

// SimConfig says how a simulated network begins. The zero value is a simnet with a clock of
// its own, in which every node is rich.
type SimConfig struct {
	Network string // as in order.Invoice; "" = "simnet"
	// Now is the clock, nil = a clock that only Advance moves. It is called with the network
	// locked and must not call it. Whoever moves a clock of their own calls Tick afterwards:
	// nothing in the network runs by itself.
	Now      func() time.Time
	Height   uint32     // of the first block known, 0 = 1000
	Funds    order.Msat // what each new node owns; it can receive as much again; 0 = 100 BTC
	Channels int        // of each node, bounds its HTLCs at 483 a channel; 0 = 10
	// HoldExpiryDelta is lnd's invoices.holdexpirydelta: so many blocks before the lowest
	// HTLC expiry a node cancels an accepted invoice by itself. 0 = 12.
	HoldExpiryDelta uint32
}

// SimNetwork is a Lightning network in memory, for tests: named nodes that pay one another,
// a block height and a clock under the test's hand, and the answers that lnd v0.20.1 gives,
// word for word where they matter. The contract test holds it to that.
//
// Nothing in it moves by itself, nothing is random, and no goroutine is started: a payment
// has arrived, or failed, when the call that sent it returns (Send still answers InFlight,
// as lnd does; the outcome is news). So a test can run it without goroutines, by OnChange,
// HoldState and PaymentState, and the same calls in the same order always end the same. All
// methods may also be called from many goroutines.
//
// Money is conserved: Total never changes except by a new node.
type SimNetwork struct {
	config SimConfig

	mu       sync.Mutex
	elapsed  time.Duration // what Advance added to the clock
	height   uint32
	stalled  time.Time // since when no block comes; zero: they do
	synced   bool
	nodes    []*SimNode // in the order they were made
	byName   map[string]*SimNode
	byPubkey map[string]*SimNode
	written  map[string]*simInvoice // by text: recognizing one is cheaper than decoding it
	minted   order.Msat             // what the nodes were born with
	routed   order.Msat             // fees that went to the nodes between payer and payee
	byTime   simQueue               // invoices that expire, parts that time out
	byHeight simQueue               // accepted invoices that must be given back

	listeners  []func(SimChange)
	changes    []SimChange // not yet told
	delivering bool
}

// NewSimNetwork makes an empty network. It panics when the network name is not one that
// Decode knows, since every invoice would be lost.
func NewSimNetwork(config SimConfig) *SimNetwork {
	if config.Network == "" {
		config.Network = "simnet"
	}
	if config.Now == nil {
		config.Now = func() time.Time { return time.Unix(simEpoch, 0) }
	}
	if config.Height == 0 {
		config.Height = simHeight
	}
	if config.Funds == 0 {
		config.Funds = simFunds
	}
	if config.Channels == 0 {
		config.Channels = simChannels
	}
	if config.HoldExpiryDelta == 0 {
		config.HoldExpiryDelta = simHoldExpiryDelta
	}
	if paramsOf(config.Network) == nil {
		panic(fmt.Sprintf("network %q is not known", config.Network))
	}
	return &SimNetwork{
		config:   config,
		height:   config.Height,
		synced:   true,
		byName:   map[string]*SimNode{},
		byPubkey: map[string]*SimNode{},
		written:  map[string]*simInvoice{},
	}
}

// Node returns the node of that name, and makes it when there is none yet. Its key follows
// from its name.
func (n *SimNetwork) Node(name string) *SimNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node := n.byName[name]; node != nil {
		return node
	}
	seed := sha256.Sum256([]byte("simulated node " + name))
	key, pubkey := btcec.PrivKeyFromBytes(seed[:])
	node := &SimNode{
		network:  n,
		name:     name,
		key:      key,
		pubkey:   hex.EncodeToString(pubkey.SerializeCompressed()),
		local:    n.config.Funds,
		capacity: 2 * n.config.Funds,
		slots:    simSlots * n.config.Channels,
		invoices: map[order.Hash]*simInvoice{},
		payments: map[order.Hash]*simPayment{},
		streams:  map[simStream]struct{}{},
		counts:   map[SimMethod]int{},
	}
	n.nodes = append(n.nodes, node)
	n.byName[name], n.byPubkey[node.pubkey] = node, node
	n.minted += node.local
	return node
}

// Height is the block height.
func (n *SimNetwork) Height() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.height
}

// Now is the time of the network.
func (n *SimNetwork) Now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now()
}

// Mine adds blocks, one by one. Accepted invoices that come too near to their HTLC's expiry
// are canceled on the way.
func (n *SimNetwork) Mine(blocks uint32) {
	for range blocks {
		n.update(func() {
			n.height++
			n.stalled = time.Time{}
			for {
				invoice := n.byHeight.due(int64(n.height))
				if invoice == nil {
					break
				}
				invoice.expireByHeight()
			}
			for _, node := range n.nodes {
				node.tellHeight()
			}
		})
	}
}

// Advance moves the clock forward and does what is due by then.
func (n *SimNetwork) Advance(d time.Duration) {
	n.update(func() { n.elapsed += d })
	n.Tick()
}

// Tick does what is due by the clock: unpaid invoices expire, incomplete payments are
// released. Every call of a node does it too.
func (n *SimNetwork) Tick() { n.update(func() {}) }

// StallChain lets the latest block get old, until Mine. Without it the times of blocks keep up with the clock, as those of a
// chain that goes on, though their heights change by Mine alone.
func (n *SimNetwork) StallChain() { n.update(func() { n.stalled = n.now() }) }

// tipTime is when the latest block was made.
func (n *SimNetwork) tipTime() time.Time {
	if n.stalled.IsZero() {
		return n.now()
	}
	return n.stalled
}

// SetSynced says whether the nodes report themselves synced to the chain.
func (n *SimNetwork) SetSynced(synced bool) { n.update(func() { n.synced = synced }) }

// Total is all money there is: what nodes own, what is in flight, and what routing took. It
// equals the sum of what the nodes were born with, or Sim itself has lost money.
func (n *SimNetwork) Total() (total, minted order.Msat) {
	n.mu.Lock()
	defer n.mu.Unlock()
	total = n.routed
	for _, node := range n.nodes {
		total += node.local + node.lockedOut
	}
	return total, n.minted
}

// Routed is the sum of all routing fees paid.
func (n *SimNetwork) Routed() order.Msat {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.routed
}

func (n *SimNetwork) now() time.Time { return n.config.Now().Add(n.elapsed) }

// update changes the network, after doing what was due before, and then tells the changes.
func (n *SimNetwork) update(change func()) {
	defer n.tell()
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	for {
		invoice := n.byTime.due(now.UnixNano())
		if invoice == nil {
			break
		}
		invoice.expireByTime(now)
	}
	change()
}

// read decodes an invoice, whoever wrote it.
func (n *SimNetwork) read(bolt11 string) (order.Invoice, error) {
	n.mu.Lock()
	known := n.written[bolt11]
	n.mu.Unlock()
	if known != nil {
		return known.Invoice, nil
	}
	return Decode(bolt11)
}

// simQueue holds invoices by when they must be looked at, in the order of that, and of
// arrival where it is the same. An invoice that has moved on is looked at for nothing.
type simQueue struct {
	entries simHeap
	serial  uint64
}

func (q *simQueue) add(at int64, invoice *simInvoice) {
	q.serial++
	heap.Push(&q.entries, simEntry{at, q.serial, invoice})
}

// due takes out the next invoice to look at, nil when none is due.
func (q *simQueue) due(at int64) *simInvoice {
	if len(q.entries) == 0 || q.entries[0].at > at {
		return nil
	}
	return heap.Pop(&q.entries).(simEntry).invoice
}

type simEntry struct {
	at      int64 // unix nanoseconds or block height
	serial  uint64
	invoice *simInvoice
}

type simHeap []simEntry

func (h simHeap) Len() int      { return len(h) }
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h simHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].serial < h[j].serial
}
func (h *simHeap) Push(entry any) { *h = append(*h, entry.(simEntry)) }
func (h *simHeap) Pop() any {
	last := len(*h) - 1
	entry := (*h)[last]
	(*h)[last] = simEntry{}
	*h = (*h)[:last]
	return entry
}
