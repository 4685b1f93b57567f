package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"mostro/escrow"
)

// Whoever waits sees how far it is, and whoever looks at the end reads each line once.
func TestSimulateProgress(t *testing.T) {
	var out strings.Builder
	r := simulateRun{out: &out, began: time.Now(), next: 1, end: 5, seeds: 4, every: 2, trades: 1}
	for seed, ok := r.take(); ok; seed, ok = r.take() {
		r.play(t.Context(), seed)
	}
	if says := out.String(); !strings.HasPrefix(says, "2 of 4 seeds, up to 2: ") || strings.Count(says, "\n") != 1 { // the last line is that of the end
		t.Errorf("each two of four:\n%s", says)
	}

	out.Reset()
	r = simulateRun{out: &out, began: time.Now(), next: 8, end: 11, seeds: 10, played: 7}
	tick, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		r.watch(t.Context(), tick)
	}()
	tick <- time.Now()
	tick <- time.Now() // the first has been told by now
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	select {
	case tick <- time.Now():
	case <-done: // the second tick has seen it
	}
	<-done
	if n := strings.Count(out.String(), "7 of 10 seeds, up to 7: "); n < 1 || n > 2 {
		t.Errorf("told %d times:\n%s", n, out.String())
	}
}

// Making a broken seed small takes long; it is not waited for when somebody stops it.
func TestSimulateStopsWhileASeedIsMadeSmall(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	var out strings.Builder
	r := simulateRun{out: &out, smaller: func(escrow.SimulationConfig) escrow.SimPlan {
		stop()
		<-never
		return escrow.SimPlan{}
	}}
	r.story(ctx, escrow.SimPlan{Seed: 17, Trades: 6})
	if !strings.Contains(out.String(), "mostro simulate --from 17 --seeds 1 --trades 6 --trace") {
		t.Error(out.String())
	}
}
