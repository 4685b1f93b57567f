package regtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// spawner starts processes from one OS thread that lives as long as any of them may run.
// The kernel ties a child's parent-death signal to the thread that made it, and Go ends
// threads when it likes.
type spawner struct{ jobs chan func() }

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() {
		// Never unlocked: the thread ends with this goroutine and is not used again.
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// close may be called once all processes have ended.
func (s *spawner) close() { close(s.jobs) }

// child is a process that this one started.
type child struct {
	name     string
	pidFile  string
	output   string // path of what it wrote to stdout and stderr
	cmd      *exec.Cmd
	done     chan struct{} // closed when it has ended
	err      error         // valid once done is closed
	expected atomic.Bool   // its end was asked for
}

// start runs a program. All files of the child lie in dir: name.pid and name.out.
func (s *spawner) startChild(dir, name, path string, args []string) (*child, error) {
	c := &child{
		name:    name,
		pidFile: filepath.Join(dir, name+".pid"),
		output:  filepath.Join(dir, name+".out"),
		cmd:     exec.Command(path, args...),
		done:    make(chan struct{}),
	}
	output, err := os.Create(c.output)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer output.Close() // the child has its own descriptor
	c.cmd.Stdout, c.cmd.Stderr = output, output
	c.cmd.SysProcAttr = childAttributes()
	if err := s.start(c.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	if err := os.WriteFile(c.pidFile, fmt.Appendln(nil, c.cmd.Process.Pid), 0o600); err != nil {
		c.kill()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// endedError is a process's end that nobody asked for.
type endedError struct{ text string }

func (e *endedError) Error() string { return e.text }

// failure describes an end that nobody asked for, with the last words of the process.
func (c *child) failure() error {
	how := "by itself, with status 0"
	if c.err != nil {
		how = c.err.Error()
	}
	text, err := os.ReadFile(c.output)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return &endedError{fmt.Sprintf("%s ended: %s, without a word", c.name, how)}
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := strings.Join(lines[max(0, len(lines)-lastWords):], "\n")
	return &endedError{fmt.Sprintf("%s ended: %s; its last output: %s", c.name, how, last)}
}

// stop asks the process to end, waits for it, and kills it when ctx ends first.
func (c *child) stop(ctx context.Context) {
	c.expected.Store(true)
	terminate(c.cmd.Process)
	select {
	case <-c.done:
		os.Remove(c.pidFile)
	case <-ctx.Done():
		c.kill()
	}
}

// kill ends the process as a crash would, and waits until it is gone.
func (c *child) kill() {
	c.expected.Store(true)
	c.cmd.Process.Kill() // fails only when the process has ended already
	<-c.done
	os.Remove(c.pidFile)
}

func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// endingTries bounds the wait for a killed process: its pid may be a stranger's by now.
const endingTries = 500

// endLeftover kills the process that an earlier run left behind in dir, if there is one. A
// process id may be somebody else's by now: only a process with marker among its arguments
// is ended.
func endLeftover(ctx context.Context, dir, name, marker string) error {
	pidFile := filepath.Join(dir, name+".pid")
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end what an earlier run left behind: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil && pid > 0 {
		process, err := os.FindProcess(pid)
		if err != nil {
			return fmt.Errorf("end what an earlier run left behind: %w", err)
		}
		for hasArgument(pid, marker) {
			process.Kill() // again and again is harmless, and it may end in between
			if err := sleep(ctx, pollInterval); err != nil {
				return fmt.Errorf("end process %d (%s) of an earlier run: %w", pid, name, err)
			}
		}
		// It may be killed already, by the death of its owner, and hold its locks a moment longer.
		for tries := 0; isEnding(pid) && tries < endingTries; tries++ {
			if err := sleep(ctx, pollInterval); err != nil {
				return fmt.Errorf("end process %d (%s) of an earlier run: %w", pid, name, err)
			}
		}
	}
	return os.Remove(pidFile)
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
