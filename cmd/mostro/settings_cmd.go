package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// maxSettingsFile bounds a settings file in bytes.
const maxSettingsFile = 1 << 20

func settingsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Print or check the settings file",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "template",
		Short: "Print a settings file with every key, its meaning, unit and default",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), settingsTemplate())
			return err
		},
	})
	var dir string
	var overrides []string
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the settings file and the files it names, without starting anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			settings, _, _, err := readAll(dir, overrides, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			if err != nil {
				return err
			}
			if len(settings.harmful) > 0 {
				return settings.harmful
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the settings are good")
			return nil
		},
	}
	dataDirFlag(check, &dir, "~/.mostro")
	settingsFlag(check, &overrides)
	cmd.AddCommand(check)
	return cmd
}

// readSettings reads the settings file of a data directory. What is harmful in them is for who serves with them.
func readSettings(dir string, overrides []string) (*loaded, error) {
	path := filepath.Join(dir, settingsFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("there is no settings file: %s", path),
			noSettingsHint(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if info.Size() > maxSettingsFile {
		return nil, fmt.Errorf("read settings: %s has %d bytes, at most %d fit", path, info.Size(), maxSettingsFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return parseSettings(path, data, overrides)
}

// requireLightning checks that the Lightning node is named, and that the files are there and are
// what they should be; it makes their paths absolute. Whether the node answers is another matter:
// the relay serves without it.
func (l *loaded) requireLightning(dir string) error {
	var problems settingsError
	for _, n := range l.needs() {
		if *n.to == "" {
			problems = append(problems, problem{l.origin[n.path], n.path, "is not set",
				"set it in " + filepath.Join(dir, settingsFile)})
			continue
		}
		if n.check == nil {
			continue
		}
		*n.to = inDir(dir, *n.to)
		err := readable(*n.to)
		if err != nil {
			problems = append(problems, problem{l.origin[n.path], n.path, fmt.Sprintf("cannot be read: %v", err),
				"copy the file from LND, and let the user that runs mostro read it"})
			continue
		}
		if err := n.check(*n.to); err != nil {
			problems = append(problems, problem{l.origin[n.path], n.path, fmt.Sprintf("cannot be used: %v", err), ""})
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a file", path))
	}
	return nil
}
