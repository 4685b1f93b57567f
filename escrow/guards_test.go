package escrow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// trade plays a whole trade over so many sats between two people.
func (w *world) trade(t testing.TB, sats, gets string) (id string) {
	t.Helper()
	w.play(t, "alice new sell sats="+sats+"\n bob take invoice="+gets+"\n alice pay\n bob fiat-sent\n alice release")
	return w.order(args{})
}

func (w *world) statusOf(id string) mostro.Status {
	o, _, err := w.e.Order(id)
	w.check(err)
	return o.Status
}

// subsidized is a world in which a small trade costs the node 4 sat more than it brings.
func subsidized(t *testing.T, limit order.Sat) *world {
	w := newWorld(t)
	w.e.cfg.Settings.Terms.RoutingSubsidy = 100
	w.e.cfg.Settings.Guards.Uncovered = limit
	w.play(t, "bob route msat=10000")
	w.cfg = w.e.cfg // what a restart has
	return w
}

// overpay lets the node say that the payout of an ended order was made once more, with another hash.
func (w *world) overpay(id string, hash order.Hash, routing order.Msat) {
	w.t.Helper()
	ev := w.e.paymentEvent(order.PaySucceeded, lightning.Payment{Hash: hash, RoutingFee: routing}, 1)
	ev.Order = id
	w.check(w.e.apply(context.Background(), *ev))
}

// limited is a world with so many sats that may go out beyond what came in.
func limited(t *testing.T, limit order.Sat) *world {
	w := newWorld(t)
	w.e.cfg.Settings.Guards.Uncovered = limit
	w.cfg = w.e.cfg // what a restart has
	return w
}

// What the operator adds to routing never stops a payout, whoever trades how much: no order is made or taken until less of
// it was spent.
func TestI10SubsidyStopsOrdersOnly(t *testing.T) {
	w := subsidized(t, 10)
	w.play(t, "alice new sell sats=1000\n bob take invoice=997\n alice pay\n bob fiat-sent")
	runs := w.order(args{})
	for range 3 {
		if id := w.trade(t, "1000", "997"); w.statusOf(id) != mostro.StatusSuccess {
			t.Fatalf("a trade is %s", w.statusOf(id))
		}
	}
	refused := func() bool {
		w.out.Reset()
		w.play(t, "carol new sell sats=50000")
		return strings.Contains(w.out.String(), "as much to routing fees as it does in a day")
	}
	if w.e.guards.latched() || !refused() {
		t.Fatalf("12 sat of 10: tripped %v, and a new order is answered with %s", w.e.guards.latched(), w.out.String())
	}
	w.crash()
	w.settle()
	if !refused() {
		t.Error("a restart has reset it")
	}
	w.play(t, "alice release order=A as=1")
	if got := w.statusOf(runs); got != mostro.StatusSuccess || w.e.guards.latched() {
		t.Errorf("the trade that was running is %s, tripped %v", got, w.e.guards.latched())
	}
	w.advance(25 * time.Hour)
	if refused() {
		t.Error("refused a day later")
	}
}

// I10: the breaker trips on what orders pay out beyond what they brought in, stays so over a
// restart, and goes on only when an operator says why.
func TestI10BreakerTripsAndStays(t *testing.T) {
	w := limited(t, 1000)
	id := w.trade(t, "1000", "997")
	w.overpay(id, order.Hash{1}, 0)
	if w.e.guards.latched() {
		t.Fatal("tripped by 997 sat of 1000")
	}
	w.advance(10 * time.Minute)
	w.overpay(id, order.Hash{2}, 0)
	if !w.e.guards.latched() {
		t.Fatal("1994 sat of 1000 did not trip it")
	}

	w.out.Reset()
	w.play(t, "carol new sell sats=50000")
	if got := w.out.String(); !strings.Contains(got, "not_allowed_by_status") || !strings.Contains(got, "until its operator has checked") {
		t.Errorf("a new order is answered with %s", got)
	}
	w.crash()
	w.settle()
	if !w.e.guards.latched() {
		t.Fatal("a restart has reset it")
	}
	if err := w.e.ResetBreaker(context.Background(), " "); !errors.Is(err, errNoReason) {
		t.Errorf("reset without a reason: %v", err)
	}
	w.check(w.e.ResetBreaker(context.Background(), "it was looked into"))
	if err := w.e.ResetBreaker(context.Background(), "again"); err == nil {
		t.Error("reset what has not tripped")
	}
	if id := w.trade(t, "1000", "997"); w.statusOf(id) != mostro.StatusSuccess {
		t.Errorf("after the reset a trade is %s", w.statusOf(id))
	}
	s, err := w.e.Status()
	w.check(err)
	if len(s.Log) != 1 || s.Log[0].Reason != "it was looked into" || s.Latch != nil {
		t.Errorf("the log of the guards: %+v", s.Log)
	}
}

