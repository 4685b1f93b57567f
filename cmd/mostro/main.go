package main

import (
	_ "github.com/dgraph-io/badger/v4"
	_ "github.com/fasthttp/websocket"
	_ "github.com/fiatjaf/eventstore/badger"
	_ "github.com/fiatjaf/khatru"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/uuid"
	_ "github.com/lightningnetwork/lnd/lnrpc"
	_ "github.com/lightningnetwork/lnd/lnrpc/chainrpc"
	_ "github.com/lightningnetwork/lnd/lnrpc/invoicesrpc"
	_ "github.com/lightningnetwork/lnd/lnrpc/routerrpc"
	_ "github.com/lightningnetwork/lnd/macaroons"
	_ "github.com/lightningnetwork/lnd/zpay32"
	_ "github.com/nbd-wtf/go-nostr"
	_ "github.com/nbd-wtf/go-nostr/nip06"
	_ "github.com/pelletier/go-toml/v2"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "golang.org/x/time/rate"
)

func main() {}
