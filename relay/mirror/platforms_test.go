package mirror

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestPlatformLeft: the offers of a platform that the settings name no more go at the next start, those of others stay, and
// they come back when it is named again.
func TestPlatformLeft(t *testing.T) {
	a, lake, bot := newInstance(t, "a"), newPerson(t), newPerson(t)
	p := newPlain(t, 40, "127.0.0.1:0")
	first, second := lake.offer(t, "first", 0), bot.offer(t, "second", 0)
	profile := lake.sign(t, nostr.Event{Kind: 0, Content: "{}"})
	p.add(first, second, profile)
	both := []Followed{
		{Pubkey: bot.public, Relays: []string{p.url}, Platform: "lnp2pbot"},
		{Pubkey: lake.public, Relays: []string{p.url}, Platform: "robosats"},
	}
	a.cfg.Follow = both
	a.start()
	eventually(t, "all is here", func() bool { return a.has(first.ID) && a.has(second.ID) && a.has(profile.ID) })
	a.stop()
	a.cfg.Follow = both[:1]
	a.start()
	eventually(t, "the offer has gone", func() bool { return !a.has(first.ID) })
	if !a.has(second.ID) || !a.has(profile.ID) {
		t.Error("more than its offers has gone")
	}
	a.stop()
	a.cfg.Follow = both
	a.start()
	eventually(t, "it is back", func() bool { return a.has(first.ID) })
}