// Payouts that are due while the breaker is open wait, and are paid after it.
func TestI10PayoutsWaitForTheBreaker(t *testing.T) {
	w := limited(t, 3)
	w.play(t, "alice new sell sats=1000\n bob take invoice=997\n alice pay\n bob fiat-sent")
	waiting := w.order(args{})
	w.overpay(w.trade(t, "1000", "997"), order.Hash{1}, 0)
	if !w.e.guards.latched() {
		t.Fatal("not tripped")
	}
	sent := w.node.Count(lightning.SimSend)
	w.play(t, "alice release order=A as=1")
	for range 5 {
		w.advance(time.Minute)
	}
	o, _, err := w.e.Order(waiting)
	w.check(err)
	if o.Status != mostro.StatusSettledHoldInvoice || o.Payout.State != order.PayoutSending || w.node.Count(lightning.SimSend) != sent {
		t.Fatalf("the order is %s, its payout %s, %d payments were sent", o.Status, o.Payout.State, w.node.Count(lightning.SimSend)-sent)
	}
	if r := w.audit(); len(r.Owed) != 1 {
		t.Errorf("owed %+v", r.Owed)
	}
	w.check(w.e.ResetBreaker(context.Background(), "looked"))
	w.retry()
	if got := w.statusOf(waiting); got != mostro.StatusSuccess {
		t.Errorf("after the reset the order is %s", got)
	}
}

// Whoever trades cannot trip the breaker, however much.
func TestI10TradingNeverTrips(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bob route msat=1000 ppm=1000")
	for range 10 {
		w.trade(t, "100000", "99700")
	}
	if w.e.guards.latched() {
		t.Error("tripped by trading")
	}
	if s, err := w.e.Status(); err != nil || s.VolumeHour != 10*(99_700_000+100_700) || s.VolumeDay != s.VolumeHour {
		t.Errorf("volume %+v, %v", s, err)
	}
}

// A payment that nobody is owed trips it at once.
func TestI10SecondPayoutTrips(t *testing.T) {
	w := limited(t, 99_700)
	id := w.trade(t, "100000", "99700")
	w.overpay(id, order.Hash{1}, 0)
	if w.e.guards.latched() {
		t.Fatal("tripped at the limit")
	}
	w.advance(25 * time.Hour)
	w.overpay(id, order.Hash{2}, 0)
	if w.e.guards.latched() {
		t.Fatal("tripped by what was a day before")
	}
	w.overpay(id, order.Hash{3}, 1)
	if !w.e.guards.latched() {
		t.Error("not tripped by a millisat more")
	}
}

