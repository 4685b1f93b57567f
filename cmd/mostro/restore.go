package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/audit"
	"mostro/escrow/order"
)

// ageHead is how a file begins that age has encrypted.
const ageHead = "age-encryption.org/"

func restoreCommand() *cobra.Command {
	var dir, identity string
	var plain bool
	var overrides []string
	cmd := &cobra.Command{
		Use:   "restore FILE... | DIRECTORY",
		Short: "Put the money store back from a backup",
		Long: `Put the money store back from a backup: a full one and those that followed it, in order, or the
latest of a directory. The node must not be running, and its money store must be gone or moved
away; nothing is overwritten. Where a directory has backups of several stores they are listed, and
you name the files of the one that you mean. On a new machine put settings.toml, the store's key if
it has one, escrow.secret and the node's key back first.

A store that was put back does not know what was paid since. The node therefore reads LND's
payments when it starts, before it pays anybody; "mostro status" lists what it cannot explain.
If LND itself was restored from its own backup, read LND's manual first.

Messages to traders are in the event store, "relay" in the data directory, of which there is no
backup. A replica (mostro serve --replica-of) has them too, and throws them away when it finds its
primary without them. So if the event store is lost, stop the replicas first, and copy the directory
"replica" of one of them to "relay" here before the node starts.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := resolveDataDir(dir)
			if err != nil {
				return err
			}
			_, none := os.Stat(dir)
			fresh := errors.Is(none, fs.ErrNotExist)
			if !fresh { // before anything is said of what may be moved
				unlock, err := lockForRestore(cmd.Context(), dir)
				if err != nil {
					return err
				}
				defer unlock()
			}
			store := filepath.Join(dir, escrowDir)
			if _, err := os.Lstat(store); !errors.Is(err, fs.ErrNotExist) {
				return hint(fmt.Errorf("there is a money store already: %s", store),
					"it may know more than the backup: restore only if it is lost or broken",
					fmt.Sprintf("then move it away first: mv %s %s.old", store, store))
			}
			if _, err := restoreKey(dir, overrides, plain, false); err != nil { // said before a backup is opened
				return err
			}
			files, closeAll, err := openBackups(args, identity)
			if err != nil {
				return err
			}
			defer closeAll()
			key, err := restoreKey(dir, overrides, plain, ofEncrypted(files))
			if err != nil {
				return err
			}
			if fresh { // a wrong --data-dir is not made for a backup that cannot be read
				unlock, err := lockForRestore(cmd.Context(), dir)
				if err != nil {
					return err
				}
				defer unlock()
			}
			space, err := spaceOf(dir, overrides)
			if err != nil {
				return err
			}
			info, err := escrow.Restore(store, key, whileRoom(files, func() error { return space.Check(dir, slog.Default()) })...)
			if errors.Is(err, escrow.ErrNoSpace) {
				return hint(err, "make room on that disk, such as by moving an old money store to another, then restore again: nothing of this try is left")
			}
			if err != nil {
				return chainHint(files, err)
			}
			holds, err := holdings(store, key)
			if err != nil {
				return fmt.Errorf("the money store of %s is back, and cannot be read: %w", day(info.Made), err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The money store of %s is back, %s old: %s\n",
				day(info.Made), ageText(time.Since(time.Unix(info.Made, 0))), holds)
			if _, err := readEscrowSecret(dir); err != nil {
				fmt.Fprintf(cmd.OutOrStdout(), "Put %s and the node's key back too: without them the store cannot be used.\n", escrowSecretFile)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Next: %s, then %s and %s.\n", startsIn(dir), nodeCall(cmd, "status"), nodeCall(cmd, "audit"))
			return nil
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	settingsFlag(cmd, &overrides)
	identityFlag(cmd, &identity)
	cmd.Flags().BoolVar(&plain, "plain", false, "put the store back without encrypting it, also where it was encrypted or there are no settings")
	return cmd
}

// lockForRestore makes the data directory if there is none, and keeps every node out of it.
func lockForRestore(ctx context.Context, dir string) (unlock func(), err error) {
	if err := openDataDir(dir); err != nil {
		return nil, err
	}
	if unlock, err = lockDataDir(dir, "mostro restore", false); err != nil {
		return nil, err
	}
	if _, err := dialControl(ctx, dir); !errors.Is(err, errNotRunning) { // where there are no locks
		unlock()
		if err == nil {
			err = fmt.Errorf("a node runs in %s", dir)
		}
		return nil, hint(err, "stop it first")
	}
	return unlock, nil
}

// spaceOf is the room that the money store of a directory leaves on its disk.
func spaceOf(dir string, overrides []string) (escrow.Space, error) {
	if _, err := os.Stat(filepath.Join(dir, settingsFile)); !errors.Is(err, fs.ErrNotExist) {
		l, err := readSettings(dir, overrides)
		if err != nil {
			return escrow.Space{}, err
		}
		return l.space(), nil
	}
	l, err := loadSettings(settingsFile, nil, nil)
	if err != nil {
		return escrow.Space{}, err
	}
	return l.space(), nil
}

// roomStep is after how many bytes of a backup, which is compressed, the disk is looked at: Badger would
// be killed on one that is full.
const roomStep = 256 << 10

// whileRoom reads backups as long as check finds room for what is made of them.
func whileRoom(files []io.Reader, check func() error) (guarded []io.Reader) {
	for _, file := range files {
		guarded = append(guarded, &roomReader{Reader: file, check: check})
	}
	return guarded
}

type roomReader struct {
	io.Reader
	check func() error
	left  int // bytes until the next look
}

func (r *roomReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := r.check(); err != nil {
			return 0, err
		}
		r.left = roomStep
	}
	n, err := r.Reader.Read(p[:min(len(p), roomStep)])
	r.left -= n
	return n, err
}

// holdings says what is in a store, so that a wrong one is noticed.
func holdings(store string, key escrow.StoreKey) (string, error) {
	var orders, live int
	var owed order.Msat
	err := escrow.ReadBooks(store, key, func(a audit.Account) error {
		due, _ := a.Ledger.Owes()
		owed += due
		if a.Order == "" {
			orders++
			if !a.Unread && !order.Ended(a.Status) {
				live++
			}
		}
		return nil
	})
	if orders == 0 {
		return "it has no orders. Is it the right one?", err
	}
	return fmt.Sprintf("%s, %s of them live, %s sat owed.", count(orders, "order", "orders"), thousands(int64(live)), msats(owed)), err
}

func identityFlag(cmd *cobra.Command, identity *string) {
	cmd.Flags().StringVar(identity, "identity", "", "file with the secret key of age that opens the backup")
}

// openBackups names files, or the latest chain of a directory, to be read one after the other.
func openBackups(paths []string, identity string) (readers []io.Reader, closeAll func(), err error) {
	if info, err := os.Stat(paths[0]); err == nil && info.IsDir() {
		if len(paths) > 1 {
			return nil, nil, errors.New("want files, or one directory")
		}
		dir := paths[0]
		chain, err := latestChain(dir, identity)
		if err != nil {
			return nil, nil, err
		}
		paths = nil
		for _, name := range chain {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	var files []*backupFile
	for _, path := range paths {
		file := &backupFile{path: path, identity: identity}
		files, readers = append(files, file), append(readers, file)
		if _, err := os.Stat(path); err != nil { // each name, before the first is loaded
			return nil, nil, fmt.Errorf("find backup: %w", err)
		}
	}
	end := func() {
		for _, f := range files {
			f.close()
		}
	}
	if err := files[0].open(); err != nil { // a wrong key is said before anything is begun
		return nil, nil, err
	}
	return readers, end, nil
}

// chainHint names the file that stands in the way of a chain, and what can be had without it. Nobody but the operator
// says that it is left out: what came after it is forgotten then.
func chainHint(files []io.Reader, err error) error {
	var broken *escrow.ChainError
	if !errors.As(err, &broken) {
		return err
	}
	path := func(i int) string { return files[i].(*backupFile).path }
	err = fmt.Errorf("%s: %w", path(broken.At), err)
	if broken.At == 0 {
		return hint(err, "take another copy of it, or name the files of another full backup one by one")
	}
	before := count(broken.At, "file", "files")
	return hint(err, "look for another copy of it, or of what is missing before it",
		fmt.Sprintf("else name the %s before it one by one, in order, the last of them %s: what was written after that is not in them", before, path(broken.At-1)))
}

// ofEncrypted tells whether the first of the backups that openBackups names is of an encrypted store.
func ofEncrypted(backups []io.Reader) bool {
	first, ok := backups[0].(*backupFile)
	return ok && first.encrypted
}

// backupFile is a backup that is opened when it is read, and closed at its end: a chain may have
// more files than a process can have open.
type backupFile struct {
	path, identity string
	file           *os.File
	text           io.Reader // decrypted; nil = not opened yet
	encrypted      bool      // the store that it is of was; known when it is opened
}

func (b *backupFile) open() (err error) {
	if b.file, err = os.Open(b.path); err != nil {
		return fmt.Errorf("open backup: %w", err)
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	buffered := bufio.NewReader(b.file)
	if head, _ := buffered.Peek(len(ageHead)); string(head) != ageHead {
		b.text, b.encrypted = buffered, marked(buffered)
		return nil
	}
	keys, err := readIdentity(b.identity)
	if err != nil {
		return err
	}
	text, err := age.Decrypt(buffered, keys...)
	if err != nil {
		return hint(fmt.Errorf("open backup %s: %w", b.path, err), "name the file with the secret key it was encrypted to with --identity")
	}
	buffered = bufio.NewReader(text)
	b.text, b.encrypted = buffered, marked(buffered)
	return nil
}

func (b *backupFile) Read(p []byte) (n int, err error) {
	if b.text == nil {
		if err := b.open(); err != nil {
			return 0, err
		}
	}
	if n, err = b.text.Read(p); err != nil {
		b.close()
	}
	return n, err
}

func (b *backupFile) close() {
	if b.file != nil {
		b.file.Close()
	}
}

func readIdentity(path string) ([]age.Identity, error) {
	if path == "" {
		return nil, hint(errors.New("the backup is encrypted"), "name the file with the secret key of age: --identity FILE")
	}
	data, err := readSecretFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	keys, err := age.ParseIdentities(strings.NewReader(string(data)))
	if err != nil { // err could quote the key
		return nil, hint(fmt.Errorf("%s has no secret key of age", path), "it has a line that begins with AGE-SECRET-KEY-1")
	}
	return keys, nil
}
