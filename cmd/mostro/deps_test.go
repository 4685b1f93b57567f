package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // all
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "mostro/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// inTree tells whether a package is root or below it.
func inTree(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// TestDependencyDirections keeps the parts apart: relay and escrow meet only in this package.
// It is about what is built into the binary; a test may put parts together.
func TestDependencyDirections(t *testing.T) {
	const (
		khatru = "github.com/fiatjaf/khatru"
		lnd    = "github.com/lightningnetwork/lnd"
	)
	packages := listPackages(t)
	for _, root := range []string{"mostro/cmd/mostro", "mostro/relay", "mostro/policies", "mostro/escrow", "mostro/escrow/order",
		"mostro/escrow/lightning/lnd"} {
		if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.ImportPath == root }) {
			t.Errorf("there is no package %s; is this test still about something?", root)
		}
	}
	for _, p := range packages {
		forbid := func(why string, deps []string, forbidden func(dep string) bool) {
			for _, dep := range deps {
				if forbidden(dep) {
					t.Errorf("%s depends on %s: %s", p.ImportPath, dep, why)
				}
			}
		}
		if inTree(p.ImportPath, "mostro/relay") {
			forbid("the relay does not know the escrow", p.Deps, func(dep string) bool { return inTree(dep, "mostro/escrow", "mostro/cmd") })
		}
		if inTree(p.ImportPath, "mostro/policies") {
			forbid("policies know neither relay nor escrow", p.Deps, func(dep string) bool { return inTree(dep, "mostro/relay", "mostro/escrow", "mostro/cmd") })
		}
		if inTree(p.ImportPath, "mostro/escrow") {
			forbid("the escrow does not know the relay", p.Deps, func(dep string) bool {
				return inTree(dep, "mostro/relay", "mostro/policies", "mostro/cmd", khatru)
			})
		}
		if !inTree(p.ImportPath, "mostro/relay", "mostro/policies") {
			forbid("khatru stays inside relay and policies", p.Imports, func(dep string) bool { return inTree(dep, khatru) })
		}
		if p.ImportPath == "mostro/escrow/order" {
			forbid("the state machine is standard library and the words of the protocol", p.Imports, func(dep string) bool {
				return strings.Contains(strings.Split(dep, "/")[0], ".") || inTree(dep, "mostro") && dep != "mostro/escrow/mostro"
			})
		}
		if !inTree(p.ImportPath, "mostro/escrow/lightning/lnd", "mostro/escrow/lightning/regtest") {
			forbid("lnrpc stays inside escrow/lightning/lnd and regtest", p.Imports, func(dep string) bool { return inTree(dep, lnd+"/lnrpc") })
		}
	}
}
