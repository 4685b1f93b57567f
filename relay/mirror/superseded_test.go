package mirror

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/relay/reconcile"
)

// hoard is a relay that has and names every version of everything, by negentropy.
type hoard struct {
	evs        []nostr.Event
	pages      bool         // it answers questions without ids too
	sent, asks atomic.Int64 // events, comparings
}

func (h *hoard) at(t *testing.T, c *cable) {
	server := &http.Server{Handler: knowing(sockets(t, func() func(func(...any), string, []json.RawMessage) {
		sets := make(map[string]reconcile.Set)
		return func(say func(...any), label string, parts []json.RawMessage) {
			id := string(parts[0])
			var f nostr.Filter
			if label == "NEG-OPEN" || label == "REQ" {
				_ = json.Unmarshal(parts[1], &f)
			}
			switch label {
			case "NEG-OPEN", "NEG-MSG":
				if label == "NEG-OPEN" {
					h.asks.Add(1)
					set := reconcile.Set{}
					for i := range h.evs {
						if f.Matches(&h.evs[i]) {
							set = append(set, reconcile.Item{Created: uint64(h.evs[i].CreatedAt), ID: idOf(h.evs[i].ID)})
						}
					}
					set.Sort()
					sets[id] = set
				}
				var text string
				_ = json.Unmarshal(parts[len(parts)-1], &text)
				message, _ := hex.DecodeString(text)
				answer, err := sets[id].Answer(message, 24<<10)
				if err != nil {
					t.Errorf("answer: %v", err)
				}
				say("NEG-MSG", parts[0], hex.EncodeToString(answer))
			case "REQ":
				wanted := make(map[string]bool)
				for _, id := range f.IDs {
					wanted[id] = true
				}
				left := f.Limit
				for i := len(h.evs) - 1; i >= 0; i-- {
					if wanted[h.evs[i].ID] || h.pages && len(wanted) == 0 && left > 0 && f.Matches(&h.evs[i]) {
						left--
						h.sent.Add(1)
						say("EVENT", parts[0], h.evs[i])
					}
				}
				say("EOSE", parts[0])
			}
		}
	}))}
	go server.Serve(c)
	t.Cleanup(func() { server.Close(); c.set(refused) })
}

// TestC3Superseded: a followed Mostro whose relay names every version that its offers ever had makes us check few
// of them, once, and fetch them ever more rarely; what is new comes all the while, also after an outage.
func TestC3Superseded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, c := newPerson(t), newCable()
		const versions = 1200
		h := new(hoard)
		for i := range versions {
			h.evs = append(h.evs, b.offer(t, "x", nostr.Now()-nostr.Timestamp(versions-i)-1000))
		}
		slices.SortFunc(h.evs, func(a, b nostr.Event) int { return int(a.CreatedAt - b.CreatedAt) })
		h.at(t, c)
		a := following(t, c, b)
		eventuallyFor(t, 10*time.Minute, "it is level", func() bool { return a.health(hostileURL).State == Live })
		newest := h.evs[versions-1].ID
		if !a.has(newest) {
			t.Fatal("the newest version is not here")
		}
		first := a.health(hostileURL).Checked
		// Two batches are on their way at a time, in which none is known to be older yet.
		if first > (backlogAtOnce+1)*batchEvents {
			t.Errorf("%d of %d old versions were verified", first, versions)
		}
		for range 6 * 3 {
			time.Sleep(resyncEvery)
		}
		if n := a.health(hostileURL).Checked; n != first {
			t.Errorf("%d old versions were verified again", n-first)
		}
		asks, sent := h.asks.Load(), h.sent.Load()
		t.Logf("%d comparings in 3 hours, %d versions were sent %d times, %d verified", asks, versions, sent, first)
		if asks < 15 || sent > 10*versions {
			t.Errorf("%d comparings in 3 hours, %d events sent", asks, sent)
		}
		// What happens during an outage is found with the next connection, though all times are not compared then.
		c.set(refused)
		eventuallyFor(t, time.Hour, "it is away", func() bool { return a.health(hostileURL).State == Waiting })
		time.Sleep(20 * time.Minute)
		missed := b.offer(t, "missed", 0)
		h.evs = append(h.evs, missed)
		time.Sleep(20 * time.Minute)
		c.set(whole)
		eventuallyFor(t, 2*time.Minute, "what was missed is here", func() bool { return a.has(missed.ID) })
		if n := h.sent.Load() - sent; n > 10 {
			t.Errorf("%d events were sent for one that was missed", n)
		}
	})
}

// TestC3TooMuch: a relay that names more than may be kept is read no further than that, newest first.
func TestC3TooMuch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, c := newPerson(t), newCable()
		h := &hoard{pages: true}
		for i := range 1000 {
			h.evs = append(h.evs, b.offer(t, fmt.Sprint(i), nostr.Now()-2000+nostr.Timestamp(i)))
		}
		h.at(t, c)
		a := newInstance(t, "a")
		a.listen, a.cfg.Dial = newCable().listen, c.dial
		a.cfg.MaxEvents = 100
		a.cfg.Follow = []Followed{{Pubkey: b.public, Relays: []string{hostileURL}}}
		a.start()
		eventuallyFor(t, time.Hour, "it is level", func() bool { return a.health(hostileURL).State == Live })
		health := a.health(hostileURL)
		// A page more may be on its way, and what the subscription begins with.
		if n := h.sent.Load(); n > 2*100+pageEvents+1 || !health.Full || health.Checked > 100 {
			t.Errorf("%d events were sent, %d verified; full: %v", n, health.Checked, health.Full)
		}
		if !a.has(h.evs[999].ID) || a.has(h.evs[0].ID) {
			t.Error("it is not the newest that came")
		}
		before := h.sent.Load()
		time.Sleep(12 * time.Hour)
		if n := h.sent.Load() - before; n > 10*2*pageEvents {
			t.Errorf("%d events were sent in 12 hours though there is no room", n)
		}
	})
}

// TestPace: a backlog goes as fast as it can up to what may be kept, and then no faster than what comes live.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPeer(&Mirror{cfg: Config{MaxEvents: 1000, MaxBytes: 1 << 20, Now: time.Now}}, hostileURL, duties{})
		began := time.Now()
		for range 2000 / idsAtOnce {
			if err := p.pace(t.Context(), idsAtOnce, 1000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("what may be kept took %s", took)
		}
		for range 2000 / idsAtOnce {
			if err := p.pace(t.Context(), idsAtOnce, 1000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 2000/liveRate*time.Second*9/10 {
			t.Errorf("as much again took %s", took)
		}
		began = time.Now()
		if err := p.pace(t.Context(), 1, 30<<20); err != nil || time.Since(began) < 20*time.Second {
			t.Errorf("a page of 30 MiB waits for %s (%v)", time.Since(began), err)
		}
	})
}
