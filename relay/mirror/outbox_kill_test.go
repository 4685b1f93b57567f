package mirror

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const outboxVariable = "MIRROR_OUTBOX"

// outboxWork is what the process of TestOutboxKilled gets to know.
type outboxWork struct {
	Dir, Secret, Public, Address, Outside, Trader string
	Round                                         int
}

// TestOutboxProcess is the process that TestOutboxKilled kills. It publishes until then, and says of what it is told
// that it is published.
func TestOutboxProcess(t *testing.T) {
	text := os.Getenv(outboxVariable)
	if text == "" {
		t.Skip("runs as a child of TestOutboxKilled only")
	}
	var w outboxWork
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	a := &instance{t: t, name: "killed", person: person{w.Secret, w.Public}, dir: w.Dir, address: w.Address, listen: listenAt, carries: true}
	a.cfg.Outside = []string{w.Outside}
	a.start()
	if err := a.mirror.Heard(context.WithValue(t.Context(), originKey{}, w.Outside), w.Trader); err != nil {
		t.Fatal(err)
	}
	at := nostr.Now() - 100_000 + nostr.Timestamp(1000*w.Round)
	for i := 0; ; i++ {
		at++
		evs := []nostr.Event{
			a.offer(t, fmt.Sprint(i%7), at), a.sign(t, nostr.Event{Kind: 14, Content: fmt.Sprint(w.Round, i), Tags: nostr.Tags{{"p", w.Trader}}}),
			newPerson(t).sign(t, nostr.Event{Kind: 1059, Tags: nostr.Tags{{"p", w.Trader}}}),
		}
		kind := []int{0, 8383, 10002, 30078, 38384, kindInfo, 38386}[i%7]
		evs = append(evs, a.sign(t, nostr.Event{Kind: kind, CreatedAt: at, Tags: nostr.Tags{{"d", fmt.Sprint(i % 3)}}}))
		a.publish(evs...)
		fmt.Println("published", evs[1].ID, evs[2].ID)
	}
}

// TestOutboxKilled: a node is killed at any moment, with its outside relay away and with it there; whatever is in its
// store, and every answer that it has said is published, is at that relay after the next start.
func TestOutboxKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := newPlain(t, 100, freeAddress(t))
	a, trader := newInstance(t, "a"), newPerson(t)
	a.cfg.Outside = []string{p.url}
	var said []string
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		switch round % 3 {
		case 0:
			p.stop() // nothing gets out before the end
		case 1:
			p.set(func(*nostr.Event) (lost, unanswered bool) { return true, true })
		case 2:
			p.set(nil)
		}
		work, err := json.Marshal(outboxWork{a.dir, a.secret, a.public, a.address, p.url, trader.public, round})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutboxProcess$", "-test.timeout=0")
		cmd.Env = append(os.Environ(), outboxVariable+"="+string(work))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, most := bufio.NewScanner(out), 5+random.IntN(60)
		for n := 0; lines.Scan(); n++ {
			if ids, is := strings.CutPrefix(lines.Text(), "published "); is {
				said = append(said, strings.Fields(ids)...)
			} else {
				t.Log(lines.Text())
			}
			if n == most {
				time.AfterFunc(time.Duration(random.IntN(5000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the process was not killed: %v", err)
		}
		if round%3 == 0 {
			p.listen(t, strings.TrimPrefix(p.url, "ws://"))
		}
		p.set(nil)
		a.start()
		stored, err := a.relay.All(t.Context(), nostr.Filter{})
		if err != nil || len(stored) < most {
			t.Fatalf("%d events are stored (%v)", len(stored), err)
		}
		eventually(t, "all that is stored is there", func() bool {
			for i := range stored {
				if !p.has(stored[i].ID) {
					return false
				}
			}
			return true
		})
		for _, id := range said {
			if !a.has(id) || !p.has(id) {
				t.Errorf("an answer that was said to be published is here: %v, and there: %v", a.has(id), p.has(id))
			}
		}
		eventually(t, "nothing waits", func() bool { return a.health(p.url).Waiting == 0 })
		t.Logf("round %d: %d events, %d answers", round, len(stored), len(said))
		a.stop()
	}
}
