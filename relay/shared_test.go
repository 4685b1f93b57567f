package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// Tests in this file are of what is short and shared by all clients: one who takes much of it must
// not leave the others without.

// elsewhere dials from another address than dial does.
func elsewhere(t testing.TB, url string) wire {
	t.Helper()
	dialer := websocket.Dialer{NetDialContext: fromAttacker.DialContext}
	conn, _, err := dialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return wire{t, conn}
}

// TestC3LongMessages: long messages that are begun and not ended take only so much memory, and those
// of other addresses still get through.
func TestC3LongMessages(t *testing.T) {
	limits := DefaultLimits()
	limits.AllMessagesBytes = 2 << 20 // of which an address has 128 KiB in any case
	r, url := serveWhole(t, Config{Limits: limits})
	long := clientFrame(final|opText, []byte(`["REQ","`+strings.Repeat("x", 120_000)+`",{}]`))
	for range 40 {
		w := upgrade(t, url, "")
		// The relay may have closed already.
		_, _ = w.Write(long[:len(long)-10])
	}
	for left, began := 40, time.Now(); left > 20; { // 17 of these are 2 MiB
		if time.Since(began) > patience { // all go after Limits.Silence
			t.Fatalf("%d clients with long messages stay", left)
		}
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		left = len(r.sessions)
		r.mu.Unlock()
	}
	if got := r.arriving.taken(); got > limits.AllMessagesBytes {
		t.Errorf("%d bytes are on their way, at most %d may", got, limits.AllMessagesBytes)
	}
	w := elsewhere(t, url)
	for i := range 3 {
		if ok, reason := w.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1, Content: strings.Repeat("x", 60_000+i)})); !ok {
			t.Error(reason)
		}
	}
	short := dial(t, url)
	if ok, reason := short.publish(signed(t, nostr.GeneratePrivateKey(), nostr.Event{Kind: 1})); !ok {
		t.Error(reason)
	}
}

// TestC3LongMessagesEnd: what a message has taken goes with its end, however it ends.
func TestC3LongMessagesEnd(t *testing.T) {
	r, url := start(t, Config{})
	w := upgrade(t, url, "")
	text := []byte(`["REQ","a",{"#t":["` + strings.Repeat("x", 30_000) + `"],"limit":0}]`)
	var packet []byte
	packet = append(packet, clientFrame(opText, text[:20_000])...)
	packet = append(packet, clientFrame(final|opPing, make([]byte, 100))...)
	packet = append(packet, clientFrame(final|opContinue, text[20_000:])...)
	if _, err := w.Write(packet); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if op, payload := w.answer(); op != opPong && string(payload) != `["EOSE","a"]` {
			t.Fatal(op, string(payload))
		}
	}
	for r.arriving.taken() != 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := w.Write(clientFrame(opText, text)[:20_000]); err != nil {
		t.Fatal(err)
	}
	for r.arriving.taken() == 0 {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	for r.arriving.taken() != 0 {
		time.Sleep(time.Millisecond)
	}
	if len(r.arriving.of) != 0 {
		t.Errorf("addresses are remembered: %v", r.arriving.of)
	}
}

// TestC3NegentropyTogether: the items of negentropy sessions count while they are collected, over
// all connections.
func TestC3NegentropyTogether(t *testing.T) {
	limits := DefaultLimits()
	limits.AllNegItems = 16 * negReserve
	r, url := serveWhole(t, Config{Limits: limits})
	var evs []nostr.Event
	for i := range 1500 {
		ev := nostr.Event{Kind: 1, PubKey: publicKey(t, nodeKey), CreatedAt: nostr.Now(), Content: fmt.Sprint(i), Sig: strings.Repeat("0", 128)}
		ev.ID = ev.GetID()
		evs = append(evs, ev)
	}
	if err := r.Publish(t.Context(), evs...); err != nil {
		t.Fatal(err)
	}
	opened, refused := 0, 0
	for range 3 {
		w := dial(t, url)
		for i := range 4 {
			w.write(fmt.Sprintf(`["NEG-OPEN","%d",{"kinds":[1]},"6100000200"]`, i))
			switch got := w.text(); {
			case strings.HasPrefix(got, "NEG-MSG "):
				opened++
			case strings.HasPrefix(got, fmt.Sprintf("NEG-ERR %d rate-limited: ", i)):
				refused++
			default:
				t.Fatal(got)
			}
		}
	}
	if opened != 8 || refused != 4 || r.negItems.taken() != 16*negReserve {
		t.Errorf("%d sessions were opened, %d refused, %d items are held", opened, refused, r.negItems.taken())
	}
	w := elsewhere(t, url)
	w.write(`["NEG-OPEN","a",{"kinds":[1],"limit":500},"6100000200"]`)
	if got := w.text(); !strings.HasPrefix(got, "NEG-MSG a ") {
		t.Errorf("from another address: %s", got)
	}
}

