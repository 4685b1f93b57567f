package lightning

import (
	"context"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2"

	"mostro/escrow/order"
)

// SimNode is a node of a SimNetwork. Its Node methods are what the escrow calls: they are
// logged and have faults. Its other methods are the hands of the test.
type SimNode struct {
	network *SimNetwork
	name    string
	key     *btcec.PrivateKey
	pubkey  string

	// The network's lock holds for all that follows.
	capacity  order.Msat // of all channels, both sides
	local     order.Msat // spendable
	lockedOut order.Msat // in HTLCs that this node offered, with their fees
	lockedIn  order.Msat // in HTLCs that this node was offered
	slots     int        // HTLCs in one direction
	htlcsOut  int
	htlcsIn   int
	route     SimRoute
	preimages int // made so far
	invoices  map[order.Hash]*simInvoice
	payments  map[order.Hash]*simPayment

	stopped      bool
	overdue      []*simInvoice // whose time came while the node was stopped
	faults       Faults
	late         []func() // notices held back
	streams      map[simStream]struct{}
	blockStreams []*simWatch[uint32]
	calls        []SimCall
	counts       map[SimMethod]int
}

var _ Node = (*SimNode)(nil)

// Name is what the network calls the node.
func (s *SimNode) Name() string { return s.name }

// Pubkey is the node's key in hex.
func (s *SimNode) Pubkey() string { return s.pubkey }

// Funds is what the node can spend now.
func (s *SimNode) Funds() order.Msat {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.local
}

// Owned is what the node can spend, and what it has offered in HTLCs that have not ended.
func (s *SimNode) Owned() order.Msat {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.local + s.lockedOut
}

// receivable is what others can send to the node now.
func (s *SimNode) receivable() order.Msat { return s.capacity - s.local - s.lockedOut - s.lockedIn }

func (s *SimNode) Info(ctx context.Context) (info Info, err error) {
	err = s.call(ctx, SimInfo, order.Hash{}, func() (string, error) {
		info = Info{
			Pubkey:  s.pubkey,
			Alias:   s.name,
			Version: simVersion,
			Network: s.network.config.Network,
			Height:  s.network.height,
			Synced:  s.network.synced,
			TipTime: s.network.tipTime(),
		}
		return "", nil
	})
	if err != nil {
		return Info{}, fmt.Errorf("get node info: %w", err)
	}
	return info, nil
}

func (s *SimNode) Balance(ctx context.Context) (balance Balance, err error) {
	err = s.call(ctx, SimBalance, order.Hash{}, func() (string, error) {
		balance = Balance{Local: s.local, Remote: s.receivable(), ActiveChannels: s.network.config.Channels}
		return "", nil
	})
	if err != nil {
		return Balance{}, fmt.Errorf("get channel balance: %w", err)
	}
	return balance, nil
}

func (s *SimNode) OpenHold(ctx context.Context, req HoldRequest) (invoice HoldInvoice, err error) {
	err = s.call(ctx, SimOpenHold, req.Hash, func() (string, error) {
		found := s.invoices[req.Hash]
		existed := found != nil
		if !existed {
			made, err := s.newHold(req)
			if err != nil {
				return "", fmt.Errorf("%w: %w", ErrRefused, err)
			}
			found = made
		}
		invoice = found.view()
		invoice.Existed = existed
		return string(invoice.State), nil
	})
	if err != nil {
		return HoldInvoice{}, fmt.Errorf("open hold invoice %s: %w", req.Hash, err)
	}
	return invoice, nil
}

func (s *SimNode) newHold(req HoldRequest) (*simInvoice, error) {
	if req.Hash.IsZero() {
		return nil, errors.New("payment hash is missing")
	}
	if req.Expiry == 0 {
		req.Expiry = simHoldExpiry
	}
	invoice, err := s.newInvoice(req.Hash, SimInvoiceRequest{
		Amount:    req.Amount,
		Memo:      req.Memo,
		Expiry:    req.Expiry,
		CLTVDelta: req.CLTVDelta,
	})
	if err != nil {
		return nil, err
	}
	invoice.hold = true
	return invoice, nil
}

