package escrow

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// standing is what limits an identity: what it has to do in trades under way, and how many
// of its orders wait in the book.
type standing struct {
	// Owes says by order what is due: an invoice ("invoice") or a payment ("payment"). Who
	// owes cannot take another order.
	Owes map[string]string `json:"owes,omitempty"`
	Open int               `json:"open,omitempty"`
	// Takes counts orders that it has taken and that wait for anybody's invoice or payment, a
	// taker's bond among them.
	Takes int `json:"takes,omitempty"`
}

// waitingTaker is who has taken an order that is not active yet.
func waitingTaker(o *order.Order) string {
	switch o.Status {
	case mostro.StatusWaitingBuyerInvoice, mostro.StatusWaitingPayment:
		return o.Taker().Identity
	}
	return ""
}

// debtor is who owes something in an order, and what.
func debtor(o *order.Order) (identity, what string) {
	switch o.Status {
	case mostro.StatusWaitingBuyerInvoice:
		return o.Buyer.Identity, "invoice"
	case mostro.StatusWaitingPayment:
		return o.Seller.Identity, "payment"
	}
	return "", ""
}

// offers tells whether an order waits for a taker, or will when its maker's bond is locked.
func offers(o *order.Order) bool {
	return o.Status == mostro.StatusPending || o.Status == mostro.StatusWaitingTakerBond || o.Status == mostro.StatusWaitingMakerBond
}

// keepStandings updates the rows of everybody whose standing a step changes.
func keepStandings(txn *badger.Txn, w *writes, prev, next *order.Order, bonds []order.BondChange) error {
	rows := map[string]*standing{}
	row := func(identity string) (*standing, error) {
		if s := rows[identity]; s != nil {
			return s, nil
		}
		s := &standing{}
		if _, err := get(txn, rowKey(tableOwes, identity), s); err != nil {
			return nil, &defect{err}
		}
		if s.Owes == nil {
			s.Owes = map[string]string{}
		}
		rows[identity] = s
		return s, nil
	}
	was, before := debtor(prev)
	is, after := debtor(next)
	if was != is || before != after {
		if was != "" {
			s, err := row(was)
			if err != nil {
				return err
			}
			delete(s.Owes, prev.ID)
		}
		if is != "" {
			s, err := row(is)
			if err != nil {
				return err
			}
			s.Owes[next.ID] = after
		}
	}
	if opened, closed := offers(next), offers(prev); opened != closed {
		s, err := row(next.Maker().Identity)
		if err != nil {
			return err
		}
		if opened {
			s.Open++
		} else {
			s.Open--
		}
	}
	if took, takes := waitingTaker(prev), waitingTaker(next); took != takes {
		for identity, n := range map[string]int{took: -1, takes: +1} {
			if identity == "" {
				continue
			}
			s, err := row(identity)
			if err != nil {
				return err
			}
			s.Takes += n
		}
	}
	for _, c := range bonds {
		for identity, n := range map[string]int{racer(&c.Was): -1, racer(&c.Is): +1} {
			if identity == "" || racer(&c.Was) == racer(&c.Is) {
				continue
			}
			s, err := row(identity)
			if err != nil {
				return err
			}
			s.Takes += n
		}
	}
	for identity, s := range rows {
		if len(s.Owes) == 0 && s.Open == 0 && s.Takes == 0 {
			w.delete(rowKey(tableOwes, identity))
		} else if err := w.set(rowKey(tableOwes, identity), s); err != nil {
			return err
		}
	}
	return nil
}

// mine is what a user who lost his device needs to know of one of his live orders.
type mine struct {
	Index int64 `json:"index"`
	// Other is the index of the other side, of who trades with himself; else 0.
	Other   int64          `json:"other,omitempty"`
	Status  mostro.Status  `json:"status"`
	Dispute *order.Dispute `json:"dispute,omitempty"`
}

// indexes are the trade indexes that somebody has in the order.
func (m mine) indexes() []int64 {
	if m.Other != 0 {
		return []int64{m.Index, m.Other}
	}
	return []int64{m.Index}
}

