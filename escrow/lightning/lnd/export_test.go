package lnd

import "google.golang.org/grpc"

// NewNode makes a node of a connection that a test has put something in between.
func NewNode(conn grpc.ClientConnInterface) *Node {
	return newNode(conn, func() error { return nil })
}
