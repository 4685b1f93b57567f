package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/escrow/price"
)

// pricedNode runs a node that asks for prices each second.
func pricedNode(t *testing.T, settings ...string) *served {
	return serveWith(t, append([]string{"price.update_interval_seconds=1"}, settings...)...)
}

// TestPricesBetweenNodes: a node publishes its prices on its relay. Another one that trusts it and
// gets the event, whoever brings it, trades at them, and does not publish them again.
func TestPricesBetweenNodes(t *testing.T) {
	first := pricedNode(t, "price.providers.fixed.enabled=true", `price.providers.fixed.rates=["USD=100000", "CUP=40000000.5"]`)
	second := pricedNode(t, "price.providers.nostr.enabled=true", "price.providers.nostr.trusted_nodes=[\""+first.cfg.key.Public()+"\"]",
		`price.providers.nostr.except=["USD"]`)
	filter := nostr.Filter{Kinds: []int{mostro.KindRates}, Tags: nostr.TagMap{"d": {price.RatesTag}}}
	relay, err := nostr.RelayConnect(t.Context(), first.url)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	sub, err := relay.Subscribe(t.Context(), nostr.Filters{filter})
	if err != nil {
		t.Fatal(err)
	}
	rates := <-sub.Events
	if ok, err := rates.CheckSignature(); !ok || err != nil || rates.PubKey != first.cfg.key.Public() {
		t.Fatalf("published by %s: %v", rates.PubKey, err)
	}
	if rates.Content != `{"BTC":{"CUP":40000000.5,"USD":100000}}` || rates.Tags.Find("source")[1] != "fixed" ||
		rates.Tags.Find("published_at") == nil || rates.Tags.Find("expiration") == nil {
		t.Errorf("published %v", rates)
	}

	peer, err := nostr.RelayConnect(t.Context(), second.url)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	for known := false; !known; time.Sleep(10 * time.Millisecond) {
		// It is replaced each second, so that one may be overtaken on the way.
		select {
		case rates = <-sub.Events:
		default:
		}
		if err := peer.Publish(t.Context(), *rates); err != nil {
			t.Fatal(err)
		}
		got, ok := second.prices.Price("CUP")
		if known = ok; known && got.PerBTC != 40_000_000_500_000 {
			t.Errorf("CUP is %v", got)
		}
	}
	if got, ok := second.prices.Price("USD"); ok {
		t.Errorf("USD, which is not taken from there, is %v", got)
	}
	mine, err := second.relay.Query(t.Context(), nostr.Filter{Kinds: filter.Kinds, Authors: []string{second.cfg.key.Public()}})
	if err != nil || len(mine) > 0 {
		t.Errorf("published again: %v, %v", mine, err)
	}
}

// TestNetworkProxy: with a proxy in the settings, prices and payees of onion services are asked for
// through it.
func TestNetworkProxy(t *testing.T) {
	proxy, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	greeted := make(chan string, 64)
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			go socksGreeting(conn, greeted)
		}
	}()
	onion := strings.Repeat("abcdefg234567xyz", 4)[:56] + ".onion"
	n := pricedNode(t, "network.proxy=socks5h://"+proxy.Addr().String(), "price.providers.blockchain.enabled=true",
		"price.providers.blockchain.url=http://"+onion)
	if got := <-greeted; got != onion+":80" {
		t.Errorf("prices are asked for at %s", got)
	}
	p, err := n.newPayees()
	if err != nil {
		t.Fatal(err)
	}
	payee := "z" + onion[1:]
	if !p.IsAddress("bob@" + payee) {
		t.Error("an onion service is no address, with a proxy")
	}
	if _, err = p.resolve(t.Context(), "bob@"+payee, 1000); err == nil {
		t.Error("resolved by nobody")
	}
	for got := ""; got != payee+":80"; { // prices are asked for again meanwhile
		got = <-greeted
	}
}

// socksGreeting reads what a SOCKS5 client wants to connect to, and refuses.
func socksGreeting(conn net.Conn, asked chan<- string) {
	defer conn.Close()
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil || head[0] != 5 {
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, head[1])); err != nil {
		return
	}
	conn.Write([]byte{5, 0})
	request := make([]byte, 5) // version, connect, 0, domain name, its length
	if _, err := io.ReadFull(conn, request); err != nil || request[3] != 3 {
		return
	}
	name := make([]byte, int(request[4])+2)
	if _, err := io.ReadFull(conn, name); err != nil {
		return
	}
	port := int(name[len(name)-2])<<8 | int(name[len(name)-1])
	select {
	case asked <- fmt.Sprintf("%s:%d", name[:len(name)-2], port):
	default: // the node asks again and again
	}
	conn.Write([]byte{5, 1, 0, 1, 0, 0, 0, 0, 0, 0})
}
