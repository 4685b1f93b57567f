package mutants

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type change struct{ file, from, to string }

// catch is a test that has noticed a mutant.
type catch struct{ pkg, test string }

type mutant struct {
	name    string
	by      catch // that caught it last
	short   bool  // tried in every run
	changes []change
	overlay string // file that puts the changes in place
}

// hazard splits the name: a row of the list of hazards, "-" without, and the defect.
func (m *mutant) hazard() (row, defect string) {
	if row, defect, _ := strings.Cut(m.name, " "); regexp.MustCompile(`^[A-Z]\d+$`).MatchString(row) {
		return row, defect
	}
	return "-", m.name
}

// apply writes the changed files into dir, and the overlay that puts them in place.
func (m *mutant) apply(dir, root string) error {
	texts := map[string]string{}
	for _, c := range m.changes {
		path := filepath.Join(root, c.file)
		if texts[path] == "" {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			texts[path] = string(b)
		}
		if n := strings.Count(texts[path], c.from); n != 1 {
			return fmt.Errorf("%s: the text stands there %d times:\n%s", c.file, n, c.from)
		}
		texts[path] = strings.Replace(texts[path], c.from, c.to, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		changed := filepath.Join(dir, strings.ReplaceAll(filepath.Base(path), ".go", "_changed.go"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return err
		}
		replace[path] = changed
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	m.overlay = filepath.Join(dir, "overlay.json")
	return os.WriteFile(m.overlay, b, 0o600)
}

// suite is the tests of the money code.
type suite struct {
	t         *testing.T
	root, dir string
	whole     bool // all of it, where the test that the list names does not notice
}

// stage is a part of the suite. A part that takes long comes after those that do not.
type stage struct{ pkg, run, skip string }

// slow are the tests that simulate for long, or wait for real time.
const slow = "^(TestSimulation|Test.*Hanging.*|TestHostileMessages|TestRunManyTrades)$"

// patience is how long a part may take. A test that never ends has noticed its mutant, too.
const patience = "10m"

// drawn are tests that only compare the tables with the diagrams drawn from them: they notice
// a changed row whether it is right or wrong, which proves nothing.
const drawn = "^Test(Bond)?DiagramIsCurrent$"

// stages are the parts of the suite for a mutant, those of the changed packages first.
func (m *mutant) stages() (list []stage) {
	var packages []string
	for _, c := range m.changes {
		packages = append(packages, "./"+filepath.Dir(c.file))
	}
	seen := map[string]bool{}
	for _, pkg := range append(packages, "./escrow/order", "./escrow") {
		if !seen[pkg] {
			seen[pkg] = true
			list = append(list, stage{pkg: pkg, skip: drawn + "|" + slow})
		}
	}
	return append(list, stage{pkg: "./escrow", run: slow})
}

// try runs the suite on a mutant and tells which test has failed first, none = it survives.
func (s *suite) try(m *mutant) (catch, error) {
	var stages []stage
	if m.by.test != "" {
		stages = []stage{{pkg: m.by.pkg, run: exact(m.by.test)}}
	}
	if s.whole {
		stages = append(stages, m.stages()...)
	}
	built := map[string]string{}
	for _, st := range stages {
		if built[st.pkg] == "" {
			program, err := s.build(st.pkg, m.overlay)
			if err != nil {
				return catch{}, err
			}
			defer os.Remove(program)
			built[st.pkg] = program
		}
		if test, err := s.run(built[st.pkg], st); err != nil || test != "" {
			return catch{st.pkg, test}, err
		}
	}
	return catch{}, nil
}

// passes fails the test unless the tests that the list names pass without any mutant: one that
// fails anyway catches nothing.
func (s *suite) passes(list []*mutant) {
	tests := map[string][]string{}
	for _, m := range list {
		if m.by.test != "" {
			top, _, _ := strings.Cut(m.by.test, "/")
			tests[m.by.pkg] = append(tests[m.by.pkg], top)
		}
	}
	for pkg, names := range tests {
		slices.Sort(names)
		program, err := s.build(pkg, "")
		if err != nil {
			s.t.Fatal(err)
		}
		test, err := s.run(program, stage{pkg: pkg, run: "^(" + strings.Join(slices.Compact(names), "|") + ")$"})
		if err != nil || test != "" {
			s.t.Fatalf("%s: %s fails without any mutant (%v)", pkg, test, err)
		}
		os.Remove(program)
	}
}

// readCode reads the money code and its tests, so that go test does not answer from its cache when
// any of it has changed.
func (s *suite) readCode() {
	err := filepath.WalkDir(filepath.Join(s.root, "escrow"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// exact is the expression of one test.
func exact(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// build compiles the tests of a package.
func (s *suite) build(pkg, overlay string) (program string, err error) {
	program = filepath.Join(s.dir, strings.NewReplacer("/", "-", ".", "").Replace(pkg)+".test")
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", program, pkg}
	if overlay != "" {
		args = slices.Insert(args, 2, "-overlay", overlay)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = s.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	return program, nil
}

// run runs a part of the suite and returns the test that has failed, "" when none has.
func (s *suite) run(program string, st stage) (string, error) {
	cmd := exec.Command(program, "-test.v", "-test.short", "-test.failfast", "-test.timeout="+patience, "-test.run="+st.run, "-test.skip="+st.skip)
	cmd.Dir = filepath.Join(s.root, st.pkg)
	out, err := cmd.CombinedOutput()
	if err == nil {
		if bytes.Contains(out, []byte("no tests to run")) {
			return "", fmt.Errorf("%s has no test %s", st.pkg, st.run)
		}
		return "", nil
	}
	var failed *exec.ExitError
	if !errors.As(err, &failed) {
		return "", err
	}
	test, running := "", ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " (")
			test = name // a part of a test comes after the test itself
		}
		if name, ok := strings.CutPrefix(line, "=== RUN   "); ok {
			running = name
		}
	}
	if test == "" && bytes.Contains(out, []byte("panic: ")) {
		test = running // another goroutine of it, or it never ends
	}
	if test == "" {
		return "", fmt.Errorf("%s: %w\n%s", st.pkg, err, out[max(0, len(out)-4000):])
	}
	return test, nil
}

// hint says what to do about a mutant that survives a plain run.
func (s *suite) hint(m *mutant) string {
	if s.whole {
		return " the whole suite"
	}
	return fmt.Sprintf(" %s, which the list names; ask the whole suite: go test ./escrow/mutants -run TestMutants -v -timeout 1h -args -update -only '%s'", m.by.test, m.name)
}
