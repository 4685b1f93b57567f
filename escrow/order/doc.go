// Package order is the state machine of one trade, and nothing else.
//
// Everything that can change an order is an Event: a message from a person, news from the
// Lightning node, the clock. The Table says in rows of one sentence each what an event
// does: in this status, on this event, by this role, if this holds, go to that status and
// do these effects. The first fitting row wins. Where no row fits, a person is refused
// with the protocol's reason, and stale news from the node or the clock is dropped.
//
// Step applies one event to one order and is pure: no clock, randomness, network or disk.
// Time and randomness come with the event; settings, prices, what the node can do and what
// other rows of the database say come in Facts. What Step returns is the next order and
// what the world has to be told or asked; the engine makes both durable in one transaction
// before anything happens outside.
//
// Rules that hold for every row, checked after each step by CheckMoney:
//   - money that is owed is a ledger entry, never implied by a status;
//   - at most one payout hash of an order is not known to have failed;
//   - no payout before the node says that the escrow is settled;
//   - once a settle is intended, nothing cancels, and the other way round.
//
// A bond is a row of its own with a table of its own (bond_table.go, read like the order's). The
// order asks for it, slashes it and takes it along to the rest of a range; the bond says when
// it is locked, gone or lost. Step applies an event to an order and its bonds until neither has
// anything to say to the other, and whoever keeps the result keeps all of it. Whether a bond
// is still needed is a function of the order, so it comes back at every end that no row slashes.
//
// What is public about an order (the book, its dispute) and when it must be looked at
// again (deadlines) are functions of the order, so no row can forget them.
package order
