//go:build unix

package mirror

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sys/unix"

	"mostro/relay"
)

// BenchmarkReplicaQueries measures what a query of the book costs at a primary and at its replica, in
// processor time of this process, client included: where cores allow, replicas serve as many times
// more as there are of them, as far as these are equal.
func BenchmarkReplicaQueries(b *testing.B) {
	const orders, asked = 10_000, 100
	listed := newPerson(b)
	p := newInstance(b, "primary")
	p.change = func(cfg *relay.Config) {
		cfg.Federation.Peer = func(pubkey string) bool { return pubkey == listed.public }
	}
	p.start()
	for _, ev := range backlog(b, p.person, orders) {
		p.publish(ev)
	}
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
				c.say("REQ", fmt.Sprint(i), nostr.Filter{Kinds: []int{kindOrder}, Tags: nostr.TagMap{"s": {"pending"}, "f": {"USD"}}, Limit: asked})
				c.hear("EOSE")
				if n := len(*c.unread); n < asked {
					b.Fatalf("%d orders, want %d", n, asked)
				}
				*c.unread = nil
				c.say("CLOSE", fmt.Sprint(i))
			}
			b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(b.N), "cpu-us/query")
		})
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
