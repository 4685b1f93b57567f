// Package lnd is lightning.Node on the gRPC interface of an LND node.
//
// It translates and adds nothing: no retry, no state, no money decision. Its rules:
//
//   - An error becomes one of lightning's only when lnd's answer proves it. lnd answers
//     nearly everything with the code Unknown and a text, so known texts are compared, and
//     every other text stays an unknown outcome (errors.go).
//   - A call without a deadline gets one, since lnd can hang. Streams live as long as their
//     context and end with an error when the connection dies; the caller opens them again.
//   - A payment belongs to lnd as soon as lnd has acknowledged it: ending our stream or our
//     process does not stop it.
//
// The package uses only the calls that MacaroonURIs lists. It must know nothing of orders;
// no type of lnd's leaves it, except the connection that Connect gives to regtest.
package lnd

import (
	"context"
	"fmt"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnrpc/chainrpc"
	"github.com/lightningnetwork/lnd/lnrpc/invoicesrpc"
	"github.com/lightningnetwork/lnd/lnrpc/routerrpc"
	"google.golang.org/grpc"

	"mostro/escrow/lightning"
	"mostro/escrow/order"
)

// Limits of the connection and the calls.
const (
	callTimeout     = 10 * time.Second // a unary call whose caller set no deadline
	maxMessageBytes = 64 << 20         // an answer; a node with many channels exceeds gRPC's 4 MiB

	maxPayTimeout = 24 * time.Hour
	maxCLTVLimit  = 1 << 20 // blocks; lnd's own limit is lower, this only fits its number type

	pingInterval   = 20 * time.Second // while a call or stream is open; lnd refuses less than 5 s
	pingTimeout    = 10 * time.Second
	connectTimeout = 10 * time.Second       // TCP, TLS and HTTP/2 together
	reconnectFirst = 200 * time.Millisecond // before the first attempt to connect again
	reconnectMost  = 5 * time.Second        // between attempts while lnd is away
)

// Node is an LND node.
type Node struct {
	close    func() error
	main     lnrpc.LightningClient
	invoices invoicesrpc.InvoicesClient
	router   routerrpc.RouterClient
	chain    chainrpc.ChainNotifierClient
}

var _ lightning.Node = (*Node)(nil)

// Dial returns a node at once, whether it can be reached or not; an error means that the
// configuration is wrong. The connection repairs itself, so a Node is dialed once.
func Dial(config Config) (*Node, error) {
	conn, err := Connect(config)
	if err != nil {
		return nil, err
	}
	return newNode(conn, conn.Close), nil
}

func newNode(conn grpc.ClientConnInterface, close func() error) *Node {
	return &Node{
		close:    close,
		main:     lnrpc.NewLightningClient(conn),
		invoices: invoicesrpc.NewInvoicesClient(conn),
		router:   routerrpc.NewRouterClient(conn),
		chain:    chainrpc.NewChainNotifierClient(conn),
	}
}

// Close ends the connection and with it all streams. Payments go on.
func (n *Node) Close() error { return n.close() }

// Info returns who the node is and how far it has seen the chain.
func (n *Node) Info(ctx context.Context) (lightning.Info, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	info, err := n.main.GetInfo(ctx, &lnrpc.GetInfoRequest{})
	if err != nil {
		return lightning.Info{}, fmt.Errorf("get node info: %w", translate(ctx, err, nil))
	}
	network := ""
	if len(info.Chains) > 0 {
		network = info.Chains[0].Network
	}
	return lightning.Info{
		Pubkey:     info.IdentityPubkey,
		Alias:      info.Alias,
		Version:    info.Version,
		CommitHash: info.CommitHash,
		Network:    network,
		URIs:       info.Uris,
		Height:     info.BlockHeight,
		Synced:     info.SyncedToChain,
		TipTime:    time.Unix(info.BestHeaderTimestamp, 0),
	}, nil
}

// Balance adds up the active channels. What their reserves lock is nobody's to move.
func (n *Node) Balance(ctx context.Context) (lightning.Balance, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	// ChannelBalance would count channels whose peer is away.
	answer, err := n.main.ListChannels(ctx, &lnrpc.ListChannelsRequest{ActiveOnly: true})
	if err != nil {
		return lightning.Balance{}, fmt.Errorf("get channel balance: %w", translate(ctx, err, nil))
	}
	balance := lightning.Balance{ActiveChannels: len(answer.Channels)}
	for _, channel := range answer.Channels {
		balance.Local += movable(channel.LocalBalance, channel.LocalConstraints)
		balance.Remote += movable(channel.RemoteBalance, channel.RemoteConstraints)
	}
	return balance, nil
}

// movable is what one side of a channel can send, from its balance in sat.
func movable(balance int64, constraints *lnrpc.ChannelConstraints) order.Msat {
	return order.Sat(max(0, balance-int64(constraints.GetChanReserveSat()))).Msat()
}

// WatchBlocks calls seen with the height of each block, the present one first.
func (n *Node) WatchBlocks(ctx context.Context, seen func(height uint32)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// lnd: a request without a block is answered with the present one.
	stream, err := n.chain.RegisterBlockEpochNtfn(ctx, &chainrpc.BlockEpoch{})
	for err == nil {
		var block *chainrpc.BlockEpoch
		if block, err = stream.Recv(); err == nil {
			seen(block.Height)
		}
	}
	return fmt.Errorf("watch blocks: %w", translate(ctx, err, nil))
}
