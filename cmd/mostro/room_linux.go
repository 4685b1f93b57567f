package main

import (
	"os"
	"syscall"
)

// allocate gives the first bytes of a file their blocks on disk. The error is errors.ErrUnsupported
// where the file system cannot.
func allocate(f *os.File, bytes int64) error {
	return os.NewSyscallError("fallocate", syscall.Fallocate(int(f.Fd()), 0, 0, bytes))
}
