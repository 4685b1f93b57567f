package relay

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
)

// TestCountSketches: relays that count parts of the same events are added up (NIP-45). The registers are those of the
// rule, which is written down here a second time, and stand for the number of authors with the error that 256 of them have.
func TestCountSketches(t *testing.T) {
	seed := uint64(1)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	parts := [2]*Relay{}
	urls := [2]string{}
	for i := range parts {
		parts[i], urls[i] = start(t, Config{})
	}
	target := strings.Repeat("ab", 32)
	const n, offset = 3000, 0xa + 8 // the digit at place 32 of the target is an a
	want := [2][]byte{make([]byte, 256), make([]byte, 256)}
	events := [2][]nostr.Event{}
	for i := range n {
		author := make([]byte, 32)
		for k := range author {
			author[k] = byte(r.Uint32())
		}
		ev := nostr.Event{Kind: 7, Content: fmt.Sprint(i), Sig: strings.Repeat("0", 128), CreatedAt: nostr.Now(), PubKey: hex.EncodeToString(author), Tags: nostr.Tags{{"e", target}}}
		ev.ID = ev.GetID()
		for part := range parts {
			if i%3 == part || i%3 == 2 { // a third is on both
				events[part] = append(events[part], ev)
				zeros := 0
				for _, b := range author[offset+1:] {
					if zeros += bits.LeadingZeros8(b); b != 0 {
						break
					}
				}
				want[part][author[offset]] = max(want[part][author[offset]], byte(zeros+1))
			}
		}
	}
	sum := hyperloglog.New(0)
	for part := range parts {
		if err := parts[part].Publish(t.Context(), events[part]...); err != nil {
			t.Fatal(err)
		}
		w := dial(t, urls[part])
		count, registers := w.count(`{"kinds":[7],"#e":["` + target + `"]}`)
		if diff := cmp.Diff(hex.EncodeToString(want[part]), registers); diff != "" || count != n*2/3 {
			t.Fatalf("%d events, registers:\n%s", count, diff)
		}
		sum.MergeRegisters(want[part])
	}
	// The error of 256 registers is 1.04/16 of the number; more than four times that does not come by chance.
	if got, most := float64(sum.Count()), 4*1.04/16*n; math.Abs(got-n) > most {
		t.Errorf("the registers stand for %v, want %d with an error of at most %.0f", got, n, most)
	}
	w := dial(t, urls[0])
	for _, filters := range []string{
		`{"kinds":[7],"#e":["` + target + `"],"since":1}`, `{"kinds":[7],"#e":["` + target + `"],"limit":5}`, `{"kinds":[7],"#e":[]}`, `{"kinds":[1]}`, `{}`,
		`{"#e":["` + target + `","` + strings.Repeat("cd", 32) + `"]}`, `{"#e":["` + target + `"],"#p":["` + target + `"]}`, `{"#e":["` + target + `"],"search":"x"}`,
		`{"kinds":[7],"#e":["` + target + `"]},{"kinds":[7],"#e":["` + target + `"]}`, `{"#e":["` + target + `"],"authors":["` + target + `"]}`,
	} {
		if _, registers := w.count(filters); registers != "" {
			t.Errorf("%s: registers %s", filters, registers)
		}
	}
}

// TestSketchOffset: where in an author's key a sketch looks is 8 more than the digit at place 32 of the id or key that the
// filter names, of the author of an address, or else of the hash of the text.
func TestSketchOffset(t *testing.T) {
	with := func(digit string) string { return strings.Repeat("0", 32) + digit + strings.Repeat("f", 31) }
	for value, want := range map[string]int{
		with("0"): 8, with("5"): 13, with("a"): 18, with("f"): 23,
		"30023:" + with("3") + ":" + with("9"): 11,
		"0:" + with("c") + ":":                 20,
		"x":                                    20,      // SHA-256 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881
		"a:b:c":                                8 + 0x0, // no key in it
		"30023:" + with("3"):                   8 + 0xf,
		strings.ToUpper(with("f")):             8 + 0x8,
		"":                                     8 + 0x2, // e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
	} {
		if got := sketchOffset(value); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
	// A whole vector by hand: the byte at 18 says which register, behind it are 8 and 3 zero bits, and one is added.
	r, url := start(t, Config{})
	ev := nostr.Event{Kind: 7, Sig: strings.Repeat("0", 128), CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", strings.Repeat("ab", 32)}},
		PubKey: strings.Repeat("ff", 18) + "2a" + "00" + "10" + strings.Repeat("ff", 11)}
	ev.ID = ev.GetID()
	if err := r.Publish(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	_, registers := dial(t, url).count(`{"kinds":[7],"#e":["` + strings.Repeat("ab", 32) + `"]}`)
	if want := strings.Repeat("00", 0x2a) + "0c" + strings.Repeat("00", 255-0x2a); registers != want {
		t.Errorf("registers %s", registers)
	}
}
