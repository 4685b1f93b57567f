package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDev brings a network up, takes it down in every way there is, and brings it up again.
func TestDev(t *testing.T) {
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	dir := filepath.Join(t.TempDir(), "dev")
	start := func(args ...string) (*process, devInfo) {
		t.Helper()
		began := time.Now()
		p := startProcess(t, append([]string{"dev", "--data-dir", dir, "--port", "0"}, args...)...)
		p.waitLine("Ready.")
		t.Logf("ready after %.1f s", time.Since(began).Seconds())
		return p, readDevInfo(t, dir)
	}

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	figures := free.Addr().String()
	free.Close()
	p, first := start("--settings", "mostro.fee=0.01", "--settings", "metrics.listen="+figures)
	for _, url := range []string{first.HTTPURL + "/healthz", "http://" + figures + metricsPath} {
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, res.Status)
		}
	}
	if p.signal(syscall.SIGTERM); p.end() != exitOK {
		t.Errorf("mostro dev ends with %d after SIGTERM", p.cmd.ProcessState.ExitCode())
	}
	if _, err := os.Stat(filepath.Join(dir, devFile)); !os.IsNotExist(err) {
		t.Errorf("%s says that all is ready after the end: %v", devFile, err)
	}
	noProcesses(t, dir)

	// The second start has the same keys and nodes; kill -9 takes the children along.
	p, second := start()
	if diff := cmp.Diff([]string{first.MostroPubkey, first.AdminNsec, first.Nodes["bob"].Macaroon},
		[]string{second.MostroPubkey, second.AdminNsec, second.Nodes["bob"].Macaroon}); diff != "" {
		t.Errorf("the second start differs: %s", diff)
	}
	other := startProcess(t, "dev", "--data-dir", dir, "--port", "0")
	other.waitLine("another mostro dev runs in " + dir)
	if code := other.end(); code != exitError {
		t.Errorf("a second mostro dev in the same directory ends with %d", code)
	}
	readDevInfo(t, dir) // the first is not disturbed
	p.signal(syscall.SIGKILL)
	p.end()
	noProcesses(t, dir)

	// A start after that just works; a node that dies ends it with status 1.
	p, _ = start()
	killNode(t, dir, "alice")
	p.waitLine("alice died")
	if code := p.end(); code != exitError {
		t.Errorf("mostro dev ends with %d after a node died", code)
	}
	noProcesses(t, dir)

	// With --keep-going the node comes back.
	p, _ = start("--keep-going")
	for _, name := range []string{"bob", "mostro"} {
		killNode(t, dir, name)
		p.waitLine(name + " is back")
	}
	if p.signal(syscall.SIGINT); p.end() != exitOK {
		t.Errorf("mostro dev ends with %d after SIGINT", p.cmd.ProcessState.ExitCode())
	}
	noProcesses(t, dir)
}

// TestWelcome: what a newcomer is told to type works as it stands.
func TestWelcome(t *testing.T) {
	info := devInfo{RelayURL: "ws://127.0.0.1:1", Nodes: map[string]devLightning{"bob": {}}}
	preset, err := defaultDevDir()
	if err != nil {
		t.Fatal(err)
	}
	for dir, flag := range map[string]string{preset: "", "/some/where": " --data-dir /some/where"} {
		var out strings.Builder
		info.welcome(&out, dir)
		for _, want := range []string{" dev pay" + flag + " alice", " dev invoice" + flag + " bob", " dev" + flag + " --settings", calledAs() + " client --relay ws://127.0.0.1:1 "} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("in %s it does not say %q:\n%s", dir, want, out.String())
			}
		}
		if strings.Contains(out.String(), "%!") {
			t.Errorf("arguments do not fit:\n%s", out.String())
		}
	}
}

