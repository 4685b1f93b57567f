package reviews

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// TestCoordinatorsApart: who publishes offers of another platform is listed apart, with the reviews that he has proven;
// he is no Mostro, a Mostro is none of them, and nor is who has published nothing.
func TestCoordinatorsApart(t *testing.T) {
	w := newTown(t)
	offer := func(by mostro.Secret, id string, status string, days int64, y ...string) {
		w.say(by, days, nostr.Event{Kind: mostro.KindOrder, Tags: nostr.Tags{{"d", id}, {"s", status}, append(nostr.Tag{"y"}, y...)}})
	}
	lake := w.key()
	secret := [32]byte{30: 1, 31: w.keys}
	offer(lake, "a", "pending", 1, "robosats", "The Lake")
	offer(lake, "b", "success", 2, "robosats", "An old name")
	offer(lake, "c", "pending", 3, "robosats")
	other := w.key()
	offer(other, "a", "pending", 1, "lnp2pbot")
	offer(w.key(), "a", "pending", 1, "mostro", "has no terms here")
	both := w.node("both")
	offer(both, "a", "pending", 1, "robosats", "another name")
	rater := w.key()
	hash := sha256.Sum256([]byte(rater.Public() + "order"))
	key, _ := btcec.PrivKeyFromBytes(secret[:])
	sig, err := schnorr.Sign(key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, proof := range []string{hex.EncodeToString(sig.Serialize()), hex.EncodeToString(make([]byte, 64))} {
		w.say(rater, 1, nostr.Event{Kind: mostro.KindReview, Content: "good", Tags: nostr.Tags{
			{"sig", proof}, {"d", "lake:order"}, {"p", lake.Public()}, {"rating", "1"}}})
	}

	r := NewReader(w.now)
	for _, ev := range w.events {
		r.Add(ev)
	}
	if all := r.Mostros(); len(all) != 1 || all[0].Mostro != both.Public() || all[0].Platform != "" || all[0].Name != "both" {
		t.Errorf("Mostros: %+v", all)
	}
	all := make(map[string]Summary)
	for _, s := range r.Coordinators() {
		all[s.Mostro] = s
	}
	s := all[lake.Public()]
	if len(all) != 2 || all[other.Public()].Platform != "lnp2pbot" || s.Platform != "robosats" || s.Name != "The Lake" {
		t.Errorf("coordinators: %+v", all)
	}
	if s.Facts.Offers != 2 || s.Facts.Success != 1 || s.Finished.Count != 1 || s.Reviews.Unproven != 1 || s.Reviews.Score != nil {
		t.Errorf("%+v", s)
	}
}
