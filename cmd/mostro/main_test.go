package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"
	"gopkg.in/macaroon.v2"

	"mostro/escrow/lightning/lnd"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mostro": main})
}

// TestScripts runs the command as a user would; each file in testdata/script is one session.
// The directory lnd holds what an operator copies from LND.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			env.Setenv(nsecVariable, "")
			return writeLNDFiles(filepath.Join(env.WorkDir, "lnd"))
		},
	})
}

// writeLNDFiles makes a certificate that nobody serves with, and three macaroons: good has
// the rights that are needed, narrow lacks one, admin has lnd's coarse ones.
func writeLNDFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "tls.cert"), certificate, 0o600); err != nil {
		return err
	}
	uris := lnd.MacaroonURIs()
	for name, ops := range map[string][]*lnrpc.Op{
		"good":   {{Entity: "uri", Actions: uris}},
		"narrow": {{Entity: "uri", Actions: uris[1:]}},
		"admin": {{Entity: "info", Actions: []string{"read"}}, {Entity: "offchain", Actions: []string{"read", "write"}},
			{Entity: "invoices", Actions: []string{"read", "write"}}, {Entity: "onchain", Actions: []string{"read", "write"}}},
	} {
		id, err := proto.Marshal(&lnrpc.MacaroonId{Ops: ops})
		if err != nil {
			return err
		}
		mac, err := macaroon.New([]byte("root key"), append([]byte{3}, id...), "lnd", macaroon.V2)
		if err != nil {
			return err
		}
		raw, err := mac.MarshalBinary()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".macaroon"), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// process is a running mostro whose output is read line by line.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // closed at the end of the output
	seen  []string
}

// startProcess runs mostro with arguments; it is killed at the end of the test.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("mostro", args...), lines: make(chan string, 1000)}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		for range len(p.lines) { // its children may hold the output open
			p.seen = append(p.seen, <-p.lines)
		}
		keepsFilesSecret(t, args, strings.Join(p.seen, "\n"))
		if t.Failed() && len(p.seen) > 0 {
			t.Logf("output of mostro %s:\n%s", strings.Join(args, " "), strings.Join(p.seen, "\n"))
		}
	})
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(io.Reader(read)); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
		read.Close()
	}()
	return p
}

// waitLine reads output until a line contains text. There is no time limit but that of the
// test binary: a busy machine is slow, not broken.
func (p *process) waitLine(text string) string {
	p.t.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
		if strings.Contains(line, text) {
			return line
		}
	}
	p.t.Fatalf("the output ended without %q", text)
	return ""
}

// end reads the rest of the output and returns the exit code.
func (p *process) end() int {
	p.t.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}
