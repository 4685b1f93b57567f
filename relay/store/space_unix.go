//go:build linux || darwin || freebsd

package store

import "syscall"

// DiskFree tells what a user without special rights can still write on the disk of dir.
func DiskFree(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	block := uint64(st.Bsize)
	return uint64(st.Bavail) * block, uint64(st.Blocks) * block, nil
}
