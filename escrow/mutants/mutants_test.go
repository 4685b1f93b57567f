// Package mutants tests the tests of the money code: it puts defects in, one at a time, and
// the suite must catch each. mutants.txt is the list. The tree is never touched: the compiler
// reads the changed files through an overlay.
//
//	go test ./escrow/mutants -run TestMutants -v -all -timeout 2h
package mutants

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var (
	all  = flag.Bool("all", false, "try every mutant; without, only look that each still fits the code")
	only = flag.String("only", "", "try those whose names contain this")
)

type change struct{ file, from, to string }

type mutant struct {
	name    string
	changes []change
}

// read parses mutants.txt: "== name", then file, old text, "=>", new text, and more changes
// after "with".
func read(t *testing.T) (list []mutant) {
	text, err := os.ReadFile("mutants.txt")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(text), "\n== ") {
		name, body, _ := strings.Cut(part, "\n")
		if strings.HasPrefix(part, "#") {
			continue
		}
		m := mutant{name: name}
		for each := range strings.SplitSeq("\nwith "+strings.TrimSuffix(body, "\n"), "\nwith ") {
			if each == "" {
				continue
			}
			file, rest, _ := strings.Cut(each, "\n")
			from, to, ok := strings.Cut(rest+"\n", "=>\n")
			if !ok {
				t.Fatalf("%s: no change of %s", name, file)
			}
			m.changes = append(m.changes, change{file, strings.TrimSuffix(from, "\n"), strings.TrimSuffix(strings.TrimSuffix(to, "\n"), "\n")})
		}
		list = append(list, m)
	}
	return list
}

func TestMutants(t *testing.T) {
	list := read(t)
	if len(list) < 40 {
		t.Fatalf("only %d mutants", len(list))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Every mutant must still fit the code, tried or not.
	caught, tried := 0, 0
	var table strings.Builder
	for _, m := range list {
		overlay, err := m.apply(t.TempDir(), root)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if !*all && (*only == "" || !strings.Contains(m.name, *only)) {
			continue
		}
		tried++
		what := "SURVIVES"
		if reason, ok := try(t, root, overlay); ok {
			what = "caught by " + reason
			caught++
		} else {
			t.Errorf("%s survives", m.name)
		}
		fmt.Fprintf(&table, "%-60s %s\n", m.name, what)
	}
	t.Logf("%d of %d caught, %d in the list\n%s", caught, tried, len(list), table.String())
}

// apply writes the changed files into dir and returns the overlay that puts them in place.
func (m mutant) apply(dir, root string) (string, error) {
	texts := map[string]string{}
	for _, c := range m.changes {
		path := filepath.Join(root, c.file)
		if texts[path] == "" {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			texts[path] = string(b)
		}
		if n := strings.Count(texts[path], c.from); n != 1 {
			return "", fmt.Errorf("%s: the text stands there %d times:\n%s", c.file, n, c.from)
		}
		texts[path] = strings.Replace(texts[path], c.from, c.to, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		changed := filepath.Join(dir, strings.ReplaceAll(filepath.Base(path), ".go", "_changed.go"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = changed
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// try runs the suite on a mutant and tells which test has failed. A mutant that does not
// compile is a mistake in the list.
func try(t *testing.T, root, overlay string) (string, bool) {
	for _, pkg := range []string{"./escrow/order", "./escrow"} {
		cmd := exec.Command("go", "test", "-short", "-overlay", overlay, pkg)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err == nil {
			continue
		}
		if strings.Contains(string(out), "[build failed]") {
			t.Fatalf("does not compile:\n%s", out)
		}
		for line := range strings.Lines(string(out)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
				name, _, _ = strings.Cut(name, " (")
				return name, true
			}
		}
		return "a panic", true
	}
	return "", false
}
