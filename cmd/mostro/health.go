package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout bounds the question to a node that hangs.
const healthTimeout = 5 * time.Second

func healthCommand() *cobra.Command {
	var dir, url string
	var overrides []string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running node whether it serves; exit 0 if it does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := "mostro serve"
			if url == "" {
				dir, err := resolveDataDir(dir)
				if err != nil {
					return err
				}
				if url, err = healthURL(dir, overrides); err != nil {
					return err
				}
				start = startsIn(dir)
			}
			if err := askHealth(cmd.Context(), url); err != nil {
				return hint(err, "start it: "+start)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return err
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	settingsFlag(cmd, &overrides)
	cmd.Flags().StringVar(&url, "url", "", "http address of the node (default: from the settings)")
	return cmd
}

// healthURL is where the node of a data directory serves, by its settings with what overrides them,
// or by the file of a dev network.
func healthURL(dir string, overrides []string) (string, error) {
	settings, err := readSettings(dir, overrides)
	if err != nil {
		if dev, ok := readDev(dir); ok {
			return dev.HTTPURL, nil
		}
		return "", err
	}
	if _, port, err := net.SplitHostPort(settings.Relay.Listen); err == nil && port == "0" {
		return "", hint(fmt.Errorf("relay.listen is %s: any port that is free, which the settings do not know", settings.Relay.Listen),
			"take the port from the line of the node's log that says serving: mostro health --url http://127.0.0.1:PORT")
	}
	return "http://" + dialable(settings.Relay.Listen), nil
}

func askHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for health: %s answers with status %s", url, res.Status)
	}
	return nil
}

// dialable turns a listen address into one to dial: a wildcard is this machine.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
