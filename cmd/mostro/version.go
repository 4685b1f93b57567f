package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version of this program, as told to clients in kind 38385 and in the relay's information.
const version = "0.1.0"

// commit is the revision that the binary was built from; "" when the build did not record it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-modified"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + modified
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from := commit()
			if from == "" {
				from = "unknown"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "mostro %s\ncommit %s\n%s %s/%s\n",
				version, from, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
