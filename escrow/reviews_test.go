package escrow

import (
	"crypto/sha256"
	"fmt"
	"time"

	"mostro/escrow/mostro"
)

// reviewKey is a key that somebody chooses for a review, by its name.
func (w *world) reviewKey(name string) mostro.Secret {
	key, err := mostro.NewSecret(sha256.Sum256([]byte("review " + name)))
	w.check(err)
	return key
}

// review asks for the proof for a review; key names whose it becomes, "trade" and "identity" are
// those of the person himself.
func (w *world) review(p *person, a args) error {
	m := w.request(p, mostro.ProveReview, a)
	name := a.named["key"]
	if name == "" {
		name = p.name
	}
	key := w.reviewKey(name).Public()
	switch name {
	case "trade":
		key = p.trade.Public()
	case "identity":
		key = p.identity.Public()
	case "bad":
		key = "02" + key[2:] + "ff"
	}
	m.ID, m.Payload = w.order(a), &mostro.Payload{ReviewKey: &key}
	_ = w.send(p, m)
	return nil
}

// proof prints a proof: whose, for which week, whether it holds, and when it may be spent.
func (w *world) proof(p mostro.ReviewProof) {
	holds := "holds"
	if err := p.Check(); err != nil {
		holds = err.Error()
	}
	whose := "somebody's"
	for _, name := range []string{"alice", "bob", "carol", "other"} {
		if w.reviewKey(name).Public() == p.Key {
			whose = name + "'s"
		}
	}
	fmt.Fprintf(&w.out, " %s, %s, %s", whose, p.Week, holds)
	if wait := p.From - w.e.now(); wait > 0 {
		fmt.Fprintf(&w.out, ", not before %s", time.Duration(wait)*time.Second)
	}
}
