package escrow

import (
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

// proof signs what a message asks for, nil when it asks for none. Whether it goes out is for the
// table to say.
func (e *Engine) proof(o *order.Order, ev order.Event) (*mostro.ReviewProof, error) {
	week := order.ReviewWeek(o, ev)
	if week == "" {
		return nil, nil
	}
	p, err := mostro.SignReviewProof(e.cfg.Key, *ev.Message.Payload.ReviewKey, week)
	return &p, err
}
