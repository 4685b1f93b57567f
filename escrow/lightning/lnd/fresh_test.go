package lnd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lightningnetwork/lnd/lnrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// showsMacaroon answers with the macaroon that it was shown.
type showsMacaroon struct {
	lnrpc.UnimplementedLightningServer
}

func (showsMacaroon) GetInfo(ctx context.Context, _ *lnrpc.GetInfoRequest) (*lnrpc.GetInfoResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	return &lnrpc.GetInfoResponse{Alias: strings.Join(md.Get("macaroon"), " ")}, nil
}

// newCertificate is one as lnd makes for itself, and its PEM.
func newCertificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// An lnd that comes back with a new certificate and wants a new macaroon is reached as soon as the files are there. Until
// then the error names the file.
func TestNewCertificateAndMacaroon(t *testing.T) {
	dir := t.TempDir()
	config := Config{CertFile: filepath.Join(dir, "tls.cert"), MacaroonFile: filepath.Join(dir, "mostro.macaroon")}
	write := func(path string, content []byte, age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age) // two files of one moment would look alike
		for _, err := range []error{os.WriteFile(path, content, 0o600), os.Chtimes(path, at, at)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	serve := func(address string, certificate tls.Certificate) (string, *grpc.Server) {
		t.Helper()
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
		lnrpc.RegisterLightningServer(server, showsMacaroon{})
		go server.Serve(listener)
		t.Cleanup(server.Stop)
		return listener.Addr().String(), server
	}

	first, firstPEM := newCertificate(t)
	mac := newMacaroon(t, []string{"uri:/lnrpc.Lightning/GetInfo"})
	write(config.CertFile, firstPEM, time.Hour)
	write(config.MacaroonFile, mac, time.Hour)
	address, server := serve("127.0.0.1:0", first)
	config.Host = address
	conn, err := Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	shows := func(want []byte) {
		t.Helper()
		answer, err := lnrpc.NewLightningClient(conn).GetInfo(t.Context(), &lnrpc.GetInfoRequest{}, grpc.WaitForReady(true))
		if err != nil || answer.Alias != hex.EncodeToString(want) {
			t.Errorf("lnd was shown %q, %v", answer.GetAlias(), err)
		}
	}
	shows(mac)

	server.Stop()
	second, secondPEM := newCertificate(t)
	serve(address, second)
	for {
		_, err := lnrpc.NewLightningClient(conn).GetInfo(t.Context(), &lnrpc.GetInfoRequest{})
		if err != nil && strings.Contains(err.Error(), config.CertFile) && strings.Contains(err.Error(), "copy its tls.cert") {
			break
		}
		if err == nil {
			t.Fatal("a certificate that is not in the file is trusted")
		}
		time.Sleep(10 * time.Millisecond)
	}
	other := newMacaroon(t, []string{"uri:/lnrpc.Lightning/GetInfo", "uri:/lnrpc.Lightning/ListInvoices"})
	write(config.MacaroonFile, other, time.Minute)
	write(config.CertFile, secondPEM, time.Minute)
	shows(other)
	if err := os.Remove(config.MacaroonFile); err != nil {
		t.Fatal(err)
	}
	shows(other)
}