func (s *SimNode) Lookup(ctx context.Context, hash order.Hash) (invoice HoldInvoice, err error) {
	err = s.call(ctx, SimLookup, hash, func() (string, error) {
		found := s.invoices[hash]
		if found == nil {
			return "", fmt.Errorf("%w: there are no existing invoices", ErrNotFound)
		}
		invoice = found.view()
		return string(invoice.State), nil
	})
	if err != nil {
		return HoldInvoice{}, fmt.Errorf("look up hold invoice %s: %w", hash, err)
	}
	return invoice, nil
}

func (s *SimNode) Settle(ctx context.Context, preimage order.Preimage) error {
	hash := preimage.Hash()
	err := s.call(ctx, SimSettle, hash, func() (string, error) {
		invoice := s.invoices[hash]
		switch {
		case invoice == nil:
			return "", fmt.Errorf("%w: unable to locate invoice", ErrNotFound)
		case invoice.state == Open:
			return "", fmt.Errorf("%w: invoice still open", ErrStillOpen)
		case invoice.state == Canceled:
			return "", fmt.Errorf("%w: invoice already canceled", ErrAlreadyCanceled)
		case invoice.state == Accepted:
			invoice.settle(preimage.Bytes())
		}
		return string(Settled), nil
	})
	if err != nil {
		return fmt.Errorf("settle hold invoice %s: %w", hash, err)
	}
	return nil
}

func (s *SimNode) Cancel(ctx context.Context, hash order.Hash) error {
	err := s.call(ctx, SimCancel, hash, func() (string, error) {
		invoice := s.invoices[hash]
		switch {
		case invoice == nil:
			return "", fmt.Errorf("%w: unable to locate invoice", ErrNotFound)
		case invoice.state == Settled:
			return "", fmt.Errorf("%w: invoice already settled", ErrAlreadySettled)
		case !invoice.state.Final():
			invoice.cancel()
		}
		return string(Canceled), nil
	})
	if err != nil {
		return fmt.Errorf("cancel hold invoice %s: %w", hash, err)
	}
	return nil
}

func (s *SimNode) Send(ctx context.Context, req PayRequest) (payment Payment, err error) {
	invoice, decodeErr := s.network.read(req.Invoice)
	err = s.call(ctx, SimSend, invoice.Hash, func() (string, error) {
		if err := s.checkInvoice(invoice, decodeErr); err != nil {
			return "", err
		}
		if err := checkRequest(req, invoice); err != nil {
			return "", fmt.Errorf("%w: %w", ErrRefused, err)
		}
		sent, err := s.newPayment(invoice, req.Amount, req.FeeLimit)
		if err != nil {
			return "", err
		}
		// lnd acknowledges before the first attempt: what becomes of it is news.
		payment = sent.truth()
		if s.faults.Fate != nil {
			sent.fate = s.faults.Fate(invoice.Hash)
		}
		if sent.fate != SimStuck {
			sent.attempt(1)
		}
		sent.changed()
		return string(payment.State), nil
	})
	if err != nil {
		return Payment{}, fmt.Errorf("send payment %s: %w", invoice.Hash, err)
	}
	return payment, nil
}

// checkRequest refuses what no HTLC can be made of.
func checkRequest(req PayRequest, invoice order.Invoice) error {
	limit := req.CLTVLimit
	if limit == 0 {
		limit = simMaxTimelock
	}
	least := invoice.FinalCLTV + simBlockPadding
	switch {
	case invoice.Amount != 0 && req.Amount != invoice.Amount:
		return fmt.Errorf("amount %d msat is not the invoice's %d", req.Amount, invoice.Amount)
	case req.FeeLimit < 0:
		return fmt.Errorf("fee limit %d msat is negative", req.FeeLimit)
	case limit > simMaxTimelock:
		return fmt.Errorf("total time lock of %d exceeds max allowed %d", limit, simMaxTimelock)
	case limit <= least:
		return fmt.Errorf("cltv limit %d should be greater than %d", limit, least)
	}
	return nil
}

func (s *SimNode) CanRoute(ctx context.Context, invoice order.Invoice, amount order.Msat) error {
	err := s.call(ctx, SimCanRoute, invoice.Hash, func() (string, error) {
		payee := s.network.byPubkey[invoice.Payee]
		switch {
		case payee == nil && invoice.HasHints:
			return "", nil
		case payee == nil || payee.stopped || payee.route.None || amount > s.local:
			return "", fmt.Errorf("%w: unable to find a path to destination", ErrRefused)
		}
		return "", nil
	})
	if err != nil {
		return fmt.Errorf("find a route to %s: %w", invoice.Payee, err)
	}
	return nil
}
