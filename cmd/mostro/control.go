package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

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

// controlPath is the socket by which commands of the operator reach a running node. It lies in
// the data directory; whoever can open it can read the node's key there as well. Where that
// path is too long for a socket it lies in a private directory of its own.
func controlPath(dir string) (string, error) {
	if path := filepath.Join(dir, controlFile); len(path) <= maxSocketPath {
		return path, nil
	}
	sum := sha256.Sum256([]byte(dir))
	private := filepath.Join(os.TempDir(), "mostro-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(private, privateDir); err != nil {
		return "", fmt.Errorf("make control directory: %w", err)
	}
	// Only its owner can change a mode: a directory that somebody else has put there fails.
	if err := os.Chmod(private, privateDir); err != nil {
		return "", fmt.Errorf("control directory is not ours: %w", err)
	}
	return filepath.Join(private, controlFile), nil
}

// listenControl makes the socket. The locks of the stores say that no other node has this data
// directory, so a socket that is there was left behind.
func listenControl(dir string) (net.Listener, error) {
	path, err := controlPath(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, privateFile); err != nil {
		return nil, errors.Join(fmt.Errorf("close the control socket to others: %w", err), listener.Close())
	}
	return listener, nil
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

// control is a running node, as a command of the operator sees it.
type control struct{ client *http.Client }

// dialControl finds the node that runs in a data directory; errNotRunning when none does.
func dialControl(ctx context.Context, dir string) (*control, error) {
	path, err := controlPath(dir)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%s: %w", dir, errNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the node in %s: %w", dir, err)
	}
	conn.Close()
	return &control{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

// ask sends a request; the caller closes the answer.
func (c *control) ask(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxControl))
		return nil, fmt.Errorf("the node says: %s", strings.TrimSpace(string(text)))
	}
	return res.Body, nil
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
