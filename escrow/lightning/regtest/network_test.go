package regtest

import (
	"context"
	"testing"
	"time"
)

func TestStartResume(t *testing.T) {
	if testing.Short() {
		t.Skip("real nodes: left out by -short")
	}
	ctx := t.Context()
	paths, err := Binaries(ctx, Options{Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 {
		started := time.Now()
		n, err := Start(ctx, Config{Dir: dir, Binaries: paths, Progress: func(s string) { t.Log(time.Since(started), s) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Log("ready", time.Since(started))
		started = time.Now()
		n.Stop(context.Background())
		t.Log("stopped", time.Since(started))
	}
}
