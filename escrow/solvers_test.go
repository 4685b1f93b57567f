package escrow

import (
	"strings"
	"testing"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// An operator makes, changes, lists and removes solvers without a message; each counts from
// the next request on.
func TestSolversByTheOperator(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	dave, erin := w.person("dave").identity.Public(), w.person("erin").identity.Public()
	list := func(want ...Solver) {
		t.Helper()
		got, err := w.e.Solvers()
		w.check(err)
		levels := map[string]order.Level{}
		for _, s := range got {
			levels[s.Pubkey] = s.Level
		}
		if len(got) != len(want) {
			t.Errorf("solvers %+v, want %+v", got, want)
		}
		for _, s := range want {
			if levels[s.Pubkey] != s.Level {
				t.Errorf("%s has level %d, want %d", s.Pubkey, levels[s.Pubkey], s.Level)
			}
		}
	}
	says := func(command, want string) {
		t.Helper()
		w.out.Reset()
		w.play(t, command)
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%s: %q is not said in\n%s", command, want, w.out.String())
		}
	}
	w.check(w.e.SetSolver(ctx, dave, order.ReadOnly))
	w.check(w.e.SetSolver(ctx, erin, order.ReadWrite))
	list(Solver{Pubkey: dave, Level: order.ReadOnly}, Solver{Pubkey: erin, Level: order.ReadWrite})
	says(fiatSent+"bob dispute", "dave <- send-dm \"New dispute")
	says("dave take-dispute", "dave <- admin-took-dispute")
	says("dave settle", "dave <- cant-do not_authorized")
	w.check(w.e.SetSolver(ctx, dave, order.ReadWrite))
	list(Solver{Pubkey: dave, Level: order.ReadWrite}, Solver{Pubkey: erin, Level: order.ReadWrite})
	says("erin take-dispute", "erin <- cant-do invalid_pubkey") // dave can decide now
	w.check(w.e.RemoveSolver(ctx, dave))
	list(Solver{Pubkey: erin, Level: order.ReadWrite})
	says("dave settle", "dave <- cant-do is_not_your_dispute")
	says("erin take-dispute", "erin <- admin-took-dispute")
	says("erin undo", "dispute -> canceled-by-admin")
	if err := w.e.RemoveSolver(ctx, dave); err == nil {
		t.Error("who is none can be removed")
	}
	for _, level := range []order.Level{order.NoSolver, order.AdminKey} {
		if w.e.SetSolver(ctx, dave, level) == nil {
			t.Errorf("level %d can be given", level)
		}
	}
	list(Solver{Pubkey: erin, Level: order.ReadWrite})
}

// A solver may write from a trade key with the proof of his identity: each of his requests is
// answered at the identity, under its number. A dispute is taken by its own id alone.
func TestSolverWritesFromATradeKey(t *testing.T) {
	w := newWorld(t)
	w.play(t, "operator add-solver dave level=\n"+fiatSent+"bob dispute")
	dave := w.person("dave")
	dave.nextKey()
	says := func(action mostro.Action, id string, request uint64, want string) {
		t.Helper()
		w.out.Reset()
		w.check(w.send(dave, mostro.Message{Action: action, ID: id, RequestID: &request}))
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("%s: %q is not said in\n%s", action, want, w.out.String())
		}
	}
	id := w.order(args{})
	says(mostro.AdminTakeDispute, id, 6, "dave <- cant-do (to request 6) not_found")
	says(mostro.AdminTakeDispute, w.dispute, 7, "dave <- admin-took-dispute (to request 7)")
	says(mostro.AdminSettle, w.dispute, 8, "dave <- cant-do (to request 8) not_found")
	says(mostro.AdminSettle, id, 1<<64-1, "dave <- admin-settled (to request 18446744073709551615)")
}
