package mirror

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// errFault ends a connection to a relay that sends what this program cannot handle, as one that misbehaves: the node
// goes on.
var errFault = errors.New("what the relay sends cannot be handled, by a fault of this program: please report it")

// safely makes an error of a panic. Other relays choose what they send, and a fault in reading it must not end the node.
func safely(f func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v\n%s", errFault, fault, debug.Stack())
		}
	}()
	return f()
}
