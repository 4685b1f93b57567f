package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/audit"
	"mostro/escrow/lightning"
)

// here runs a command in this process.
func here(cmd *cobra.Command, args ...string) (says string, err error) {
	var out strings.Builder
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err = cmd.Execute()
	return out.String(), err
}

// What is encrypted where it lies does not come to lie in plain unless somebody says so: not by a backup that
// passes over the settings' recipients, and not by a restore on a machine whose settings are not back yet.
func TestEncryptionIsNotLost(t *testing.T) {
	outside := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keyFile, secret := filepath.Join(outside, "store.key"), filepath.Join(outside, "age.key")
	raw := [32]byte{7}
	err = errors.Join(writeWhole(keyFile, fmt.Appendf(nil, "%x\n", raw)), writeWhole(secret, []byte(identity.String()+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	storeKey := escrow.NewStoreKey(raw)
	settings := map[string]string{
		"none":  "",
		"empty": "[mostro]\n",
		"key":   fmt.Sprintf("[store]\nkey_file = %q\n[backup]\nrecipients = [%q]\n", keyFile, identity.Recipient()),
	}
	dataDir := func(kind string) string {
		dir := filepath.Join(t.TempDir(), "node")
		if text := settings[kind]; text != "" {
			if err := errors.Join(openDataDir(dir), writeWhole(filepath.Join(dir, settingsFile), []byte(text))); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	made := func(kind string, key escrow.StoreKey) (dir string) {
		dir = dataDir(kind)
		engine, err := escrow.Open(escrow.Config{Dir: filepath.Join(dir, escrowDir), StoreKey: key, Node: lightning.NewSimNetwork(lightning.SimConfig{}).Node("x")})
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	backup := func(dir, name, want string, flags ...string) (path string) {
		path = filepath.Join(outside, name)
		if says, err := here(backupCommand(), append(flags, path, "--data-dir", dir)...); err != nil || !strings.Contains(says, want) {
			t.Fatalf("backup %s: %v: %s", name, err, says)
		}
		return path
	}
	encrypted, ordinary := made("key", storeKey), made("empty", escrow.StoreKey{})
	sealed := backup(encrypted, "sealed", "is encrypted")
	plain := backup(encrypted, "plain", "It is not encrypted", "--plain")
	never := backup(ordinary, "never", "It is not encrypted")
	for path, want := range map[string]bool{sealed: true, plain: false} {
		if text, err := os.ReadFile(path); err != nil || strings.HasPrefix(string(text), ageHead) != want {
			t.Errorf("%s is encrypted: %v, %v", path, !want, err)
		}
	}

	for _, c := range []struct {
		name, kind, want string
		args             []string
		key              escrow.StoreKey
	}{
		{"no settings", "none", "put settings.toml and the keys back first", []string{plain}, escrow.StoreKey{}},
		{"no settings, never encrypted", "none", "put settings.toml and the keys back first", []string{never}, escrow.StoreKey{}},
		{"no key", "empty", "is of an encrypted money store", []string{plain}, escrow.StoreKey{}},
		{"no key, with age", "empty", "is of an encrypted money store", []string{sealed, "--identity", secret}, escrow.StoreKey{}},
		{"a key and --plain", "key", "take one of the two out", []string{plain, "--plain"}, escrow.StoreKey{}},
		{"said", "none", "", []string{plain, "--plain"}, escrow.StoreKey{}},
		{"said, with settings", "empty", "", []string{plain, "--plain"}, escrow.StoreKey{}},
		{"never encrypted", "empty", "", []string{never}, escrow.StoreKey{}},
		{"the key as an option", "none", "", []string{plain, "--settings", "store.key_file=" + keyFile}, storeKey},
		{"as it was", "key", "", []string{sealed, "--identity", secret}, storeKey},
	} {
		dir := dataDir(c.kind)
		_, err := here(restoreCommand(), append(c.args, "--data-dir", dir)...)
		store := filepath.Join(dir, escrowDir)
		_, none := os.Stat(store)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error()+hintsOf(err), c.want) || !errors.Is(none, fs.ErrNotExist) {
				t.Errorf("%s: %v, and the store: %v", c.name, err, none)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v %s", c.name, err, hintsOf(err))
			continue
		}
		if err := escrow.ReadBooks(store, c.key, func(audit.Account) error { return nil }); err != nil {
			t.Errorf("%s: the store does not open as it should: %v", c.name, err)
		}
	}

	// Older versions read over the mark: it is in no part of the backup.
	file, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if info, err := escrow.CheckBackup(io.Reader(file)); err != nil || info.Rows == 0 {
		t.Errorf("%+v, %v", info, err)
	}
}
