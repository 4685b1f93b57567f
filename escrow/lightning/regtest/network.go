// Package regtest runs a small Lightning network of real nodes on this machine: btcd on
// simnet and a few lnd nodes with funds and open channels, for `mostro dev` and for tests.
//
// Binaries finds the programs or compiles them, Start brings a network up in a directory or
// resumes the one that is there, ForTest gives a test its own copy of a prepared network.
//
// The rules it keeps:
//
//   - Everything listens on 127.0.0.1 and nothing dials elsewhere.
//   - No process outlives its owner: children carry a parent-death signal where the system
//     has one, and their pid files let the next start end what a killed run left behind.
//   - A directory belongs to one Network at a time. What was not finished before a crash is
//     made anew; what was finished is resumed with its keys, coins and channels.
//   - simnet and not btcd's regtest, in spite of the package's name: btcd deletes a regtest
//     chain at every start, and lnd then waits for ever for a chain that is gone.
//
// The coins are worthless and the keys are fixed or readable, so nothing here is a secret.
// The package must know nothing of the escrow.
package regtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/rpcclient"
)

// Limits and intervals.
const (
	startLimit      = 5 * time.Minute // for a whole start on a very busy machine
	reconnectLimit  = time.Minute     // for channels to wake up after a start
	stopLimit       = 20 * time.Second
	pollInterval    = 20 * time.Millisecond
	lockInterval    = 200 * time.Millisecond
	lastWords       = 15 // lines of a dead process's output in the error
	waitingExits    = 16 // exits that Exited holds for a slow reader
	fundingBlocks   = 320
	confirmations   = 6          // make a channel public
	nodeFunds       = 5_00000000 // sat for each node's wallet
	routeProbe      = 1_000      // sat that must route before a network counts as ready
	leastToProbe    = 50_000     // sat that a channel's owner must have for the probe
	defaultCapacity = 10_000_000 // sat
	defaultPush     = 5_000_000  // sat
)

// btcdName is how the Bitcoin node is called beside the Lightning nodes.
const btcdName = "btcd"

// Channel is a public channel to open when a network is made.
type Channel struct {
	From, To string
	Capacity int64 // sat
	Push     int64 // sat of it that the other side owns from the start
}

// Config says what network to run and where.
type Config struct {
	// Dir holds the whole network and nothing else.
	Dir      string
	Binaries Paths
	// Nodes are the names of the Lightning nodes; default "mostro", "alice", "bob".
	Nodes []string
	// Channels of a new network; default alice-mostro and mostro-bob with 5,000,000 sat on
	// each side, opened by mostro. They must connect all nodes, with funds on both sides.
	Channels []Channel
	// BlockInterval mines a block each time it has passed, 0 never: lnd counts itself as not
	// synced when the last block is older than two hours.
	BlockInterval time.Duration
	// CacheDir is where ports are reserved; default is DefaultCacheDir.
	CacheDir string
	// Progress is told in a line what is done now, from any goroutine; may be nil.
	Progress func(string)

	snapshot bool // use the ports that are set apart for making snapshots
}

// Exit is the end of a process that nobody asked for.
type Exit struct {
	Name string // a node's, or "btcd"
	Err  error  // with the process's last output
}

// Bitcoin says how to reach btcd's RPC (TLS).
type Bitcoin struct {
	RPC  string // host:port
	User string
	Pass string
	Cert string // path
}

// Network is a running network. Its methods may be called from many goroutines.
type Network struct {
	config  Config
	state   state
	dirLock *os.File
	ports   portBlock
	spawner *spawner
	miner   *rpcclient.Client
	chain   *chainLog
	exited  chan Exit
	mining  sync.WaitGroup
	stopped chan struct{} // closed by Stop
	stop    sync.Once

	mu       sync.Mutex
	children map[string]*child // the last process of each name
	frozen   map[string]bool
	nodes    map[string]*node
	guards   map[int]context.CancelCauseFunc // told when a process dies
	guardID  int
}

