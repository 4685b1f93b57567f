// Package mutants tests the tests of the money code: it puts defects in, one at a time, and
// the suite must catch each. mutants.txt is the list. The tree is never touched: the compiler
// reads the changed files through an overlay, so that all that did not change stays compiled.
//
// A plain run looks that each mutant still fits the code, and tries one of each family of
// hazards with the test that the list names for it. Every mutant, with the whole suite where
// the named test does not notice, and the list brought up to date with what caught it:
//
//	go test ./escrow/mutants -run TestMutants -v -timeout 4h -args -all -update
package mutants

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	all    = flag.Bool("all", false, "try every mutant, with the whole suite where the test that the list names does not notice it")
	only   = flag.String("only", "", "as -all, but only those whose names contain this")
	update = flag.Bool("update", false, "write into the list which test has caught a mutant")
)

// enough is how many mutants the list has at least.
const enough = 40

func TestMutants(t *testing.T) {
	list := read(t)
	if len(list) < enough {
		t.Fatalf("only %d mutants", len(list))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	whole := *all || *only != ""
	var chosen []*mutant
	for _, m := range list {
		switch err := m.apply(t.TempDir(), root); {
		case err != nil:
			t.Errorf("%s: %v", m.name, err)
		case *only != "" && strings.Contains(m.name, *only), *only == "" && *all, !whole && m.short && !testing.Short():
			chosen = append(chosen, m)
		}
	}
	suite := &suite{t: t, root: root, dir: t.TempDir(), whole: whole}
	suite.readCode()
	suite.passes(chosen)
	caught := 0
	var table strings.Builder
	for _, m := range chosen {
		began := time.Now()
		what, err := suite.try(m)
		switch {
		case err != nil:
			t.Errorf("%s: %v", m.name, err)
			what.test = "NOT TRIED"
		case what.test == "":
			t.Errorf("%s: survives%s", m.name, suite.hint(m))
			what.test = "SURVIVES"
		default:
			caught++
			m.by = what
		}
		hazard, defect := m.hazard()
		line := fmt.Sprintf("%-4s %-72s %-16s %-58s %4.0f s", hazard, defect, what.pkg, what.test, time.Since(began).Seconds())
		fmt.Fprintln(&table, line)
		if whole {
			fmt.Println(line) // hours pass until the test ends
		}
	}
	t.Logf("%d of %d caught, %d in the list\n%s", caught, len(chosen), len(list), table.String())
	if *update {
		write(t, list)
	}
}

// TestSurvivorIsSeen changes nothing that matters and expects to hear that nobody noticed.
func TestSurvivorIsSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the escrow's state machine")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	const same = "func (o *Order) SellerPays() Sat { return o.Amount + o.Fee }"
	m := &mutant{name: "equal", by: catch{"./escrow/order", "TestM50FeesAddUp"},
		changes: []change{{"escrow/order/types.go", same, strings.Replace(same, "o.Amount + o.Fee", "o.Fee + o.Amount", 1)}}}
	if err := m.apply(t.TempDir(), root); err != nil {
		t.Fatal(err)
	}
	suite := &suite{t: t, root: root, dir: t.TempDir()}
	if what, err := suite.try(m); err != nil || what.test != "" {
		t.Fatalf("a change that changes nothing was caught by %v, %v", what, err)
	}
}

// read parses mutants.txt: "== name"; "by package test", which caught it last, or "short" for
// by when a plain run tries it; then file, old text, "=>", new text, and more changes after
// "with".
func read(t *testing.T) (list []*mutant) {
	text, err := os.ReadFile("mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(text), "\n== ") {
		if strings.HasPrefix(part, "#") {
			continue
		}
		name, body, _ := strings.Cut(part, "\n")
		m := &mutant{name: name}
		first, rest, _ := strings.Cut(body, "\n")
		if words := strings.Fields(first); len(words) == 3 && (words[0] == "by" || words[0] == "short") {
			m.by, m.short, body = catch{words[1], words[2]}, words[0] == "short", rest
		}
		for each := range strings.SplitSeq(strings.TrimSpace(body), "\nwith ") {
			file, rest, _ := strings.Cut(each, "\n")
			from, to, ok := strings.Cut(rest+"\n", "=>\n")
			if !ok || strings.Contains(to, "\n=>\n") {
				t.Fatalf("%s: want one change of %s", name, file)
			}
			m.changes = append(m.changes, change{file, strings.TrimSuffix(from, "\n"), strings.TrimSuffix(to, "\n")})
		}
		list = append(list, m)
	}
	return list
}

// write writes the list with what caught each mutant last.
func write(t *testing.T, list []*mutant) {
	text, err := os.ReadFile("mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\n== ")
	var b strings.Builder
	b.WriteString(head)
	for _, m := range list {
		fmt.Fprintf(&b, "\n== %s\n", m.name)
		if word := map[bool]string{false: "by", true: "short"}[m.short]; m.by.test != "" {
			fmt.Fprintf(&b, "%s %s %s\n", word, m.by.pkg, m.by.test)
		}
		for i, c := range m.changes {
			if i > 0 {
				b.WriteString("with ")
			}
			for _, text := range []string{c.file, c.from, "=>", c.to} {
				if text != "" {
					b.WriteString(text + "\n")
				}
			}
		}
	}
	if err := os.WriteFile("mutants.txt", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
