//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package regtest

import (
	"errors"
	"os"
	"syscall"
)

// errUnsupported answers every way into this package, all of which begin with a lock.
var errUnsupported = errors.New("local Lightning nodes run on Linux, macOS and the BSDs; on Windows use WSL")

func tryLock(string) (*os.File, error) { return nil, errUnsupported }

func childAttributes() *syscall.SysProcAttr { return nil }

func hasArgument(int, string) bool { return false }

func isFrozen(int) bool { return false }

func terminate(process *os.Process) { process.Kill() }

func freeze(*os.Process) error { return errUnsupported }

func thaw(*os.Process) error { return errUnsupported }

// isEnding tells whether a process was killed and still closes its files; not known here.
func isEnding(int) bool { return false }
