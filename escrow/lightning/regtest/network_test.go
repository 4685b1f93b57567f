package regtest

import (
	"testing"
	"time"
)

func TestForTest(t *testing.T) {
	started := time.Now()
	n := ForTest(t)
	t.Log("ready", time.Since(started))
	_ = n
}
