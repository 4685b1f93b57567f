package reconcile

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
		var n Set
		var need, have []string
		for range random.IntN(3000) {
			it := Item{Created: uint64(1_700_000_000 + random.IntN(1+random.IntN(5000)))}
			for i := range it.ID {
				it.ID[i] = byte(random.Uint32())
			}
			if random.IntN(3) == 0 {
				copy(it.ID[:], bytes.Repeat([]byte{7}, 15)) // ids that begin alike; in its bounds the other one looks at 16 bytes
			}
			at := random.IntN(20 * (1 + round%3))
			if at != 0 {
				n = append(n, it)
			} else {
				have = append(have, hex.EncodeToString(it.ID[:]))
			}
			if at != 1 {
				theirs.Insert(nostr.Timestamp(it.Created), hex.EncodeToString(it.ID[:]))
			} else {
				need = append(need, hex.EncodeToString(it.ID[:]))
			}
		}
		theirs.Seal()
		n.Sort()
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
			answer, err := n.Answer(raw, most)
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
	n := Set{{Created: 5}, {Created: 6}}
	for _, text := range []string{
		"", "6100FFFFFFFFFFFFFFFFFFFF7F", "61FFFFFFFFFFFFFFFFFFFF7F", "6100" + "20" + "00", "610021" + strings.Repeat("00", 33) + "00",
		"61000001", "6100000100", "61000002", "610000028FFFFFFFFFFFFFFF7F", "6100000201" + "00", "61000003", "6100007F", "6101",
	} {
		message, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := n.Answer(message, 4096); err == nil {
			t.Errorf("%s was answered with %x", text, answer)
		}
	}
}

func FuzzReconcile(f *testing.F) {
	var n Set
	for i := range 100 {
		n = append(n, Item{Created: uint64(i / 3), ID: ID{byte(i)}})
	}
	n.Sort()
	whole := fingerprint(n)
	f.Add([]byte{0x61})
	f.Add(append([]byte{0x61, 0, 0, 1}, whole[:]...))
	f.Add([]byte{0x61, 5, 0, 0, 3, 1, 9, 2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		answer, err := n.Answer(message, 4096)
		if err == nil && len(answer) > 4096+100 {
			t.Errorf("an answer of %d bytes", len(answer))
		}
	})
}
