package relay

import (
	"runtime"
	"testing"
	"time"
)

// TestGiveBack: a relay that has nothing to do returns memory that was needed for a moment.
func TestGiveBack(t *testing.T) {
	start(t, Config{})
	held := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	burst := make([][]byte, 8*quietBytes>>20)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
		for at := 0; at < len(burst[i]); at += 4096 {
			burst[i][at] = 1
		}
	}
	most := held()
	runtime.KeepAlive(burst)
	burst = nil
	for end := time.Now().Add(patience); held() > most-6*quietBytes; time.Sleep(quietEvery / 4) {
		if time.Now().After(end) {
			t.Fatalf("%d MiB are held, %d in the burst", held()>>20, most>>20)
		}
	}
}
