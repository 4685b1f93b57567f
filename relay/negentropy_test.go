package relay

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// TestReconcile lets another implementation find out the differences between random sets,
// with answers of any size.
func TestReconcile(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for round := range 60 {
		theirs := vector.New()
		var n reconciler
		var need, have []string
		for range random.IntN(3000) {
			it := item{created: uint64(1_700_000_000 + random.IntN(1+random.IntN(5000)))}
			for i := range it.id {
				it.id[i] = byte(random.Uint32())
			}
			if random.IntN(3) == 0 {
				copy(it.id[:], bytes.Repeat([]byte{7}, 20)) // ids that begin alike
			}
			at := random.IntN(20 * (1 + round%3))
			if at != 0 {
				n.items = append(n.items, it)
			} else {
				have = append(have, it.id.String())
			}
			if at != 1 {
				theirs.Insert(nostr.Timestamp(it.created), it.id.String())
			} else {
				need = append(need, it.id.String())
			}
		}
		theirs.Seal()
		slices.SortFunc(n.items, item.compare)
		client := negentropy.New(theirs, 0)
		got := make(chan []string, 2)
		for _, ids := range []chan string{client.Haves, client.HaveNots} {
			go func() {
				var all []string
				for id := range ids {
					all = append(all, id)
				}
				slices.Sort(all)
				got <- slices.Compact(all)
			}()
		}
		message := client.Start()
		for steps := 0; message != ""; steps++ {
			raw, err := hex.DecodeString(message)
			if err != nil {
				t.Fatal(err)
			}
			most := 4096 + random.IntN(30_000)
			answer, err := n.answer(raw, most)
			if err != nil {
				t.Fatal(err)
			}
			if len(answer) > most+100 {
				t.Fatalf("an answer of %d bytes where %d are the most", len(answer), most)
			}
			if steps > 1000 {
				t.Fatal("no end")
			}
			if message, err = client.Reconcile(hex.EncodeToString(answer)); err != nil {
				t.Fatal(err)
			}
		}
		both := [][]string{<-got, <-got}
		slices.Sort(need)
		slices.Sort(have)
		want := [][]string{have, need}
		for _, lists := range [][][]string{both, want} {
			slices.SortFunc(lists, func(a, b []string) int { return slices.Compare(a, b) })
		}
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(both)); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
	}
}

// TestC1ReconcileBadMessages: none of these may do more than fail.
func TestC1ReconcileBadMessages(t *testing.T) {
	n := reconciler{items: []item{{created: 5}, {created: 6}}}
	for _, text := range []string{
		"", "6100FFFFFFFFFFFFFFFFFFFF7F", "61FFFFFFFFFFFFFFFFFFFF7F", "6100" + "20" + "00", "610021" + strings.Repeat("00", 33) + "00",
		"61000001", "6100000100", "61000002", "610000028FFFFFFFFFFFFFFF7F", "6100000201" + "00", "61000003", "6100007F", "6101",
	} {
		message, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := n.answer(message, 4096); err == nil {
			t.Errorf("%s was answered with %x", text, answer)
		}
	}
}

func FuzzReconcile(f *testing.F) {
	var n reconciler
	for i := range 100 {
		n.items = append(n.items, item{created: uint64(i / 3), id: key{byte(i)}})
	}
	slices.SortFunc(n.items, item.compare)
	whole := fingerprint(n.items)
	f.Add([]byte{0x61})
	f.Add(append([]byte{0x61, 0, 0, 1}, whole[:]...))
	f.Add([]byte{0x61, 5, 0, 0, 3, 1, 9, 2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		answer, err := n.answer(message, 4096)
		if err == nil && len(answer) > 4096+100 {
			t.Errorf("an answer of %d bytes", len(answer))
		}
	})
}

func TestNegentropySessions(t *testing.T) {
	limits := DefaultLimits()
	limits.NegItems, limits.NegSessions = 5, 2
	r, url := start(t, Config{Limits: limits})
	publish := func(n int) {
		for i := range n {
			if err := r.Publish(t.Context(), signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(n, i)})); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(3)
	w := dial(t, url)
	empty := `"6100000200"` // I have nothing
	open := func(id string) string {
		w.write(`["NEG-OPEN","` + id + `",{"kinds":[1]},` + empty + `]`)
		return w.text()
	}
	if got := open("a"); len(got) != len("NEG-MSG a 6100000203")+3*64 {
		t.Error(got)
	}
	open("b")
	if got := open("c"); !strings.HasPrefix(got, "NEG-ERR c rate-limited: ") {
		t.Error(got)
	}
	if got := r.negItems.Load(); got != 6 {
		t.Errorf("%d items are held, want 6", got)
	}
	w.write(`["NEG-CLOSE","b"]`)
	if got := open("c"); !strings.HasPrefix(got, "NEG-MSG c 61") {
		t.Error(got)
	}
	publish(4)
	if got := open("a"); !strings.HasPrefix(got, "NEG-ERR a blocked: ") {
		t.Error(got)
	}
	for i := range maxNegRounds {
		w.write(`["NEG-MSG","c",` + empty + `]`)
		if got := w.text(); strings.HasPrefix(got, "NEG-ERR") != (i == maxNegRounds-1) {
			t.Fatal(i, got)
		}
	}
	w.write(`["NEG-OPEN","d",{"kinds":[1],"limit":2},` + empty + `]`)
	if got := w.text(); len(got) != len("NEG-MSG d 6100000202")+2*64 {
		t.Error(got)
	}
	w.Close()
	for r.negItems.Load() != 0 { // the items go with the connection
		time.Sleep(time.Millisecond)
	}
}
