package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"mostro/escrow"
)

func simulateCommand() *cobra.Command {
	var seeds, from uint64
	var trades int
	var trace bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Play random trades against the escrow, with everything going wrong",
		Long: `Play random trades against the escrow in memory: messages doubled, late and out of
order, a process that dies at any point, a Lightning node that is away and loses its answers.
The money is checked after each step. A seed that breaks something is printed; the same seed
always plays the same:

  mostro simulate --from 17 --seeds 1 --trace`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if trace {
				_, err := escrow.Simulate(escrow.SimulationConfig{Seed: from, Trades: trades, Trace: out})
				return err
			}
			began := time.Now()
			var played, traded, crashed, next atomic.Uint64
			next.Store(from)
			var mu sync.Mutex
			var broken []error
			var workers sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				workers.Add(1)
				go func() {
					defer workers.Done()
					for seed := next.Add(1) - 1; seed < from+seeds && cmd.Context().Err() == nil; seed = next.Add(1) - 1 {
						stats, err := escrow.Simulate(escrow.SimulationConfig{Seed: seed, Trades: trades})
						traded.Add(uint64(stats.Trades))
						crashed.Add(uint64(stats.Crashes))
						mu.Lock()
						if err != nil {
							broken = append(broken, err)
							fmt.Fprintf(out, "broken: %v\n", err)
						}
						if n := played.Add(1); n%1000 == 0 {
							fmt.Fprintf(out, "%d seeds, %d trades, %d crashes, %d broken, %.0f trades/s\n",
								n, traded.Load(), crashed.Load(), len(broken), float64(traded.Load())/time.Since(began).Seconds())
						}
						mu.Unlock()
					}
				}()
			}
			workers.Wait()
			fmt.Fprintf(out, "%d seeds from %d, %d trades, %d crashes, %d broken, %.1f seeds/s, %.0f trades/s\n", played.Load(), from,
				traded.Load(), crashed.Load(), len(broken), float64(played.Load())/time.Since(began).Seconds(), float64(traded.Load())/time.Since(began).Seconds())
			if len(broken) > 0 {
				return hint(fmt.Errorf("%d seeds broke: %w", len(broken), errors.Join(broken...)),
					"mostro simulate --from SEED --seeds 1 --trace shows what happened")
			}
			return nil
		},
	}
	cmd.Flags().Uint64Var(&seeds, "seeds", 1000, "how many seeds to play")
	cmd.Flags().Uint64Var(&from, "from", 1, "the first seed")
	cmd.Flags().IntVar(&trades, "trades", 6, "orders in each seed")
	cmd.Flags().BoolVar(&trace, "trace", false, "play the first seed alone and print what happens")
	return cmd
}
