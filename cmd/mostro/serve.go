package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/mostro"
)

func serveCommand() *cobra.Command {
	var dir, primary string
	var overrides []string
	level := slog.LevelInfo
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node: relay and escrow, beside your own LND",
		Long: `Run a node: relay and escrow in this process, beside an LND that may run anywhere.

The first start makes the data directory, writes settings.toml into it, with every key
explained, and ends with exit code 1, since nothing is served yet. The node's key is looked for in the environment variable MOSTRO_NSEC_PRIVKEY, then
in the file .env of the data directory, then in settings.toml.

Back up escrow.secret once, apart from the data: with it and LND's own backup every held
invoice can be settled.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			if err := openDataDir(dir); err != nil {
				return err
			}
			if isDev(dir) {
				return hint(fmt.Errorf("%s is the directory of a dev network", dir), "start that with "+startsIn(dir), "a node for the world has another directory: mostro serve --data-dir OTHER")
			}
			unlock, err := lockDataDir(dir, "mostro serve", false)
			if err != nil {
				return err
			}
			defer unlock()
			if first, err := writeFirstSettings(dir); err != nil {
				return err
			} else if first && primary == "" {
				fmt.Fprint(cmd.OutOrStdout(), firstStart(dir))
				return hint(errors.New("nothing is served yet: the settings are to be filled in"),
					"if this node has run before, its data directory is not there: is the disk mounted?")
			}
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			if primary != "" {
				return serveReplica(cmd.Context(), dir, primary, overrides, logger)
			}
			return serve(cmd.Context(), dir, overrides, logger)
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	settingsFlag(cmd, &overrides)
	cmd.Flags().TextVar(&level, "log-level", level, "debug, info, warn or error")
	cmd.Flags().StringVar(&primary, "replica-of", "",
		"serve the events of this relay, wss://..., for more readers; without an escrow and without LND, with a key of its own")
	return cmd
}

// writeFirstSettings writes the template when there is no settings file.
func writeFirstSettings(dir string) (first bool, err error) {
	path := filepath.Join(dir, settingsFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, writeWhole(path, []byte(settingsTemplate()))
}

func firstStart(dir string) string {
	return fmt.Sprintf(`Welcome. This is the first start in %[1]s.

1. Fill in the section [lightning] of %[2]s:
   lnd_grpc_host, lnd_cert_file and lnd_macaroon_file. `+"`mostro macaroon`"+` prints how to bake the macaroon.
2. Give the node a key: mostro key --data-dir %[1]s
   (or set %[3]s to the nsec of an existing node)
3. Start again: mostro serve --data-dir %[1]s
`, dir, filepath.Join(dir, settingsFile), nsecVariable)
}

// readAll reads the settings and the files that they name, and refuses what cannot be served with.
func readAll(dir string, overrides []string, logger *slog.Logger) (settings *loaded, key mostro.Secret, storeKey escrow.StoreKey, err error) {
	if settings, err = readSettings(dir, overrides); err != nil {
		return nil, key, storeKey, err
	}
	for _, p := range settings.changed {
		logger.Warn("a setting is not read as it is written", "where", p.where, "setting", p.key, "wrong", p.what, "remedy", p.remedy)
	}
	if err := settings.requireLightning(dir); err != nil {
		return nil, key, storeKey, err
	}
	if key, err = nodeKey(dir, settings); err != nil {
		return nil, key, storeKey, err
	}
	if err := settings.checkOwn(key.Public()); err != nil {
		return nil, key, storeKey, err
	}
	if storeKey, err = settings.storeKey(dir); err != nil {
		return nil, key, storeKey, err
	}
	return settings, key, storeKey, settings.checkMacaroon(logger)
}

func serve(ctx context.Context, dir string, overrides []string, logger *slog.Logger) error {
	settings, key, storeKey, err := readAll(dir, overrides, logger)
	if err != nil {
		return err
	}
	listener, err := listen(settings.Relay.Listen)
	if err != nil {
		return err
	}
	metrics, err := settings.Metrics.listen()
	if err != nil {
		listener.Close()
		return err
	}
	n, err := openNode(ctx, nodeConfig{
		dir: dir, settings: &settings.Settings, harmful: settings.harmful, key: key, storeKey: storeKey, listener: listener, metrics: metrics,
		lightning: lnd.Config{
			Host:         settings.Lightning.Host,
			CertFile:     settings.Lightning.CertFile,
			MacaroonFile: settings.Lightning.MacaroonFile,
		},
		logger: logger,
	})
	if err != nil {
		listener.Close()
		if metrics != nil {
			metrics.Close()
		}
		return err
	}
	logger.Info("serving", "relay", n.url, "pubkey", key.Public(), "version", version)
	return n.run(ctx)
}

func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, hint(fmt.Errorf("listen on %s: %w", address, err),
			"if the port is taken, choose another one; port 0 is any free one")
	}
	return listener, nil
}
