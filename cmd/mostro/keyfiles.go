package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"mostro/escrow"
	"mostro/escrow/mostro"
)

// Names in the data directory.
const (
	settingsFile     = "settings.toml"
	envFile          = ".env"
	escrowSecretFile = "escrow.secret"
	epochFile        = "escrow.epoch" // tells an old copy of the money store
	relayDir         = "relay"        // event store
	escrowDir        = "escrow"       // money store

	nsecVariable = "MOSTRO_NSEC_PRIVKEY"
)

// byteOrderMark begins the files of some editors, mostly on Windows. Nobody sees it.
const byteOrderMark = "\ufeff"

const (
	privateDir  = 0o700
	privateFile = 0o600
	maxKeyFile  = 1 << 16 // bytes
)

// openDataDir makes the data directory if there is none, for its owner alone, and closes an
// empty one to others. It refuses one that others can write to: they could put a key or a store
// of their own there.
func openDataDir(dir string) error {
	if err := os.MkdirAll(dir, privateDir); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	if len(entries) == 0 {
		if err := os.Chmod(dir, privateDir); err != nil {
			return fmt.Errorf("open data directory: %w", err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o022 != 0 {
		return hint(fmt.Errorf("other users can write to the data directory %s (mode %04o)", dir, mode), "chmod 700 "+dir)
	}
	return nil
}

// openToOthers tells whether group or world have any right. Windows has no such bits.
func openToOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

// readSecretFile reads a small file that holds a secret. It refuses links and files that
// other users can read, so that a wrong mode is noticed before the secret is used.
func readSecretFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, hint(fmt.Errorf("key file %s is not a plain file", path), "put the file itself there, not a link to it")
	}
	if openToOthers(info) {
		return nil, hint(fmt.Errorf("key file %s can be read by other users (mode %04o)", path, info.Mode().Perm()),
			"chmod 600 "+path)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("key file %s has %d bytes; no key file is that large", path, info.Size())
	}
	return os.ReadFile(path)
}

// writeWhole writes a private file so that nobody ever sees half of it: into a temporary
// file beside it, synced, then renamed into place, and the directory synced.
func writeWhole(path string, data []byte) error { return placeWhole(path, data, os.Rename) }

// writeNew is writeWhole for what is made once and never replaced: a file that is there, since
// another process was faster, stays, and the error is fs.ErrExist.
func writeNew(path string, data []byte) error {
	return placeWhole(path, data, func(tmp, path string) error {
		if os.Link(tmp, path) == nil {
			return os.Remove(tmp)
		}
		if _, err := os.Lstat(path); err == nil {
			return fs.ErrExist
		}
		return os.Rename(tmp, path) // a file system without links
	})
}

// placeWhole writes a temporary file and hands it to place, which gives it its name.
func placeWhole(path string, data []byte, place func(tmp, path string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = place(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// nodeKey finds the node's key: the environment wins over .env, and that over settings.toml.
// The variable is taken out of the environment, which child processes and crash reports see.
func nodeKey(dir string, settings *loaded) (mostro.Secret, error) {
	text, where := os.Getenv(nsecVariable), "the environment variable "+nsecVariable
	os.Unsetenv(nsecVariable)
	if text == "" {
		where = filepath.Join(dir, envFile)
		var err error
		if text, err = readEnvFile(where); err != nil {
			return mostro.Secret{}, err
		}
	}
	if text == "" && settings.Nostr.Nsec != "" {
		where = settings.origin["nostr.nsec_privkey"]
		// The file was read already, but only now is it known to hold a key.
		if _, err := readSecretFile(filepath.Join(dir, settingsFile)); err != nil {
			return mostro.Secret{}, err
		}
		text = string(settings.Nostr.Nsec)
	}
	if text == "" {
		return mostro.Secret{}, hint(errors.New("the node has no key"),
			"make one: mostro key --data-dir "+dir,
			"or set "+nsecVariable+" to the nsec of an existing node")
	}
	key, err := mostro.ParseSecret(strings.TrimSpace(text))
	if err != nil { // err could quote the key
		return mostro.Secret{}, hint(fmt.Errorf("the key in %s is no nsec", where), "it starts with nsec1 and has 63 characters")
	}
	return key, nil
}

// readEnvFile returns the key in a .env file, and "" when there is no file or no key in it.
func readEnvFile(path string) (string, error) {
	data, err := readSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(bytes.TrimPrefix(data, []byte(byteOrderMark)))) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if ok && strings.TrimSpace(name) == nsecVariable {
			return strings.Trim(strings.TrimSpace(value), `"'`), nil
		}
	}
	return "", nil
}

// escrowSecret reads the secret that preimages are derived from, and makes it at the first
// start. It is made only while there is no money store: a store whose secret is gone must
// not get another one, with which no held invoice could be settled.
func escrowSecret(dir string) (secret escrow.EscrowSecret, err error) {
	if secret, err = readEscrowSecret(dir); !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	path := filepath.Join(dir, escrowSecretFile)
	if _, err := os.Stat(filepath.Join(dir, escrowDir)); !errors.Is(err, fs.ErrNotExist) {
		return secret, hint(fmt.Errorf("%s is missing, but there are trades in %s", path, filepath.Join(dir, escrowDir)),
			"restore it from your backup: without it no held invoice can be settled")
	}
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	err = writeNew(path, []byte(hex.EncodeToString(b[:])+"\n"))
	if errors.Is(err, fs.ErrExist) { // another process has made one: that one counts
		return readEscrowSecret(dir)
	}
	return escrow.NewEscrowSecret(b), err
}

// readEscrowSecret reads the secret, and makes none.
func readEscrowSecret(dir string) (secret escrow.EscrowSecret, err error) {
	path := filepath.Join(dir, escrowSecretFile)
	data, err := readSecretFile(path)
	if err != nil {
		return secret, fmt.Errorf("read escrow secret: %w", err)
	}
	decoded, err := hex.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(decoded) != 32 {
		return secret, hint(fmt.Errorf("%s is damaged: want 64 hex digits", path), "restore it from your backup")
	}
	return escrow.NewEscrowSecret([32]byte(decoded)), nil
}
