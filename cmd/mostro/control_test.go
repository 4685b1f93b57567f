package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// TestControlEnds: the stores are not closed while a command is being answered, since serving commands ends after it.
func TestControlEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var answered atomic.Bool
	commands := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		end()
		time.Sleep(200 * time.Millisecond) // for a server that does not wait to be gone
		answered.Store(true)
	})
	go func() {
		if res, err := http.Get("http://" + listener.Addr().String()); err == nil {
			res.Body.Close()
		}
	}()
	if err := serveCommands(ctx, listener, commands); err != nil {
		t.Fatal(err)
	}
	if !answered.Load() {
		t.Error("serving has ended while a command was being answered")
	}
}

// TestControlOfALongPath: the socket is in the data directory, wherever that is and whatever TMPDIR each
// side has, so that a node that runs is always found.
func TestControlOfALongPath(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("a long name/", 20))} {
		if err := os.MkdirAll(dir, privateDir); err != nil {
			t.Fatal(err)
		}
		if _, err := dialControl(t.Context(), dir); !errors.Is(err, errNotRunning) {
			t.Errorf("before the start: %v", err)
		}
		for range 2 { // the second finds the file of the first
			t.Setenv("TMPDIR", t.TempDir())
			listener, err := listenControl(dir)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, controlFile))
			if err != nil || info.Mode().Perm() != privateFile {
				t.Errorf("the socket: %v, %v", info, err)
			}
			t.Setenv("TMPDIR", t.TempDir())
			if _, err := dialControl(t.Context(), dir); err != nil {
				t.Errorf("while it runs: %v", err)
			}
			listener.Close()
			if _, err := dialControl(t.Context(), dir); !errors.Is(err, errNotRunning) {
				t.Errorf("after the end: %v", err)
			}
		}
	}
}

// A node that hangs, at the beginning or in the middle of an answer, is told of instead of being waited for.
func TestControlOfANodeThatHangs(t *testing.T) {
	dir := t.TempDir()
	listener, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	hangs := func(cmd *cobra.Command, args ...string) {
		t.Helper()
		_, err := here(cmd, append(args, "--data-dir", dir, "--wait", "50ms")...)
		if err == nil || !strings.Contains(err.Error(), "the node does not answer: it hangs or is busy") || !strings.Contains(hintsOf(err), "--wait 10m") {
			t.Errorf("%s: %v %s", cmd.Name(), err, hintsOf(err))
		}
	}
	file := filepath.Join(t.TempDir(), "a.backup")
	hangs(statusCommand())
	hangs(backupCommand(), file)
	hangs(modeCommand(), "drain", "--reason", "x")

	released := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		<-released
	})}
	go server.Serve(listener)
	defer server.Close()
	defer close(released)
	hangs(statusCommand())
	hangs(backupCommand(), file)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup that was cut off is there: %v", err)
	}
}
