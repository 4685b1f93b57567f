package regtest

import (
	"context"
	"errors"
	"testing"
)

// TestEndIsToldOnce: when a process ends, those who wait for something of it say that and no
// more, and say it once.
func TestEndIsToldOnce(t *testing.T) {
	ended := &endedError{"alice ended: exit status 1, without a word"}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	n := &Network{config: Config{Nodes: []string{"mostro", "alice", "bob"}}}
	err := n.forEachNode(func(name string) error {
		if name == "bob" {
			return errors.New("bob is elsewhere")
		}
		return until(ctx, "the macaroon of "+name, func() (bool, error) { return false, errors.New("not yet") })
	})
	if want := ended.text + "\nbob is elsewhere"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(errors.New("somebody stops it"))
	err = until(ctx, "rain", func() (bool, error) { return false, errors.New("not yet") })
	if want := "wait for rain: somebody stops it; last answer: not yet"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
