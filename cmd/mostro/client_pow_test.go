package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// interrupted runs a command until it has worked for a moment, interrupts it, and returns its error.
func (u *user) interrupted(args ...string) error {
	u.Helper()
	ctx, interrupt := context.WithCancel(u.ctx)
	defer interrupt()
	cmd := rootCommand()
	cmd.SetArgs(append([]string{"client", "--relay", u.url, "--dir", u.dir, "--timeout", "0"}, args...))
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetErr(new(bytes.Buffer))
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	select {
	case err := <-ended:
		u.Fatalf("%v ends by itself: %v", args, err)
	case <-time.After(500 * time.Millisecond):
	}
	interrupt()
	select {
	case err := <-ended:
		return err
	case <-time.After(clientPatience):
		u.Fatalf("%v cannot be interrupted", args)
	}
	return nil
}

// TestClientWorkEnds: whatever a node makes a client do, an interrupt ends it, and what cannot be done is refused.
func TestClientWorkEnds(t *testing.T) {
	sell := []string{"new", "sell", "--fiat", "USD", "--amount", "50", "--sats", "100000", "--method", "cash"}
	w := newClientWorld(t, 32) // hours of one core
	if err := w.user("miner").interrupted(sell...); err == nil || !strings.Contains(err.Error(), "proof of work of 32 bits") || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("mining ends with: %v", err)
	}
	w = newClientWorld(t, 40)
	_, problem, code := w.user("miner").call("", sell...)
	if want := "more proof of work than can be done: 40 bits, at most 32 are tried"; code != exitError || !strings.Contains(problem, want) || !strings.Contains(problem, "    -> nobody trades there that way") {
		t.Errorf("40 bits end with %d: %s", code, problem)
	}

	// Some thousand million keys, which a node may say to have been used.
	w = newClientWorld(t, 0)
	far := w.user("far")
	state := filepath.Join(far.dir, clientStateFile)
	if err := os.WriteFile(state, []byte(fmt.Sprintf(`{"last_index":%d}`, 1<<31-10)), privateFile); err != nil {
		t.Fatal(err)
	}
	far.ok(sell...)
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if err := far.interrupted("restore"); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("the restore ends with: %v", err)
	}
}
