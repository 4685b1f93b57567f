package escrow

import (
	"strings"
	"testing"
	"time"
)

// M41: a node that sees no block for long, or says that it is behind the chain, is told of once, and stands in status until that has
// ended. Moments, a chain that goes on and a node that does not answer are no such alarm, nor the end of one.
func TestM41ChainStandsStill(t *testing.T) {
	const stale, behind, over = "alarm: the Lightning node has seen no block for more than 90 minutes", "alarm: the Lightning node is not synced to the chain", "level with the chain again"
	w := newWorld(t)
	wait := func(d time.Duration) { w.net.Advance(d); w.e.askNode(t.Context()) }
	want := func(when string, stales, behinds, overs int, status string) {
		t.Helper()
		log := w.logged.String()
		if a, b, c := strings.Count(log, stale), strings.Count(log, behind), strings.Count(log, over); a != stales || b != behinds || c != overs {
			t.Errorf("%s: told %d times of an old block, %d of a node that is behind, %d of the end; want %d, %d, %d", when, a, b, c, stales, behinds, overs)
		}
		if s, err := w.e.Status(); err != nil || !strings.HasPrefix("alarm: "+s.Chain, status) || (s.Chain == "") != (status == "") {
			t.Errorf("%s: status has %q, %v", when, s.Chain, err)
		}
	}
	wait(24 * time.Hour)
	want("a chain that goes on", 0, 0, 0, "")

	w.net.StallChain()
	wait(oldTip)
	want("90 minutes", 0, 0, 0, "")
	wait(time.Second)
	want("more than 90 minutes", 1, 0, 0, stale)
	wait(time.Hour)
	want("for long", 1, 0, 0, stale)
	w.node.Stop()
	wait(time.Hour)
	w.node.Start()
	wait(0)
	want("the node was away", 1, 0, 0, stale)
	w.net.SetSynced(false)
	wait(time.Second)
	want("it says itself that it is behind", 1, 0, 0, stale)
	wait(notSyncedFor)
	want("for long", 1, 1, 0, behind)
	wait(time.Hour)
	want("for longer", 1, 1, 0, behind)
	w.net.SetSynced(true)
	w.net.Mine(1)
	wait(0)
	want("the chain goes on", 1, 1, 1, "")

	w.net.SetSynced(false)
	wait(0)
	wait(notSyncedFor - time.Second)
	w.net.SetSynced(true)
	wait(0)
	w.net.SetSynced(false)
	wait(0)
	wait(notSyncedFor - time.Second)
	want("moments", 1, 1, 1, "")
	wait(time.Second)
	want("two minutes", 1, 2, 1, behind)
	w.net.SetSynced(true)
	wait(0)
	want("in the end", 1, 2, 2, "")

	w.net.SetSynced(false)
	wait(0)
	w.node.Stop()
	wait(time.Hour)
	w.node.Start()
	wait(0)
	wait(notSyncedFor - time.Second)
	want("it was away, and catches up", 1, 2, 2, "")
	wait(time.Second)
	want("it does not", 1, 3, 2, behind)
}
