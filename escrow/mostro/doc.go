// Package mostro is the wire protocol: the words that clients and the escrow say to each
// other, the two envelopes they travel in, and the public events of a node.
//
// A Message is decoded strictly and encoded canonically. Strictly, because signatures are
// verified over the bytes as they were sent: whatever two readers could understand in two
// ways (a key twice, a key in another case, trailing data, a number that is no integer) is
// refused, so that what is acted on is what was signed. Unknown fields are ignored, as all
// implementations do. Canonically, because the existing daemon and its clients verify the
// re-serialized form: field order, nulls and omissions are those of its serde types.
//
// An envelope proves who speaks. Open returns the trade key (Sender), the identity key
// (Identity, equal to Sender in full privacy) and the message, or says that nothing is
// proven; what is not proven must not be answered to the key it claims.
//
// Seal is a pure function of the node's key and its argument: the nonces, the ephemeral
// key and the signatures are derived, so that sealing again after a crash gives the same
// event, byte for byte, and the event store calls it a duplicate.
//
// Signatures and conversation keys are made by btcec, or, under the build tag libsecp256k1, by the
// library of that name, several times faster and with the same bytes. A signature is not verified
// by its maker.
//
// The package knows neither orders in progress nor storage, time or the network: times and
// seeds come in, bytes and events go out. The parts for clients (Party, SealRequest,
// OpenReply) use real randomness; nothing else does, except NewMnemonic.
package mostro
