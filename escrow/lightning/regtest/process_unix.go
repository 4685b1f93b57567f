//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package regtest

import (
	"fmt"
	"os"
	"syscall"
)

// terminate asks a process to end. A frozen one could not hear it and is woken first.
func terminate(process *os.Process) {
	process.Signal(syscall.SIGCONT)
	process.Signal(syscall.SIGTERM)
}

func freeze(process *os.Process) error { return process.Signal(syscall.SIGSTOP) }

func thaw(process *os.Process) error { return process.Signal(syscall.SIGCONT) }

// tryLock takes the lock that path stands for, or returns errLocked. The lock ends with
// the file or with the process.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}