// The volume caps let what runs go on, and let nothing new begin until the hour is over.
func TestVolumeCap(t *testing.T) {
	w := newWorld(t)
	w.e.cfg.Settings.Guards.VolumeHour, w.e.cfg.Settings.Guards.VolumeDay = 150_000, 250_000
	w.cfg = w.e.cfg
	refused := func() bool {
		w.out.Reset()
		w.play(t, "dave new sell sats=5000")
		return strings.Contains(w.out.String(), "not_allowed_by_status")
	}
	w.trade(t, "100000", "99700")
	w.play(t, "alice new sell sats=100000\n carol new sell sats=60000\n bob take order=B invoice=99700\n alice pay\n bob fiat-sent order=B\n alice release order=B")
	if got := w.statusOf(w.order(args{named: map[string]string{"order": "B"}})); got != mostro.StatusSuccess {
		t.Fatalf("a trade that was running is %s", got)
	}
	w.out.Reset()
	w.play(t, "eve take order=C")
	if !strings.Contains(w.out.String(), "not_allowed_by_status") || !refused() {
		t.Errorf("beyond the hour's cap: %s", w.out.String())
	}
	w.crash()
	w.settle()
	if !refused() {
		t.Error("a restart has forgotten the volume")
	}
	w.advance(65 * time.Minute)
	if refused() {
		t.Error("still closed in the next hour")
	}
	w.trade(t, "100000", "99700")
	w.advance(65 * time.Minute)
	if !refused() {
		t.Error("open beyond the day's cap")
	}
	w.advance(24 * time.Hour)
	if refused() {
		t.Error("still closed on the next day")
	}
}

// In maintenance nothing begins, what runs ends, and both last over a restart.
func TestModes(t *testing.T) {
	ctx := context.Background()
	for _, m := range []Mode{ModeMaintenance, ModeDrain} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n carol new sell sats=50000")
		w.check(w.e.SetMode(ctx, m, "a new disk"))
		w.crash()
		w.settle()
		w.settle()
		if offer := w.statusOf(w.order(args{named: map[string]string{"order": "B"}})); (offer == mostro.StatusCanceled) != (m == ModeDrain) {
			t.Errorf("%s: the offer in the book is %s", m, offer)
		}
		if m == ModeDrain {
			drained(t, w)
			continue
		}
		w.out.Reset()
		w.play(t, "dave new buy sats=5000\n eve take order=B")
		if got := w.out.String(); strings.Count(got, "not_allowed_by_status") != 2 || strings.Count(got, "send-dm") != 2 {
			t.Errorf("%s: %s", m, got)
		}
		if s, err := w.e.Status(); err != nil || s.Live != 2 || s.Trades != 1 || s.Mode != m {
			t.Errorf("%s: %+v, %v", m, s, err)
		}
		w.play(t, "bob fiat-sent order=A\n alice release order=A")
		if got := w.statusOf(w.order(args{named: map[string]string{"order": "A"}})); got != mostro.StatusSuccess {
			t.Errorf("%s: the trade that ran is %s", m, got)
		}
		w.check(w.e.SetMode(ctx, ModeOpen, "done"))
		w.out.Reset()
		w.play(t, "eve take order=B")
		if !strings.Contains(w.out.String(), "eve <- add-invoice") {
			t.Errorf("%s, ended: %s", m, w.out.String())
		}
	}
}

// A node is not called empty while the winner of a bond is still to be paid: he has days to claim it.
func TestDrainedNodeOwesAShareOfABond(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=take\n alice new buy sats=100000\n bob take\n bob pay\n wait 15m")
	w.check(w.e.SetMode(context.Background(), ModeDrain, "closing"))
	w.settle()
	w.advance(time.Minute)
	s, err := w.e.Status()
	if err != nil || s.Trades != 0 || s.Bonds != 1 || s.Owed != 500_000 || s.Ended() {
		t.Errorf("a share is owed: %+v, %v", s, err)
	}
	w.play(t, "alice claim invoice=500\n wait 30m")
	if s, err := w.e.Status(); err != nil || s.Bonds != 0 || s.Owed != 0 || !s.Ended() {
		t.Errorf("the share is paid: %+v, %v", s, err)
	}
}

