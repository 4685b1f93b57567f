package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mostro/relay/store"
)

const (
	chaosDisk   = 1 << 30 // bytes
	shrinkTries = 100
)

// diskName is where a disk comes from, as the list of mounts shows it; the id of the process follows.
const diskName = "mostro-test-of-"

// disk is a small file system in memory.
type disk struct {
	dir  string
	why  error          // there is none
	left io.WriteCloser // to the child that unmounts it
}

// newDisk mounts one until the test ends, which only root may.
func newDisk(t *testing.T, dir string, size uint64) *disk {
	t.Helper()
	unmountLeft(t)
	d := &disk{dir: dir}
	if d.why = os.Mkdir(dir, 0o700); d.why == nil {
		d.why = runCommand("mount", "-t", "tmpfs", "-o", fmt.Sprintf("mode=700,size=%d", size), diskName+strconv.Itoa(os.Getpid()), dir)
	}
	if d.why != nil {
		t.Logf("there is no disk that could be full: %v", d.why)
		return d
	}
	if err := d.guard(t); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runCommand("umount", dir); err != nil {
			t.Error(err) // the child does it
		}
	})
	return d
}

// guard starts a child that waits for this process to end, however it ends, and then kills what
// runs on the disk and unmounts it. It is told the id of each mostro.
func (d *disk) guard(t *testing.T) error {
	child := exec.Command("sh", "-c", `trap "" INT TERM
while read -r id; do last=$id; done
grep -qF -- "$0" "/proc/$last/cmdline" 2>/dev/null && kill -9 "$last"
umount -l "$0" 2>/dev/null`, d.dir)
	var err error
	if d.left, err = child.StdinPipe(); err == nil {
		err = child.Start()
	}
	if err != nil {
		return fmt.Errorf("start the child that unmounts %s: %w", d.dir, err)
	}
	t.Cleanup(func() {
		d.left.Close()
		child.Wait() // it has nothing to unmount when all went well, and says so
	})
	return nil
}

// start moves the data directory of a lab to the disk, if there is one, and starts the node there.
func (d *disk) start(l *lab, ctx context.Context) error {
	if d.why != nil {
		return l.start(ctx)
	}
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(l.dir, file.Name()))
		if err == nil {
			err = writeWhole(filepath.Join(d.dir, file.Name()), data)
		}
		if err != nil {
			return err
		}
	}
	l.dir = d.dir
	return errors.Join(l.start(ctx), d.uses(l.process.cmd.Process))
}

// uses tells the child which process runs on the disk.
func (d *disk) uses(p *os.Process) error {
	if d.why != nil {
		return nil
	}
	_, err := fmt.Fprintln(d.left, p.Pid)
	return err
}

// unmountLeft unmounts the disks of processes that are gone, and their children with them.
func unmountLeft(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return // another system, on which no disk is mounted either
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		id, ours := strings.CutPrefix(fields[0], diskName)
		if !ours {
			continue
		}
		if _, err := os.Stat("/proc/" + id); err == nil {
			continue
		}
		t.Logf("the disk %s is left of process %s", fields[1], id)
		if err := runCommand("umount", "-l", fields[1]); err != nil {
			t.Error(err)
		}
	}
}

// shrink makes the disk so small that no more than rest is free.
func (d *disk) shrink(rest uint64) (err error) {
	for range shrinkTries {
		free, total, err2 := store.DiskFree(d.dir)
		if err2 != nil {
			return err2
		}
		// It fails when more is written in between.
		if err = d.resize(total - free + rest); err == nil {
			return nil
		}
	}
	return err
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
	yes      chan struct{} // to whoever waits for the relay to accept an event

	mu    sync.Mutex
	conns map[net.Conn]net.Conn // a client's, and the one to the relay
}

func startProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to, yes: make(chan struct{}), conns: map[net.Conn]net.Conn{}}
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
	io.Copy(io.MultiWriter(from, p), to)
	p.mu.Lock()
	delete(p.conns, from)
	p.mu.Unlock()
}

// Write looks at what a client was just told.
func (p *proxy) Write(told []byte) (int, error) {
	if bytes.Contains(told, []byte(`["OK",`)) {
		select {
		case p.yes <- struct{}{}:
		default:
		}
	}
	return len(told), nil
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
