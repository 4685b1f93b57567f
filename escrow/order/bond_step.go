package order

import (
	"fmt"
	"slices"

	"mostro/escrow/mostro"
)

// BondChange is a bond before and after an event; the zero Was is a bond that is born.
type BondChange struct {
	Was, Is Bond
	Row     int // of BondTable, the last that was stepped; -1 for a bond that is born
}

// signal is what an order and its bonds say to each other while one event is applied.
type signal struct {
	on    EventName
	from  string // the bond that speaks to the order, or
	to    string // the bond that the order speaks to
	slash *Slash
}

// bondStep is one event of one bond under way.
type bondStep struct {
	prev  Bond
	b     *Bond
	order *Order // as it stands now, not to be changed from here
	child *Order // the rest of the range, just born
	e     Event
	f     Facts
	slash *Slash
	out   *Out
	born  []Bond
}

// drive applies one event to an order and its bonds: what one says to another is applied too,
// until nobody has anything to say. All of it is one step for whoever keeps it.
type drive struct {
	m   *Machine
	e   Event
	f   Facts // Bonds are those that live now
	out Out
}

// Step applies an event to an order (the zero Order for new-order) and to its bonds, which
// come with the facts. It returns an error only when an invariant of the money would break;
// then nothing of the step may be kept.
func (m *Machine) Step(prev Order, e Event, f Facts) (Out, error) {
	d := &drive{m: m, e: e, f: f, out: Out{Order: prev, Row: -1}}
	d.f.Bonds = slices.Clone(f.Bonds)
	var err error
	switch {
	case e.Bond != "":
		err = d.bond(e.Bond, e, nil)
	case e.On == on(mostro.AddBondInvoice):
		err = d.claim()
	default:
		err = d.order(e)
	}
	for err == nil && len(d.out.signals) > 0 {
		s := d.out.signals[0]
		d.out.signals = d.out.signals[1:]
		if s.to != "" {
			err = d.bond(s.to, d.said(s.on), s.slash)
			continue
		}
		told := d.said(s.on)
		told.Message = nil // it was the bond's to answer
		err = d.order(told)
	}
	if err != nil {
		return Out{}, err
	}
	if d.out.Row >= 0 && d.out.Refusal == "" {
		d.out.Order.Rev = prev.Rev + 1
	}
	return d.out, nil
}

// said is the event as one part of the step passes it on to another.
func (d *drive) said(as EventName) Event {
	e := d.e
	e.On, e.inside = as, true
	return e
}

// order steps the order, and takes from it the bonds that it does not need any more.
func (d *drive) order(e Event) error {
	was := d.out.Order
	out, err := d.m.stepOrder(was, e, d.f)
	if err != nil || out.Row < 0 && out.Refusal == "" || out.Refusal != "" {
		if out.Refusal != "" {
			d.out.Row, d.out.Refusal, d.out.Tells = out.Row, out.Refusal, append(d.out.Tells, out.Tells...)
		}
		return err
	}
	d.merge(out)
	for _, b := range out.born {
		d.keep(BondChange{Is: b, Row: -1})
	}
	now := &d.out.Order
	for i := range d.f.Bonds {
		b := &d.f.Bonds[i]
		spoken := slices.ContainsFunc(d.out.signals, func(s signal) bool { return s.to == b.ID })
		if b.State != BondRequested && b.State != BondLocked || spoken || needed(now, b) {
			continue
		}
		s := signal{on: BondFree, to: b.ID}
		if d.out.Child != nil && b.Role == MakerBond {
			s.on = BondCarry
		}
		d.out.signals = append(d.out.signals, s)
	}
	return nil
}

// merge adds what one step of the order leads to.
func (d *drive) merge(out Out) {
	d.out.Order, d.out.Row = out.Order, out.Row
	d.out.Tells = append(d.out.Tells, out.Tells...)
	d.out.Calls = append(d.out.Calls, out.Calls...)
	d.out.Alarms = append(d.out.Alarms, out.Alarms...)
	d.out.Stray += out.Stray
	d.out.signals = append(d.out.signals, out.signals...)
	if out.UseIndex > 0 {
		d.out.UseIndex, d.out.UsedBy = out.UseIndex, out.UsedBy
	}
	if out.FreeIndex > 0 {
		d.out.FreeIndex, d.out.UsedBy = out.FreeIndex, out.UsedBy
	}
	if out.Child != nil {
		d.out.Child = out.Child
	}
	if out.Rated != nil {
		d.out.Rated = out.Rated
	}
	d.out.Republish = d.out.Republish || out.Republish
}