// The stricter of settings and operator counts, and what the settings forbid is refused.
func TestModeOfSettingsAndOperator(t *testing.T) {
	for _, c := range []struct {
		settings, operator, counts Mode
		refused                    bool
	}{
		{"", ModeDrain, ModeDrain, false},
		{ModeOpen, ModeMaintenance, ModeMaintenance, false},
		{ModeMaintenance, ModeDrain, ModeDrain, false},
		{ModeMaintenance, ModeMaintenance, ModeMaintenance, false},
		{ModeMaintenance, ModeOpen, ModeMaintenance, true},
		{ModeDrain, ModeOpen, ModeDrain, true},
		{ModeDrain, ModeMaintenance, ModeDrain, true},
	} {
		w := newWorld(t)
		w.e.cfg.Settings.Guards.Mode = c.settings
		err := w.e.SetMode(context.Background(), c.operator, "a test")
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "change guards.mode") {
			t.Errorf("%+v: %v", c, err)
		}
		if got := w.e.mode(); got != c.counts {
			t.Errorf("%+v: the mode is %s", c, got)
		}
	}
}

// drained: the maker was told why, the book says so, nothing new begins, what runs ends, and then
// nothing is left that binds the store to its node.
func drained(t *testing.T, w *world) {
	if got := w.out.String(); !strings.Contains(got, "book: order B is canceled") || !strings.Contains(got, "carol <- canceled") || !strings.Contains(got, "being closed") {
		t.Errorf("drain: %s", got)
	}
	w.out.Reset()
	w.play(t, "dave new buy sats=5000\n eve take order=B")
	if got := w.out.String(); !strings.Contains(got, "not_allowed_by_status") || !strings.Contains(got, "no new orders") || !strings.Contains(got, "invalid_order_status") {
		t.Errorf("drain, asked for something new: %s", got)
	}
	w.play(t, "bob fiat-sent order=A\n alice release order=A")
	if s, err := w.e.Status(); err != nil || s.Live != 0 || s.Trades != 0 {
		t.Errorf("drain: %+v, %v", s, err)
	}
	if bound, err := w.e.bound(); bound != "" || err != nil {
		t.Errorf("drained, and bound to the node by %s, %v", bound, err)
	}
}

// A maker's bond is given back when his offer is drained, and a taker who races hears that it is over.
func TestDrainGivesBondsBack(t *testing.T) {
	w := newWorld(t)
	w.play(t, "bonds apply=both\n alice new sell sats=100000\n alice pay\n bob take invoice=99700\n carol new buy sats=50000")
	w.check(w.e.SetMode(context.Background(), ModeDrain, "closing"))
	w.out.Reset()
	w.settle()
	w.advance(time.Minute)
	if got := w.out.String(); strings.Count(got, "canceled") < 5 {
		t.Errorf("%s", got)
	}
	if bound, err := w.e.bound(); bound != "" || err != nil || len(w.e.live.bondIDs()) != 0 {
		t.Errorf("bound by %s, bonds %v, %v", bound, w.e.live.bondIDs(), err)
	}
	if r := w.audit(); !r.Agrees() || len(r.Owed) != 0 {
		t.Errorf("owed %+v, differences %+v", r.Owed, r.Differences)
	}
}

// M39: with anything live the escrow recognizes another node, and does nothing on it.
func TestM39AnotherNode(t *testing.T) {
	ctx := context.Background()
	for what, commands := range map[string]string{
		"an open hold invoice": "alice new sell sats=100000\n bob take invoice=99700",
		"held sats":            "alice new sell sats=100000\n bob take invoice=99700\n alice pay",
		"an owed payout":       "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent\n bob route none\n alice release",
	} {
		w := newWorld(t)
		w.play(t, commands)
		other := w.net.Node("another")
		w.cfg.Node = other
		w.crash()
		if err := w.e.Meet(ctx); !errors.Is(err, ErrWrongNode) || !strings.Contains(err.Error(), w.node.Pubkey()) || !strings.Contains(err.Error(), other.Pubkey()) {
			t.Errorf("%s: %v", what, err)
		}
		if w.e.node.ready() {
			t.Errorf("%s: the other node is used", what)
		}
		select {
		case err := <-w.e.fatal:
			if !errors.Is(err, ErrWrongNode) {
				t.Error(err)
			}
		default:
			t.Errorf("%s: the engine would go on", what)
		}
		for _, call := range other.Calls() {
			if call.Method != lightning.SimInfo {
				t.Errorf("%s: the other node was asked to %s", what, call.Method)
			}
		}
		w.cfg.Node = w.node
		w.crash()
		w.check(w.e.Meet(ctx))
	}
	// Where nothing lies, the operator may move.
	w := newWorld(t)
	w.trade(t, "100000", "99700")
	w.play(t, "carol new sell sats=50000")
	w.cfg.Node = w.net.Node("another")
	w.crash()
	w.check(w.e.Meet(ctx))
	w.play(t, "dave take order=B invoice=49850")
	if got := w.statusOf(w.order(args{named: map[string]string{"order": "B"}})); got != mostro.StatusWaitingPayment {
		t.Errorf("on the new node the order is %s", got)
	}
}

