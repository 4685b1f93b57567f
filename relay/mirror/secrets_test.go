package mirror

import (
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr/nip19"
)

// guard reads all that an instance logs, at debug level, and fails the test when its key is there (M53).
type guard struct {
	t     testing.TB
	forms []string
}

func (g guard) Write(line []byte) (int, error) {
	low := strings.ToLower(string(line))
	for _, form := range g.forms {
		if strings.Contains(low, form) {
			g.t.Error("the log holds the key of an instance")
		}
	}
	return len(line), nil
}

// guarded is a log that must not hold a key.
func guarded(t testing.TB, key person) *slog.Logger {
	t.Helper()
	nsec, err := nip19.EncodePrivateKey(key.secret)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(key.secret)
	if err != nil {
		t.Fatal(err)
	}
	return slog.New(slog.NewTextHandler(guard{t, []string{key.secret, nsec, strings.ToLower(string(raw))}}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// failures counts the errors of a test.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Error(...any) { f.n++ }

// TestM53GuardFinds: the guard finds what it looks for.
func TestM53GuardFinds(t *testing.T) {
	key := newPerson(t)
	f := &failures{TB: t}
	log := guarded(f, key)
	log.Debug("login", "with", key.public)
	if f.n != 0 {
		t.Error("a public key is taken for a secret")
	}
	log.Debug("login", "with", strings.ToUpper(key.secret))
	if f.n != 1 {
		t.Error("a key in the log is not found")
	}
}
