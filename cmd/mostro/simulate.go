package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow"
)

func simulateCommand() *cobra.Command {
	var seeds, from uint64
	var trades, jobs int
	var trace, verbose bool
	var replay string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Play random trades against the escrow, with everything going wrong",
		Long: `Play random trades against the escrow in memory: messages doubled, late and out of
order, a process that dies at any point, a Lightning node that is away and loses its answers.
The money is checked after each step. A seed that breaks something is made as small as it gets
and printed as a story; it always plays the same:

  mostro simulate --from 17 --seeds 1 --trace
  mostro simulate --replay story.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if replay != "" {
				return replayStory(cmd.InOrStdin(), replay, out)
			}
			// What plays nothing must not look like what breaks nothing.
			if seeds < 1 || trades < 1 || jobs < 1 || from+seeds < from {
				return hint(errors.New("nothing to play"), "want --seeds, --trades and --jobs of 1 or more, and seeds below 2^64")
			}
			if trace {
				_, err := escrow.Simulate(escrow.SimulationConfig{Plan: escrow.SimPlan{Seed: from, Trades: trades}, Trace: out})
				return err
			}
			debug.SetGCPercent(800) // it is all garbage, and little is alive
			r := simulateRun{out: out, began: time.Now(), next: from, end: from + seeds, seeds: seeds, every: simulateSeeds, trades: trades, smaller: escrow.MinimizeSimulation}
			tick := time.NewTicker(simulateEvery)
			defer tick.Stop()
			if onTerminal(out) {
				r.often = true
				go r.watch(cmd.Context(), tick.C)
			}
			var workers sync.WaitGroup
			for range jobs {
				workers.Go(func() {
					for seed, ok := r.take(); ok && cmd.Context().Err() == nil; seed, ok = r.take() {
						r.play(cmd.Context(), seed)
					}
				})
			}
			workers.Wait()
			r.mu.Lock() // the watcher says nothing after this
			defer r.mu.Unlock()
			r.over = true
			r.report()
			if verbose {
				r.total.WriteCounts(out)
			}
			if len(r.broken) > 0 {
				return hint(fmt.Errorf("%d seeds broke: %w", len(r.broken), errors.Join(r.broken...)),
					"mostro simulate --from SEED --seeds 1 --trace shows all that happened; a story above, kept in a file, is played by --replay FILE")
			}
			if r.played < seeds { // what was stopped must not look like what is whole
				return fmt.Errorf("stopped after %d of %d seeds; those that were played broke nothing", r.played, seeds)
			}
			return nil
		},
	}
	cmd.Flags().Uint64Var(&seeds, "seeds", 1000, "how many seeds to play")
	cmd.Flags().Uint64Var(&from, "from", 1, "the first seed")
	cmd.Flags().IntVar(&trades, "trades", 6, "orders in each seed")
	cmd.Flags().IntVar(&jobs, "jobs", runtime.GOMAXPROCS(0), "seeds that are played at once")
	cmd.Flags().BoolVar(&trace, "trace", false, "play the first seed alone and print what happens")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "say at the end how often each fault and each event happened")
	cmd.Flags().StringVar(&replay, "replay", "", "play the story in this file (- = standard input) and print what happens")
	return cmd
}

// Progress is told at each so many seeds, and to somebody who sits before it each so often.
const (
	simulateSeeds = 1000
	simulateEvery = 5 * time.Second
)

// simulateRun is shared by those who play.
type simulateRun struct {
	out     io.Writer
	began   time.Time
	seeds   uint64 // in all
	every   uint64 // played seeds, progress is told
	trades  int
	often   bool                                         // progress is told by time
	smaller func(escrow.SimulationConfig) escrow.SimPlan // makes a broken seed small

	mu        sync.Mutex
	over      bool // all has been said
	next, end uint64
	played    uint64
	total     escrow.SimulationStats
	broken    []error
}

func (r *simulateRun) take() (seed uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seed = r.next
	r.next++
	return seed, seed < r.end
}

// maxStories is how many broken seeds are made small: each takes seconds, and they are mostly
// the same.
const maxStories = 5

func (r *simulateRun) play(ctx context.Context, seed uint64) {
	plan := escrow.SimPlan{Seed: seed, Trades: r.trades}
	stats, err := escrow.Simulate(escrow.SimulationConfig{Plan: plan})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Add(stats)
	if err != nil {
		r.broken = append(r.broken, err)
		fmt.Fprintf(r.out, "broken: %v\n", err)
		if len(r.broken) <= maxStories {
			r.story(ctx, plan)
		}
	}
	if r.played++; !r.often && r.played%r.every == 0 && r.played < r.seeds {
		r.report()
	}
}

// story prints a broken seed as small as it gets. Whoever stops it does not wait for that.
func (r *simulateRun) story(ctx context.Context, plan escrow.SimPlan) {
	fmt.Fprintf(r.out, "making seed %d small, which may take a minute\n", plan.Seed)
	small := make(chan escrow.SimPlan, 1)
	go func() { small <- r.smaller(escrow.SimulationConfig{Plan: plan}) }()
	select {
	case plan := <-small:
		if err := escrow.WriteSimStory(r.out, plan); err != nil {
			fmt.Fprintf(r.out, "write story: %v\n", err)
		}
	case <-ctx.Done():
		fmt.Fprintf(r.out, "stopped before it was small; the whole of it: mostro simulate --from %d --seeds 1 --trades %d --trace\n", plan.Seed, plan.Trades)
	}
}

// watch tells how far it is at each tick.
func (r *simulateRun) watch(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		over := r.over
		if !over {
			r.report()
		}
		r.mu.Unlock()
		if over {
			return
		}
	}
}

// onTerminal tells whether somebody reads what is written while it is.
func onTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (r *simulateRun) report() {
	took := time.Since(r.began)
	fmt.Fprintf(r.out, "%d of %d seeds, up to %d: %d trades, %d crashes, %d broken, %s, %.1f seeds/s, %.0f trades/s\n", r.played, r.seeds, min(r.next, r.end)-1, r.total.Trades,
		r.total.Crashes, len(r.broken), took.Round(time.Second), float64(r.played)/took.Seconds(), float64(r.total.Trades)/took.Seconds())
}

// replayStory plays what is left of a seed.
func replayStory(in io.Reader, file string, out io.Writer) error {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("open story: %w", err)
		}
		defer f.Close()
		in = f
	}
	plan, err := escrow.ReadSimPlan(in)
	if err != nil {
		return err
	}
	_, err = escrow.Simulate(escrow.SimulationConfig{Plan: plan, Trace: out})
	return err
}
