// Package lnd is lightning.Node on the gRPC interface of an LND node.
//
// It translates and adds nothing: no retry, no state, no money decision. Its rules:
//
//   - An error becomes one of lightning's only when lnd's answer proves it. lnd answers
//     nearly everything with the code Unknown and a text, so known texts are compared, and
//     every other text stays an unknown outcome (errors.go).
//   - A call without a deadline gets one, since lnd can hang. Streams live as long as their
//     context and end with an error when the connection dies; the caller opens them again.
//   - A payment belongs to lnd as soon as lnd has acknowledged it: ending our stream or our
//     process does not stop it.
//
// The package uses only the calls that MacaroonURIs lists. It must know nothing of orders;
// no type of lnd's leaves it, except the connection that Connect gives to regtest.
package lnd

import (
	"time"
)

// Limits of the connection and the calls.
const (
	callTimeout     = 10 * time.Second // a unary call whose caller set no deadline
	maxMessageBytes = 64 << 20         // an answer; a node with many channels exceeds gRPC's 4 MiB

	pingInterval   = 20 * time.Second // while a call or stream is open; lnd refuses less than 5 s
	pingTimeout    = 10 * time.Second
	connectTimeout = 10 * time.Second       // TCP, TLS and HTTP/2 together
	reconnectFirst = 200 * time.Millisecond // before the first attempt to connect again
	reconnectMost  = 5 * time.Second        // between attempts while lnd is away
)
