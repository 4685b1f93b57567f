package regtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// childAttributes makes the kernel kill the child when this process dies, however it dies,
// and keeps a terminal's Ctrl-C away from it: it is told to stop in its turn.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// hasArgument tells whether a process runs that was started with exactly this argument.
func hasArgument(pid int, argument string) bool {
	// Empty for a process that has ended and was not waited for.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(bytes.Split(line, []byte{0}), func(word []byte) bool {
		return string(word) == argument
	})
}

// isFrozen tells whether every thread of a process has stopped.
func isFrozen(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
		// "pid (name) state ...", and the name may contain anything.
		stat, err := os.ReadFile(path)
		_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
		return err != nil || !ok || !bytes.HasPrefix(rest, []byte("T"))
	})
}

// isEnding tells whether a process was killed and still closes its files, locks included: its
// command line is gone by then, and the files are not.
func isEnding(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(line) > 0 {
		return false
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return err == nil && slices.ContainsFunc(threads, func(path string) bool {
		stat, err := os.ReadFile(path)
		_, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
		return err == nil && ok && !bytes.HasPrefix(rest, []byte("Z")) && !bytes.HasPrefix(rest, []byte("X"))
	})
}
