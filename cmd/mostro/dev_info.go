package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"mostro/escrow/lightning/regtest"
)

// devFile is there exactly while the dev network can be used.
const devFile = "dev.json"

// devInfo is dev.json: what clients and tests need to know of the network.
type devInfo struct {
	RelayURL     string                  `json:"relay_url"`
	HTTPURL      string                  `json:"http_url"`
	MostroPubkey string                  `json:"mostro_pubkey"`
	AdminNsec    string                  `json:"admin_nsec"`
	Network      string                  `json:"network"`
	Nodes        map[string]devLightning `json:"nodes"`
	Bitcoin      devBitcoin              `json:"bitcoin"`
}

type devLightning struct {
	GRPC     string `json:"grpc"`
	TLSCert  string `json:"tls_cert"`
	Macaroon string `json:"macaroon"`
}

type devBitcoin struct {
	RPC  string `json:"rpc"`
	User string `json:"user"`
	Pass string `json:"pass"`
	Cert string `json:"cert"`
}

// readDev reads the dev.json of a dev network that runs in the data directory, or was killed there.
func readDev(dir string) (dev devInfo, ok bool) {
	data, err := os.ReadFile(filepath.Join(dir, devFile))
	return dev, err == nil && json.Unmarshal(data, &dev) == nil
}

// isDev tells that a data directory is that of a dev network, running or not. One with settings is
// that of a node for the world, whatever else has been tried in it.
func isDev(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, networkDir))
	_, none := os.Lstat(filepath.Join(dir, settingsFile))
	return err == nil && info.IsDir() && errors.Is(none, fs.ErrNotExist)
}

// startsIn is the command that starts the node of a data directory.
func startsIn(dir string) string {
	if isDev(dir) {
		return "mostro dev --data-dir " + dir
	}
	return "mostro serve --data-dir " + dir
}

// noSettingsHint says what to do where there is no settings file: in a dev network there is none.
func noSettingsHint(dir string) string {
	if isDev(dir) {
		return "it is the directory of a dev network, which must run for that: " + startsIn(dir)
	}
	return startsIn(dir) + " writes one to fill in"
}

// describeDev collects dev.json.
func describeDev(identity devIdentity, network *regtest.Network, listener net.Listener) devInfo {
	info := devInfo{
		RelayURL:     "ws://" + listener.Addr().String(),
		HTTPURL:      "http://" + listener.Addr().String(),
		MostroPubkey: identity.node.Public(),
		AdminNsec:    identity.admin.Nsec(),
		Network:      "simnet",
		Nodes:        map[string]devLightning{},
		Bitcoin:      devBitcoin(network.Bitcoin()),
	}
	for _, name := range []string{escrowNode, "alice", "bob"} {
		node := network.Node(name)
		info.Nodes[name] = devLightning{node.GRPC, node.TLSCert, node.Macaroon}
	}
	return info
}

func (info devInfo) write(path string) error {
	encoded, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", devFile, err)
	}
	return writeWhole(path, append(encoded, '\n'))
}

// removeOldInfo removes the dev.json of a run that was killed, which would tell a waiting client
// that all is ready. When that run is alive it is an error.
func removeOldInfo(ctx context.Context, path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read old %s: %w", devFile, err)
	}
	var old devInfo
	if json.Unmarshal(data, &old) == nil && askHealth(ctx, old.HTTPURL) == nil {
		return hint(fmt.Errorf("another mostro dev runs in %s, at %s", filepath.Dir(path), old.HTTPURL),
			"stop it, or use another --data-dir")
	}
	return removeInfo(path)
}

func removeInfo(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", devFile, err)
	}
	return nil
}

// welcome prints what a newcomer can do next.
func (info devInfo) welcome(out io.Writer, dir string) {
	program := calledAs()
	dev, ours := program+" dev", ""
	if preset, err := defaultDevDir(); err != nil || dir != preset {
		ours = " --data-dir " + dir
	}
	fmt.Fprintf(out, `
Ready. A Mostro node and its Lightning network run on this machine.

  relay          %s
  node's pubkey  %s
  all details    %s
  log            %s

What you can do now:
  - point a Mostro client at the relay and the pubkey, or trade by hand, with two --dir for two people:
      %s client --relay %s --dir ~/ann keys new
      %s client --relay %s --dir ~/ann new sell --fiat USD --amount 50 --sats 100000 --method cash
  - pay and be paid by the wallets alice and bob:
      %s pay%s alice BOLT11
      %s invoice%s bob 99700
  - read the order book:       a Nostr REQ {"kinds":[38383],"authors":["%s"]}
  - speak to bob's wallet:     lncli --network simnet --rpcserver %s \
                                 --tlscertpath %s \
                                 --macaroonpath %s getinfo
  - change a setting:          %s%s --settings mostro.fee=0.01

Ctrl-C stops everything; the next start takes seconds.
`, info.RelayURL, info.MostroPubkey, filepath.Join(dir, devFile), filepath.Join(dir, devLogFile),
		program, info.RelayURL, program, info.RelayURL, dev, ours, dev, ours, info.MostroPubkey,
		info.Nodes["bob"].GRPC, info.Nodes["bob"].TLSCert, info.Nodes["bob"].Macaroon, dev, ours)
}
