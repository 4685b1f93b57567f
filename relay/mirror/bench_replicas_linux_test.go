package mirror

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	shareMicros  = 1_000 // of a processor, that a replica gets
	periodMicros = 20_000
)

// BenchmarkReplicasServe measures how many queries of the book three replicas answer for each that one does. Each is
// a process of its own that the kernel holds at a twentieth of a processor, so that two processors are enough for
// three and for who asks them. One and three are asked by turns, so that what else the machine does falls on both.
func BenchmarkReplicasServe(b *testing.B) {
	const replicas, readers, turn = 3, 6, 2 * time.Second
	p, listed := listingPrimary(b)
	p.publish(backlog(b, p.person, bookSize)...)
	var urls []string
	for range replicas {
		url, pid, stop := replicaProcess(b, p, listed)
		defer stop()
		holdAtShare(b, pid)
		urls = append(urls, url)
	}
	b.ResetTimer()
	var answered [2]int64
	for range b.N {
		for i, asked := range [][]string{urls[:1], urls} {
			answered[i] += queriesIn(b, turn, asked, readers)
		}
	}
	seconds := float64(b.N) * turn.Seconds()
	b.ReportMetric(float64(answered[0])/seconds, "queries/s-one")
	b.ReportMetric(float64(answered[1])/seconds, "queries/s-three")
	b.ReportMetric(float64(answered[1])/float64(answered[0]), "times")
}

// queriesIn lets so many readers of each relay ask for so long, and counts their answers.
func queriesIn(b *testing.B, long time.Duration, urls []string, readers int) int64 {
	var answers atomic.Int64
	var all sync.WaitGroup
	until := time.Now().Add(long)
	for _, url := range urls {
		for range readers {
			c := dialClient(b, url)
			all.Go(func() {
				defer c.Close()
				for i := 0; time.Now().Before(until); i++ {
					askBook(c, fmt.Sprint(i))
					answers.Add(1)
				}
			})
		}
	}
	all.Wait()
	return answers.Load()
}

// holdAtShare lets a process have no more than its share of a processor, until the benchmark ends.
func holdAtShare(b *testing.B, pid int) {
	b.Helper()
	name := fmt.Sprintf("mostro-bench-%d", pid)
	v1, v2 := filepath.Join("/sys/fs/cgroup/cpu", name), filepath.Join("/sys/fs/cgroup", name)
	hold := func(dir string, settings map[string]string) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		b.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				b.Error(err)
			}
		})
		for file, text := range settings {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
	}
	old := hold(v1, map[string]string{"cpu.cfs_period_us": strconv.Itoa(periodMicros), "cpu.cfs_quota_us": strconv.Itoa(shareMicros)})
	if old == nil {
		return
	}
	if err := hold(v2, map[string]string{"cpu.max": fmt.Sprintf("%d %d", shareMicros, periodMicros)}); err != nil {
		b.Skipf("the kernel does not hold processes at a share of a processor: %v", errors.Join(old, err))
	}
}
