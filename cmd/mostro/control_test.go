package main

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestControlEnds: the stores are not closed while a command is being answered, since serving commands ends after it.
func TestControlEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var answered atomic.Bool
	commands := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		end()
		time.Sleep(200 * time.Millisecond) // for a server that does not wait to be gone
		answered.Store(true)
	})
	go func() {
		if res, err := http.Get("http://" + listener.Addr().String()); err == nil {
			res.Body.Close()
		}
	}()
	if err := serveCommands(ctx, listener, commands); err != nil {
		t.Fatal(err)
	}
	if !answered.Load() {
		t.Error("serving has ended while a command was being answered")
	}
}