// keep notes what has become of a bond.
func (d *drive) keep(c BondChange) {
	i := slices.IndexFunc(d.out.Bonds, func(each BondChange) bool { return each.Is.ID == c.Is.ID })
	if i < 0 {
		d.out.Bonds = append(d.out.Bonds, c)
	} else {
		d.out.Bonds[i].Is, d.out.Bonds[i].Row = c.Is, c.Row
	}
	if i = slices.IndexFunc(d.f.Bonds, func(b Bond) bool { return b.ID == c.Is.ID }); i < 0 {
		d.f.Bonds = append(d.f.Bonds, c.Is)
	} else {
		d.f.Bonds[i] = c.Is
	}
}

// bond steps one bond.
func (d *drive) bond(id string, e Event, slash *Slash) error {
	i := slices.IndexFunc(d.f.Bonds, func(b Bond) bool { return b.ID == id })
	if i < 0 {
		return nil
	}
	prev := d.f.Bonds[i]
	b := prev
	b.Ledger, b.Payout.Earlier = slices.Clone(prev.Ledger), slices.Clone(prev.Payout.Earlier)
	var out Out
	s := &bondStep{prev: prev, b: &b, order: &d.out.Order, child: d.out.Child, e: e, f: d.f, slash: slash, out: &out}
	roles := s.roles()
	for _, r := range d.m.byBond[bondKey{prev.State, e.On}] {
		row := &d.m.bondRows[r]
		if row.By&roles == 0 || row.If.Holds != nil && !row.If.Holds(s) {
			continue
		}
		if row.Refuse != "" {
			d.out.Refusal = row.Refuse
			d.out.Tells = []Tell{Refusal(e.Sender, *e.Message, row.Refuse, d.f.Level != NoSolver)}
			return nil
		}
		if row.To != sameBond {
			b.State = row.To
		}
		b.Rev++
		for _, effect := range row.Do {
			effect.Apply(s)
		}
		for _, each := range append([]Bond{b}, s.born...) {
			if err := CheckBond(&each); err != nil {
				return fmt.Errorf("step %s on bond %s in %q: %w", e.On, each.ID, prev.State, err)
			}
		}
		d.keep(BondChange{Was: prev, Is: b, Row: r})
		for _, each := range s.born {
			d.keep(BondChange{Is: each, Row: -1})
		}
		d.out.Tells = append(d.out.Tells, out.Tells...)
		d.out.Calls = append(d.out.Calls, out.Calls...)
		d.out.Alarms = append(d.out.Alarms, out.Alarms...)
		d.out.Stray += out.Stray
		d.out.signals = append(d.out.signals, out.signals...)
		return nil
	}
	return nil
}

// roles tells what the author of an event is to the bond.
func (s *bondStep) roles() Role {
	switch {
	case s.e.inside:
		return TheOrder
	case s.e.Hold != nil || s.e.Payment != nil:
		return Node
	case s.e.Message == nil:
		return Clock
	case s.b.Slash != nil && s.b.Slash.Winner.Trade == s.e.Sender:
		return Winner
	}
	return 0
}

// claim finds the bond whose winner has sent an invoice. Of several the one counts whose
// share is the invoice's amount.
func (d *drive) claim() error {
	var mine []Bond
	for _, b := range d.f.Bonds {
		if b.State == BondPayout && b.Slash.Winner.Trade == d.e.Sender {
			mine = append(mine, b)
		}
	}
	if len(mine) == 0 {
		d.out.Refusal = mostro.NotAllowedByStatus
		d.out.Tells = []Tell{Refusal(d.e.Sender, *d.e.Message, d.out.Refusal, d.f.Level != NoSolver)}
		return nil
	}
	slices.SortStableFunc(mine, func(a, b Bond) int { return d.fits(b) - d.fits(a) })
	return d.bond(mine[0].ID, d.e, nil)
}

// fits ranks the bonds that an invoice may be meant for.
func (d *drive) fits(b Bond) (rank int) {
	if d.f.Invoice != nil && d.f.Invoice.Amount == b.WinnerGets() {
		rank += 2
	}
	if b.Payout.State == PayoutAsking {
		rank++
	}
	return rank
}

type bondKey struct {
	from BondState
	on   EventName
}

// indexBonds makes the bond's table ready to be stepped.
func (m *Machine) indexBonds() {
	m.bondRows, m.byBond = BondTable(), map[bondKey][]int{}
	for i, row := range m.bondRows {
		for _, from := range row.From {
			k := bondKey{from, row.On}
			m.byBond[k] = append(m.byBond[k], i)
		}
	}
}

// BondID is the id of the bond that is born of an event, if one is.
func BondID(e Event) string { return newID(e, "bond") }

// WantedBond tells whether a call of a bond is still to be made.
func WantedBond(b *Bond, c Call) bool { return wanted(&b.Hold, &b.Payout, c) }
