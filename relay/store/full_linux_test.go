package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mostro/policies"
)

const (
	fullRole   = "MOSTRO_TEST_FULL_DISK" // of a child of TestFullDisk
	fullDisk   = 640 << 20               // bytes
	fullRounds = 4
	fullAfter  = 400 // events at most until the disk is full
	fullWhile  = time.Second
	fullEvent  = 60_000 // bytes, so that Badger begins new files in between
)

// TestFullDisk fills the disk in one moment while a process stores events. However that ends
// (Badger maps its files, so it may be killed), every event that it had said yes to is there
// when there is room again, and the store takes new ones.
func TestFullDisk(t *testing.T) {
	switch os.Getenv(fullRole) {
	case "disk":
		fillWhileStoring(t)
		return
	case "writer":
		storeForEver(t)
		return
	}
	if testing.Short() {
		t.Skip("seconds: left out by -short")
	}
	// In a name space of its own the disk is gone with the process, however it ends.
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), fullRole+"=disk")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("no name space for a disk that may be full: %v", err)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip("no disk that may be full")
	}
}

// fillWhileStoring is the process with the disk.
func fillWhileStoring(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("events", dir, "tmpfs", 0, fmt.Sprintf("size=%d", fullDisk)); err != nil {
		t.Skip(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var acked []string
	for round := range fullRounds {
		fresh, end := fillRound(t, dir, round, 1+random.IntN(fullAfter))
		acked = append(acked, fresh...)
		t.Logf("round %d: %d events acknowledged; the process: %s", round, len(fresh), end)
		s := openTest(t, Options{Dir: filepath.Join(dir, "store"), Now: newClock().now})
		for _, text := range acked {
			id, err := ParseKey(text)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Has(id) {
				t.Errorf("event %s is lost", text)
			}
		}
		mustAdd(t, s, unsigned(person(2), 1, start, fmt.Sprint("room again ", round)), Stored)
		s.Close()
	}
}

// fillRound lets a process store events, fills the disk after some of them, and makes room again
// when it has ended. It returns what was acknowledged, and how it ended.
func fillRound(t *testing.T, dir string, round, after int) (acked []string, end string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	cmd.Env = append(os.Environ(), fullRole+"=writer", fmt.Sprintf("MOSTRO_TEST_ROUND=%d", round), "MOSTRO_TEST_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	filler, refused := filepath.Join(dir, "filler"), 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "stored":
			acked = append(acked, rest)
		case "refused":
			refused++
		}
		if len(acked) == after {
			fill(t, filler)
			time.AfterFunc(fullWhile, func() { cmd.Process.Kill() })
			after = -1
		}
	}
	err = cmd.Wait()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(said.String(), "\n")
	return acked, fmt.Sprintf("%v, %d events refused; it said %q", err, refused, first)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// storeForEver is the process that stores events and says so.
func storeForEver(t *testing.T) {
	s := openTest(t, Options{Dir: filepath.Join(os.Getenv("MOSTRO_TEST_DIR"), "store"), Now: newClock().now, Space: Space{Rule: policies.FreeSpace(1, 0, 16<<20, CriticalFree), Reserve: 16 << 20}})
	for i := 0; ; i++ {
		ev := unsigned(person(1), 1, start+int64(i), os.Getenv("MOSTRO_TEST_ROUND")+strings.Repeat("x", fullEvent))
		switch out := s.Add(t.Context(), Item{Event: ev, Own: true})[0]; {
		case out.Err == nil:
			fmt.Println("stored", ev.ID)
		case errors.Is(out.Err, ErrFull):
			fmt.Println("refused", ev.ID)
			time.Sleep(10 * time.Millisecond)
		default:
			t.Fatal(out.Err)
		}
	}
}
