package main

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mostro/escrow"
)

// TestSecretsMadeAtOnce: when two processes make the same secret, both use the one that stays
// on disk. With another one in memory the survivor would hold sats under a secret that is lost.
func TestSecretsMadeAtOnce(t *testing.T) {
	const makers = 16
	for name, make := range map[string]func(dir string) (any, error){
		"escrow secret": func(dir string) (any, error) {
			secret, err := escrowSecret(dir)
			return escrow.Preimage(secret, "an order", 1).Hash(), err
		},
		"key of mostro dev": func(dir string) (any, error) {
			key, err := devKey(filepath.Join(dir, envFile), nsecVariable+"=")
			return key.Public(), err
		},
	} {
		dir := t.TempDir()
		var made [makers]any
		var begin, end sync.WaitGroup
		begin.Add(1)
		for i := range makers {
			end.Go(func() {
				begin.Wait()
				var err error
				if made[i], err = make(dir); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		begin.Done()
		end.Wait()
		kept, err := make(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range made {
			if one != kept {
				t.Errorf("%s: one maker uses another than the one on disk", name)
				break
			}
		}
		if files, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(files) > 0 {
			t.Errorf("%s: left behind: %v, %v", name, files, err)
		}
	}
}

// TestWriteNewKeepsWhatIsThere: a secret is never replaced.
func TestWriteNewKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, text := range []string{"first", "second"} {
		if err := writeNew(path, []byte(text)); (err == nil) != (text == "first") {
			t.Errorf("%s: %v", text, err)
		}
	}
	data, err := readSecretFile(path)
	if err != nil || string(data) != "first" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

// TestDamagedDevKey names the file and what to do, and never advises to delete a key.
func TestDamagedDevKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), adminKeyFile)
	if err := writeWhole(path, []byte("nsec1garbage\n")); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	_, err := devKey(path, "")
	printError(&out, rootCommand(), err)
	for _, want := range []string{path, "put it back as it was", "mostro dev --data-dir OTHER"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "delete") {
		t.Errorf("it advises to delete a key:\n%s", out.String())
	}
	if strings.Contains(out.String(), "garbage") {
		t.Errorf("it quotes the key:\n%s", out.String())
	}
}

// TestByteOrderMark: some editors begin a file with one, and nobody sees it.
func TestByteOrderMark(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	l, err := loadSettings("settings.toml", []byte(mark+"[mostro]\r\nfee = 0.01\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Mostro.FeePPM != 10_000 || l.origin["mostro.fee"] != "settings.toml line 2" {
		t.Errorf("fee %d ppm, set in %s", l.Mostro.FeePPM, l.origin["mostro.fee"])
	}
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), envFile)
	if err := writeWhole(path, []byte(mark+nsecVariable+"="+key.Nsec()+"\r\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := readEnvFile(path); err != nil || text != key.Nsec() {
		t.Errorf("the key in %s is not found: %v", envFile, err)
	}
}