// TestC3RequestTime: the time is for all filters of a request together.
func TestC3RequestTime(t *testing.T) {
	alice, bob := publicKey(t, nostr.GeneratePrivateKey()), publicKey(t, nostr.GeneratePrivateKey())
	var evs []nostr.Event
	for i := range 6000 { // two lists with nothing in common
		ev := nostr.Event{Kind: 1, PubKey: []string{alice, bob}[i%2], CreatedAt: nostr.Now(), Content: fmt.Sprint(i), Sig: strings.Repeat("0", 128)}
		if i%2 == 1 {
			ev.Tags = nostr.Tags{{"t", "x"}}
		}
		ev.ID = ev.GetID()
		evs = append(evs, ev)
	}
	long := `,{"authors":["` + alice + `"],"#t":["x"]}`
	ask := func(limits Limits, label string, filters int) (answer string, took time.Duration) {
		r, url := start(t, Config{Limits: limits})
		if err := r.Publish(t.Context(), evs...); err != nil {
			t.Fatal(err)
		}
		w := dial(t, url)
		took = time.Hour
		for range 10 {
			began := time.Now()
			w.write(`["` + label + `","a"` + strings.Repeat(long, filters) + `]`)
			answer = w.text()
			took = min(took, time.Since(began))
		}
		return answer, took
	}
	limits := DefaultLimits()
	limits.Filters = 100
	for _, label := range []string{"REQ", "COUNT"} {
		_, one := ask(limits, label, 1)
		limits.QueryTime = 5 * one
		if got, _ := ask(limits, label, 100); !strings.HasPrefix(got, "CLOSED a error: answering takes too long") {
			t.Errorf("%s of 100 filters, each of which takes a fifth of the time: %s", label, got)
		}
		limits.QueryTime = DefaultLimits().QueryTime
	}
}

// TestC3QueueTime: one that does not read live events in time is cut off, however much its queue may
// hold; one that reads stored events slowly is not.
func TestC3QueueTime(t *testing.T) {
	limits := DefaultLimits()
	limits.QueueBytes, limits.QueueTime = 1<<30, 200*time.Millisecond
	r, url := start(t, Config{Limits: limits})
	slow := dial(t, url)
	slow.write(`["REQ","all",{"kinds":[20001]}]`)
	slow.next()
	w, alice := dial(t, url), nostr.GeneratePrivateKey()
	for i := range 250 { // more than the sockets' buffers hold
		if ok, reason := w.publish(signed(t, alice, nostr.Event{Kind: 20001, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})); !ok {
			t.Fatal(reason)
		}
	}
	for began, left := time.Now(), 2; left > 1; {
		time.Sleep(time.Millisecond)
		if time.Since(began) > writeTime/2 { // a write may take writeTime
			t.Fatal("a client that does not read is still served")
		}
		r.mu.Lock()
		left = len(r.sessions)
		r.mu.Unlock()
	}
	for i := range 250 { // more than the sockets' buffers hold
		if err := r.Publish(t.Context(), signed(t, nodeKey, nostr.Event{Kind: 1, Content: fmt.Sprint(i, strings.Repeat("x", 60_000))})); err != nil {
			t.Fatal(err)
		}
	}
	reader := dial(t, url)
	reader.write(`["REQ","all",{"kinds":[1]}]`)
	time.Sleep(3 * limits.QueueTime)
	if got := len(reader.stored()); got != 250 {
		t.Errorf("got %d stored events of 250", got)
	}
}

// TestC3AllSubscriptions: when very many are open, who has many opens no more, and everybody else does.
func TestC3AllSubscriptions(t *testing.T) {
	limits := DefaultLimits()
	limits.AllSubscriptions = 64 // of which an address has 4 in any case
	r, url := serveWhole(t, Config{Limits: limits})
	open := func(w wire, n int) string {
		w.write(fmt.Sprintf(`["REQ","%d",{"kinds":[%d],"limit":0}]`, n, n))
		return w.text()
	}
	a, b, c := dial(t, url), dial(t, url), elsewhere(t, url)
	for n := range 32 {
		for _, w := range []wire{a, b} {
			if got := open(w, n); got != fmt.Sprint("EOSE ", n) {
				t.Fatal(got)
			}
		}
	}
	if got := open(a, 32); !strings.HasPrefix(got, "CLOSED 32 rate-limited: ") {
		t.Error(got)
	}
	if got := open(a, 0); got != "EOSE 0" {
		t.Errorf("in place of another: %s", got)
	}
	for n := range 4 {
		if got := open(c, n); got != fmt.Sprint("EOSE ", n) {
			t.Error(got)
		}
	}
	if got := open(c, 4); !strings.HasPrefix(got, "CLOSED 4 rate-limited: ") {
		t.Error(got)
	}
	a.write(`["CLOSE","1"]`)
	a.write(`["REQ","0",null]`) // closes it too
	a.next()
	b.Close()
	for r.opened.taken() != 30+4 {
		time.Sleep(time.Millisecond)
	}
}

