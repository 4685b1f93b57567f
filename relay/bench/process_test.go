package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore/badger"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"mostro/policies"
	"mostro/relay"
	"mostro/relay/reconcile"
)

// The sides of a comparison.
const (
	ours   = "relay"
	stock  = "khatru"
	synced = "khatru-sync"  // with SyncWrites
	cold   = "relay-cold"   // with so little memory for the index that old notes are looked up on disk
	served = "relay-served" // with policies, hooks and logins as a node has them, and rates that let the load pass
)

// coldIndex is the memory for the index of that side: less than the kinds take that are always in it.
const coldIndex = 1 << 20

// garbagePercent is that of the binary.
const garbagePercent = 50

const (
	envSide  = "MOSTRO_BENCH_SERVE" // makes the test binary a relay: side and folder
	tick     = 10 * time.Millisecond
	stopTime = 30 * time.Second
)

// TestMain is the relay's process when the environment says so.
func TestMain(m *testing.M) {
	side, dir, ok := strings.Cut(os.Getenv(envSide), " ")
	if !ok {
		os.Exit(m.Run())
	}
	if err := serve(side, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve runs a relay until its standard input ends. It prints its address when it is ready, and
// obeys commands from standard input, one a line, each answered with a line.
func serve(side, dir string) error {
	handler, stop, err := open(side, dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	fmt.Println(listener.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := obey(in.Text()); err != nil {
			return err
		}
	}
	_ = server.Close()
	return stop()
}

// obey does one command: "heap" collects garbage and prints the bytes in use, with a FILE it
// writes what holds them there; "profile FILE" and "stop" write a CPU profile.
func obey(command string) error {
	switch name, file, _ := strings.Cut(command, " "); name {
	case "heap":
		runtime.GC()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if file != "" {
			f, err := os.Create(file)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := pprof.Lookup("heap").WriteTo(f, 0); err != nil {
				return err
			}
		}
		fmt.Println(m.HeapAlloc)
		return nil
	case "profile":
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		fmt.Println("ok")
		return pprof.StartCPUProfile(f)
	case "stop":
		pprof.StopCPUProfile()
		fmt.Println("ok")
		return nil
	}
	return fmt.Errorf("unknown command %q", command)
}

// open makes the relay of one side.
func open(side, dir string) (http.Handler, func() error, error) {
	if side == ours || side == cold || side == served {
		debug.SetGCPercent(garbagePercent)
		cfg := relay.Config{}
		if side == served {
			cfg = servedConfig()
		}
		cfg.Dir, cfg.Limits, cfg.IndexBytes = dir, relay.DefaultLimits(), map[string]int{cold: coldIndex}[side]
		cfg.Limits.Connections, cfg.Limits.EventsPerKey = 1<<20, 1<<30
		r, err := relay.Open(cfg)
		if err != nil {
			return nil, nil, err
		}
		return r.Handler(), func() error {
			ctx, cancel := context.WithTimeout(context.Background(), stopTime)
			defer cancel()
			return r.Close(ctx)
		}, nil
	}
	db := &badger.BadgerBackend{Path: dir, BadgerOptionsModifier: func(o badgerdb.Options) badgerdb.Options {
		return o.WithSyncWrites(side == synced).WithLoggingLevel(badgerdb.ERROR)
	}}
	if err := db.Init(); err != nil {
		return nil, nil, err
	}
	r := khatru.NewRelay()
	r.Log.SetOutput(io.Discard)
	r.StoreEvent = append(r.StoreEvent, db.SaveEvent)
	r.QueryEvents = append(r.QueryEvents, db.QueryEvents)
	r.CountEvents = append(r.CountEvents, db.CountEvents)
	r.DeleteEvent = append(r.DeleteEvent, db.DeleteEvent)
	r.ReplaceEvent = append(r.ReplaceEvent, db.ReplaceEvent)
	return r, func() error { db.Close(); return nil }, nil
}

// servedConfig is that of a node, without its escrow and mirror, which get none of the load: what asks them answers at
// once. The load's orders are of Mostros that it follows.
func servedConfig() relay.Config {
	follows := make(map[string]bool)
	for i := range nodes {
		key, _ := nostr.GetPublicKey(secret("node", i)) // a hash is a good key
		follows[key] = true
	}
	own, _ := nostr.GetPublicKey(secret("own", 0))
	followed := func(pubkey string) bool { return follows[pubkey] }
	nobody := func(string) bool { return false }
	const much = 1 << 30 // all of the load comes from one address
	byKey := policies.RateByKey(much, much, policies.DefaultRateAddresses)
	return relay.Config{
		Name: "bench", Pubkey: own, ServiceURL: "wss://relay.example.com", Admins: []string{own}, Followed: followed,
		Retention: []relay.Retention{{Kinds: []int{4, 14, 1059}, For: 90 * 24 * time.Hour}}, Running: nobody,
		Policies: []relay.Policy{
			policies.ForeignOrders(followed, nobody), policies.RateByIP(much, much, policies.DefaultRateAddresses),
			policies.Deletions(much, much, policies.DefaultRateAddresses), policies.PowToEscrow(own, nobody, 0, 0),
		},
		Verified: []relay.Policy{func(ctx context.Context, ev *nostr.Event) (bool, string) {
			if followed(ev.PubKey) {
				return false, ""
			}
			return byKey(ctx, ev)
		}},
		ReadPolicies: []relay.ReadPolicy{func(context.Context, nostr.Filter) (bool, string) { return false, "" }},
		Receive:      func(context.Context, *nostr.Event) error { return errors.New("error: there is no escrow here") },
		Federation:   relay.Federation{Hidden: func(int, string, reconcile.ID) bool { return false }},
	}
}

// process is a relay that runs.
type process struct {
	side, dir string
	address   string
	cmd       *exec.Cmd
	in        io.WriteCloser
	out       *bufio.Reader
	stderr    *bytes.Buffer
}

// launch starts a relay on dir and waits until it is ready. It ends with the benchmark at the
// latest.
func launch(b testing.TB, side, dir string) *process {
	b.Helper()
	p := &process{side: side, dir: dir, stderr: new(bytes.Buffer)}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), envSide+"="+side+" "+dir)
	p.cmd.Stderr = p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatalf("start %s: %v", side, err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	b.Cleanup(func() { p.stop(b) })
	p.address = p.line(b)
	return p
}

func (p *process) line(b testing.TB) string {
	b.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatalf("%s says nothing: %v\n%s", p.side, err, p.stderr)
	}
	return strings.TrimSpace(line)
}

func (p *process) tell(b testing.TB, command string) string {
	b.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		b.Fatalf("tell %s %q: %v\n%s", p.side, command, err, p.stderr)
	}
	return p.line(b)
}

