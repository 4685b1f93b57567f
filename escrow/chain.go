package escrow

import (
	"time"

	"mostro/escrow/lightning"
)

// Deadlines of escrows are counted in blocks. A node that sees none any more does not see them come near: while it says so
// itself, no order is taken and nothing is settled; either way the operator has to look (M41).

const (
	// notSyncedFor is how long a node may be behind the chain before that is told: each is for moments, at a block and after a start.
	notSyncedFor = 2 * time.Minute
	// oldTip is the age of the latest block that is told of: chance alone brings it about some six times a year. lnd calls itself
	// behind after two hours.
	oldTip = 90 * time.Minute
)

// chainTrouble says what is wrong with the node's view of the chain, "" for nothing; the caller holds the lock.
func (v *nodeView) chainTrouble(info lightning.Info, now time.Time) string {
	if info.Synced {
		v.behind = time.Time{}
	} else if v.behind.IsZero() {
		v.behind = now
	}
	switch {
	case !info.Synced && now.Sub(v.behind) >= notSyncedFor:
		return "the Lightning node is not synced to the chain: no order can be taken, and what is released is not settled, until it is. Look whether its chain backend (bitcoind) runs and keeps up"
	case info.Synced && now.Sub(info.TipTime) > oldTip:
		return "the Lightning node has seen no block for more than 90 minutes: it does not notice how near the deadlines of escrows are. Look whether its chain backend (bitcoind) goes on, and whether the clock of this machine is right"
	case !info.Synced:
		return v.chain // what was told before
	}
	return ""
}

// tellChain tells of trouble with the chain once, and of its end.
func (e *Engine) tellChain(was, is string, info lightning.Info) {
	switch {
	case is == was:
	case is != "":
		e.log.Error("alarm: "+is, "block", info.Height, "of", info.TipTime.UTC().Format(time.RFC3339))
	default:
		e.log.Info("the Lightning node is level with the chain again", "block", info.Height)
	}
}

// chainAlarm is the trouble with the chain that was told last and has not ended, "" for none.
func (v *nodeView) chainAlarm() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.chain
}
