package escrow

import (
	"strings"
	"testing"

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
