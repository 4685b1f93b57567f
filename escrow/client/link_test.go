package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// odd is a relay that answers each frame as a test wants.
type odd struct {
	url         string
	connections atomic.Int32
	published   atomic.Pointer[nostr.Event] // the last one
}

// newOdd starts a relay whose answers to a frame's label and second element are frames.
func newOdd(t *testing.T, answer func(label, id string, connection int) []string) *odd {
	o := &odd{}
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		number := int(o.connections.Add(1))
		for {
			var parts []json.RawMessage
			if err := conn.ReadJSON(&parts); err != nil {
				return
			}
			var label, id string
			_ = json.Unmarshal(parts[0], &label)
			var ev nostr.Event
			if json.Unmarshal(parts[1], &id) != nil && json.Unmarshal(parts[1], &ev) == nil {
				id = ev.ID
				o.published.Store(&ev)
			}
			for _, frame := range answer(label, id, number) {
				if err := conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	o.url = "ws" + strings.TrimPrefix(server.URL, "http")
	return o
}

func key(t *testing.T, text string) mostro.Secret {
	t.Helper()
	s, err := mostro.NewSecret(sha256.Sum256([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dialOdd(t *testing.T, url string) (*client.Client, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	words, err := mostro.NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(ctx, client.Config{RelayURL: url, Node: key(t, "node").Public(), Keys: client.Keys{Mnemonic: words}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, ctx
}

// signed makes a public event of a key.
func signed(t *testing.T, by mostro.Secret, ev nostr.Event) nostr.Event {
	t.Helper()
	ev.CreatedAt = nostr.Timestamp(time.Now().Unix())
	if err := mostro.Sign(&ev, by); err != nil {
		t.Fatal(err)
	}
	return ev
}

func orderEvent(id string) nostr.Event {
	return mostro.OrderEvent(mostro.BookOrder{
		ID: id, Kind: mostro.Sell, Status: mostro.StatusPending, FiatCode: "USD", PaymentMethod: "cash,card",
		MinAmount: new(int64), MaxAmount: new(int64),
	}, mostro.Instance{})
}

// TestForgedBook: a relay cannot show an order that the node has not signed.
func TestForgedBook(t *testing.T) {
	node := key(t, "node")
	genuine := signed(t, node, orderEvent("genuine"))
	foreign := signed(t, key(t, "stranger"), orderEvent("foreign"))
	changed := signed(t, node, orderEvent("changed"))
	changed.Tags = append(changed.Tags, nostr.Tag{"premium", "99"})
	renamed := signed(t, node, orderEvent("renamed"))
	renamed.ID = genuine.ID
	unsigned := signed(t, node, orderEvent("unsigned"))
	unsigned.Sig = foreign.Sig
	long := signed(t, node, orderEvent("long"))
	long.Sig += "00"
	nameless := signed(t, node, orderEvent(""))
	unreadable := signed(t, node, nostr.Event{Kind: mostro.KindOrder, Tags: nostr.Tags{
		{"d", "unreadable"}, {"k", "sell"}, {"s", "pending"}, {"amt", "1e5"}}})

	relay := newOdd(t, func(label, id string, _ int) (frames []string) {
		if label != "REQ" {
			return nil
		}
		for _, ev := range []nostr.Event{foreign, changed, renamed, unsigned, long, nameless, unreadable, genuine} {
			frames = append(frames, `["EVENT","`+id+`",`+ev.String()+`]`)
		}
		return append(frames, `["EOSE","`+id+`"]`)
	})
	c, ctx := dialOdd(t, relay.url)
	book, err := c.Book(ctx)
	if err != nil || len(book) != 1 || book[0].ID != "genuine" || book[0].PaymentMethod != "cash,card" || book[0].MaxAmount == nil {
		t.Errorf("the book is %+v, %v, want the genuine order", book, err)
	}
}

// TestSameSecond: the messages of one second, which relays keep in no order, are heard in the
// order of a trade.
func TestSameSecond(t *testing.T) {
	sameSecond(t, mostro.StatusSuccess, mostro.WaitingSellerToPay, mostro.SendDM,
		mostro.FiatSentOk, mostro.Released, mostro.PurchaseCompleted, mostro.Rate)
	// The taker's reputation comes first, and the wish to cancel before the end.
	sameSecond(t, mostro.StatusCooperativelyCanceled, mostro.PayInvoice, mostro.WaitingSellerToPay,
		mostro.CooperativeCancelInitiatedByYou, mostro.CooperativeCancelAccepted)
}

// sameSecond hears messages of two seconds, two of them in the first, in every turn of their order.
func sameSecond(t *testing.T, end mostro.Status, want ...mostro.Action) {
	t.Helper()
	node := key(t, "node")
	words, err := mostro.NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	trade, err := mostro.DeriveKey(words, 1)
	if err != nil {
		t.Fatal(err)
	}
	var frames []string
	for i, action := range want {
		m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: "00000000-0000-4000-8000-000000000000", Action: action}
		if action == mostro.PayInvoice {
			m.Payload = &mostro.Payload{Peer: &mostro.Peer{Reputation: &mostro.UserInfo{}}}
		}
		plain, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		ev, err := mostro.NewSealer(node).Seal(mostro.Outgoing{
			Transport: mostro.NIP44, To: trade.Public(), Plaintext: plain, CreatedAt: 1_780_000_000 + int64(min(i/2, 1)), Seed: [32]byte{1},
		})
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, ev.String())
	}
	for turn := range frames {
		relay := newOdd(t, func(_, id string, _ int) (answer []string) {
			if id == "2" {
				for i := range frames {
					answer = append(answer, `["EVENT","2",`+frames[(i+turn)%len(frames)]+`]`)
				}
			}
			return append(answer, `["EOSE","`+id+`"]`)
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var heard []mostro.Action
		c, err := client.Dial(ctx, client.Config{
			RelayURL: relay.url, Node: node.Public(), Keys: client.Keys{Mnemonic: words},
			Heard: func(_ *client.Trade, m mostro.Message) { heard = append(heard, m.Action) },
		})
		if err != nil {
			t.Fatal(err)
		}
		resumed, err := c.Resume("00000000-0000-4000-8000-000000000000", 1, client.Mode{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resumed.Wait(ctx, want[len(want)-1]); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if diff := cmp.Diff(want, heard); diff != "" || resumed.Status() != end {
			t.Errorf("turned by %d, the status is %s, heard (-want +got):\n%s", turn, resumed.Status(), diff)
		}
	}
}

// TestOddAnswers: whatever a relay sends, the client goes on, and says what is wrong.
func TestOddAnswers(t *testing.T) {
	node := key(t, "node")
	info := signed(t, node, mostro.InfoEvent(mostro.NodeInfo{}, mostro.Instance{Pubkey: node.Public()}))
	eose := func(id string) []string { return []string{`["EOSE","` + id + `"]`} }

	t.Run("a subscription is refused", func(t *testing.T) {
		relay := newOdd(t, func(label, id string, connection int) []string {
			switch {
			case label != "REQ":
				return nil
			case id == "1": // the terms, without which the connection is useless
				if connection == 1 {
					return []string{`["CLOSED","1","error: not now"]`}
				}
				return []string{`["EVENT","1",` + info.String() + `]`, `["EOSE","1"]`}
			}
			return []string{`["CLOSED","` + id + `","rate-limited: no books today"]`}
		})
		c, ctx := dialOdd(t, relay.url)
		if _, err := c.Info(ctx); err != nil || relay.connections.Load() < 2 {
			t.Errorf("the terms after %d connections: %v", relay.connections.Load(), err)
		}
		if _, err := c.Book(ctx); err == nil || !strings.Contains(err.Error(), "no books today") {
			t.Errorf("the book: %v", err)
		}
		if err := c.WatchBook(ctx, nil); err == nil || !strings.Contains(err.Error(), "no books today") {
			t.Errorf("watching the book: %v", err)
		}
	})

	t.Run("it does not speak Nostr at first", func(t *testing.T) {
		relay := newOdd(t, func(label, id string, connection int) []string {
			if connection <= 2 {
				return []string{[]string{"hello", `["EOSE"]`}[connection-1]}
			}
			return append([]string{`["COUNT","x",{"count":1}]`, `["AUTH","challenge"]`, `["EVENT","nobody",{}]`,
				`["OK","unknown",true,""]`, `["OK",1,true,""]`, `["EOSE","unknown"]`, `["CLOSED","unknown",""]`}, eose(id)...)
		})
		c, ctx := dialOdd(t, relay.url)
		if book, err := c.Book(ctx); err != nil || len(book) != 0 {
			t.Errorf("the book is %v, %v", book, err)
		}
	})

	t.Run("it complains and does not answer", func(t *testing.T) {
		var heard sync.WaitGroup
		heard.Add(1)
		relay := newOdd(t, func(label, id string, _ int) []string {
			switch {
			case label == "EVENT":
				defer heard.Done()
				return []string{`["NOTICE","error: the event is not to my taste"]`}
			case label == "REQ" && id == "1":
				return []string{`["EVENT","1",` + info.String() + `]`, `["EOSE","1"]`}
			}
			return eose(id)
		})
		c, ctx := dialOdd(t, relay.url)
		waiting, giveUp := context.WithCancel(ctx)
		defer giveUp()
		result := make(chan error, 1)
		var trade *client.Trade
		go func() {
			var err error
			trade, _, err = c.NewOrder(waiting, sell(), client.Mode{})
			result <- err
		}()
		heard.Wait()
		// The notice was sent before the answer to this.
		if _, err := c.Book(ctx); err != nil {
			t.Fatal(err)
		}
		giveUp()
		err := <-result
		if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrNoAnswer) || !strings.Contains(err.Error(), "not to my taste") {
			t.Errorf("an order that the relay does not answer: %v", err)
		}
		if trade == nil {
			t.Error("the trade is gone, though the relay may have the order")
		}
	})

	t.Run("it takes an event and the node says nothing", func(t *testing.T) {
		relay := newOdd(t, func(label, id string, _ int) []string {
			switch {
			case label == "EVENT":
				return []string{`["OK","` + id + `",true,""]`}
			case label == "REQ" && id == "1":
				return []string{`["EVENT","1",` + info.String() + `]`, `["EOSE","1"]`}
			}
			return eose(id)
		})
		c, ctx := dialOdd(t, relay.url)
		for _, mode := range []client.Mode{{}, {Transport: mostro.GiftWrap}, {FullPrivacy: true}, {Transport: mostro.GiftWrap, FullPrivacy: true}} {
			relay.published.Store(nil)
			waiting, giveUp := context.WithCancel(ctx)
			result := make(chan error, 1)
			go func() {
				_, _, err := c.NewOrder(waiting, sell(), mode)
				result <- err
			}()
			for relay.published.Load() == nil || client.Unanswered(c) > 0 {
				time.Sleep(time.Millisecond)
			}
			giveUp()
			if err := <-result; !errors.Is(err, client.ErrNoAnswer) {
				t.Errorf("%+v: without an answer: %v", mode, err)
			}
			got, err := mostro.NewOpener(node).Open(relay.published.Load())
			if err != nil {
				t.Fatal(err)
			}
			// Neither the identity nor what it has done before shows in full privacy.
			if got.FullPrivacy() != mode.FullPrivacy || (got.Message.TradeIndex == nil) != mode.FullPrivacy {
				t.Errorf("%+v: identity shown: %v, trade index shown: %v", mode, !got.FullPrivacy(), got.Message.TradeIndex != nil)
			}
			want := mode.Transport
			if want == 0 {
				want = mostro.NIP44 // as the terms say
			}
			if got.Transport != want || got.Message.Version != want.Version() {
				t.Errorf("%+v: it came on version %d, and says %d", mode, got.Transport, got.Message.Version)
			}
		}
	})

	t.Run("it has the event already", func(t *testing.T) {
		heard := make(chan struct{}, 1)
		relay := newOdd(t, func(label, id string, _ int) []string {
			switch {
			case label == "EVENT":
				heard <- struct{}{}
				return []string{`["OK","` + id + `",false,"duplicate: seen it"]`, `["OK","` + id + `",false,"error: twice"]`}
			case label == "REQ" && id == "1":
				return []string{`["EVENT","1",` + info.String() + `]`, `["EOSE","1"]`}
			}
			return eose(id)
		})
		c, ctx := dialOdd(t, relay.url)
		waiting, giveUp := context.WithCancel(ctx)
		defer giveUp()
		result := make(chan error, 1)
		go func() {
			_, _, err := c.NewOrder(waiting, sell(), client.Mode{})
			result <- err
		}()
		<-heard
		for client.Unanswered(c) > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		giveUp()
		if err := <-result; !errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("an order that the relay has already: %v", err)
		}
	})
}

// TestNothingSent: what goes wrong before a request is sent leaves no trade of which somebody
// could think that it stands.
func TestNothingSent(t *testing.T) {
	silent := newOdd(t, func(string, string, int) []string { return nil })
	c, ctx := dialOdd(t, silent.url)
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if trade, _, err := c.NewOrder(ctx, sell(), client.Mode{}); trade != nil || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrNoAnswer) {
		t.Errorf("without the node's terms: trade %v, %v", trade, err)
	}
	if ev := silent.published.Load(); ev != nil {
		t.Errorf("kind %d was sent", ev.Kind)
	}

	w := newWorld(t, worldConfig{})
	long := sell()
	long.PaymentMethod = strings.Repeat("x", 70_000)
	if trade, _, err := w.person("alice", w.door()).NewOrder(w.ctx, long, client.Mode{}); trade != nil || err == nil {
		t.Errorf("an order that cannot be sealed: trade %v, %v", trade, err)
	}
}
