package reconcile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// sets makes two random sets, and what the first has alone and what the second has alone. alike
// lets many ids begin with the same 20 bytes, which go-nostr as a relay does not tell apart.
func sets(random *rand.Rand, most, times int, alike bool) (ours, theirs Set, have, need []ID) {
	for range random.IntN(most) {
		it := Item{Created: uint64(1_700_000_000 + random.IntN(times))}
		for i := range it.ID {
			it.ID[i] = byte(random.Uint32())
		}
		if alike && random.IntN(3) == 0 {
			copy(it.ID[:], bytes.Repeat([]byte{7}, 20))
		}
		switch random.IntN(40) {
		case 0:
			ours, have = append(ours, it), append(have, it.ID)
		case 1:
			theirs, need = append(theirs, it), append(need, it.ID)
		default:
			ours, theirs = append(ours, it), append(theirs, it)
		}
	}
	ours.Sort()
	theirs.Sort()
	return ours, theirs, have, need
}

func sortIDs(ids []ID) []ID {
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// TestClient finds out the differences between random sets, with messages of any size on both
// sides, from this package's relay side and from another implementation.
func TestClient(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	for round := range 80 {
		ours, theirs, have, need := sets(random, 4000, 1+random.IntN(5000), round%2 == 0)
		other := vector.New()
		for _, it := range theirs {
			other.Insert(nostr.Timestamp(it.Created), hex.EncodeToString(it.ID[:]))
		}
		other.Seal()
		server := negentropy.New(other, 0)
		ask := func(message []byte) []byte {
			if round%2 == 0 {
				answer, err := theirs.Answer(message, 4096+random.IntN(30_000))
				if err != nil {
					t.Fatal(err)
				}
				return answer
			}
			answer, err := server.Reconcile(hex.EncodeToString(message))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(answer)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		var got Difference
		message := ours.Begin()
		for steps := 0; message != nil; steps++ {
			if steps > 1000 {
				t.Fatal("no end")
			}
			next, d, err := ours.Next(ask(message), 2000+random.IntN(20_000))
			if err != nil {
				t.Fatal(err)
			}
			got.Have, got.Need = append(got.Have, d.Have...), append(got.Need, d.Need...)
			message = next
		}
		if diff := cmp.Diff(Difference{sortIDs(have), sortIDs(need)}, Difference{sortIDs(got.Have), sortIDs(got.Need)}); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
	}
}

// TestClientBadAnswers: a relay can send anything.
func TestClientBadAnswers(t *testing.T) {
	ours := Set{{Created: 5}, {Created: 6}}
	for _, text := range []string{"", "6100FFFFFFFFFFFFFFFFFFFF7F", "61000001", "6100000201", "61000003", "610000028FFFFFFFFFFFFFFF7F"} {
		answer, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if next, _, err := ours.Next(answer, 4096); err == nil {
			t.Errorf("%s was taken and answered with %x", text, next)
		}
	}
	if _, _, err := ours.Next([]byte{0x60}, 4096); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v", err)
	}
}

func FuzzClient(f *testing.F) {
	var ours Set
	for i := range 100 {
		ours = append(ours, Item{Created: uint64(i / 3), ID: ID{byte(i)}})
	}
	ours.Sort()
	f.Add([]byte{0x61})
	f.Add(Set{}.Begin())
	f.Add(ours[:50].Begin())
	f.Fuzz(func(t *testing.T, answer []byte) {
		next, _, err := ours.Next(answer, 4096)
		if err == nil && len(next) > 4096+16*(32+30)*32 {
			t.Errorf("a message of %d bytes", len(next))
		}
	})
}
