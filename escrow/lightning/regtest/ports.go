package regtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Ports come in blocks, one for each network that runs on this machine, and below those
// that systems give to outgoing connections. A block is reserved by a lock that ends with
// the process, so two networks never mix even while one of their nodes is down: copies of
// one snapshot have the same node keys, and a node that reached its peer's twin would see
// foreign channel states and close its channels.
const (
	firstPort      = 20_000
	portsPerBlock  = 32
	portBlocks     = 380 // up to port 32,159
	snapshotBlock  = 0   // only for making snapshots: their nodes remember these addresses
	firstFreeBlock = 1
)

// portBlock is a reserved block of ports.
type portBlock struct {
	number int
	lock   *os.File
}

func (b portBlock) port(i int) int { return firstPort + b.number*portsPerBlock + i }

func (b portBlock) address(i int) string { return loopback(b.port(i)) }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (b portBlock) release() { b.lock.Close() }

// reservePorts takes the preferred block when it is free, else the next one that is.
func reservePorts(cacheDir string, preferred, count int) (portBlock, error) {
	dir := filepath.Join(cacheDir, "ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return portBlock{}, fmt.Errorf("reserve ports: %w", err)
	}
	if block, ok, err := tryBlock(dir, preferred, count); ok || err != nil {
		return block, err
	}
	for number := firstFreeBlock; number < portBlocks; number++ {
		if block, ok, err := tryBlock(dir, number, count); ok || err != nil {
			return block, err
		}
	}
	return portBlock{}, fmt.Errorf("reserve ports: all blocks between %d and %d are in use",
		firstPort, firstPort+portBlocks*portsPerBlock)
}

func tryBlock(dir string, number, count int) (portBlock, bool, error) {
	file, err := tryLock(filepath.Join(dir, strconv.Itoa(number)))
	if err == errLocked {
		return portBlock{}, false, nil
	}
	if err != nil {
		return portBlock{}, false, fmt.Errorf("reserve ports: %w", err)
	}
	block := portBlock{number: number, lock: file}
	for i := range count {
		// Another program may listen here, or a node that an earlier run left behind.
		listener, err := net.Listen("tcp", block.address(i))
		if err != nil {
			block.release()
			return portBlock{}, false, nil
		}
		listener.Close()
	}
	return block, true, nil
}
