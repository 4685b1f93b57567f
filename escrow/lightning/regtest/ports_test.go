package regtest

import (
	"net"
	"testing"
)

func TestReservePorts(t *testing.T) {
	cacheDir := t.TempDir()
	reserve := func(preferred int) portBlock {
		t.Helper()
		block, err := reservePorts(cacheDir, preferred, 4)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(block.release)
		return block
	}
	// Other networks of this machine lock in another directory, so any block may be in use.
	first := reserve(portBlocks - 1)
	if again := reserve(first.number); again.number == first.number || again.number == snapshotBlock {
		t.Errorf("block %d is given out again as %d", first.number, again.number)
	}
	first.release()
	listener, err := net.Listen("tcp", first.address(3))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if block := reserve(first.number); block.number == first.number {
		t.Error("a block is given out of which a port is in use")
	}
	listener.Close()
	if block := reserve(first.number); block.number != first.number {
		t.Errorf("block %d is free and %d is given out", first.number, block.number)
	}
}
