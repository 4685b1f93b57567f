package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
)

const (
	devPort         = 7000
	blockInterval   = 2 * time.Minute
	devStopTime     = 30 * time.Second // for the network to stop
	restartInterval = 2 * time.Second  // between two tries to start a node again

	devLogFile   = "mostro.log"
	adminKeyFile = "admin.nsec"
	networkDir   = "network"

	escrowNode = "mostro" // the Lightning node that the escrow uses
)

// devOptions are the flags of mostro dev.
type devOptions struct {
	dir           string
	port          int
	lnd, btcd     string
	keepGoing     bool
	demo          bool
	blockInterval time.Duration
	settings      []string
}

func devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole network on this machine: bitcoin, three Lightning nodes, relay and escrow",
		Long: `Run a whole network on this machine, to try things and to develop clients: btcd on simnet,
the lnd nodes mostro, alice and bob with funded channels, a price server with fixed prices, and
this relay with its escrow. Everything listens on 127.0.0.1 and nothing of it is worth anything.

The first start compiles lnd and btcd, which takes minutes, unless they are on PATH or named by
--lnd and --btcd. When all is ready, addresses and keys are in dev.json in the data directory.
The data directory keeps the network: the next start takes seconds and has the same keys,
channels and orders. Ctrl-C stops everything.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.dir == "" {
				var err error
				if o.dir, err = defaultDevDir(); err != nil {
					return err
				}
			}
			if o.port < 0 || o.port > 65535 {
				return fmt.Errorf("--port is %d, want 0 to 65535; 0 is any free one", o.port)
			}
			if o.blockInterval < 0 {
				return fmt.Errorf("--block-interval is %s, want 0 or more", o.blockInterval)
			}
			dir, err := filepath.Abs(o.dir)
			if err != nil {
				return fmt.Errorf("find data directory: %w", err)
			}
			o.dir = dir
			return runDev(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	dataDirFlag(cmd, &o.dir, "mostro/dev in the user's cache")
	settingsFlag(cmd, &o.settings)
	flags := cmd.Flags()
	flags.IntVar(&o.port, "port", devPort, "port of relay and escrow, 0 for a free one")
	flags.StringVar(&o.lnd, "lnd", "", "path of an lnd binary, built with tags invoicesrpc and chainrpc")
	flags.StringVar(&o.btcd, "btcd", "", "path of a btcd binary")
	flags.BoolVar(&o.keepGoing, "keep-going", false, "start a node that dies again instead of ending")
	flags.BoolVar(&o.demo, "demo", false, "play trades of two clients, show where every sat went, and end")
	flags.DurationVar(&o.blockInterval, "block-interval", blockInterval, "time between blocks, 0 for none")
	cmd.AddCommand(devWalletCommands(&o.dir)...)
	return cmd
}

// untilGoRunEnds ends with the "go run" that started this process, if one did: go run does
// not pass a SIGTERM on, and would leave the whole network behind.
func untilGoRunEnds(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if !byGoRun() {
		return ctx, cancel
	}
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// defaultDevDir is where a dev network lives when nobody says where.
func defaultDevDir() (string, error) {
	cache, err := regtest.DefaultCacheDir()
	if err != nil {
		return "", hint(err, "name a directory with --data-dir")
	}
	return filepath.Join(cache, "dev"), nil
}

// byGoRun tells whether "go run" has started this process, as far as the system says.
func byGoRun() bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	return err == nil && strings.TrimSpace(string(name)) == "go"
}

// calledAs is how this program was called, for commands that a person will copy.
func calledAs() string {
	if byGoRun() {
		return "go run ./cmd/mostro"
	}
	return os.Args[0]
}

// checkDevDir refuses the directory of a node for the world: its key, its stores and its books are no
// play things.
func checkDevDir(dir string) error {
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	for _, name := range []string{settingsFile, escrowDir, relayDir, escrowSecretFile, envFile} {
		switch {
		case !there(name):
		case name == settingsFile, // a dev network has none
			!there(networkDir) && !there(adminKeyFile): // one that has been stopped early has a key before its network
			return hint(fmt.Errorf("%s belongs to a node for the world: it has %s, which no dev network has made", dir, name),
				"leave --data-dir out, or name a directory for the network alone")
		}
	}
	return nil
}

// devPresets are settings that are friendly to trying things. The flags come after them.
func devPresets(priceURL string) []string {
	return []string{
		"mostro.name=Mostro dev",
		"mostro.fiat_currencies_accepted=[]",
		"lightning.payment_retries_interval=5",
		"lightning.payout_grace_seconds=5",
		"price.update_interval_seconds=60",
		"relay.min_free_mib=256", // a small disk is enough to try it
		"price.providers.yadio.url=" + priceURL,
	}
}

// runDev brings the network up, keeps it up until ctx ends or a part of it dies, and takes
// it down. It returns nil when ctx ended it.
func runDev(ctx context.Context, o devOptions, out io.Writer) error {
	ctx, cancel := untilGoRunEnds(ctx)
	defer cancel()
	if err := openDataDir(o.dir); err != nil {
		return err
	}
	if err := checkDevDir(o.dir); err != nil {
		return err
	}
	infoPath := filepath.Join(o.dir, devFile)
	if err := removeOldInfo(ctx, infoPath); err != nil {
		return err
	}
	unlock, err := lockDataDir(o.dir, "mostro dev", false)
	if err != nil {
		return err
	}
	defer unlock()
	// The port is taken first: a port in use is told now, not after minutes of compiling.
	listener, err := listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return err
	}
	defer listener.Close() // the second close, after the node's, does nothing
	prices, err := startPriceServer()
	if err != nil {
		return err
	}
	defer prices.Close()
	identity, err := loadDevIdentity(o, prices.URL)
	if err != nil {
		return err
	}

	metrics, err := identity.settings.Metrics.listen()
	if err != nil {
		return err
	}
	if metrics != nil {
		defer metrics.Close() // as above
	}

	network, err := startNetwork(ctx, o, out)
	if err != nil {
		return endedBy(ctx, err)
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), devStopTime)
		defer cancel()
		fmt.Fprintln(out, "stopping")
		network.Stop(stopCtx)
	}()
	// The log goes to a file, so that the terminal stays readable.
	logFile, err := os.OpenFile(filepath.Join(o.dir, devLogFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, privateFile)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer logFile.Close()
	info := describeDev(identity, network, listener)
	n, err := openNode(ctx, nodeConfig{
		dir: o.dir, settings: &identity.settings.Settings, key: identity.node, listener: listener, metrics: metrics,
		lightning: lnd.Config{
			Host:         info.Nodes[escrowNode].GRPC,
			CertFile:     info.Nodes[escrowNode].TLSCert,
			MacaroonFile: info.Nodes[escrowNode].Macaroon,
		},
		logger: slog.New(slog.NewTextHandler(logFile, nil)),
		closed: true,
	})
	if err != nil {
		return endedBy(ctx, err)
	}

	ctx, demo := newDemoRun(ctx)
	err = runDevNode(ctx, o, network, n, out, func() error {
		if err := info.write(infoPath); err != nil {
			return err
		}
		if o.demo {
			demo.start(ctx, info, out)
		} else {
			info.welcome(out, o.dir)
		}
		return nil
	})
	return errors.Join(err, demo.end(), removeInfo(infoPath))
}

// runDevNode runs the node until ctx ends, a node of the network dies, or the node itself fails.
// It calls ready once, when the node can be used.
func runDevNode(ctx context.Context, o devOptions, network *regtest.Network, n *node, out io.Writer, ready func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- n.run(ctx)
		cancel()
	}()
	err := superviseDev(ctx, o, network, n, out, ready)
	cancel()
	return errors.Join(err, <-ended)
}

// endedBy returns nil when an error only says that somebody stopped us.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func startNetwork(ctx context.Context, o devOptions, out io.Writer) (*regtest.Network, error) {
	progress := func(line string) { fmt.Fprintln(out, line) }
	binaries, err := regtest.Binaries(ctx, regtest.Options{LND: o.lnd, BTCD: o.btcd, Progress: progress})
	if err != nil {
		return nil, err
	}
	return regtest.Start(ctx, regtest.Config{
		Dir:           filepath.Join(o.dir, networkDir),
		Binaries:      binaries,
		BlockInterval: o.blockInterval,
		Progress:      progress,
	})
}

// devIdentity is who the dev node is and what it is set to.
type devIdentity struct {
	node, admin mostro.Secret
	settings    *loaded
}

// loadDevIdentity reads the keys of the dev network, or makes them, and its settings.
func loadDevIdentity(o devOptions, priceURL string) (d devIdentity, err error) {
	if d.node, err = devKey(filepath.Join(o.dir, envFile), nsecVariable+"="); err != nil {
		return d, err
	}
	if d.admin, err = devKey(filepath.Join(o.dir, adminKeyFile), ""); err != nil {
		return d, err
	}
	presets := append(devPresets(priceURL), `admin.pubkeys=["`+d.admin.Public()+`"]`)
	if d.settings, err = loadSettings("", nil, append(presets, o.settings...)); err != nil {
		return d, err
	}
	for _, path := range []string{"relay.listen", "lightning.lnd_grpc_host", "lightning.lnd_cert_file", "lightning.lnd_macaroon_file"} {
		if d.settings.origin[path] != "" {
			return d, d.settings.problemOf(path, "is chosen by mostro dev", "leave it out; --port chooses the port")
		}
	}
	d.settings.Relay.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))
	if err := d.settings.checkOwn(d.node.Public()); err != nil {
		return d, err
	}
	if len(d.settings.harmful) > 0 {
		return d, d.settings.harmful
	}
	return d, nil
}

// devKey reads a key of the dev network from a file, after prefix, and makes it the first time.
func devKey(path, prefix string) (mostro.Secret, error) {
	data, err := readSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := newKey()
		if err != nil {
			return mostro.Secret{}, err
		}
		err = writeNew(path, []byte(prefix+key.Nsec()+"\n"))
		if errors.Is(err, fs.ErrExist) { // another process has made one: that one counts
			return devKey(path, prefix)
		}
		return key, err
	}
	if err != nil {
		return mostro.Secret{}, err
	}
	key, err := mostro.ParseSecret(strings.TrimPrefix(strings.TrimSpace(string(data)), prefix))
	if err != nil { // err could quote the key
		return mostro.Secret{}, hint(fmt.Errorf("there is no key in %s", path), "put it back as it was, or make another network: mostro dev --data-dir OTHER")
	}
	return key, nil
}

// superviseDev watches the network until ctx ends, and calls ready once, when the node has told
// the world that it is there. With keepGoing it starts dead nodes again, else their death is its
// error.
func superviseDev(ctx context.Context, o devOptions, network *regtest.Network, n *node, out io.Writer, ready func() error) error {
	told := make(chan error, 1)
	go func() { told <- n.waitReady(ctx) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-told:
			if err != nil {
				return endedBy(ctx, err)
			}
			if err := ready(); err != nil {
				return err
			}
		case exit := <-network.Exited():
			if !o.keepGoing {
				return hint(fmt.Errorf("%s died: %w", exit.Name, exit.Err),
					"mostro dev --keep-going would start it again")
			}
			fmt.Fprintf(out, "%s died, starting it again: %v\n", exit.Name, exit.Err)
			if !startAgain(ctx, network, exit.Name, out) {
				return nil
			}
			fmt.Fprintf(out, "%s is back\n", exit.Name)
		}
	}
}

// startAgain starts a node until it stays up; false when ctx ended first.
func startAgain(ctx context.Context, network *regtest.Network, name string, out io.Writer) bool {
	for {
		err := network.StartNode(ctx, name)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			fmt.Fprintf(out, "%s does not start, trying again: %v\n", name, err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(restartInterval):
		}
	}
}
