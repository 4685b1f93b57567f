package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow/audit"
)

const (
	controlFile = "control.sock"
	// maxSocketPath is what systems take as the path of a socket, with a margin.
	maxSocketPath = 100
	maxControl    = 1 << 20  // bytes of a request
	maxStatus     = 64 << 20 // bytes of an answer: there may be many payments that a restored store does not know
)

// errNotRunning says that no node answers in a data directory.
var errNotRunning = errors.New("no node runs there")

// atControl calls use with a path of the socket by which commands of the operator reach a running
// node. It lies in the data directory; whoever can open it can read the node's key there as well. A
// path that is too long for a socket is made short by way of the open directory: nowhere else would
// both sides find it whatever their TMPDIR, and nobody else be able to put something there first.
func atControl(dir string, use func(path string) error) error {
	path := filepath.Join(dir, controlFile)
	if len(path) <= maxSocketPath {
		return use(path)
	}
	if runtime.GOOS != "linux" {
		return hint(fmt.Errorf("the path %s is too long for a socket: %d bytes, at most %d", path, len(path), maxSocketPath), "name a data directory with a shorter path")
	}
	open, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer open.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", open.Fd(), controlFile))
}

// listenControl makes the socket. The locks of the stores say that no other node has this data
// directory, so a socket that is there was left behind.
func listenControl(dir string) (listener net.Listener, err error) {
	err = atControl(dir, func(path string) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old control socket: %w", err)
		}
		socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return fmt.Errorf("listen for commands: %w", err)
		}
		socket.SetUnlinkOnClose(false) // the path may lead elsewhere by then; nobody answers at the file
		if err := os.Chmod(path, privateFile); err != nil {
			return errors.Join(fmt.Errorf("close the control socket to others: %w", err), socket.Close())
		}
		listener = socket
		return nil
	})
	return listener, err
}

// serveControl answers commands of the operator until ctx ends.
func (n *node) serveControl(ctx context.Context) error {
	return serveCommands(ctx, n.commands, n.controls())
}

// serveCommands returns when no command is being answered any more: what they read is closed then.
func serveCommands(ctx context.Context, listener net.Listener, commands http.Handler) error {
	var answering sync.WaitGroup
	server := &http.Server{ReadHeaderTimeout: headerTime, MaxHeaderBytes: maxHeader, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answering.Add(1)
		defer answering.Done()
		commands.ServeHTTP(w, req)
	})}
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer stop()
		if server.Shutdown(drain) != nil {
			server.Close() // a command that does not read its answer is cut
		}
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	answering.Wait()
	return nil
}

// controls are the requests of the operator.
func (n *node) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /books", n.sendBooks)
	mux.HandleFunc("GET /backup", n.sendBackup)
	mux.HandleFunc("GET /status", n.sendStatus)
	mux.HandleFunc("POST /act", n.takeAct)
	mux.HandleFunc("GET /peers", n.sendPeers)
	mux.HandleFunc("GET /candidates", n.sendCandidates)
	mux.HandleFunc("POST /follow", n.takeFollow)
	return mux
}

// sendBooks writes one account a line. An empty line at the end says that it is all.
func (n *node) sendBooks(w http.ResponseWriter, _ *http.Request) {
	out := json.NewEncoder(w)
	if err := n.engine.Books(func(a audit.Account) error { return out.Encode(a) }); err != nil {
		n.cfg.logger.Warn("send the books", "error", err)
		return
	}
	fmt.Fprintln(w)
}

// patience is how long a node may say nothing before a command of the operator gives up.
const patience = time.Minute

// errSilent: it has said nothing for that long.
var errSilent = errors.New("it says nothing")

// control is a running node, as a command of the operator sees it.
type control struct {
	client   *http.Client
	patience time.Duration // 0 = for ever
}

// waitFlag adds --wait to a command that asks a running node.
func waitFlag(cmd *cobra.Command) {
	cmd.Flags().Duration("wait", patience, "how long the node may say nothing before this gives up; 0 = for ever")
}

// patient has the patience that the flag names.
func (c *control) patient(cmd *cobra.Command) *control {
	if wait, err := cmd.Flags().GetDuration("wait"); err == nil {
		c.patience = wait
	}
	return c
}

// dialControl finds the node that runs in a data directory; errNotRunning when none does.
func dialControl(ctx context.Context, dir string) (*control, error) {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = atControl(dir, func(path string) error {
			d := net.Dialer{Timeout: patience} // one that takes no more has a full queue
			conn, err = d.DialContext(ctx, "unix", path)
			return err
		})
		return conn, err
	}
	conn, err := dial(ctx, "", "")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s: %w", dir, errNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the node in %s: %w", dir, err)
	}
	conn.Close()
	return &control{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, patience}, nil
}

// ask sends a request; the caller closes the answer.
func (c *control) ask(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		giveUp(nil)
		return nil, err
	}
	h := &heard{ctx: ctx, giveUp: giveUp, patience: c.patience}
	var res *http.Response
	err = h.listen(func() (err error) { res, err = c.client.Do(req); return err })
	if err != nil {
		giveUp(nil)
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	h.ReadCloser = res.Body
	res.Body = h
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxControl))
		return nil, fmt.Errorf("the node says: %s", strings.TrimSpace(string(text)))
	}
	return res.Body, nil
}

// heard is an answer of which each part comes in time.
type heard struct {
	io.ReadCloser
	ctx      context.Context
	giveUp   context.CancelCauseFunc
	patience time.Duration
}

func (h *heard) Read(p []byte) (n int, err error) {
	err = h.listen(func() (err error) { n, err = h.ReadCloser.Read(p); return err })
	return n, err
}

func (h *heard) Close() error {
	h.giveUp(nil)
	return h.ReadCloser.Close()
}

// listen waits for the node. What the command itself does in between takes as long as it takes.
func (h *heard) listen(wait func() error) error {
	if h.patience > 0 {
		defer time.AfterFunc(h.patience, func() { h.giveUp(errSilent) }).Stop()
	}
	err := wait()
	if err != nil && errors.Is(context.Cause(h.ctx), errSilent) {
		return hint(fmt.Errorf("the node does not answer: it hangs or is busy, and has said nothing for %s", h.patience),
			"wait longer: --wait 10m; what was asked may be done all the same",
			"its log says what it does; look at its disk and its memory too")
	}
	return err
}

// books reads the accounts.
func (c *control) books(ctx context.Context) ([]audit.Account, error) {
	body, err := c.ask(ctx, http.MethodGet, "/books", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readAccounts(body)
}

// readAccounts reads lines of JSON up to the empty one; a stream without it was cut.
func readAccounts(from io.Reader) (list []audit.Account, err error) {
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil, errors.New("read the books: they end in the middle")
		}
		if err != nil {
			return nil, fmt.Errorf("read the books: %w", err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return list, nil
		}
		var a audit.Account
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("read the books: %w", err)
		}
		list = append(list, a)
	}
}