// mineOf lists the order under the identities of its parties while it lives.
func mineOf(o *order.Order) map[string]mine {
	list := map[string]mine{}
	if o.ID == "" || order.Ended(o.Status) {
		return list
	}
	for _, p := range []order.Party{o.Buyer, o.Seller} {
		if p.Identity != "" {
			list[p.Identity] = mine{Index: p.Index, Other: list[p.Identity].Index, Status: order.Shown(o), Dispute: o.Dispute}
		}
	}
	return list
}

func keepLive(w *writes, prev, next *order.Order) error {
	was, is := mineOf(prev), mineOf(next)
	for identity := range was {
		if _, stays := is[identity]; !stays {
			w.delete(rowKey(tableMine, identity, prev.ID))
		}
	}
	for identity, m := range is {
		if old, had := was[identity]; had && reflect.DeepEqual(old, m) {
			continue
		}
		if err := w.set(rowKey(tableMine, identity, next.ID), m); err != nil {
			return err
		}
	}
	return nil
}

// userFacts loads what Step must know of the sender.
func (e *Engine) userFacts(txn *badger.Txn, o *order.Order, ev order.Event, f *order.Facts) error {
	f.Level = e.level(txn, ev.Identity)
	if ev.Identity != ev.Sender {
		var u user
		if _, err := get(txn, rowKey(tableUser, ev.Identity), &u); err != nil {
			return &defect{err}
		}
		f.LastIndex = u.LastIndex
	}
	var s standing
	if _, err := get(txn, rowKey(tableOwes, ev.Identity), &s); err != nil {
		return &defect{err}
	}
	f.Open, f.Takes = s.Open, s.Takes
	if p := ev.Message.Payload; p != nil && p.NextTrade != nil {
		taken, err := has(txn, rowKey(tableKey, p.NextTrade.Pubkey))
		if err != nil {
			return err
		}
		user, err := has(txn, rowKey(tableUser, p.NextTrade.Pubkey))
		if err != nil {
			return err
		}
		f.NextTaken = taken || user || e.live.knows(p.NextTrade.Pubkey)
	}
	if o.Dispute != nil && o.Dispute.Solver != "" {
		f.AssignedLevel = e.level(txn, o.Dispute.Solver)
	}
	for id, what := range s.Owes {
		f.WaitingAsBuyer = f.WaitingAsBuyer || what == "invoice" && id != ev.Order
		f.WaitingAsSeller = f.WaitingAsSeller || what == "payment" && id != ev.Order
	}
	return e.peopleFacts(txn, o, ev, f)
}

// peopleFacts loads the reputations of the parties, the taker included, and who hears of
// disputes.
func (e *Engine) peopleFacts(txn *badger.Txn, o *order.Order, ev order.Event, f *order.Facts) (err error) {
	buyer, seller := o.Buyer, o.Seller
	taker := order.Party{Trade: ev.Sender, Identity: ev.Identity}
	switch racing := racerIn(f.Bonds, ev.Bond); {
	case racing != nil && o.Kind == mostro.Sell:
		buyer = racing.Owner
	case racing != nil:
		seller = racing.Owner
	case ev.On == order.EventName(mostro.TakeSell):
		buyer = taker
	case ev.On == order.EventName(mostro.TakeBuy):
		seller = taker
	}
	if f.Buyer, err = reputation(txn, buyer); err != nil {
		return err
	}
	if f.Seller, err = reputation(txn, seller); err != nil {
		return err
	}
	switch ev.On {
	case order.EventName(mostro.Dispute), order.EventName(mostro.FiatSent), order.LadderWarn, order.LadderLastCall, order.LadderDeadline:
		f.Solvers, err = e.disputeKeys(txn)
	}
	return err
}

