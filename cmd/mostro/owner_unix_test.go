//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// somebody is a user that is not root, and has no name on most machines.
const somebody = 54321

// TestRootLeavesNoFiles: no command of root that opens stores, or makes a key, leaves a file in the directory of
// another user. After a crash even an audit would.
func TestRootLeavesNoFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	o := newOperated(t, "")
	o.start()
	backup := filepath.Join(t.TempDir(), "a.backup")
	o.run(exitOK, "is whole", "backup", backup, "--plain")
	o.node.cmd.Process.Kill()
	o.node.end()
	give := func(dir string, uid int) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, uid)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	give(o.dir, somebody)
	const belongs = " belongs to #54321, and you are root"
	for _, args := range [][]string{
		{"audit"},
		{"backup", "-"},
		{"restore", backup},
		{"events", "export"},
		{"events", "import", os.DevNull},
		{"serve", "--settings", "relay.listen=127.0.0.1:0"},
		{"serve", "--replica-of", "ws://127.0.0.1:1"},
		{"key"},
	} {
		says := o.run(exitError, o.dir+belongs, args...)
		if call := "sudo -u '#54321' mostro " + args[0]; !strings.Contains(says, call) || !strings.Contains(says, "--data-dir "+o.dir) {
			t.Errorf("%v does not say %q:\n%s", args, call, says)
		}
	}
	err := filepath.WalkDir(o.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if uid, known := ownerOf(info); err == nil && (!known || uid != somebody) {
			t.Errorf("%s belongs to %d", path, uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	// What an earlier version has left of root's is named to its owner.
	left := filepath.Join(o.dir, escrowDir, "MANIFEST")
	if err := os.Lchown(left, 0, 0); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("mostro")
	open := filepath.Join(t.TempDir(), "mostro") // the other one is in a directory of root's
	above := filepath.Dir(filepath.Dir(open))    // of all temporary directories of this test
	if err := errors.Join(err, os.Link(program, open), os.Chmod(above, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(open, "serve", "--data-dir", o.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	says, err := cmd.CombinedOutput()
	if want := left + " belongs to root, and #54321 cannot write it\n    -> give it back: sudo chown -R 54321 " + o.dir + "\n"; err == nil || !strings.HasSuffix(string(says), want) {
		t.Errorf("root's file: %v\n%s", err, says)
	}
	if err := refuseForeign(o.dir, somebody); err != nil {
		t.Errorf("a file of somebody else that can be written: %v", err)
	}

	// An empty directory that was made for another user.
	empty := &operated{t: t, dir: filepath.Join(t.TempDir(), "node")}
	if err := os.Mkdir(empty.dir, privateDir); err != nil {
		t.Fatal(err)
	}
	give(empty.dir, somebody)
	empty.run(exitError, belongs, "restore", "--plain", backup)
	empty.run(exitError, belongs, "key")

	// Where root has the stores it goes on, whoever has the directory, as in a container.
	give(o.dir, 0)
	if err := os.Chown(o.dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	o.run(exitOK, "has ", "backup", filepath.Join(t.TempDir(), "b.backup"), "--plain")
}

// TestRootLeavesNoFilesOfAClient: nor does a command of a client, whose owner could not lock his trades any more.
func TestRootLeavesNoFilesOfAClient(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		var said strings.Builder
		cmd := rootCommand()
		cmd.SetArgs(append([]string{"client", "--dir", dir}, args...))
		cmd.SetOut(&said)
		cmd.SetErr(&said)
		if done, err := cmd.ExecuteContextC(t.Context()); err != nil {
			printError(&said, done, err)
		}
		return said.String()
	}
	if err := os.Chown(dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "new"}, {"keys", "show"}, {"messages", "1"}, {"take", "order"}, {"restore"}} {
		says := run(args...)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v leaves %v, %v", args, left, err)
		}
		if !strings.Contains(says, dir+" belongs to #54321, and you are root") || !strings.Contains(says, "sudo -u '#54321' ") || !strings.Contains(says, " client --dir "+dir) {
			t.Errorf("%v says\n%s", args, says)
		}
	}
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if says := run("keys", "new"); strings.Contains(says, "belongs to") {
		t.Errorf("in its own directory root hears\n%s", says)
	}
}

func TestRefuseRoot(t *testing.T) {
	mine := t.TempDir()
	uid := os.Geteuid()
	if err := refuseRoot(mine, "mostro audit", uid); err != nil {
		t.Errorf("the owner: %v", err)
	}
	if err := refuseRoot(filepath.Join(mine, "none"), "mostro serve", 0); err != nil {
		t.Errorf("a directory that is to be made: %v", err)
	}
	if uid > 0 {
		if err := refuseRoot(mine, "mostro audit", 0); err == nil || !strings.Contains(err.Error(), "and you are root") {
			t.Errorf("root: %v", err)
		}
	}
}
