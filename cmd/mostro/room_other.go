//go:build !linux

package main

import (
	"errors"
	"os"
)

// allocate knows no way to do that on this system.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
