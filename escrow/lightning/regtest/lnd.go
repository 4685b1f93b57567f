package regtest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/txscript"
	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/grpc"

	"mostro/escrow/lightning/lnd"
)

const portsOfNode = 2 // gRPC, then peers

// NodeInfo says how to reach a Lightning node.
type NodeInfo struct {
	GRPC     string // host:port
	TLSCert  string // path
	Macaroon string // path of the admin macaroon
	Pubkey   string // hex
}

// node is a Lightning node that can be called. Its connection repairs itself over restarts
// of the process.
type node struct {
	conn   *grpc.ClientConn
	client lnrpc.LightningClient
	pubkey string // empty until it has answered once
}

func (n *Network) lndDir(name string) string { return filepath.Join(n.config.Dir, name) }

func (n *Network) nodePort(name string, i int) string {
	for index, other := range n.config.Nodes {
		if other == name {
			return n.ports.address(portsOfBtcd + portsOfNode*index + i)
		}
	}
	panic("regtest: there is no node " + name)
}

func (n *Network) grpcAddress(name string) string { return n.nodePort(name, 0) }

func (n *Network) peerAddress(name string) string { return n.nodePort(name, 1) }

// Node says how to reach a node. Asking for a name that is not in Config.Nodes panics, here
// and in all other methods.
func (n *Network) Node(name string) NodeInfo {
	dir := n.lndDir(name)
	return NodeInfo{
		GRPC:     n.grpcAddress(name),
		TLSCert:  filepath.Join(dir, "tls.cert"),
		Macaroon: filepath.Join(dir, "data", "chain", "bitcoin", "simnet", "admin.macaroon"),
		Pubkey:   n.node(name).pubkey,
	}
}

// Conn is an administrator's connection to a node. It belongs to the network.
func (n *Network) Conn(name string) *grpc.ClientConn { return n.node(name).conn }

// Client is an administrator's client of a node.
func (n *Network) Client(name string) lnrpc.LightningClient { return n.node(name).client }

func (n *Network) node(name string) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if node, ok := n.nodes[name]; ok {
		return node
	}
	panic("regtest: there is no node " + name)
}

func (n *Network) lndArgs(name string) []string {
	bitcoin := n.Bitcoin()
	return []string{
		n.markerOf(name), "--alias=" + name, "--noseedbackup", "--nobootstrap",
		"--rpclisten=" + n.grpcAddress(name), "--norest", "--no-rest-tls", "--tlsdisableautofill",
		"--listen=" + n.peerAddress(name), "--externalip=" + n.peerAddress(name),
		"--bitcoin.simnet", "--bitcoin.node=btcd", "--btcd.rpchost=" + bitcoin.RPC,
		"--btcd.rpcuser=" + bitcoin.User, "--btcd.rpcpass=" + bitcoin.Pass, "--btcd.rpccert=" + bitcoin.Cert,
		"--bitcoin.defaultchanconfs=1", "--bitcoin.defaultremotedelay=4",
		"--maxpendingchannels=10", "--protocol.wumbo-channels", "--keep-failed-payment-attempts",
		// Gossip and databases as fast as they go: a network of three has no crowd to spare.
		"--trickledelay=50", "--gossip.sub-batch-delay=5ms",
		"--gossip.msg-rate-bytes=100000000", "--gossip.msg-burst-bytes=200000000",
		"--db.batch-commit-interval=10ms", "--caches.rpc-graph-cache-duration=100ms",
		"--debuglevel=info", "--logging.console.disable",
	}
}

// startLnd starts a Lightning node and waits until it answers and has seen the whole chain.
func (n *Network) startLnd(ctx context.Context, name string) error {
	if err := os.MkdirAll(n.lndDir(name), 0o700); err != nil {
		return err
	}
	if !n.runs(name) {
		if err := n.run(name, n.config.Binaries.LND, n.lndArgs(name)); err != nil {
			return err
		}
	}
	conn, err := n.connect(ctx, name)
	if err != nil {
		return err
	}
	err = until(ctx, name+" to serve calls", func() (bool, error) {
		// Otherwise the connection waits seconds after the attempts that came too early.
		conn.ResetConnectBackoff()
		state, err := lnrpc.NewStateClient(conn).GetState(ctx, &lnrpc.GetStateRequest{})
		return state.GetState() == lnrpc.WalletState_SERVER_ACTIVE, err
	})
	if err != nil {
		return err
	}
	info, err := n.Client(name).GetInfo(ctx, &lnrpc.GetInfoRequest{})
	if err != nil {
		return fmt.Errorf("ask %s who it is: %w", name, err)
	}
	n.setNode(name, conn, info.IdentityPubkey)
	height, err := n.Height()
	if err != nil {
		return err
	}
	return n.waitSynced(ctx, name, height)
}

