package regtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// forEachNode runs a step on all nodes at once.
func (n *Network) forEachNode(step func(name string) error) error {
	errs := make([]error, len(n.config.Nodes))
	var group sync.WaitGroup
	for i, name := range n.config.Nodes {
		group.Go(func() { errs[i] = step(name) })
	}
	group.Wait()
	// The end of one process ends the wait for all, and is told once.
	for i, err := range errs {
		if _, ended := err.(*endedError); ended && slices.Contains(errs[:i], err) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// run starts a process of the network and watches over it.
func (n *Network) run(name, path string, args []string) error {
	c, err := n.spawner.startChild(n.config.Dir, name, path, args)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.children[name] = c
	delete(n.frozen, name)
	n.mu.Unlock()
	go func() {
		<-c.done
		if c.expected.Load() {
			return
		}
		exit := Exit{Name: name, Err: c.failure()}
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, cancel := range n.guards {
			cancel(exit.Err)
		}
		select {
		case n.exited <- exit:
		default: // nobody listens, and the first deaths say the most
		}
	}()
	return nil
}

// guard returns a context that also ends, with the reason as its cause, when a process of
// the network dies: what the caller waits for may never come then.
func (n *Network) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.guardID++
	id := n.guardID
	n.guards[id] = cancel
	return ctx, func() {
		n.mu.Lock()
		delete(n.guards, id)
		n.mu.Unlock()
		cancel(nil)
	}
}

// until polls a condition. An error of the condition means "not yet" and is reported only
// when the wait ends without success, and not because a process has ended.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	for {
		ok, last := condition()
		if ok && last == nil {
			return nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			if _, ended := err.(*endedError); ended {
				return err
			}
			if last != nil {
				return fmt.Errorf("wait for %s: %w; last answer: %v", what, err, last)
			}
			return fmt.Errorf("wait for %s: %w", what, err)
		}
	}
}
