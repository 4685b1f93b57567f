package regtest

import (
	"context"
	"fmt"
)

// StopNode ends a node, or "btcd", as an operator would, by force when ctx ends first.
func (n *Network) StopNode(ctx context.Context, name string) { n.stopChild(ctx, name) }

// KillNode ends a node, or "btcd", as a crash would (kill -9).
func (n *Network) KillNode(name string) {
	if c := n.child(name); c != nil {
		c.kill()
	}
}

// StartNode starts a node, or "btcd", that has ended. It returns when the node serves
// calls, its channels with other running nodes are active, and payments route over them.
func (n *Network) StartNode(ctx context.Context, name string) error {
	if c := n.child(name); c != nil && c.running() {
		return fmt.Errorf("start %s: it runs already", name)
	}
	ctx, release := n.guard(ctx)
	defer release()
	if name == btcdName {
		return n.startBtcd(ctx)
	}
	if err := n.startLnd(ctx, name); err != nil {
		return err
	}
	if err := n.reconnect(ctx, name); err != nil {
		return err
	}
	var pairs []pair
	for _, channel := range n.channelsOf([]string{name}) {
		pairs = append(pairs, pair{channel.From, channel.To}, pair{channel.To, channel.From})
	}
	return n.waitRoutes(ctx, pairs)
}

// Freeze stops a process where it stands, as a hanging machine would: connections stay open
// and nothing answers.
func (n *Network) Freeze(name string) error {
	return n.setFrozen(name, true)
}

// Thaw lets a frozen process go on.
func (n *Network) Thaw(name string) error {
	return n.setFrozen(name, false)
}

func (n *Network) setFrozen(name string, frozen bool) error {
	c := n.child(name)
	if c == nil || !c.running() {
		return fmt.Errorf("freeze or thaw %s: %w", name, errDown)
	}
	n.mu.Lock()
	n.frozen[name] = frozen
	n.mu.Unlock()
	if frozen {
		return freeze(c.cmd.Process)
	}
	return thaw(c.cmd.Process)
}

func (n *Network) child(name string) *child {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.children[name]
}

func (n *Network) stopChild(ctx context.Context, name string) {
	if c := n.child(name); c != nil {
		c.stop(ctx)
	}
}

// responsive tells whether a node runs, is not frozen, and can be called.
func (n *Network) responsive(name string) bool {
	c := n.child(name)
	if c == nil || !c.running() {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.frozen[name] && n.nodes[name] != nil
}