// connect opens the connection of a node, once lnd has written its certificate and its
// macaroon, or returns the one that is open.
func (n *Network) connect(ctx context.Context, name string) (conn *grpc.ClientConn, err error) {
	n.mu.Lock()
	known, ok := n.nodes[name]
	n.mu.Unlock()
	if ok {
		return known.conn, nil
	}
	dir := n.lndDir(name)
	err = until(ctx, name+" to write its macaroon", func() (bool, error) {
		conn, err = lnd.Connect(lnd.Config{
			Host:         n.grpcAddress(name),
			CertFile:     filepath.Join(dir, "tls.cert"),
			MacaroonFile: filepath.Join(dir, "data", "chain", "bitcoin", "simnet", "admin.macaroon"),
		})
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	n.setNode(name, conn, "")
	return conn, nil
}

func (n *Network) setNode(name string, conn *grpc.ClientConn, pubkey string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[name] = &node{conn: conn, client: lnrpc.NewLightningClient(conn), pubkey: pubkey}
}

// waitSynced waits until a node has worked through all blocks up to a height.
func (n *Network) waitSynced(ctx context.Context, name string, height uint32) error {
	return until(ctx, fmt.Sprintf("%s to reach block %d", name, height), func() (bool, error) {
		info, err := n.Client(name).GetInfo(ctx, &lnrpc.GetInfoRequest{})
		// lnd asks its backend for the height, so the height alone proves nothing.
		return info.GetSyncedToChain() && info.GetBlockHeight() >= height, err
	})
}

// newAddressScript is the output script of a fresh address of a node's wallet.
func (n *Network) newAddressScript(ctx context.Context, name string) ([]byte, error) {
	answer, err := n.Client(name).NewAddress(ctx, &lnrpc.NewAddressRequest{Type: lnrpc.AddressType_WITNESS_PUBKEY_HASH})
	if err != nil {
		return nil, fmt.Errorf("ask %s for an address: %w", name, err)
	}
	address, err := btcutil.DecodeAddress(answer.Address, &chaincfg.SimNetParams)
	if err != nil {
		return nil, fmt.Errorf("read the address of %s: %w", name, err)
	}
	return txscript.PayToAddrScript(address)
}

func (n *Network) waitFunds(ctx context.Context, name string) error {
	return until(ctx, name+" to see its coins", func() (bool, error) {
		balance, err := n.Client(name).WalletBalance(ctx, &lnrpc.WalletBalanceRequest{})
		return balance.GetConfirmedBalance() >= nodeFunds, err
	})
}

// openChannels opens all channels, with one transaction for each node that opens some.
func (n *Network) openChannels(ctx context.Context) error {
	if err := n.connectPeers(ctx, n.config.Nodes...); err != nil {
		return err
	}
	batches := make(map[string][]*lnrpc.BatchOpenChannel)
	for _, channel := range n.config.Channels {
		key, err := hex.DecodeString(n.node(channel.To).pubkey)
		if err != nil {
			return err
		}
		batches[channel.From] = append(batches[channel.From], &lnrpc.BatchOpenChannel{
			NodePubkey:         key,
			LocalFundingAmount: channel.Capacity,
			PushSat:            channel.Push,
		})
	}
	for name, batch := range batches {
		_, err := n.Client(name).BatchOpenChannel(ctx, &lnrpc.BatchOpenChannelRequest{
			Channels: batch, SatPerVbyte: 5, MinConfs: 1,
		})
		if err != nil {
			return fmt.Errorf("open channels of %s: %w", name, err)
		}
	}
	if err := n.waitMempool(ctx, len(batches)); err != nil {
		return err
	}
	if _, err := n.Mine(ctx, confirmations); err != nil {
		return err
	}
	return n.waitChannels(ctx, n.config.Nodes...)
}

// reconnect brings the channels of some nodes to life after a start, and waits until they
// can pay. A channel that stays dead, since somebody closed it, does not end the network.
func (n *Network) reconnect(ctx context.Context, names ...string) error {
	limited, cancel := context.WithTimeoutCause(ctx, reconnectLimit, errNotActive)
	defer cancel()
	err := n.connectPeers(limited, names...)
	if err == nil {
		err = n.waitChannels(limited, names...)
	}
	var pairs []pair
	if err == nil {
		pairs, err = n.neighbors(limited, names...)
	}
	if err == nil {
		err = n.waitRoutes(limited, pairs)
	}
	if errors.Is(err, errNotActive) && ctx.Err() == nil {
		n.config.Progress("going on without some channels: " + err.Error())
		return nil
	}
	return err
}

// errNotActive ends the wait for channels.
var errNotActive = fmt.Errorf("not active after %v", reconnectLimit)

// connectPeers connects the two ends of each channel that one of the named nodes has. lnd
// would do so by itself in time, but to the address that it knows from an earlier run.
func (n *Network) connectPeers(ctx context.Context, names ...string) error {
	for _, channel := range n.channelsOf(names) {
		err := until(ctx, channel.From+" to reach "+channel.To, func() (bool, error) {
			_, err := n.Client(channel.From).ConnectPeer(ctx, &lnrpc.ConnectPeerRequest{
				Addr: &lnrpc.LightningAddress{Pubkey: n.node(channel.To).pubkey, Host: n.peerAddress(channel.To)},
			})
			if err != nil && !strings.Contains(err.Error(), "already connected to peer") {
				return false, err
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// channelsOf lists the channels of the named nodes whose other end runs too.
func (n *Network) channelsOf(names []string) []Channel {
	var channels []Channel
	for _, channel := range n.config.Channels {
		for _, name := range names {
			if (channel.From == name || channel.To == name) && n.responsive(channel.From) && n.responsive(channel.To) {
				channels = append(channels, channel)
				break
			}
		}
	}
	return channels
}

// waitChannels waits until both ends of all channels of some nodes call them active: those
// that were asked for in a new network, those that are left in an older one.
func (n *Network) waitChannels(ctx context.Context, names ...string) error {
	wanted := make(map[pair]int)
	for _, channel := range n.channelsOf(names) {
		wanted[pair{channel.From, channel.To}]++
		wanted[pair{channel.To, channel.From}]++
	}
	for ends, count := range wanted {
		err := until(ctx, fmt.Sprintf("%s's channels with %s", ends.from, ends.to), func() (bool, error) {
			channels, err := n.channelsBetween(ctx, ends)
			sleeping := slices.ContainsFunc(channels, func(c *lnrpc.Channel) bool { return !c.Active })
			return !sleeping && (n.state.Ready || len(channels) >= count), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// channelsBetween are the open channels of the payer with the payee, as the payer sees them.
func (n *Network) channelsBetween(ctx context.Context, ends pair) ([]*lnrpc.Channel, error) {
	answer, err := n.Client(ends.from).ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	return slices.DeleteFunc(answer.GetChannels(), func(c *lnrpc.Channel) bool {
		return c.RemotePubkey != n.node(ends.to).pubkey
	}), err
}

// pair is a payer and a payee.
type pair struct{ from, to string }

// neighbors are the pairs, of which one is named, where the payer has something to pay with
// in a channel with the payee.
func (n *Network) neighbors(ctx context.Context, names ...string) ([]pair, error) {
	var pairs []pair
	for _, channel := range n.channelsOf(names) {
		for _, ends := range []pair{{channel.From, channel.To}, {channel.To, channel.From}} {
			channels, err := n.channelsBetween(ctx, ends)
			if err != nil {
				return nil, fmt.Errorf("list channels of %s: %w", ends.from, err)
			}
			if slices.ContainsFunc(channels, canPay) {
				pairs = append(pairs, ends)
			}
		}
	}
	return pairs, nil
}

func (n *Network) allPairs() []pair {
	var pairs []pair
	for _, from := range n.config.Nodes {
		for _, to := range n.config.Nodes {
			if from != to {
				pairs = append(pairs, pair{from, to})
			}
		}
	}
	return pairs
}

// waitRoutes waits until the payers know a route: lnd calls a channel active about a second
// before it pays over it.
func (n *Network) waitRoutes(ctx context.Context, pairs []pair) error {
	for _, ends := range pairs {
		err := until(ctx, fmt.Sprintf("a route from %s to %s", ends.from, ends.to), func() (bool, error) {
			answer, err := n.Client(ends.from).QueryRoutes(ctx, &lnrpc.QueryRoutesRequest{
				PubKey: n.node(ends.to).pubkey, Amt: routeProbe,
			})
			return len(answer.GetRoutes()) > 0, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// canPay tells whether the probe surely fits through a channel beside the commitment's fees.
func canPay(c *lnrpc.Channel) bool {
	return c.LocalBalance-int64(c.LocalConstraints.GetChanReserveSat()) >= leastToProbe
}