// TestDevRefuses names what is wrong before anything is started.
func TestDevRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	taken, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := strings.Cut(taken.Addr().String(), ":")
	p := startProcess(t, "dev", "--data-dir", dir, "--port", port)
	p.waitLine("listen on 127.0.0.1:" + port)
	if code := p.end(); code != exitError {
		t.Errorf("mostro dev ends with %d when its port is taken", code)
	}
	p = startProcess(t, "dev", "--data-dir", dir, "--port", "70000")
	p.waitLine("--port is 70000, want 0 to 65535")
	if code := p.end(); code != exitError {
		t.Errorf("mostro dev --port 70000 ends with %d", code)
	}
	for setting, complaint := range map[string]string{
		"mostro.fee=7":                  "mostro.fee is 7",
		"relay.listen=127.0.0.1:7000":   "relay.listen is chosen by mostro dev",
		"lightning.lnd_cert_file=a.pem": "lightning.lnd_cert_file is chosen by mostro dev",
	} {
		p = startProcess(t, "dev", "--data-dir", dir, "--port", "0", "--settings", setting)
		p.waitLine(complaint)
		if code := p.end(); code != exitError {
			t.Errorf("mostro dev --settings %s ends with %d", setting, code)
		}
	}
}

// TestDevLeavesNodesAlone: the key and the stores of a node for the world are not run on simnet, and
// serve makes no node out of a dev network.
func TestDevLeavesNodesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		fine  bool
	}{
		"nothing":                                {nil, true},
		"a dev network":                          {[]string{networkDir, envFile, adminKeyFile, escrowDir, relayDir, escrowSecretFile}, true},
		"one that was stopped while it compiled": {[]string{envFile, adminKeyFile}, true},
		"a first start of serve":                 {[]string{settingsFile}, false},
		"a key of mostro key":                    {[]string{envFile}, false},
		"the stores of a node":                   {[]string{envFile, escrowDir, relayDir, escrowSecretFile}, false},
		"a restored money store":                 {[]string{escrowDir}, false},
		"a node on which dev was tried":          {[]string{settingsFile, envFile, escrowDir, relayDir, networkDir, adminKeyFile}, false},
	} {
		dir := t.TempDir()
		for _, file := range c.files {
			if err := os.Mkdir(filepath.Join(dir, file), privateDir); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkDevDir(dir); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
		if dev := isDev(dir); dev != (name == "a dev network") {
			t.Errorf("%s: a dev network: %v", name, dev)
		}
	}

	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, networkDir), privateDir); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "serve", "--data-dir", dir)
	p.waitLine("is the directory of a dev network")
	if code := p.end(); code != exitError {
		t.Errorf("mostro serve there ends with %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, settingsFile)); err == nil {
		t.Error("mostro serve has left its settings there")
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, settingsFile), nil, privateFile); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, "dev", "--data-dir", dir, "--port", "0")
	p.waitLine("belongs to a node for the world: it has settings.toml")
	if code := p.end(); code != exitError {
		t.Errorf("mostro dev there ends with %d", code)
	}
}

func readDevInfo(t *testing.T, dir string) (info devInfo) {
	t.Helper()
	path := filepath.Join(dir, devFile)
	file, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if file.Mode().Perm() != privateFile {
		t.Errorf("%s has mode %v", devFile, file.Mode())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &info); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.RelayURL, "ws://127.0.0.1:") || !strings.HasPrefix(info.AdminNsec, "nsec1") ||
		len(info.MostroPubkey) != 64 || info.Network != "simnet" || len(info.Nodes) != 3 || info.Bitcoin.User == "" {
		t.Errorf("%s: %s", devFile, data)
	}
	for _, path := range []string{info.Bitcoin.Cert, info.Nodes["mostro"].TLSCert, info.Nodes["alice"].Macaroon} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	return info
}

// processesWith lists the processes that have text in their command line, which /proc tells.
func processesWith(t *testing.T, text string) (pids []int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that has just ended has no command line left.
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// noProcesses waits until nothing runs that was started for dir.
func noProcesses(t *testing.T, dir string) {
	t.Helper()
	for len(processesWith(t, dir)) > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

func killNode(t *testing.T, dir, name string) {
	t.Helper()
	pids := processesWith(t, "--lnddir="+filepath.Join(dir, networkDir, name)+"\x00")
	if len(pids) != 1 {
		t.Fatalf("%d processes are the node %s", len(pids), name)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
