package escrow

import (
	"context"
	"slices"
	"time"

	"mostro/escrow/lightning"
)

// world moves what is outside: time, blocks, the node, wallets.
func (s *Simulation) world(ctx context.Context) error {
	switch s.r.IntN(9) {
	case 0:
		s.advance(time.Duration(s.r.IntN(1200)) * time.Second)
	case 1:
		s.net.Mine(uint32(s.r.IntN(4)))
	case 2:
		if s.chance(15) {
			n := uint32(s.r.IntN(150))
			s.say("%d blocks", n)
			s.net.Mine(n)
		}
	case 3:
		if s.chance(50) {
			s.say("the node is away")
			s.node.Stop()
		}
	case 4, 5:
		s.node.Start()
		s.net.SetSynced(true)
	case 6:
		if s.chance(30) {
			s.net.SetSynced(false)
		}
	case 7:
		if len(s.holds) > 0 {
			s.payee(s.r.IntN(len(s.holds)))
		}
	case 8:
		if s.chance(40) {
			s.say("the process dies")
			panic(crash{})
		}
		for hash := range s.watches {
			if s.watches[hash].payment {
				s.node.Unstick(hash)
			}
		}
	}
	s.e.askNode(ctx)
	return nil
}

// payee settles or cancels one of the hold invoices that buyers gave.
func (s *Simulation) payee(i int) {
	preimage := s.holds[i]
	s.holds = slices.Delete(s.holds, i, i+1)
	for _, p := range s.people {
		if h, ok := p.wallet.HoldState(preimage.Hash()); ok {
			if h.State == lightning.Accepted && s.chance(60) {
				_ = p.wallet.Settle(context.Background(), preimage)
			} else {
				_ = p.wallet.Cancel(context.Background(), preimage.Hash())
			}
		}
	}
}
