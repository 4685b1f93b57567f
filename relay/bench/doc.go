// Package bench measures the relay against a baseline, stock khatru with eventstore's Badger
// backend, side by side in one run. It holds only tests; nothing imports it.
//
// Rules that it keeps:
//
//   - Both sides are child processes of the test binary, so that the CPU time and the memory of
//     a relay can be read apart from those of the load generator, and both have the same
//     verifier of signatures: libsecp256k1 under the build tag of that name.
//   - It knows the relay only by its exported API and by the WebSocket. Whatever stands behind
//     these can be replaced without touching the measurement.
//   - The load generator must not be what is measured. Events are signed and framed before the
//     clock starts, clients speak WebSocket over plain TCP without masking work (a mask of
//     zeros, which RFC 6455 allows), frames are counted and not decoded.
//   - A wrong answer is a failed benchmark: refused events, a query with another number of
//     events than was stored for it, a delivery that never comes.
//
// How to run it; without variables it takes a minute or two:
//
//	go test ./relay/bench -run '^$' -bench . -benchtime 1x -tags libsecp256k1
//
//	MOSTRO_BENCH_EVENTS=100000   how many events are stored, 10,000 if not set; a list such as 100000,1000000
//	                             measures one after another, and rows named growth set them side by side
//	MOSTRO_BENCH_IDLE=5000       how many idle connections are weighed, 1,000 if not set
//	MOSTRO_BENCH_ONLY=relay      only these sides, with commas between them: relay, relay-served, relay-cold,
//	                             khatru, khatru-sync
//	MOSTRO_BENCH_PROFILES=DIR    write CPU and heap profiles of each side and row into DIR
//
// What SyncWrites costs khatru is what one sync takes, and the ratio to it says as much of the disk as of us: where a
// sync takes 0.2 ms, ten times khatru-sync is more than two cores can check signatures for. Linux can make a disk slower
// for this run alone; 254:0 is the disk's number as lsblk tells it, 2000 the writes a second that are left:
//
//	mkdir /sys/fs/cgroup/blkio/slow
//	echo "254:0 2000" > /sys/fs/cgroup/blkio/slow/blkio.throttle.write_iops_device
//	echo $$ > /sys/fs/cgroup/blkio/slow/cgroup.procs
//	MOSTRO_BENCH_ONLY=relay,khatru,khatru-sync go test ./relay/bench -run '^$' -bench Stored/ingest -benchtime 1x -tags libsecp256k1
//
// The load is 40% gift wraps (1059) for 2,000 recipients, 30% notes (1) and 5% reactions (7) of
// 1,000 authors, 25% orders (38383) of ten nodes; 1.2 kB an event. Beyond 100,000 events there
// are more people, not more events for each. Rows of one group share a filled relay: it is
// filled when the first of them runs.
//
// The side relay-served has the policies, hooks and logins of a node, and relay is without them, like the baseline; the
// ratios to relay-served are what they cost. Rates are so high that the load, all of one address, passes.
//
// The row of 100 authors is asked a third time, of a relay whose index has so little memory that all notes are looked up
// on disk; its ratios are those of the warm index to it.
//
// How to read it: a unit starts with the side that it belongs to, and x-... are ratios with more
// than one meaning that our side is the better one. CPU is that of the relay's process, of all
// its threads, in microseconds per operation; it is counted in ticks of 10 ms and is far less
// noisy than wall time on a shared machine. Rates are bounded by the cores that relay and
// generator share. CPU and memory are read from Linux's /proc; elsewhere nothing can be measured.
package bench
