// Package reviews makes of public events what a trader wants to know of a node before he trusts
// it with money: facts, which follow from what the node itself has signed, and opinions, which
// others have signed.
//
// The rules it keeps:
//
//   - Facts stand apart from opinions, and the three shapes of opinions apart from each other.
//     Only reviews that carry the node's proof of a trade have a score; those in the form of RoboSats, which only
//     trades that have ended prove, and recommendations and labels, which can be by anybody, are counted and
//     quoted. Nothing is averaged over shapes.
//   - Every event is verified, and of an addressable one the newest counts.
//   - A node can trade with itself and so prove what it likes. So count, weeks and age stand
//     beside a score; reviews weigh by the development fees that the node has published in their
//     month, no month weighs more than capMonth, or more than its trades, and fewer than fewReviews have no score.
//
// What it cannot know: whether a node has published all of its disputes, backdated an event, or
// whether a development fee that it has published arrived. It is as good as what the relay kept.
//
// It must not know where events come from. It reads no clock.
package reviews
