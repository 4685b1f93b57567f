package order

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/mostro"
)

var update = flag.Bool("update", false, "rewrite generated files")

func TestDiagramIsCurrent(t *testing.T) {
	got := Diagram()
	if *update {
		if err := os.WriteFile("states.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("states.md is stale (run with -update):\n%s", diff)
	}
}

// Every live status must have a word of the clock: nothing waits for ever.
func TestEveryLiveStatusHasAClockRow(t *testing.T) {
	for _, s := range join(makerBond, inBook, waiting, held, settling, settled) {
		woken := slices.ContainsFunc(Wakes(), func(w Wake) bool { return contains(w.In, s) })
		row := slices.ContainsFunc(Table(), func(r Row) bool { return r.By&Clock != 0 && contains(r.From, s) })
		if !woken || !row {
			t.Errorf("%s: wake %v, clock row %v", s, woken, row)
		}
	}
}

// A wake without a row that takes it without condition would ring for ever.
func TestEveryWakeIsHeard(t *testing.T) {
	for _, w := range Wakes() {
		for _, s := range w.In {
			heard := slices.ContainsFunc(Table(), func(r Row) bool {
				return r.By&Clock != 0 && r.On == w.On && contains(r.From, s) && r.If.Holds == nil
			})
			if !heard {
				t.Errorf("%s in %s: no unconditional row", w.On, s)
			}
		}
	}
}

func TestEveryStatusReachesAnEnd(t *testing.T) {
	reaches := map[mostro.Status]bool{}
	for _, s := range ended {
		reaches[s] = true
	}
	for grew := true; grew; {
		grew = false
		for _, r := range Table() {
			if r.Refuse != "" || !reaches[r.To] {
				continue
			}
			for _, from := range r.From {
				grew = grew || !reaches[from]
				reaches[from] = true
			}
		}
	}
	for _, s := range existing {
		if !reaches[s] {
			t.Errorf("%s never ends", s)
		}
	}
}

// A row behind a row that takes all it could take is dead text.
func TestNoRowIsShadowed(t *testing.T) {
	rows := Table()
	for i, r := range rows {
		for _, from := range r.From {
			for j, before := range rows[:i] {
				if before.On == r.On && contains(before.From, from) && before.If.Holds == nil &&
					(before.By&Anyone != 0 && r.By&(Node|Clock) == 0 || before.By&r.By == r.By) {
					t.Errorf("row %d (%s in %s) is shadowed by row %d", i, r.On, from, j)
				}
			}
		}
	}
}

func TestRowsAreWellFormed(t *testing.T) {
	for i, r := range Table() {
		if (r.Refuse != "") == (r.To != "") {
			t.Errorf("row %d (%s): exactly one of To and Refuse", i, r.On)
		}
		if r.Refuse != "" && (len(r.Do) > 0 || r.By&(Node|Clock) != 0) {
			t.Errorf("row %d (%s): a refusal does nothing and speaks to people", i, r.On)
		}
		if r.If.Holds != nil && r.If.Name == "" {
			t.Errorf("row %d (%s): its guard has no name", i, r.On)
		}
		for _, s := range r.From {
			if contains(ended, s) && r.Refuse == "" && r.To != same {
				t.Errorf("row %d (%s) leaves the end %s", i, r.On, s)
			}
		}
	}
}

// Every action that part A promises occurs, and every public status is mapped.
func TestActionsOccur(t *testing.T) {
	for _, a := range []mostro.Action{mostro.NewOrder, mostro.TakeSell, mostro.TakeBuy, mostro.AddInvoice, mostro.FiatSent, mostro.Release, mostro.Cancel} {
		if !slices.ContainsFunc(Table(), func(r Row) bool { return r.On == on(a) && r.Refuse == "" }) || !Handles(a) {
			t.Errorf("%s does not occur", a)
		}
	}
	for _, s := range existing {
		if s == mostro.StatusWaitingMakerBond { // not in the book yet
			continue
		}
		for _, k := range []mostro.OrderKind{mostro.Buy, mostro.Sell} {
			if _, ok := mostro.PublicStatus(k, s); !ok {
				t.Errorf("%s of a %s order has no public status", s, k)
			}
		}
	}
}
