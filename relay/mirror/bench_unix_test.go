//go:build unix

package mirror

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sys/unix"

	"mostro/relay"
)

// BenchmarkBacklog copies 100,000 events from a peer by negentropy and from one that knows REQ
// only: verified, stored, synced. The processor time is that of both ends.
func BenchmarkBacklog(b *testing.B) {
	peer, who := newInstance(b, "b"), newPerson(b)
	peer.change = roomy
	peer.start()
	evs := backlog(b, who, backlogSize)
	peer.fill(evs)
	plainPeer := newPlain(b, 500, "127.0.0.1:0")
	for _, ev := range evs[:backlogSize/10] { // its answers are made by looking at all
		plainPeer.save(ev)
	}
	for _, from := range []struct {
		name, url string
		events    int
	}{{"negentropy", peer.url(), backlogSize}, {"plain", plainPeer.url, backlogSize / 10}} {
		b.Run(from.name, func(b *testing.B) {
			for range b.N {
				a := newInstance(b, "a")
				a.cfg.Follow = []Followed{{Pubkey: who.public, Relays: []string{from.url}}}
				began, used := time.Now(), processorTime(b)
				a.start()
				for a.health(from.url).Stored < int64(from.events) {
					time.Sleep(10 * time.Millisecond)
				}
				took := time.Since(began)
				b.ReportMetric(float64(from.events)/took.Seconds(), "events/s")
				b.ReportMetric(float64((processorTime(b)-used).Microseconds())/float64(from.events), "cpu-us/event")
				a.stop()
			}
		})
	}
}

// BenchmarkReplicaQueries measures what a query of the book costs at a primary and at its replica, in
// processor time of this process, client included: where cores allow, replicas serve as many times
// more as there are of them, as far as these are equal.
func BenchmarkReplicaQueries(b *testing.B) {
	p, listed := listingPrimary(b)
	p.publish(backlog(b, p.person, bookSize)...)
	address := freeAddress(b)
	_, replica, _ := startReplica(b, p, listed, b.TempDir(), address)
	for !replica.Ready() {
		time.Sleep(time.Millisecond)
	}
	for _, at := range []struct{ name, url string }{{"primary", p.url()}, {"replica", "ws://" + address}} {
		b.Run(at.name, func(b *testing.B) {
			c := dialClient(b, at.url)
			began := processorTime(b)
			for i := range b.N {
				askBook(c, fmt.Sprint(i))
			}
			b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(b.N), "cpu-us/query")
		})
	}
}

const bookSize = 10_000 // offers of the primary

// listingPrimary starts a primary that lists one replica.
func listingPrimary(b *testing.B) (*instance, person) {
	listed := newPerson(b)
	p := newInstance(b, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	return p, listed
}

// askBook asks for the newest offers of a currency, and waits for all of them.
func askBook(c client, id string) {
	const asked = 100
	c.say("REQ", id, nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}, "f": {"USD"}}, Limit: asked})
	c.hear("EOSE")
	if n := len(*c.unread); n < asked {
		c.Errorf("%d orders, want %d", n, asked)
	}
	*c.unread = nil
	c.say("CLOSE", id)
}

// BenchmarkReplicas measures what replicas cost the writer: its processor time for events published one after the
// other, with none connected and with three, each a process of its own. Some thousands of them tell it from chance:
// -benchtime 20000x.
func BenchmarkReplicas(b *testing.B) {
	const replicas, turns = 3, 4
	p, listed := listingPrimary(b)
	evs := backlog(b, p.person, b.N)
	var used [2]time.Duration
	b.ResetTimer()
	// By turns, so that what else the machine does falls on both.
	parts := slices.Collect(slices.Chunk(evs, (len(evs)+2*turns-1)/(2*turns)))
	for turn, part := range parts {
		b.StopTimer()
		with := turn % 2
		var urls []string
		var stops []func()
		for range replicas * with {
			url, _, stop := replicaProcess(b, p, listed)
			urls, stops = append(urls, url), append(stops, stop)
		}
		b.StartTimer()
		began := processorTime(b)
		for i := range part {
			p.publish(part[i])
		}
		for _, url := range urls {
			arrives(b, url, part[len(part)-1].ID)
		}
		used[with] += processorTime(b) - began
		b.StopTimer()
		for _, stop := range stops {
			stop()
		}
	}
	half := float64(b.N) / 2
	without, with := float64(used[0].Microseconds())/half, float64(used[1].Microseconds())/half
	b.ReportMetric(without, "cpu-us/write")
	b.ReportMetric((with-without)/replicas, "cpu-us/write-and-replica")
}

// arrives waits until a relay has an event.
func arrives(b *testing.B, url, id string) {
	c := dialClient(b, url)
	defer c.Close()
	c.say("REQ", "last", nostr.Filter{IDs: []string{id}})
	c.hear("EVENT") // stored or live
}

// replicaProcess starts a replica and waits until it is level.
func replicaProcess(b *testing.B, primary *instance, listed person) (url string, pid int, stop func()) {
	b.Helper()
	address := freeAddress(b)
	settings, err := json.Marshal([]string{primary.address, primary.public, listed.secret, listed.public, b.TempDir(), address})
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestReplicaProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), replicaVariable+"="+string(settings))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the replica ends with %v", err)
		}
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "level\n" {
		b.Fatalf("the replica says %q (%v)", line, err)
	}
	return "ws://" + address, cmd.Process.Pid, stop
}

const replicaVariable = "MIRROR_REPLICA"

// TestReplicaProcess is the process of replicaProcess.
func TestReplicaProcess(t *testing.T) {
	text := os.Getenv(replicaVariable)
	if text == "" {
		t.Skip("runs as a child of BenchmarkReplicas and BenchmarkReplicasServe only")
	}
	var s []string
	if err := json.Unmarshal([]byte(text), &s); err != nil || len(s) != 6 {
		t.Fatal(err)
	}
	primary := &instance{t: t, address: s[0], person: person{public: s[1]}}
	_, replica, _ := startReplica(t, primary, person{s[2], s[3]}, s[4], s[5])
	for !replica.Ready() {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("level")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the benchmark has done
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
