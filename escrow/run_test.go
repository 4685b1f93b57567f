package escrow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// post is the event store of these tests: it sorts published messages by receiver.
type post struct {
	mu    sync.Mutex
	seen  map[string]bool
	boxes map[string][]nostr.Event
	more  chan struct{} // closed and replaced at each delivery
}

func newPost() *post {
	return &post{seen: map[string]bool{}, boxes: map[string][]nostr.Event{}, more: make(chan struct{})}
}

func (p *post) publish(_ context.Context, events ...nostr.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ev := range events {
		if to := ev.Tags.Find("p"); to != nil && !p.seen[ev.ID] {
			p.seen[ev.ID] = true
			p.boxes[to[1]] = append(p.boxes[to[1]], ev)
		}
	}
	close(p.more)
	p.more = make(chan struct{})
	return nil
}

// trader is one side of a trade in these tests.
type trader struct {
	t    *testing.T
	post *post
	node string
	key  mostro.Secret
	read int
	send func(*nostr.Event) error
}

func (tr *trader) say(action mostro.Action, id string, payload *mostro.Payload) {
	m := mostro.Message{Wrapper: mostro.WrapOrder, Version: 2, ID: id, Action: action, Payload: payload}
	ev, err := mostro.SealRequest(m, mostro.NIP44, mostro.Party{Trade: tr.key, Identity: tr.key}, tr.node, time.Now().Unix(), 0)
	if err != nil {
		tr.t.Error(err)
		return
	}
	// A client sends again until it has an OK.
	for tr.send(&ev) != nil {
		time.Sleep(10 * time.Millisecond)
	}
}

// insist says something until it is not refused for want of the Lightning node, which may go away
// between a look at it and the message, and reads on until a message with the action want has come.
func (tr *trader) insist(action mostro.Action, id string, payload *mostro.Payload, want mostro.Action) {
	for {
		tr.say(action, id, payload)
		m := tr.next()
		for m.Action != want && m.Action != mostro.CantDo {
			m = tr.next()
		}
		if m.Action == want {
			return
		}
		if *m.Payload.CantDo != mostro.NotAllowedByStatus {
			tr.t.Errorf("%s is refused: %s", action, *m.Payload.CantDo)
			runtime.Goexit()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// wait reads on until a message with this action has come.
func (tr *trader) wait(action mostro.Action) mostro.Message {
	for {
		m := tr.next()
		if m.Action == mostro.CantDo {
			tr.t.Errorf("%s is refused: %s", action, *m.Payload.CantDo)
			runtime.Goexit()
		}
		if m.Action == action {
			return m
		}
	}
}

// next reads the next message, when it has come.
func (tr *trader) next() mostro.Message {
	for {
		tr.post.mu.Lock()
		box, more := tr.post.boxes[tr.key.Public()], tr.post.more
		tr.post.mu.Unlock()
		if tr.read < len(box) {
			ev := box[tr.read]
			tr.read++
			m, err := mostro.OpenReply(&ev, tr.key, tr.node)
			if err != nil {
				tr.t.Error(err)
				runtime.Goexit()
			}
			return m
		}
		select {
		case <-more:
		case <-tr.t.Context().Done():
			runtime.Goexit()
		}
	}
}

// TestRunManyTrades runs the engine as a node does, with all its workers, while the
// Lightning node fails and its streams die, and the engine itself is stopped and started.
func TestRunManyTrades(t *testing.T) {
	const trades, restarts = 24, 5
	net := lightning.NewSimNetwork(lightning.SimConfig{Now: time.Now})
	node, key, box := net.Node("mostro"), secretFor("mostro"), newPost()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex // of r
	lost := func(lightning.SimMethod, order.Hash) error {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(20) == 0 {
			return lightning.ErrSimDropped
		}
		return nil
	}
	node.SetFaults(lightning.Faults{Before: lost, After: lost})
	cfg := benchConfig(t, box.publish)
	cfg.Node = node
	cfg.EscrowSecret = NewEscrowSecret([32]byte{'r', 'u', 'n'})
	var log logBook
	cfg.Logger = log.logger()
	cfg.Settings.Terms.PaymentRetrySeconds = 1

	var engine struct {
		sync.RWMutex
		*Engine
	}
	start := func() (stop func()) {
		e, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		engine.Lock()
		engine.Engine = e
		engine.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			engine.Lock()
			defer engine.Unlock()
			engine.Engine = nil
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	receive := func(ev *nostr.Event) error {
		engine.RLock()
		defer engine.RUnlock()
		if engine.Engine == nil {
			return ErrStopped
		}
		return engine.Receive(context.Background(), ev)
	}
	stop := start()
	var all sync.WaitGroup
	var traders []*trader
	for i := range trades {
		seller := &trader{t: t, post: box, node: key.Public(), key: secretFor(fmt.Sprint("seller", i)), send: receive}
		buyer := &trader{t: t, post: box, node: key.Public(), key: secretFor(fmt.Sprint("buyer", i)), send: receive}
		traders = append(traders, seller, buyer)
		all.Add(1)
		go func() {
			defer all.Done()
			amount := order.Sat(10_000 + i)
			invoice := net.Node("bob").AddInvoice(lightning.SimInvoiceRequest{Amount: (amount - order.FeeSide(amount, 6000)).Msat(), Expiry: 3 * time.Hour})
			seller.say(mostro.NewOrder, "", &mostro.Payload{Order: &mostro.SmallOrder{
				Kind: mostro.Sell, Status: mostro.StatusPending, Amount: int64(amount), FiatCode: "USD", FiatAmount: 5, PaymentMethod: "cash"}})
			id := seller.wait(mostro.NewOrder).ID
			for !ready(&engine.RWMutex, &engine.Engine) {
				time.Sleep(20 * time.Millisecond) // takes are refused while the Lightning node is away
			}
			buyer.insist(mostro.TakeSell, id, nil, mostro.AddInvoice)
			for !ready(&engine.RWMutex, &engine.Engine) {
				time.Sleep(20 * time.Millisecond)
			}
			buyer.insist(mostro.AddInvoice, id, &mostro.Payload{PaymentRequest: &mostro.PaymentRequest{Invoice: invoice}}, mostro.WaitingSellerToPay)
			asked := seller.wait(mostro.PayInvoice)
			for asked.Payload.PaymentRequest == nil { // the taker's reputation
				asked = seller.wait(mostro.PayInvoice)
			}
			if _, err := net.Node("alice").PayHold(asked.Payload.PaymentRequest.Invoice); err != nil {
				t.Error(err)
			}
			buyer.wait(mostro.HoldInvoicePaymentAccepted)
			buyer.say(mostro.FiatSent, id, nil)
			seller.wait(mostro.FiatSentOk)
			seller.say(mostro.Release, id, nil)
			seller.wait(mostro.HoldInvoicePaymentSettled)
			buyer.wait(mostro.PurchaseCompleted)
		}()
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	for rounds := 0; ; rounds++ {
		select {
		case <-finished:
			stop()
			total, minted := net.Total()
			if total != minted {
				t.Errorf("the network holds %d of %d msat", total, minted)
			}
			t.Logf("%d trades, %d restarts", trades, min(rounds, restarts))
			log.keepsSecrets(t, cfg, net, traders)
			return
		case <-time.After(300 * time.Millisecond):
		}
		if rounds < restarts {
			node.DropStreams()
			stop()
			stop = start()
		}
	}
}

func ready(mu *sync.RWMutex, e **Engine) bool {
	mu.RLock()
	defer mu.RUnlock()
	return *e != nil && (*e).node.ready()
}
