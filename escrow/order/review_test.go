package order

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mostro/escrow/mostro"
)

const week = 7 * 86400

// ask is a request for a proof, as the engine makes the step of it.
func ask(t *testing.T, m *Machine, o Order, at int64, who, key string) Out {
	t.Helper()
	e := Event{ID: "e", On: on(mostro.ProveReview), Order: o.ID, At: at, Sender: who, Identity: who + "-identity",
		Message: &mostro.Message{Action: mostro.ProveReview, ID: o.ID, Payload: &mostro.Payload{ReviewKey: &key}}}
	before, _ := json.Marshal(o)
	out, err := m.Step(o, e, Facts{Proof: &mostro.ReviewProof{Week: ReviewWeek(&o, e)}})
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(o); string(after) != string(before) {
		t.Fatalf("a step has changed the order that it came from:\n%s\n%s", before, after)
	}
	return out
}

// accept lets somebody take a buy order and the escrow be accepted; back puts it into the book again.
func accept(o *Order, taker string, at int64) {
	o.Status, o.Seller = mostro.StatusWaitingBuyerInvoice, Party{Trade: taker, Identity: taker + "-identity"}
	o.Escrow = Escrow{Attempt: o.Escrow.Attempt + 1, State: EscrowAccepted, AcceptedAt: at}
}

func back(o *Order) {
	o.Status, o.Escrow.State = mostro.StatusPending, EscrowCanceled
	backToBook.Apply(&step{o: o})
}

// TestLeftTakesAreFew: only the last takes are kept, and an order without one has no list in its row.
func TestLeftTakesAreFew(t *testing.T) {
	machine, o := NewMachine(), orderIn(mostro.Buy, mostro.StatusPending)
	if b, _ := json.Marshal(o); strings.Contains(string(b), "left") {
		t.Errorf("the row of an order without such a take: %s", b)
	}
	for i := range maxLeft + 3 {
		accept(&o, fmt.Sprint("taker", i), int64(i+1)*week)
		o = ask(t, machine, o, int64(i+1)*week, fmt.Sprint("taker", i), "key").Order
		back(&o)
	}
	if len(o.Left) != maxLeft {
		t.Fatalf("%d takes are kept", len(o.Left))
	}
	for i := range maxLeft + 3 {
		want := mostro.Reason("")
		if i < 3 {
			want = mostro.InvalidPeer
		}
		out := ask(t, machine, o, 99*week, fmt.Sprint("taker", i), "key")
		if out.Refusal != want {
			t.Errorf("taker %d hears %q", i, out.Refusal)
		}
		if want == "" {
			p := out.Tells[0].Message.Payload.ReviewProof
			if p.Week != mostro.ReviewWeek(int64(i+1)*week) || p.From != 99*week {
				t.Errorf("taker %d gets the proof of %s from %d on", i, p.Week, p.From)
			}
		}
	}
}

// TestOneProofPerSideAndTrade plays takes that come to nothing at random, while everybody asks with any of some keys: what
// is proven stays so, no key is proven two trades of one side's, and of nothing else is anything proven.
func TestOneProofPerSideAndTrade(t *testing.T) {
	machine := NewMachine()
	for seed := range uint64(300) {
		r, o := rand.New(rand.NewPCG(seed, 0)), orderIn(mostro.Buy, mostro.StatusPending)
		proven, at, takers := map[string]string{}, int64(0), []string{"ann", "bea", "cid"}
		was := map[string]bool{} // who has had an escrow accepted
		for range 60 {
			at += week / 2
			switch r.IntN(4) {
			case 0:
				if o.Status == mostro.StatusPending && o.Escrow.Attempt < maxLeft {
					taker := takers[r.IntN(len(takers))]
					accept(&o, taker, at)
					was[taker], was["maker"] = true, true
				}
			case 1:
				if o.Status != mostro.StatusPending {
					back(&o)
				}
			default:
				who, key := append(takers, "maker", "stranger")[r.IntN(5)], fmt.Sprint("key", r.IntN(4))
				out := ask(t, machine, o, at, who, key)
				o = out.Order
				if !was[who] && out.Refusal == "" {
					t.Fatalf("seed %d: %s has a proof of nothing", seed, who)
				}
				if out.Refusal != "" {
					break
				}
				proof := out.Tells[0].Message.Payload.ReviewProof
				if before := proven[who+key]; before != "" && before != proof.Week {
					t.Fatalf("seed %d: %s is proven %s to %s, and was %s", seed, who, proof.Week, key, before)
				}
				proven[who+key] = proof.Week
			}
			// The weeks of two takes differ: a side of a take is who it was, and the week.
			to, keys := map[string]string{}, map[string]string{}
			see := func(who, week string, right *ReviewRight) {
				if right == nil {
					return
				}
				if right.Week != week || to[who+week] != "" || keys[who+right.Key] != "" || proven[who+right.Key] != week {
					t.Fatalf("seed %d: %s is proven %s as %+v", seed, who, week, o)
				}
				to[who+week], keys[who+right.Key] = right.Key, week
			}
			for _, l := range o.Left {
				see("maker", l.Week, l.MakerReview)
				see(l.Taker, l.Week, l.TakerReview)
			}
			if o.Escrow.AcceptedAt != 0 {
				see("maker", mostro.ReviewWeek(o.Escrow.AcceptedAt), o.BuyerReview)
				see(o.Seller.Trade, mostro.ReviewWeek(o.Escrow.AcceptedAt), o.SellerReview)
			}
			for whoKey, week := range proven { // what was proven is known for ever
				if keys[whoKey] != week {
					t.Fatalf("seed %d: the proof of %s for %s is forgotten: %+v", seed, week, whoKey, o)
				}
			}
		}
	}
}
