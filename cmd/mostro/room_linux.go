package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// sameDisk tells that two directories are on one file system; the second may yet have to be made.
func sameDisk(a, b string) bool {
	var x, y syscall.Stat_t
	if syscall.Stat(b, &y) != nil && syscall.Stat(filepath.Dir(b), &y) != nil {
		return true
	}
	return syscall.Stat(a, &x) != nil || x.Dev == y.Dev
}

// allocate gives the first bytes of a file their blocks on disk. The error is errors.ErrUnsupported
// where the file system cannot.
func allocate(f *os.File, bytes int64) error {
	return os.NewSyscallError("fallocate", syscall.Fallocate(int(f.Fd()), 0, 0, bytes))
}
