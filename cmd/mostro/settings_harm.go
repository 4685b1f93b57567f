package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What was taken by a version before this one, and is refused now since it costs money or secrets, or cannot be
// meant, must not keep a node from starting whose trades run on at Lightning meanwhile: it starts, with an alarm.
// Commands about a store that no node has open, such as mostro restore, do not look at it at all.

// checkHarm finds it among values that are good each by itself.
func (l *loaded) checkHarm() {
	harms := func(path, what, remedy string) {
		l.harmful = append(l.harmful, problem{l.origin[path], path, what, remedy})
	}
	if l.Mostro.FeePPM == 0 && l.Lightning.RoutingSubsidy == 0 {
		harms("mostro.fee", "is 0, which leaves nothing to route payouts with: one that costs a millisat could never be made", "set lightning.routing_subsidy, which pays for routing then")
	}
	if l.Store.KeyFile != "" && l.Backup.Directory != "" && len(l.Backup.Recipients) == 0 {
		harms("backup.recipients", "is empty: the backups of an encrypted money store would not be encrypted", "`age-keygen -o FILE` makes a pair of keys; name the public one here, and keep FILE off this machine")
	}
	l.Relay.checkTraders(l.Mostro.Pow, harms)
	l.Bond.check(l.Lightning.RoutingSubsidy, l.Mostro.MaxRoutingFeePPM, l.Mostro.MaxOrderAmount, harms)
}

// once reads a 0 that a version before this one took, and that did harm, as the default.
func (l *loaded) once(k key, a *assignment) {
	zero := &intValue{to: new(int64)}
	if a.path != "lightning.payout_grace_seconds" || zero.set(a.value) != nil {
		return
	}
	l.changed = append(l.changed, problem{a.where, a.path, "is 0, and read as " + k.preset + ": without this wait a payout that LND takes for failed too early could be made twice", "set it to 1 or more, or delete it"})
	a.value = literal{kind: aNumber, text: k.preset}
}

// mayServe refuses harmful settings where no order is live. It is asked before the money store is opened
// too, so that none is made with them.
func (n *node) mayServe() error {
	harmful := n.cfg.harmful
	if len(harmful) == 0 {
		return nil
	}
	if n.engine == nil {
		if _, err := os.Lstat(filepath.Join(n.cfg.dir, escrowDir)); errors.Is(err, fs.ErrNotExist) {
			return harmful
		}
		return nil
	}
	s, err := n.engine.Status()
	if err != nil {
		return fmt.Errorf("look for live orders: %w", err)
	}
	s.Waiting = 0 // what a node says of itself waits there too; what binds it to Lightning is in Bound
	s.Owed -= s.ByHand
	if s.Live == 0 && s.Ended() {
		return harmful
	}
	for _, p := range harmful {
		n.cfg.logger.Error("alarm: with this setting no node starts unless orders are live; this one has some, so it starts: mend it soon",
			"where", p.where, "setting", p.key, "wrong", p.what, "remedy", p.remedy)
	}
	return nil
}
