package store

import "errors"

// delete carries out a deletion (NIP-09): it removes what it names and is here, and leaves a
// tombstone for what is not, or not yet.
func (b *batch) delete(p *addition) (err error) {
	for _, tag := range p.ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "e":
			if id, fault := ParseKey(tag[1]); fault == nil {
				err = errors.Join(err, b.deleteEvent(p, id))
			}
		case "a":
			if author, address, ok := parseAddress(tag[1]); ok && author == p.author {
				err = errors.Join(err, b.deleteVersions(p, address))
			}
		}
	}
	return err
}

func (b *batch) deleteEvent(p *addition, id Key) error {
	until := max(p.created, b.now) + inAdvance
	if ref, ok := b.s.index.find(id); ok {
		until = b.s.index.record(ref).created
		if b.mayDelete(ref, p.author) {
			b.take(p, ref)
		}
	} else {
		c, err := b.s.findCold(id)
		if err != nil {
			return err
		}
		if c != nil {
			until = c.created
		}
		if c != nil && b.mayDeleteCold(c, p.author) {
			b.removeCold(c)
		}
	}
	q := b.byID[id]
	if q != nil {
		until = q.created
	}
	b.bury(deletedRow(id, p.author), until)
	if q != nil && (q.author == p.author || q.receivedBy(p.author)) && b.deletable(q.kind, q.author) {
		q.gone = true
	}
	return nil
}

// mayDeleteCold is mayDelete for a cold event, which is never a gift wrap.
func (b *batch) mayDeleteCold(c *cooled, by Key) bool {
	return c.author == by && b.deletable(c.kind, c.author)
}

// mayDelete reports whether a deletion by this author removes an event of the index.
func (b *batch) mayDelete(ref uint32, by Key) bool {
	x := b.s.index
	rec := x.record(ref)
	received := rec.kind == kindGiftWrap && x.in(ref, tagKey('p', by.String(), kindGiftWrap))
	return (rec.author == by || received) && b.deletable(rec.kind, rec.author)
}

func (b *batch) deleteVersions(p *addition, address listKey) error {
	b.bury(addressRow(address), p.created)
	x := b.s.index
	for _, ref := range x.members(address) {
		if rec := x.record(ref); rec.created <= p.created && b.deletable(rec.kind, rec.author) {
			b.take(p, ref)
		}
	}
	if err := b.removeColdMembers(address, p.created, b.deletable); err != nil {
		return err
	}
	if q := b.current[address]; q != nil && q.created <= p.created && b.deletable(q.kind, q.author) {
		q.gone = true
	}
	return nil
}

// removeColdMembers removes the cold events of a list up to a time, as far as may allows.
func (b *batch) removeColdMembers(k listKey, until int64, may func(kind uint16, author Key) bool) error {
	cold, err := b.s.coldMembers(k)
	for _, c := range cold {
		if c.created <= until && may(c.kind, c.author) {
			b.removeCold(c)
		}
	}
	return err
}

// vanish carries out a request to vanish (NIP-62): everything by its author up to its time goes,
// and the gift wraps sent to him.
func (b *batch) vanish(p *addition) error {
	b.bury(vanishedRow(p.author), p.created)
	if err := b.removeOf(p.author, p.created); err != nil {
		return err
	}
	for _, q := range b.added {
		if (q.author == p.author || q.receivedBy(p.author)) && q.created <= p.created && b.vanishes(q.kind, q.author) {
			q.gone = true
		}
	}
	return nil
}

// removeOf removes what vanishes with an author.
func (b *batch) removeOf(author Key, until int64) error {
	for _, ref := range b.s.index.ofAuthor(author) {
		if rec := b.s.index.record(ref); rec.created <= until && b.vanishes(rec.kind, rec.author) {
			b.remove(ref)
		}
	}
	return b.removeColdMembers(authorKey(author, restClass), until, b.vanishes)
}

// ofAuthor lists the events by an author, and the gift wraps to him.
func (x *index) ofAuthor(author Key) []uint32 {
	refs := x.members(authorKey(author, restClass))
	for _, hot := range hotKinds {
		refs = append(refs, x.members(authorKindKey(author, hot))...)
	}
	return append(refs, x.members(tagKey('p', author.String(), kindGiftWrap))...)
}

// bury notes a tombstone. The latest of several counts.
func (b *batch) bury(row []byte, second int64) {
	if old, ok := b.tombs[string(row)]; ok {
		second = max(second, old)
	} else if old, ok, err := b.s.get(row); err == nil && ok {
		second = max(second, old)
		delete(b.forgotten, string(row))
	} else {
		b.fresh++
	}
	b.tombs[string(row)] = second
}

// deletable: a deletion of a deletion has no effect (NIP-09), nor one of a request to vanish
// (NIP-62), nor one of what the relay protects.
func (b *batch) deletable(kind uint16, author Key) bool {
	return kind != kindDeletion && b.vanishes(kind, author)
}

// vanishes: a request to vanish takes deletions too, since their tombstones stay.
func (b *batch) vanishes(kind uint16, author Key) bool {
	return kind != kindVanish && !b.s.opts.Protected(int(kind), author)
}

// deleted reports whether p was deleted by someone who may: its author, or a recipient of a gift
// wrap, whose author is a throw-away key (NIP-59).
func (b *batch) deleted(p *addition) (bool, error) {
	deletable, vanishes := b.deletable(p.kind, p.author), b.vanishes(p.kind, p.author)
	if deletable && hasVersions(p.kind) {
		if until, ok, err := b.tomb(addressRow(p.keys[0])); err != nil || ok && p.created <= until {
			return true, err
		}
	}
	for _, who := range p.owners() {
		if deletable {
			if _, ok, err := b.tomb(deletedRow(p.id, who)); err != nil || ok {
				return true, err
			}
		}
		if vanishes {
			if until, ok, err := b.tomb(vanishedRow(who)); err != nil || ok && p.created <= until {
				return true, err
			}
		}
	}
	return false, nil
}

// owners lists who may have p removed.
func (p *addition) owners() []Key {
	owners := []Key{p.author}
	if p.kind == kindGiftWrap {
		for tag := range p.ev.Tags.FindAll("p") {
			if who, err := ParseKey(tag[1]); err == nil {
				owners = append(owners, who)
			}
		}
	}
	return owners
}

func (p *addition) receivedBy(who Key) bool {
	return p.kind == kindGiftWrap && p.ev.Tags.FindWithValue("p", who.String()) != nil
}

// tomb looks for a tombstone, of this batch or on disk.
func (b *batch) tomb(row []byte) (second int64, ok bool, err error) {
	if second, ok = b.tombs[string(row)]; ok {
		return second, true, nil
	}
	if row[0] == rowVanished && !b.s.vanished || row[0] != rowVanished && !b.s.tombstones {
		return 0, false, nil
	}
	return b.s.get(row)
}
