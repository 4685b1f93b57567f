package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mostro/escrow"
	"mostro/escrow/lightning"
)

// A process that answers no commands may still have the stores open. Nothing is restored beside it, wherever its
// money store has been moved: it writes by the old path, into what is there by then.
func TestRestoreBesideANodeThatDoesNotAnswer(t *testing.T) {
	o := newOperated(t, "")
	o.start()
	backup, store := filepath.Join(t.TempDir(), "a.backup"), filepath.Join(o.dir, escrowDir)
	o.run(exitOK, "is whole", "backup", backup)
	if err := os.Remove(filepath.Join(o.dir, controlFile)); err != nil {
		t.Fatal(err)
	}
	taken := fmt.Sprintf("%s is in use by process %d (mostro serve)", o.dir, o.node.cmd.Process.Pid)
	if says := o.run(exitError, taken, "restore", backup); strings.Contains(says, "mv ") {
		t.Errorf("an open store is to be moved away:\n%s", says)
	}
	if err := os.Rename(store, store+".old"); err != nil {
		t.Fatal(err)
	}
	o.run(exitError, taken, "restore", backup)
	o.run(exitError, taken, "serve", "--settings", "relay.listen=127.0.0.1:0")
	o.run(exitError, taken, "events", "import", os.DevNull)
	o.node.cmd.Process.Kill()
	o.node.end()
	o.run(exitOK, "is back", "restore", backup)
}

func TestLockDataDir(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDataDir(dir, "mostro one", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		if _, err := lockDataDir(dir, "mostro two", shared); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (mostro one)", os.Getpid())) {
			t.Errorf("beside another, shared %v: %v", shared, err)
		}
	}
	unlock()
	one, err1 := lockDataDir(dir, "mostro audit", true)
	two, err2 := lockDataDir(dir, "mostro backup", true)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatalf("two that read: %v", err)
	}
	if _, err := lockDataDir(dir, "mostro serve", false); err == nil {
		t.Error("a node starts beside those who read")
	}
	one()
	two()

	// A node of a version before has the locks of its stores only.
	engine, err := escrow.Open(escrow.Config{Dir: filepath.Join(dir, escrowDir), Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDataDir(dir, "mostro restore", false); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("beside an older version: %v", err)
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = lockDataDir(dir, "mostro restore", false); err != nil {
		t.Fatal(err)
	}
	unlock()
}
