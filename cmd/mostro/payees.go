package main

import (
	"context"
	"fmt"

	"mostro/escrow/lnurl"
	"mostro/escrow/order"
)

// payees asks the servers of Lightning addresses for invoices.
type payees struct {
	*lnurl.Client
	// network names the chain of the Lightning node; set only where addresses may lead to this
	// machine.
	network func(context.Context) (string, error)
}

// newPayees follows the settings, and nodeConfig.closed.
func (n *node) newPayees() (*payees, error) {
	client, err := lnurl.New(lnurl.Config{Proxy: string(n.cfg.settings.Network.Proxy), AllowPrivate: n.cfg.closed})
	if err != nil {
		return nil, err
	}
	p := &payees{Client: client}
	if n.cfg.closed {
		p.network = func(ctx context.Context) (string, error) {
			info, err := n.ln.Info(ctx)
			return info.Network, err
		}
	}
	return p, nil
}

// resolve turns an address into an invoice over an amount.
func (p *payees) resolve(ctx context.Context, address string, amount order.Msat) (string, error) {
	if p.network != nil {
		// Where coins are worth something, no mistake in the wiring opens this machine to strangers.
		network, err := p.network(ctx)
		if err != nil {
			return "", err
		}
		if network != "simnet" && network != "regtest" {
			return "", fmt.Errorf("resolve %s: a node whose payees may be on this machine does not pay on %s", address, network)
		}
	}
	target, err := p.Parse(address)
	if err != nil {
		return "", err
	}
	return p.Client.Resolve(ctx, target, amount, "")
}
