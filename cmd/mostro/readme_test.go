package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	readmePath    = "../../README.md"
	statesPath    = "../../escrow/order/states.md"
	diagramBegins = "```mermaid\n"
	diagramEnds   = "```\n"
)

// TestReadmeIsFresh compares the diagram in the README with the one made from the table.
func TestReadmeIsFresh(t *testing.T) {
	readme, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	states, err := os.ReadFile(statesPath)
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, _ := splitDiagram(t, statesPath, states)
	before, _, after := splitDiagram(t, readmePath, readme)
	want := before + diagram + after
	if *update {
		if err := os.WriteFile(readmePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		readme = []byte(want)
	}
	if diff := cmp.Diff(want, string(readme)); diff != "" {
		t.Errorf("the diagram in README.md is stale; run: go generate ./cmd/mostro\n%s", diff)
	}
}

// splitDiagram cuts a file around the lines of its diagram.
func splitDiagram(t *testing.T, path string, data []byte) (before, diagram, after string) {
	t.Helper()
	head, rest, ok := strings.Cut(string(data), diagramBegins)
	diagram, tail, ends := strings.Cut(rest, diagramEnds)
	if !ok || !ends {
		t.Fatalf("%s has no diagram", path)
	}
	return head + diagramBegins, diagram, diagramEnds + tail
}

// TestReadmeCommands looks for the two commands that a newcomer is told, word for word.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"\n    go run ./cmd/mostro dev\n", "\n    go test -timeout 30m ./...\n"} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("README.md does not say %q", command)
		}
	}
	ci, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ci), "\ngo test -timeout 30m ./...\n") {
		t.Error(".ci/run does not run the README's test command")
	}
}

// TestDockerfileCommands parses the command lines of the image as mostro would.
func TestDockerfileCommands(t *testing.T) {
	dockerfile, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^\s*CMD (\[.*\])$`).FindAllSubmatch(dockerfile, -1)
	if len(lines) != 2 {
		t.Fatalf("%d command lines in the Dockerfile, want the health check and the node", len(lines))
	}
	for _, line := range lines {
		var args []string
		if err := json.Unmarshal(line[1], &args); err != nil {
			t.Fatal(err)
		}
		if args[0] == "mostro" { // a health check has no ENTRYPOINT before it
			args = args[1:]
		}
		cmd, rest, err := rootCommand().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.ParseFlags(rest); err != nil || cmd.Name() != args[0] {
			t.Errorf("%s: %s, %v", line[1], cmd.Name(), err)
		}
		if flag := cmd.Flag("settings"); flag != nil {
			overrides, err := cmd.Flags().GetStringArray("settings")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := loadSettings("", nil, overrides); err != nil {
				t.Error(err)
			}
		}
	}
}
