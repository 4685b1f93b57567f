package client

import (
	"log/slog"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
)

// FuzzFrame: whatever a relay sends, the client goes on or ends the connection; stored events
// come together, once for each question, and none before.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`["EVENT","1",{"kind":1,"tags":[[]],"content":"x"}]`, `["EVENT","1",null]`, `["EVENT","2",{}]`, `["EVENT","1",{"created_at":1e99}]`,
		`["EOSE","1"]`, `["EOSE","2"]`, `["EOSE",1]`, `["CLOSED","1"]`, `["CLOSED","2","error: no"]`, `["CLOSED","2",7]`,
		`["OK","a",true,""]`, `["OK","a",false,"duplicate: x"]`, `["OK","a",false,7]`, `["OK","a",null,null]`, `["OK","a"]`,
		`["NOTICE","x"]`, `["COUNT","1",{"count":1}]`, `["AUTH","x"]`, `["NOTICE"]`, `[]`, `{}`, `null`, "",
	} {
		f.Add(seed, `["EOSE","1"]`)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		l := newLink("wss://relay.example", slog.New(slog.DiscardHandler))
		handed, failed := 0, 0
		l.subscribe(&subscription{handle: func([]*nostr.Event) { handed++ }})
		l.subscribe(&subscription{
			handle: func(events []*nostr.Event) {
				for _, ev := range events {
					if ev == nil {
						t.Fatal("an event that is none")
					}
				}
			},
			failed: func(error) { failed++ },
		})
		s := &sending{id: "a", answer: make(chan error, 1)}
		l.sent = append(l.sent, s)
		for _, frame := range []string{one, two, one} {
			if l.handle([]byte(frame)) != nil {
				break
			}
		}
		if sub := l.sub("1"); sub == nil {
			t.Error("a relay has ended what the client needs, and the connection goes on")
		} else if handed > 0 && !sub.live {
			t.Error("events were handed over before the end of the stored ones")
		}
		if failed > 1 {
			t.Errorf("a subscription has ended %d times", failed)
		}
	})
}

// FuzzPublic: what a node publishes about itself and its orders is read, or is an error.
func FuzzPublic(f *testing.F) {
	f.Add(`{"kind":38385,"tags":[["d","x"],["pow","16"],["fee","0.006"],["protocol_version","2"],["y","mostro","Name"],["fiat_currencies_accepted",",,USD"]]}`)
	f.Add(`{"kind":38383,"tags":[["d","x"],["k","sell"],["s","pending"],["fa","1","2"],["pm","cash","bank"],["amt","0"],["premium","-3"],["expiration","1"]]}`)
	f.Add(`{"kind":38383,"tags":[[],["d"],["k","sell"],["fa"],["amt","1e9"]]}`)
	f.Add(`{"tags":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		key, err := mostro.NewSecret([32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		var ev nostr.Event
		if err := ev.UnmarshalJSON([]byte(text)); err != nil {
			return
		}
		if _, err := parseInfo(&ev); err != nil && ev.Tags == nil {
			t.Fatal(err)
		}
		ev.Kind = mostro.KindOrder
		if mostro.Sign(&ev, key) != nil {
			return
		}
		c := &Client{node: key.Public()}
		if o, err := c.bookOrder(&ev); err == nil && (o.ID == "" || !o.Kind.Known() || o.Status == "") {
			t.Fatalf("read %+v", o)
		}
	})
}
