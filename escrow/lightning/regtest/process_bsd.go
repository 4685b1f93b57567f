//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package regtest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes keeps a terminal's Ctrl-C away from the child. There is no parent-death
// signal here: what a killed run leaves behind is ended by the next start.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// hasArgument tells whether a process runs that was started with this argument.
func hasArgument(pid int, argument string) bool {
	line, err := exec.Command("ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(" "+strings.TrimSpace(string(line))+" ", " "+argument+" ")
}

// isFrozen tells whether a process has stopped.
func isFrozen(pid int) bool {
	state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(state)), "T")
}

// isEnding tells whether a process was killed and still closes its files; not known here.
func isEnding(int) bool { return false }
