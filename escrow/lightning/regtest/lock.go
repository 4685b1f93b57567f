package regtest

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// errLocked means that another process, or another Network of this one, holds the lock.
var errLocked = errors.New("in use")

// lock waits for a lock and tells what it waits for.
func lock(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for first := true; ; first = false {
		file, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return file, err
		}
		if first {
			waiting()
		}
		if err := sleep(ctx, lockInterval); err != nil {
			return nil, fmt.Errorf("wait for the lock %s: %w", path, err)
		}
	}
}
