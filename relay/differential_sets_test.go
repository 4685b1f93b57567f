package relay

import (
	"encoding/json"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// count compares COUNT (NIP-45), which leaves private events out.
func (w *world) count() {
	w.Helper()
	if !w.offers[45] {
		return
	}
	w.settle()
	probes := w.probes()
	for i := range probes {
		probes[i].limit = nil // NIP-45 does not say whether a limit bounds a count
	}
	w.ask("COUNT", "count", probes)
	parts := w.watcher.next()
	var answer struct{ Count int }
	if len(parts) != 3 || string(parts[0]) != `"COUNT"` || json.Unmarshal(parts[2], &answer) != nil {
		w.Fatalf("COUNT was answered with %s", parts)
	}
	if want := len(w.oracle.public(probes)); answer.Count != want {
		text, _ := json.Marshal(probes)
		w.Fatalf("%s counts %d events, there are %d", text, answer.Count, want)
	}
}

// reconcile compares negentropy (NIP-77) from a client that has some of the events, and some
// that the relay has not.
func (w *world) reconcile() {
	w.Helper()
	if !w.offers[77] {
		return
	}
	w.settle()
	q := w.probe()
	q.limit = nil
	theirs := make(map[string]bool)
	for _, ev := range w.oracle.public([]probe{q}) {
		theirs[ev.ID] = true
	}
	set, mine := vector.New(), make(map[string]bool)
	for _, ev := range w.made {
		if w.one(2) && !mine[ev.ID] {
			mine[ev.ID] = true
			set.Insert(ev.CreatedAt, ev.ID)
		}
	}
	set.Seal()
	client := negentropy.New(set, 0)
	haves, needs := collect(client.Haves), collect(client.HaveNots)
	text, err := json.Marshal([]any{"NEG-OPEN", "neg", q, client.Start()})
	if err != nil {
		w.Fatal(err)
	}
	for message := string(text); message != ""; {
		w.watcher.write(message)
		parts := w.watcher.next()
		var answer string
		if len(parts) != 3 || string(parts[0]) != `"NEG-MSG"` || json.Unmarshal(parts[2], &answer) != nil {
			w.Fatalf("negentropy for %s was answered with %s", text, parts)
		}
		next, err := client.Reconcile(answer)
		if err != nil {
			w.Fatal(err)
		}
		if message = ""; next != "" {
			message = string(frame("NEG-MSG", "neg", next))
		}
	}
	w.watcher.write(`["NEG-CLOSE","neg"]`)
	want := [2][]string{missing(mine, theirs), missing(theirs, mine)}
	if diff := cmp.Diff(want, [2][]string{<-haves, <-needs}); diff != "" {
		w.Fatalf("%s is reconciled to other events (client's, relay's; -want +got)\n%s", text, diff)
	}
}

func collect(ids chan string) chan []string {
	all := make(chan []string, 1)
	go func() {
		var got []string
		for id := range ids {
			got = append(got, id)
		}
		slices.Sort(got)
		all <- slices.Compact(got)
	}()
	return all
}

// missing lists what is in a and not in b.
func missing(a, b map[string]bool) []string {
	var left []string
	for id := range a {
		if !b[id] {
			left = append(left, id)
		}
	}
	slices.Sort(left)
	return left
}