// Start runs the network in config.Dir: a new one when there is none or when making it was
// interrupted, else the one that is there. It returns when payments route; of a resumed
// network, over the channels that are left. When ctx ends first, everything that was started
// is stopped again.
func Start(ctx context.Context, config Config) (*Network, error) {
	n, err := prepare(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("start network in %s: %w", config.Dir, err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %v", startLimit))
	defer cancel()
	if err := n.bringUp(limited); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		n.Stop(stopCtx)
		return nil, fmt.Errorf("start network in %s: %w", config.Dir, err)
	}
	if config.BlockInterval > 0 {
		n.mining.Go(n.mineRegularly)
	}
	return n, nil
}

// prepare takes hold of the directory and of a block of ports.
func prepare(ctx context.Context, config Config) (*Network, error) {
	if config.Nodes == nil {
		config.Nodes = []string{"mostro", "alice", "bob"}
	}
	if config.Channels == nil {
		config.Channels = []Channel{
			{From: "mostro", To: "alice", Capacity: defaultCapacity, Push: defaultPush},
			{From: "mostro", To: "bob", Capacity: defaultCapacity, Push: defaultPush},
		}
	}
	if config.Progress == nil {
		config.Progress = func(string) {}
	}
	if err := checkConfig(config); err != nil {
		return nil, err
	}
	if config.CacheDir == "" {
		cacheDir, err := DefaultCacheDir()
		if err != nil {
			return nil, err
		}
		config.CacheDir = cacheDir
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	// One spelling of the path, since leftovers are known by it.
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, err
	}
	if config.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	n := &Network{
		config:   config,
		spawner:  newSpawner(),
		exited:   make(chan Exit, waitingExits),
		stopped:  make(chan struct{}),
		children: make(map[string]*child),
		frozen:   make(map[string]bool),
		nodes:    make(map[string]*node),
		guards:   make(map[int]context.CancelCauseFunc),
	}
	n.chain = newChainLog(filepath.Join(n.btcdDir(), "chain"))
	if err := n.takeDirectory(ctx); err != nil {
		n.release()
		return nil, err
	}
	return n, nil
}

func checkConfig(config Config) error {
	if len(config.Nodes) == 0 || portsOfBtcd+portsOfNode*len(config.Nodes) > portsPerBlock {
		return fmt.Errorf("%d nodes: want 1 to %d", len(config.Nodes), (portsPerBlock-portsOfBtcd)/portsOfNode)
	}
	if slices.Contains(config.Nodes, btcdName) {
		return fmt.Errorf("a node must not be called %s", btcdName)
	}
	for _, channel := range config.Channels {
		for _, name := range []string{channel.From, channel.To} {
			if !slices.Contains(config.Nodes, name) {
				return fmt.Errorf("channel %s-%s: there is no node %s", channel.From, channel.To, name)
			}
		}
	}
	return nil
}

func (n *Network) takeDirectory(ctx context.Context) error {
	var err error
	n.dirLock, err = tryLock(filepath.Join(n.config.Dir, "lock"))
	if errors.Is(err, errLocked) {
		return errors.New("another process runs this network; stop it or use another directory")
	}
	if err != nil {
		return err
	}
	for _, name := range append([]string{btcdName}, n.config.Nodes...) {
		if err := endLeftover(ctx, n.config.Dir, name, n.markerOf(name)); err != nil {
			return err
		}
	}
	if n.state, err = loadState(n.config); err != nil {
		return err
	}
	if !n.state.Ready {
		if err := n.clear(); err != nil {
			return err
		}
	}
	preferred := n.state.PortBlock
	switch {
	case n.config.snapshot:
		preferred = snapshotBlock
	case preferred == snapshotBlock:
		preferred = firstFreeBlock
	}
	n.ports, err = reservePorts(n.config.CacheDir, preferred, portsOfBtcd+portsOfNode*len(n.config.Nodes))
	if err != nil {
		return err
	}
	if n.config.snapshot && n.ports.number != snapshotBlock {
		return fmt.Errorf("ports from %d on, which are set apart for making a snapshot, are in use", firstPort)
	}
	n.state.PortBlock = n.ports.number
	return n.state.save(n.config.Dir)
}

// markerOf is the argument by which our own process of that name is known.
func (n *Network) markerOf(name string) string {
	if name == btcdName {
		return "--datadir=" + filepath.Join(n.btcdDir(), "data")
	}
	return "--lnddir=" + n.lndDir(name)
}

// clear removes the nodes of a network that was never finished.
func (n *Network) clear() error {
	for _, name := range append([]string{btcdName}, n.config.Nodes...) {
		if err := os.RemoveAll(filepath.Join(n.config.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// bringUp starts all processes and makes or resumes the network.
func (n *Network) bringUp(ctx context.Context) error {
	ctx, release := n.guard(ctx)
	defer release()
	if err := n.startBtcd(ctx); err != nil {
		return err
	}
	// A new chain needs blocks to mature its coins and to activate SegWit, a resumed one a
	// fresh block, or lnd would say that it is not synced.
	blocks := uint32(1)
	if !n.state.Ready {
		blocks = fundingBlocks
	}
	if _, err := n.generate(blocks); err != nil {
		return err
	}
	n.config.Progress(fmt.Sprintf("starting %d Lightning nodes", len(n.config.Nodes)))
	if err := n.forEachNode(func(name string) error { return n.startLnd(ctx, name) }); err != nil {
		return err
	}
	if !n.state.Ready {
		return n.found(ctx)
	}
	n.config.Progress("waiting for the channels")
	return n.reconnect(ctx, n.config.Nodes...)
}

// found gives a new network its coins and channels.
func (n *Network) found(ctx context.Context) error {
	n.config.Progress("funding the nodes")
	if err := n.fundNodes(ctx); err != nil {
		return err
	}
	n.config.Progress("opening channels")
	if err := n.openChannels(ctx); err != nil {
		return err
	}
	n.config.Progress("waiting for routes")
	if err := n.waitRoutes(ctx, n.allPairs()); err != nil {
		return err
	}
	n.state.Ready = true
	return n.state.save(n.config.Dir)
}

// Exited reports each process that ended without being asked to. The others run on.
func (n *Network) Exited() <-chan Exit { return n.exited }

// Stop ends all processes in good order, and by force what is still there when ctx ends. A
// second call does nothing.
func (n *Network) Stop(ctx context.Context) {
	n.stop.Do(func() {
		close(n.stopped)
		if n.miner != nil {
			n.miner.Shutdown() // a block that is being asked for is not waited for
		}
		n.mining.Wait()
		n.forEachNode(func(name string) error {
			n.stopChild(ctx, name)
			return nil
		})
		n.stopChild(ctx, btcdName)
		n.release()
	})
}

// release gives back what is not a process.
func (n *Network) release() {
	for _, node := range n.nodes {
		node.conn.Close()
	}
	n.spawner.close()
	if n.ports.lock != nil {
		n.ports.release()
	}
	if n.dirLock != nil {
		n.dirLock.Close()
	}
}