// onNetwork is a node that says it is on another network.
type onNetwork struct {
	lightning.Node
	network string
}

func (n onNetwork) Info(ctx context.Context) (lightning.Info, error) {
	info, err := n.Node.Info(ctx)
	info.Network = n.network
	return info, err
}

// M39: the same key on another network is another node. The network's name is all that LND tells of its chain.
func TestM39AnotherNetwork(t *testing.T) {
	ctx := context.Background()
	for _, network := range []string{"mainnet", "testnet", "regtest"} {
		w := newWorld(t)
		w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay")
		w.cfg.Node = onNetwork{w.node, network}
		w.crash()
		err := w.e.Meet(ctx)
		if !errors.Is(err, ErrWrongNode) || !strings.Contains(err.Error(), w.node.Pubkey()+" on "+network+", but") || !strings.HasSuffix(err.Error(), w.node.Pubkey()+" on simnet") {
			t.Errorf("%s: %v", network, err)
		}
		if w.e.node.ready() {
			t.Errorf("the node on %s is used", network)
		}
	}
}

// Run ends with the reason when another node turns up.
func TestM39RunEnds(t *testing.T) {
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay")
	cfg := w.cfg
	cfg.Node = w.net.Node("another")
	e := newEngine(cfg, w.e.db)
	w.check(e.load())
	if err := e.Run(context.Background()); !errors.Is(err, ErrWrongNode) {
		t.Errorf("run ends with %v", err)
	}
}

// M22, M23: an order that was held back is taken up again when an operator says so.
func TestM23FreedOrderGoesOn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.play(t, "alice new sell sats=100000\n bob take invoice=99700\n alice pay\n bob fiat-sent")
	id := w.order(args{})
	failing := &op{done: make(chan error, 1), blame: id, plan: func(*badgerTxn, *writes) error { panic("boom") }}
	w.check(w.e.commit([]*op{failing}))
	if err := <-failing.done; !errors.Is(err, errHeld) {
		t.Fatal(err)
	}
	s, err := w.e.Status()
	w.check(err)
	if s.Held[id] == "" || !strings.Contains(s.Held[id], "boom") || strings.Contains(s.Held[id], "goroutine") {
		t.Errorf("held: %q", s.Held)
	}
	w.play(t, "alice release")
	if got := w.statusOf(id); got != mostro.StatusFiatSent {
		t.Fatalf("while it is held the order becomes %s", got)
	}
	if r := w.audit(); !r.Agrees() || len(r.News) != 1 || r.News[0].Order != id {
		t.Errorf("the audit says %+v and %+v", r.Differences, r.News)
	}
	if err := w.e.FreeOrder(ctx, "nobody", "x"); err == nil {
		t.Error("freed an order that is not there")
	}
	w.check(w.e.FreeOrder(ctx, id, "the defect is mended"))
	w.play(t, "alice release")
	if got := w.statusOf(id); got != mostro.StatusSuccess {
		t.Errorf("afterwards the order is %s", got)
	}
}
