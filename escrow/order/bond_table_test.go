package order

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/mostro"
)

func TestBondDiagramIsCurrent(t *testing.T) {
	got := BondDiagram()
	if *update {
		if err := os.WriteFile("bonds.md", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("bonds.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("bonds.md is stale (run with -update):\n%s", diff)
	}
}

// What is asked for, slashed or owed must have a word of the clock; what is locked ends with
// its order.
func TestEveryLiveBondStateEnds(t *testing.T) {
	for _, s := range joinBonds(requested, slashing, claimed) {
		woken := slices.ContainsFunc(BondWakes(), func(w BondWake) bool { return slices.Contains(w.In, s) })
		row := slices.ContainsFunc(BondTable(), func(r BondRow) bool { return r.By&Clock != 0 && slices.Contains(r.From, s) })
		if !woken || !row {
			t.Errorf("%s: wake %v, clock row %v", s, woken, row)
		}
	}
	reaches := slices.Clone(bondEnds)
	for grew := true; grew; {
		grew = false
		for _, r := range BondTable() {
			for _, from := range r.From {
				if r.Refuse == "" && slices.Contains(reaches, r.To) && !slices.Contains(reaches, from) {
					reaches, grew = append(reaches, from), true
				}
			}
		}
	}
	for _, s := range allBonds {
		if !slices.Contains(reaches, s) {
			t.Errorf("%s never ends", s)
		}
	}
}

// A wake without a row that takes it without condition would ring for ever.
func TestEveryBondWakeIsHeard(t *testing.T) {
	for _, w := range BondWakes() {
		for _, s := range w.In {
			if !slices.ContainsFunc(BondTable(), func(r BondRow) bool {
				return r.By&Clock != 0 && r.On == w.On && slices.Contains(r.From, s) && r.If.Holds == nil
			}) {
				t.Errorf("%s in %s: no unconditional row", w.On, s)
			}
		}
	}
}

func TestBondRowsAreWellFormed(t *testing.T) {
	rows := BondTable()
	for i, r := range rows {
		if (r.Refuse != "") == (r.To != "") {
			t.Errorf("row %d (%s): exactly one of To and Refuse", i, r.On)
		}
		if r.Refuse != "" && (len(r.Do) > 0 || r.By != Winner) {
			t.Errorf("row %d (%s): a refusal does nothing and speaks to people", i, r.On)
		}
		if r.If.Holds != nil && r.If.Name == "" {
			t.Errorf("row %d (%s): its guard has no name", i, r.On)
		}
		for _, from := range r.From {
			forgotten := from == BondReleased && r.On == HoldSettled // the bond only seemed to have ended
			if slices.Contains(bondEnds, from) && r.To != sameBond && !forgotten {
				t.Errorf("row %d (%s) leaves the end %s", i, r.On, from)
			}
			for j, before := range rows[:i] {
				if before.On == r.On && slices.Contains(before.From, from) && before.If.Holds == nil && before.By&r.By == r.By {
					t.Errorf("row %d (%s in %s) is shadowed by row %d", i, r.On, from, j)
				}
			}
		}
	}
}

// A locked bond is given back, or slashed, whatever becomes of its order: no status is
// forgotten in which it could stay locked for ever.
func TestNoEndKeepsABond(t *testing.T) {
	for _, role := range []BondRole{MakerBond, TakerBond} {
		for _, s := range join(settled, ended) {
			o := orderIn(mostro.Sell, s)
			b := Bond{Role: role, State: BondLocked, Owner: Party{Trade: string(role)}}
			if needed(&o, &b) {
				t.Errorf("a %s order keeps the %s's bond", s, role)
			}
		}
	}
}
