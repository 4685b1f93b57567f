package regtest

import (
	"context"
	"errors"
	"fmt"
)

// errDown answers a call that needs a process which does not run.
var errDown = errors.New("the process does not run")

// StopNode ends a node, or "btcd", as an operator would, by force when ctx ends first.
func (n *Network) StopNode(ctx context.Context, name string) { n.stopChild(ctx, name) }

// KillNode ends a node, or "btcd", as a crash would (kill -9).
func (n *Network) KillNode(name string) {
	if c := n.child(name); c != nil {
		c.kill()
	}
}

// StartNode starts a node, or "btcd", unless it runs. It returns when the node serves calls,
// its channels with other running nodes are active, and payments route over them. It goes on
// without channels that stay dead, and after an error it may be called again.
func (n *Network) StartNode(ctx context.Context, name string) error {
	ctx, release := n.guard(ctx)
	defer release()
	if name == btcdName {
		return n.startBtcd(ctx)
	}
	if err := n.startLnd(ctx, name); err != nil {
		return err
	}
	return n.reconnect(ctx, name)
}

// Freeze stops a process where it stands, as a hanging machine would: connections stay open
// and nothing answers. It returns when that is so.
func (n *Network) Freeze(ctx context.Context, name string) error {
	c, err := n.setFrozen(name, true)
	if err == nil {
		err = freeze(c.cmd.Process)
	}
	if err != nil {
		return fmt.Errorf("freeze %s: %w", name, err)
	}
	return until(ctx, name+" to stand still", func() (bool, error) { return isFrozen(c.cmd.Process.Pid), nil })
}

// Thaw lets a frozen process go on.
func (n *Network) Thaw(name string) error {
	c, err := n.setFrozen(name, false)
	if err == nil {
		err = thaw(c.cmd.Process)
	}
	if err != nil {
		return fmt.Errorf("thaw %s: %w", name, err)
	}
	return nil
}

func (n *Network) setFrozen(name string, frozen bool) (*child, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.children[name]
	if c == nil || !c.running() {
		return nil, errDown
	}
	n.frozen[name] = frozen
	return c, nil
}

func (n *Network) child(name string) *child {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.children[name]
}

// runs tells whether there is a process of that name now.
func (n *Network) runs(name string) bool {
	c := n.child(name)
	return c != nil && c.running()
}

func (n *Network) stopChild(ctx context.Context, name string) {
	if c := n.child(name); c != nil {
		c.stop(ctx)
	}
}

// responsive tells whether a node runs, is not frozen, and can be called.
func (n *Network) responsive(name string) bool {
	if !n.runs(name) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.frozen[name] && n.nodes[name] != nil
}