// reputation is that of a party, nil in full privacy and for who has never traded here.
func reputation(txn *badger.Txn, p order.Party) (*order.Reputation, error) {
	if p.Identity == "" || p.FullPrivacy() {
		return nil, nil
	}
	var u user
	if ok, err := get(txn, rowKey(tableUser, p.Identity), &u); err != nil || !ok {
		if err != nil {
			err = &defect{err}
		}
		return nil, err
	}
	r := u.Reputation
	r.Since = u.Since
	return &r, nil
}

// makerRating is the rating tag of a maker in the book, nil in full privacy.
func (e *Engine) makerRating(txn *badger.Txn, o *order.Order, now int64) (*mostro.Rating, error) {
	r, err := reputation(txn, *o.Maker())
	if r == nil || err != nil {
		return nil, err
	}
	return &mostro.Rating{TotalReviews: r.Reviews, TotalRating: r.Rating, Days: r.Days(now)}, nil
}

// rate counts a rating, in the transaction that claims it, and queues its publication.
func (e *Engine) rate(txn *badger.Txn, w *writes, ev order.Event, rated order.Rated) error {
	if rated.Identity == "" {
		return nil
	}
	u := user{Since: ev.At}
	if _, err := get(txn, rowKey(tableUser, rated.Identity), &u); err != nil {
		return &defect{err}
	}
	u.Reputation = u.Reputation.Add(int64(rated.Rating))
	if err := w.set(rowKey(tableUser, rated.Identity), u); err != nil {
		return err
	}
	r := u.Reputation
	r.Since = u.Since
	return w.set(rowKey(tableRating, rated.Trade), r)
}

// ratingsEvery is how often ratings are published: together and in shuffled order, so that
// the time of an event does not tell which trade it comes from.
const ratingsEvery = 45 * time.Second

func (e *Engine) publishRatings(ctx context.Context) {
	for sleep(ctx, ratingsEvery) {
		if err := e.flushRatings(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("publish ratings, will try again", "error", err)
		}
	}
}

func (e *Engine) flushRatings(ctx context.Context) error {
	rows := map[string]order.Reputation{}
	err := e.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{tableRating, 0}, true, func(key, value []byte) error {
			var r order.Reputation
			if err := json.Unmarshal(value, &r); err != nil {
				return fmt.Errorf("decode row %q: %w", key, err)
			}
			rows[string(key[2:])] = r
			return nil
		})
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	var keys []string
	for key := range rows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return e.submit(ctx, "", func(txn *badger.Txn, w *writes) error {
		for _, key := range keys {
			r := rows[key]
			event := mostro.RatingEvent(mostro.UserRating{
				TradeKey: key, TotalReviews: r.Reviews, TotalRating: r.Rating, LastRating: r.Last, MaxRate: r.Max, MinRate: r.Min,
				Days: r.Days(e.now()), Expiration: e.now() + int64(e.cfg.Settings.RatingDays)*86400,
			}, e.instance())
			if err := e.publish(txn, w, lane("ratings", laneTells), event, key); err != nil {
				return err
			}
			w.delete(rowKey(tableRating, key))
		}
		return nil
	})
}

// bear writes the child of a range order. Its maker's new key is answered on the transport
// of the old one, and by the same way, until it writes itself.
func (e *Engine) bear(txn *badger.Txn, w *writes, parent, child *order.Order, ev order.Event, facts order.Facts) error {
	transport, err := text(txn, rowKey(tableKey, parent.Maker().Trade))
	if err != nil {
		return err
	}
	known, err := has(txn, rowKey(tableKey, child.Maker().Trade))
	if err != nil {
		return err
	}
	if transport != "" && !known {
		w.mark(rowKey(tableKey, child.Maker().Trade), []byte(transport))
	}
	if e.cfg.SameWay != nil && !known {
		if err := e.cfg.SameWay(child.Maker().Trade, parent.Maker().Trade); err != nil {
			// The escrow is settled, and its buyer paid, all the same.
			e.log.Error("note where the maker of a range's rest is answered; he may hear nothing on the relay that he reads",
				"order", child.ID, "error", err)
		}
	}
	return e.keep(txn, w, &order.Order{}, child, ev, facts, order.Out{Row: -1})
}
