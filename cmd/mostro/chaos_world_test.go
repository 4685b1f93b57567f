package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// chaosDisk is in bytes. Badger makes its largest files without filling them.
const chaosDisk = 1 << 30

// disk is a small file system in memory.
type disk struct {
	dir string
	why error // there is none
}

// newDisk mounts one until the test ends, which only root may.
func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{dir: dir}
	if d.why = os.Mkdir(dir, 0o700); d.why == nil {
		d.why = runCommand("mount", "-t", "tmpfs", "-o", fmt.Sprintf("mode=700,size=%d", chaosDisk), "chaos", dir)
	}
	if d.why != nil {
		t.Logf("there is no disk that could be full: %v", d.why)
		return d
	}
	t.Cleanup(func() {
		if err := runCommand("umount", dir); err != nil {
			t.Error(err)
		}
	})
	return d
}

// shrink makes the disk so small that no more than rest is free.
func (d *disk) shrink(rest uint64) error {
	out, err := exec.Command("df", "-kP", d.dir).Output()
	if err != nil {
		return fmt.Errorf("df %s: %w", d.dir, err)
	}
	fields := strings.Fields(string(out)) // two lines; of the second the third
	used, err := strconv.ParseUint(fields[len(fields)-4], 10, 64)
	if err != nil {
		return fmt.Errorf("df %s: %w", d.dir, err)
	}
	return d.resize(used<<10 + rest)
}

func (d *disk) grow() error { return d.resize(chaosDisk) }

func (d *disk) resize(size uint64) error {
	return runCommand("mount", "-o", fmt.Sprintf("remount,size=%d", size), d.dir)
}

func runCommand(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// proxy passes TCP connections on, and can cut them.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns map[net.Conn]net.Conn // a client's, and the one to the relay
}

func startProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to, conns: map[net.Conn]net.Conn{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.pass(conn)
		}
	}()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer to.Close()
	p.mu.Lock()
	p.conns[from] = to
	p.mu.Unlock()
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
	io.Copy(from, to)
	p.mu.Lock()
	delete(p.conns, from)
	p.mu.Unlock()
}

// cut ends most connections; half of these without a word to the other side.
func (p *proxy) cut(random *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for from, to := range p.conns {
		switch random.IntN(4) {
		case 0:
		case 1:
			from.(*net.TCPConn).SetLinger(0)
			to.(*net.TCPConn).SetLinger(0)
			fallthrough
		default:
			from.Close()
			to.Close()
		}
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for from, to := range p.conns {
		from.Close()
		to.Close()
	}
}
