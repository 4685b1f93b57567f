package client_test

import (
	"log/slog"
	"strings"
	"testing"
)

// guard reads what a node or a client logs, at debug level, and fails the test when a secret is there (M53).
type guard struct {
	t       testing.TB
	secrets []string
}

func (g guard) Write(line []byte) (int, error) {
	low := strings.ToLower(string(line))
	for _, secret := range g.secrets {
		if strings.Contains(low, secret) {
			g.t.Error("the log holds a secret")
		}
	}
	return len(line), nil
}

// guarded is a log that must hold none of some secrets.
func guarded(t testing.TB, secrets ...string) *slog.Logger {
	return slog.New(slog.NewTextHandler(guard{t, secrets}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// failures counts the errors of a test.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Error(...any) { f.n++ }

// TestM53GuardFinds: the guard finds what it looks for.
func TestM53GuardFinds(t *testing.T) {
	f := &failures{TB: t}
	guarded(f, "legal winner thank").Debug("connected", "words", "Legal Winner thank year")
	if f.n != 1 {
		t.Error("a secret in the log is not found")
	}
}
