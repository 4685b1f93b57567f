package regtest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lightningnetwork/lnd/lnrpc"
)

// patience bounds waits for what comes in seconds unless something is broken.
const patience = 2 * time.Minute

func TestNetwork(t *testing.T) {
	n := ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()

	height, err := n.Height()
	if err != nil {
		t.Fatal(err)
	}
	if mined, err := n.Mine(ctx, 3); err != nil || mined != height+3 {
		t.Fatalf("mined to %d (%v), want %d", mined, err, height+3)
	}
	for _, name := range n.config.Nodes {
		info, err := n.Client(name).GetInfo(ctx, &lnrpc.GetInfoRequest{})
		if err != nil || info.BlockHeight != height+3 || !info.SyncedToChain || info.IdentityPubkey != n.Node(name).Pubkey {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	channels := channelsOf(ctx, t, n)
	for _, channel := range channels {
		if channel.Local < 2_000_000 || channel.Remote < 2_000_000 {
			t.Errorf("%+v: want 2,000,000 sat on each side", channel)
		}
	}

	// A frozen node keeps its connections and answers nobody.
	if err := n.Freeze(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	short, cancelShort := context.WithTimeout(ctx, 200*time.Millisecond)
	if _, err := n.Client("alice").GetInfo(short, &lnrpc.GetInfoRequest{}); err == nil {
		t.Error("a frozen node answers")
	}
	cancelShort()
	if _, err := n.Mine(ctx, 1); err != nil {
		t.Errorf("mine while a node is frozen: %v", err)
	}
	if err := n.Thaw("alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Mine(ctx, 1); err != nil {
		t.Fatal(err)
	}

	// The Bitcoin node comes back under the feet of the others.
	height, err = n.Mine(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	n.KillNode(btcdName)
	if _, err := n.Mine(ctx, 1); !errors.Is(err, errDown) {
		t.Errorf("mine without btcd: %v", err)
	}
	if err := n.StartNode(ctx, btcdName); err != nil {
		t.Fatal(err)
	}
	if kept, err := n.Height(); err != nil || kept != height {
		t.Errorf("btcd has %d of its %d blocks after kill -9 (%v)", kept, height, err)
	}
	if _, err := n.Mine(ctx, 1); err != nil {
		t.Fatal(err)
	}

	// A death that was asked for is not reported, any other is.
	n.StopNode(ctx, "bob")
	n.child("alice").cmd.Process.Kill()
	select {
	case exit := <-n.Exited():
		if exit.Name != "alice" || !strings.Contains(exit.Err.Error(), "killed") {
			t.Errorf("exit of %s is reported: %v; want alice, killed", exit.Name, exit.Err)
		}
	case <-ctx.Done():
		t.Fatal("alice's death is not reported")
	}
	for _, name := range []string{"bob", "alice", "alice"} {
		if err := n.StartNode(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(channels, channelsOf(ctx, t, n)); diff != "" {
		t.Errorf("channels after the restarts (-before +after):\n%s", diff)
	}
	if err := n.waitRoutes(ctx, n.allPairs()); err != nil {
		t.Error(err)
	}

	// Nobody else may run the same directory, and what is stopped is resumed.
	if _, err := Start(ctx, Config{Dir: n.config.Dir, Binaries: n.config.Binaries}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second start in one directory: %v", err)
	}
	n.Stop(ctx)
	other := Config{Dir: n.config.Dir, Binaries: n.config.Binaries, Nodes: []string{"mostro", "alice"}, Channels: []Channel{}}
	if _, err := Start(ctx, other); err == nil || !strings.Contains(err.Error(), "other nodes or channels") {
		t.Errorf("start with other nodes: %v", err)
	}
	resumed, err := Start(ctx, n.config)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(channels, channelsOf(ctx, t, resumed)); diff != "" {
		t.Errorf("channels of the resumed network (-before +after):\n%s", diff)
	}
	if resumed.Bitcoin() != n.Bitcoin() || resumed.Node("mostro") != n.Node("mostro") {
		t.Error("the resumed network has other addresses or keys")
	}

	// A channel that somebody has closed does not keep the network from coming back.
	closeChannel(ctx, t, resumed, "bob")
	resumed.Stop(ctx)
	config := n.config
	config.Progress = func(line string) {
		if strings.HasPrefix(line, "going on without") {
			t.Error(line) // it would have waited for what cannot come
		}
	}
	resumed, err = Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer resumed.Stop(context.Background())
	if err := resumed.waitRoutes(ctx, []pair{{"mostro", "alice"}, {"alice", "mostro"}}); err != nil {
		t.Error(err)
	}
}

// closeChannel closes the only channel of a node by force.
func closeChannel(ctx context.Context, t *testing.T, n *Network, name string) {
	t.Helper()
	open, err := n.Client(name).ListChannels(ctx, &lnrpc.ListChannelsRequest{})
	if err != nil || len(open.Channels) != 1 {
		t.Fatalf("%s has %d channels, want 1: %v", name, len(open.GetChannels()), err)
	}
	txid, index, _ := strings.Cut(open.Channels[0].ChannelPoint, ":")
	output, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := n.Client(name).CloseChannel(ctx, &lnrpc.CloseChannelRequest{
		ChannelPoint: &lnrpc.ChannelPoint{
			FundingTxid: &lnrpc.ChannelPoint_FundingTxidStr{FundingTxidStr: txid}, OutputIndex: uint32(output),
		},
		Force: true,
	})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// channel is one end of a channel.
type channel struct {
	Owner, Peer, Point string
	Local, Remote      int64
}

func channelsOf(ctx context.Context, t *testing.T, n *Network) []channel {
	t.Helper()
	var channels []channel
	for _, name := range n.config.Nodes {
		answer, err := n.Client(name).ListChannels(ctx, &lnrpc.ListChannelsRequest{ActiveOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range answer.Channels {
			channels = append(channels, channel{name, c.RemotePubkey, c.ChannelPoint, c.LocalBalance, c.RemoteBalance})
		}
	}
	if len(channels) != 4 {
		t.Fatalf("%d ends of active channels, want 4: %+v", len(channels), channels)
	}
	return channels
}

// TestInterrupted: what was not finished is made anew.
func TestInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	paths, err := Binaries(t.Context(), Options{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	config := Config{
		Dir: t.TempDir(), Binaries: paths, Nodes: []string{"mostro", "alice"},
		Channels: []Channel{{From: "mostro", To: "alice", Capacity: 1_000_000, Push: 500_000}},
		Progress: func(line string) {
			if line == "opening channels" {
				cancel()
			}
		},
	}
	if _, err := Start(ctx, config); !errors.Is(err, context.Canceled) {
		t.Fatalf("start: %v, want canceled", err)
	}
	n, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	n.Stop(t.Context())
	if !n.state.Ready {
		t.Error("the network is not finished")
	}
}