// stop lets the relay close its store, and waits for its end. It can be repeated.
func (p *process) stop(b testing.TB) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		b.Errorf("stop %s: %v\n%s", p.side, err, p.stderr)
	}
}

// cpu is the processor time that the relay has used.
func (p *process) cpu(b testing.TB) time.Duration {
	b.Helper()
	stat := p.proc(b, "stat")
	// The name of the program, in brackets, may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * tick
}

// resident is the memory of the relay in bytes: all of it, and the part that is not mapped
// files, which the system can take back.
func (p *process) resident(b testing.TB) (all, anonymous int) {
	b.Helper()
	for line := range strings.Lines(p.proc(b, "status")) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			all = kib << 10
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			anonymous = kib << 10
		}
	}
	return all, anonymous
}

func (p *process) proc(b testing.TB, file string) string {
	b.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file))
	if err != nil {
		b.Skipf("what a process uses can be read only on Linux: %v", err)
	}
	return string(content)
}

// heap is what the relay's objects take in bytes, after a garbage collection. With
// MOSTRO_BENCH_PROFILES set, it writes what they are to a profile named after side and row.
func (p *process) heap(b testing.TB, row string) int {
	b.Helper()
	n, err := strconv.Atoi(p.tell(b, strings.TrimSpace("heap "+p.profile(b, row+"-heap"))))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// profile is the file for a profile of a row, "" when none are wanted.
func (p *process) profile(b testing.TB, row string) string {
	b.Helper()
	dir := os.Getenv("MOSTRO_BENCH_PROFILES")
	if dir == "" {
		return ""
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(dir, p.side+"-"+row+".pprof")
}

// span is what a piece of work took.
type span struct{ wall, cpu time.Duration }

// measure runs work and reads what it costs the relay. With MOSTRO_BENCH_PROFILES set, it writes
// a CPU profile named after side and row.
func (p *process) measure(b testing.TB, row string, work func() error) span {
	b.Helper()
	if file := p.profile(b, row); file != "" {
		p.tell(b, "profile "+file)
		defer p.tell(b, "stop")
	}
	before, began := p.cpu(b), time.Now()
	if err := work(); err != nil {
		b.Fatalf("%s: %v\n%s", p.side, err, p.stderr)
	}
	return span{time.Since(began), p.cpu(b) - before}
}

// sides are those that this run compares.
func sides(all ...string) []string {
	only := os.Getenv("MOSTRO_BENCH_ONLY")
	if only == "" {
		return all
	}
	wanted := strings.Split(only, ",")
	return slices.DeleteFunc(all, func(side string) bool { return !slices.Contains(wanted, side) })
}
