package lnd_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"github.com/lightningnetwork/lnd/lnrpc/routerrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mostro/escrow/lightning"
	"mostro/escrow/lightning/contract"
	"mostro/escrow/lightning/lnd"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/order"
)

// TestContract runs the cases that Sim must pass on real nodes, each driven with the
// macaroon that operators are told to bake.
func TestContract(t *testing.T) {
	contract.Run(t, func(t *testing.T) contract.Network { return newRealNetwork(t) })
}

// feeLimitMsat is generous for payments of tests.
const feeLimitMsat = 1_000_000

// realNetwork makes a contract.Network of real nodes.
type realNetwork struct {
	*regtest.Network
	nodes map[contract.Party]*lnd.Node
}

func nameOf(p contract.Party) string {
	return map[contract.Party]string{contract.Escrow: "mostro", contract.Seller: "alice", contract.Buyer: "bob"}[p]
}

func newRealNetwork(t *testing.T) realNetwork {
	network := realNetwork{regtest.ForTest(t), make(map[contract.Party]*lnd.Node)}
	for _, party := range []contract.Party{contract.Escrow, contract.Seller, contract.Buyer} {
		network.nodes[party] = dial(t, network.Network, nameOf(party), lnd.MacaroonURIs())
	}
	return network
}

// dial connects to a node with a macaroon that permits just these calls.
func dial(t testing.TB, network *regtest.Network, name string, uris []string) *lnd.Node {
	t.Helper()
	node, err := lnd.Dial(lnd.Config{
		Host:         network.Node(name).GRPC,
		CertFile:     network.Node(name).TLSCert,
		MacaroonFile: bake(t, network, name, uris),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	return node
}

// bake returns the path of a new macaroon.
func bake(t testing.TB, network *regtest.Network, name string, uris []string) string {
	t.Helper()
	request := &lnrpc.BakeMacaroonRequest{RootKeyId: 42}
	for _, uri := range uris {
		request.Permissions = append(request.Permissions, &lnrpc.MacaroonPermission{Entity: "uri", Action: uri})
	}
	answer, err := network.Client(name).BakeMacaroon(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.macaroon")
	if err := os.WriteFile(path, fromHex(t, answer.Macaroon), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (n realNetwork) Node(p contract.Party) lightning.Node { return n.nodes[p] }

func (n realNetwork) Supports(contract.Capability) bool { return true }

func (n realNetwork) Slots() int { return 483 }

func (n realNetwork) AddInvoice(t testing.TB, at contract.Party, req contract.InvoiceRequest) string {
	t.Helper()
	if req.Expiry == 0 {
		req.Expiry = time.Hour
	}
	answer, err := n.Client(nameOf(at)).AddInvoice(t.Context(), &lnrpc.Invoice{
		ValueMsat: int64(req.Amount), Expiry: int64(req.Expiry / time.Second), CltvExpiry: uint64(req.CLTVDelta),
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.PaymentRequest
}

func (n realNetwork) Pay(t testing.TB, from contract.Party, payment contract.Payment) {
	t.Helper()
	request := &routerrpc.SendPaymentRequest{
		PaymentRequest: payment.Invoice, FeeLimitMsat: feeLimitMsat, TimeoutSeconds: 60,
	}
	if payment.Amount != 0 {
		decoded := n.decode(t, from, payment.Invoice)
		request.PaymentRequest = ""
		request.Dest = fromHex(t, decoded.Destination)
		request.PaymentHash = fromHex(t, decoded.PaymentHash)
		request.PaymentAddr = decoded.PaymentAddr
		request.FinalCltvDelta = int32(decoded.CltvExpiry)
		request.AmtMsat = int64(payment.Amount)
		request.DestFeatures = []lnrpc.FeatureBit{lnrpc.FeatureBit_TLV_ONION_OPT, lnrpc.FeatureBit_PAYMENT_ADDR_OPT, lnrpc.FeatureBit_MPP_OPT}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // the payment goes on
	stream, err := routerrpc.NewRouterClient(n.Conn(nameOf(from))).SendPaymentV2(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

func (n realNetwork) decode(t testing.TB, at contract.Party, bolt11 string) *lnrpc.PayReq {
	t.Helper()
	decoded, err := n.Client(nameOf(at)).DecodePayReq(t.Context(), &lnrpc.PayReqString{PayReq: bolt11})
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func (n realNetwork) PayShard(t testing.TB, from contract.Party, bolt11 string, amount, total order.Msat) {
	t.Helper()
	const blockPadding = 3 // blocks, for those that come while the HTLC is under way
	decoded := n.decode(t, from, bolt11)
	router := routerrpc.NewRouterClient(n.Conn(nameOf(from)))
	built, err := router.BuildRoute(t.Context(), &routerrpc.BuildRouteRequest{
		AmtMsat:        int64(amount),
		FinalCltvDelta: int32(decoded.CltvExpiry) + blockPadding,
		HopPubkeys:     [][]byte{fromHex(t, decoded.Destination)},
		PaymentAddr:    decoded.PaymentAddr,
	})
	if err != nil {
		t.Fatal(err)
	}
	hops := built.Route.Hops
	hops[len(hops)-1].MppRecord.TotalAmtMsat = int64(total)
	hash := fromHex(t, decoded.PaymentHash)
	ctx := t.Context()
	// The call ends with the payment; the case sees what becomes of that.
	go router.SendToRouteV2(ctx, &routerrpc.SendToRouteRequest{PaymentHash: hash, Route: built.Route})
}

func (n realNetwork) SendLosingAnswer(t testing.TB, from contract.Party, req lightning.PayRequest) {
	t.Helper()
	node := lnd.NewNode(lossyConn{n.Conn(nameOf(from))})
	if payment, err := node.Send(t.Context(), req); status.Code(err) != codes.Unavailable {
		t.Fatalf("the answer was not lost: %+v, %v", payment, err)
	}
}

// lossyConn breaks when the first answer of a stream has come.
type lossyConn struct{ grpc.ClientConnInterface }

func (c lossyConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	return lossyStream{stream}, err
}

type lossyStream struct{ grpc.ClientStream }

func (s lossyStream) RecvMsg(message any) error {
	if err := s.ClientStream.RecvMsg(message); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "error reading from server: EOF")
}

func (n realNetwork) Mine(t testing.TB, blocks uint32) {
	t.Helper()
	if _, err := n.Network.Mine(t.Context(), blocks); err != nil {
		t.Fatal(err)
	}
}

func (n realNetwork) Advance(t testing.TB, d time.Duration) { time.Sleep(d) }

func (n realNetwork) Stop(t testing.TB, p contract.Party) { n.KillNode(nameOf(p)) }

func (n realNetwork) Start(t testing.TB, p contract.Party) {
	t.Helper()
	// Also called at the end of a case, when its context is over.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := n.StartNode(ctx, nameOf(p)); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := n.nodes[p].Info(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s does not come back: %v", nameOf(p), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (n realNetwork) RestrictedNode(t testing.TB, p contract.Party) lightning.Node {
	t.Helper()
	return dial(t, n.Network, nameOf(p), []string{
		"/lnrpc.Lightning/GetInfo", "/invoicesrpc.Invoices/LookupInvoiceV2",
	})
}

func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
