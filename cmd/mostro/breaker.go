package main

import "github.com/spf13/cobra"

func breakerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "breaker",
		Short: "Let payouts go on that the circuit breaker has stopped",
		Long: `The circuit breaker stops all payouts when more went out than the same orders brought in, by
more than guards.max_uncovered_outflow in a day. Look first: "mostro audit" says what happened.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(decide("reset", "Reset the breaker; payouts that waited are made", "", cobra.NoArgs,
		func([]string) (act, error) { return act{Do: "reset"}, nil }, "The breaker is reset. `mostro status` lists what payouts still wait for, if for anything."))
	return cmd
}