// TestC3Comparisons: an event is held up only by so many subscriptions of one address. Its
// connections that have most of them go, the others stay.
func TestC3Comparisons(t *testing.T) {
	limits := DefaultLimits()
	limits.Comparisons = 100
	r, url := serveWhole(t, Config{Limits: limits})
	subscribe := func(w wire, n int) wire {
		for i := range n {
			w.write(fmt.Sprintf(`["REQ","%d",{"kinds":[1],"until":%d}]`, i, []int{1 << 40, 5}[i%2]))
			if got := w.text(); got != fmt.Sprint("EOSE ", i) {
				t.Fatal(got)
			}
		}
		return w
	}
	crowd := []wire{subscribe(elsewhere(t, url), 50), subscribe(elsewhere(t, url), 50), subscribe(elsewhere(t, url), 50)}
	innocent := []wire{subscribe(elsewhere(t, url), 1), subscribe(elsewhere(t, url), 1), subscribe(dial(t, url), 1)}
	note := nostr.Event{Kind: 1, CreatedAt: nostr.Now()}
	for left := 6; left > 5; {
		note.CreatedAt++
		note = signed(t, nodeKey, note)
		if err := r.Publish(t.Context(), note); err != nil {
			t.Fatal(err)
		}
		for _, w := range innocent {
			if got := w.event(w.next()); got.ID != note.ID {
				t.Fatalf("got %s", got)
			}
		}
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		left = len(r.sessions)
		r.mu.Unlock()
	}
	told := make(chan bool, len(crowd))
	for _, w := range crowd {
		go func() {
			for {
				_, message, err := w.ReadMessage()
				if text := string(message); err != nil || strings.HasPrefix(text, `["NOTICE","rate-limited: `) {
					told <- err == nil
					return
				}
			}
		}()
	}
	if !<-told {
		t.Error("one was cut off without a word")
	}
	for _, w := range crowd {
		w.Close()
	}
	for known := 2; known > 1; { // addresses are forgotten with their last session
		innocent[0].Close()
		innocent[1].Close()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
		known = len(r.origins)
		r.mu.Unlock()
	}
}

// TestC3ComparedOnce: an event with two thousand tags is compared once with each filter, which it may meet under all of them.
// Who writes such an event could else have others cut off.
func TestC3ComparedOnce(t *testing.T) {
	limits := DefaultLimits()
	limits.Comparisons = 50
	r, url := serveWhole(t, Config{Limits: limits})
	w := dial(t, url)
	var values []string
	for i := range limits.FilterValues {
		values = append(values, fmt.Sprint(i))
	}
	for i := range 4 {
		w.write(fmt.Sprintf(`["REQ","%d",{"kinds":[1],"#t":["%s"],"authors":["%064d"]}]`, i, strings.Join(values, `","`), 1))
		if got := w.text(); got != fmt.Sprint("EOSE ", i) {
			t.Fatal(got)
		}
	}
	alike, all := nostr.Event{Kind: 1, CreatedAt: nostr.Now()}, nostr.Event{Kind: 1, CreatedAt: nostr.Now()}
	for i := range 2000 {
		alike.Tags = append(alike.Tags, nostr.Tag{"t", "7"})
		all.Tags = append(all.Tags, nostr.Tag{"t", fmt.Sprint(i)})
	}
	if n := len(tagKeys(&alike)); n != 1 {
		t.Errorf("a tag that comes 2000 times is looked up %d times", n)
	}
	if err := r.Publish(t.Context(), signed(t, nodeKey, alike), signed(t, nodeKey, all)); err != nil {
		t.Fatal(err)
	}
	w.write(`["REQ","last",{"kinds":[7]}]`)
	if got := w.text(); got != "EOSE last" {
		t.Error(got)
	}
}

func TestSerials(t *testing.T) {
	var s serials
	for _, n := range []uint64{0, 1, 63, 64, 65, 4095, 4096, 4097, 1 << 40} {
		if !s.add(n) || s.add(n) {
			t.Errorf("%d", n)
		}
	}
	if len(s) != 3 {
		t.Errorf("%d pages", len(s))
	}
}
