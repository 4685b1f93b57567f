package regtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// ownerDir makes TestOwner run a network there.
const ownerDir = "MOSTRO_TEST_OWNER_DIR"

// TestOwner is not a test: TestOwnerKilled starts it as a process to kill.
func TestOwner(t *testing.T) {
	dir := os.Getenv(ownerDir)
	if dir == "" {
		t.Skip("only as a process of TestOwnerKilled")
	}
	paths, err := Binaries(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: dir, Binaries: paths}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("the network runs")
	time.Sleep(patience)
}

// TestOwnerKilled: kill -9 of the owner ends the nodes, and the next start just works.
func TestOwnerKilled(t *testing.T) {
	n := ForTest(t)
	n.Stop(t.Context())
	owner := exec.Command(os.Args[0], "-test.run=^TestOwner$")
	owner.Env = append(os.Environ(), ownerDir+"="+n.config.Dir)
	output, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() && lines.Text() != "the network runs" {
		t.Log(lines.Text())
	}
	pids := make(map[string]int)
	for _, name := range append(n.config.Nodes, btcdName) {
		text, err := os.ReadFile(filepath.Join(n.config.Dir, name+".pid"))
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscan(string(text), &pid); err != nil || !hasArgument(pid, n.markerOf(name)) {
			t.Fatalf("process %q of %s does not run: %v", text, name, err)
		}
		pids[name] = pid
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait()
	if runtime.GOOS == "linux" { // elsewhere only the next start ends them
		deadline := time.Now().Add(patience)
		for name, pid := range pids {
			for hasArgument(pid, n.markerOf(name)) {
				if time.Now().After(deadline) {
					t.Fatalf("%s outlives its owner", name)
				}
				time.Sleep(pollInterval)
			}
		}
	}
	again, err := Start(t.Context(), n.config)
	if err != nil {
		t.Fatal(err)
	}
	again.Stop(t.Context())
	for _, name := range append(n.config.Nodes, btcdName) {
		if _, err := os.Stat(filepath.Join(n.config.Dir, name+".pid")); err == nil {
			t.Errorf("%s is stopped and has a pid file", name)
		}
	}
}

func TestEndLeftover(t *testing.T) {
	for _, test := range []struct {
		name, marker string
		ends         bool
	}{
		{"ours", "1234", true},
		{"somebody else's", "--lnddir=/elsewhere", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSpawner()
			defer s.close()
			c, err := s.startChild(dir, "lnd", "sleep", []string{"1234"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.kill()
			for !hasArgument(c.cmd.Process.Pid, "1234") { // the kernel fills it in late
				time.Sleep(pollInterval)
			}
			if err := endLeftover(t.Context(), dir, "lnd", test.marker); err != nil {
				t.Fatal(err)
			}
			if ended := !hasArgument(c.cmd.Process.Pid, "1234"); ended != test.ends {
				t.Errorf("ended: %v, want %v", ended, test.ends)
			}
			if _, err := os.Stat(c.pidFile); err == nil {
				t.Error("the pid file is still there")
			}
		})
	}
}

// TestStopFrozen: a process that cannot hear is stopped too.
func TestStopFrozen(t *testing.T) {
	s := newSpawner()
	defer s.close()
	c, err := s.startChild(t.TempDir(), "sleeper", "sleep", []string{"1234"})
	if err != nil {
		t.Fatal(err)
	}
	if err := freeze(c.cmd.Process); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.stop(ctx)
	if c.running() || ctx.Err() != nil {
		t.Error("a frozen process does not stop")
	}
}

func TestFailure(t *testing.T) {
	s := newSpawner()
	defer s.close()
	c, err := s.startChild(t.TempDir(), "lnd", "sh", []string{"-c", "echo no such flag >&2; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	<-c.done
	if got := c.failure().Error(); !strings.Contains(got, "no such flag") || !strings.Contains(got, "exit status 3") {
		t.Errorf("failure: %s", got)
	}
}
