package mirror

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

// TestAgree: a Mostro is found on an outside relay, followed by command, still so after a start, and
// not any more after the operator has ended it. Nobody is followed without that.
func TestAgree(t *testing.T) {
	p := newPlain(t, 100, "127.0.0.1:0")
	b := newPerson(t)
	info := b.sign(t, nostr.Event{Kind: kindInfo, Tags: nostr.Tags{{"d", b.public}, {"y", "mostro", "Beta"}}})
	p.add(info, b.sign(t, nostr.Event{Kind: kindRelayList, Tags: nostr.Tags{{"r", p.url}}}), b.offer(t, "x", 0))
	a := newInstance(t, "a")
	a.cfg.Outside = []string{p.url}
	a.start()
	eventually(t, "the relay is connected", func() bool { return a.health(p.url).State == Live })
	got, err := a.mirror.Candidates(t.Context())
	if diff := cmp.Diff([]Candidate{{b.public, "Beta", p.url, int64(info.CreatedAt)}}, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	if a.has(info.ID) {
		t.Error("it was followed before anybody said so")
	}
	if err := a.mirror.Agree(Followed{Pubkey: b.public}); err != nil {
		t.Fatal(err)
	}
	if all := a.mirror.Health(); len(all) != 2 || all[1].State != Searching || all[1].Mostros[0] != b.public {
		t.Errorf("before its relays are found: %+v", all)
	}
	a.mirror.discover(t.Context())
	if all := a.mirror.Health(); all[len(all)-1].State == Searching {
		t.Errorf("after it: %+v", all)
	}
	eventually(t, "its terms come", func() bool { return a.has(info.ID) })
	a.stop()
	a.start()
	if !a.mirror.Followed(b.public) {
		t.Error("the operator's word is forgotten")
	}
	if err := a.mirror.Disagree(b.public); err != nil || a.mirror.Followed(b.public) {
		t.Errorf("still followed (%v)", err)
	}
	if err := a.mirror.Disagree(b.public); err == nil {
		t.Error("ended twice")
	}
	a.stop()
	a.start()
	if a.mirror.Followed(b.public) {
		t.Error("followed again")
	}
	// The relays that the operator has named are known when he comes back to it, unless he names others, or takes them away.
	relays := func() []string {
		a.mirror.mu.Lock()
		defer a.mirror.mu.Unlock()
		return a.mirror.followed[b.public].Relays
	}
	agree := func(named ...string) func() error {
		return func() error { return a.mirror.Agree(Followed{Pubkey: b.public, Relays: named}) }
	}
	leave := func() error { return a.mirror.Disagree(b.public) }
	anew := func() error { a.stop(); a.start(); return nil }
	const other = "ws://127.0.0.1:1"
	for i, step := range []struct {
		do     func() error
		relays []string
	}{
		{agree(p.url), []string{p.url}}, {leave, []string{p.url}}, {anew, []string{p.url}}, {agree(), []string{p.url}}, {anew, []string{p.url}},
		{leave, []string{p.url}}, {agree(other), []string{other}}, {agree(), nil}, {leave, nil}, {agree(), nil},
	} {
		if err := step.do(); err != nil || !slices.Equal(relays(), step.relays) {
			t.Errorf("step %d: its relays are %v, want %v (%v)", i, relays(), step.relays, err)
		}
	}
	if err := a.mirror.Agree(Followed{Pubkey: a.public}); err == nil {
		t.Error("the node follows itself")
	}
}

// TestAgreedAndConfigured: whom the settings name after a command did is theirs: when they do so no more it is followed no more, as
// who tries to end it by command is told.
func TestAgreedAndConfigured(t *testing.T) {
	a, b := newInstance(t, "a"), newPerson(t)
	a.start()
	if err := a.mirror.Agree(Followed{Pubkey: b.public}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		named    []Followed
		followed bool
	}{{nil, true}, {[]Followed{{Pubkey: b.public}}, true}, {nil, false}} {
		a.stop()
		a.cfg.Follow = step.named
		a.start()
		if is := a.mirror.Followed(b.public); is != step.followed {
			t.Errorf("the settings name %v: followed is %v", step.named, is)
		}
	}
}
