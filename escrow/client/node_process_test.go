package client_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

const (
	envNode = "MOSTRO_BENCH_NODE"
	tick    = 10 * time.Millisecond // of the processor times in /proc
)

// TestNodeProcess is the node of BenchmarkAnswer, in a process of its own so that what it costs
// can be told from what its clients cost. It prints its address and serves until its standard
// input ends.
func TestNodeProcess(t *testing.T) {
	dir := os.Getenv(envNode)
	if dir == "" {
		t.Skip("this is the child process of BenchmarkAnswer")
	}
	fmt.Println(newWorld(t, worldConfig{dir: dir}).door().url)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
}

// nodeProcess is a node that runs as a child of a benchmark.
type nodeProcess struct {
	testing.TB
	url string
	pid int
}

// startNode starts a node and waits until it serves. It ends with the benchmark. With
// MOSTRO_BENCH_PROFILES set to a directory, its CPU profile is written there.
func startNode(b testing.TB, name string) *nodeProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNodeProcess$", "-test.count=1")
	if dir := os.Getenv("MOSTRO_BENCH_PROFILES"); dir != "" {
		cmd.Args = append(cmd.Args, "-test.cpuprofile="+filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".pprof"))
	}
	cmd.Env = append(os.Environ(), envNode+"="+b.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatalf("start the node: %v", err)
	}
	answers := bufio.NewReader(out)
	url, err := answers.ReadString('\n')
	b.Cleanup(func() {
		in.Close()
		said, _ := io.ReadAll(answers)
		if err := cmd.Wait(); err != nil {
			b.Errorf("the node ends: %v\n%s%s", err, said, &stderr)
		}
	})
	if err != nil {
		b.Fatalf("the node says nothing: %v", err)
	}
	return &nodeProcess{b, strings.TrimSpace(url), cmd.Process.Pid}
}

// dial connects a new user.
func (n *nodeProcess) dial(ctx context.Context) *client.Client {
	n.Helper()
	words, err := mostro.NewMnemonic()
	if err != nil {
		n.Fatal(err)
	}
	c, err := client.Dial(ctx, client.Config{RelayURL: n.url, Node: nodeKey(n).Public(), Keys: client.Keys{Mnemonic: words}})
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(c.Close)
	return c
}

// nodeKey is the key of all nodes of this package's tests.
func nodeKey(t testing.TB) mostro.Secret {
	t.Helper()
	key, err := mostro.NewSecret(sha256.Sum256([]byte("node")))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// cpu is the processor time that a process has used, 0 where the system does not tell it like
// Linux.
func cpu(b testing.TB, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// The name of the program, in brackets, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * tick
}
