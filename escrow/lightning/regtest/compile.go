package regtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	progressInterval = 5 * time.Second // between lines while compiling
	errorLines       = 20              // of go build's output in an error
)

// moduleName is this program's module, whose go.mod lists both programs as tools.
const moduleName = "mostro"

// compile builds a program and puts it at path, whole or not at all. The flags are those of
// a plain `go run` in this module, so that both share Go's build cache.
func compile(ctx context.Context, p program, path string, progress func(string)) error {
	dir, env, cleanUp, err := buildModule(ctx)
	if err != nil {
		return err
	}
	defer cleanUp()
	progress(fmt.Sprintf("compiling %s %s from source; the first time this takes minutes", p.name, p.version))
	// Beside the target, since a rename works only within a file system.
	unfinished := path + ".unfinished"
	defer os.Remove(unfinished) // an error after the rename: there is nothing left to remove
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-tags", p.tags, "-o", unfinished, p.pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if err := runBuild(cmd, p.name, progress); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// runBuild runs go build -v, which names a package on stderr when it begins with it, and
// tells now and then how far it is.
func runBuild(cmd *exec.Cmd, name string, progress func(string)) error {
	started := time.Now()
	var packages atomic.Int64
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	var last []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			if !strings.ContainsAny(lines.Text(), " \t") {
				packages.Add(1)
			}
			last = append(last, lines.Text())
			last = slices.Clone(last[max(0, len(last)-errorLines):])
		}
		io.Copy(io.Discard, reader) // after a line too long for the scanner
	}()
	finished := make(chan struct{})
	go func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				progress(fmt.Sprintf("compiling %s: %d packages in %v", name, packages.Load(), time.Since(started).Round(time.Second)))
			case <-finished:
				return
			}
		}
	}()
	err := cmd.Run()
	writer.Close()
	<-read
	close(finished)
	if err != nil {
		return fmt.Errorf("%w; its last output:\n%s", err, strings.Join(last, "\n"))
	}
	progress(fmt.Sprintf("compiled %s in %v", name, time.Since(started).Round(time.Second)))
	return nil
}

// buildModule returns the directory of a module that requires both programs: the checkout
// of this one when the work directory lies in it, else a temporary module.
func buildModule(ctx context.Context) (dir string, env []string, cleanUp func(), err error) {
	output, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}").Output()
	if path, dir, ok := strings.Cut(strings.TrimSpace(string(output)), "\t"); err == nil && ok && path == moduleName {
		return dir, nil, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "mostro-build-")
	if err != nil {
		return "", nil, nil, err
	}
	cleanUp = func() { os.RemoveAll(dir) }
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(temporaryModule()), 0o600); err != nil {
		cleanUp()
		return "", nil, nil, err
	}
	// go.sum and the indirect requirements are filled in by the build.
	return dir, []string{"GOFLAGS=-mod=mod", "GOWORK=off"}, cleanUp, nil
}

// temporaryModule is a go.mod that builds both programs. The replacements are lnd's own,
// which a module that requires lnd must repeat.
func temporaryModule() string {
	return `module nodes

go 1.26

require (
	github.com/btcsuite/btcd ` + BTCDVersion + `
	github.com/lightningnetwork/lnd ` + LNDVersion + `
)

replace github.com/ulikunitz/xz => github.com/ulikunitz/xz v0.5.11

replace github.com/gogo/protobuf => github.com/gogo/protobuf v1.3.2

replace google.golang.org/protobuf => github.com/lightninglabs/protobuf-go-hex-display v1.33.0-hex-display
`
}
