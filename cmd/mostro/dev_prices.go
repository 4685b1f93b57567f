package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

const priceHeaderTime = 10 * time.Second // for a client to send its HTTP headers

// fixedPrices is what one bitcoin costs on the dev network, in the answer of a real provider:
// market orders work without the internet, and tests know what comes out.
const fixedPrices = `{"BTC":{"USD":100000,"EUR":90000,"ARS":120000000,"CUP":40000000,"VES":11000000,` +
	`"MXN":1900000,"BRL":560000,"COP":410000000,"CLP":95000000,"PEN":370000,"GBP":78000,"JPY":15000000},` +
	`"base":"BTC","timestamp":0}`

// priceServer serves fixedPrices in Yadio's format.
type priceServer struct {
	URL    string
	server *http.Server
}

func startPriceServer() (*priceServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start price server: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /exrates/BTC", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, fixedPrices)
	})
	p := &priceServer{"http://" + listener.Addr().String(), &http.Server{Handler: mux, ReadHeaderTimeout: priceHeaderTime}}
	go p.server.Serve(listener) // returns at Close
	return p, nil
}

func (p *priceServer) Close() { p.server.Close() }
