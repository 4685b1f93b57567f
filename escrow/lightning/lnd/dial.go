package lnd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"gopkg.in/macaroon.v2"
)

// Config says where the node is and what opens it.
type Config struct {
	// Host is "https://host:port" or "host:port"; lnd's usual port is 10009.
	Host string
	// CertFile is lnd's tls.cert (PEM). Only this certificate, or one that it signed, is
	// trusted. Like the macaroon it is read again when it has changed.
	CertFile string
	// MacaroonFile is a binary macaroon; MacaroonURIs is what it should permit.
	MacaroonFile string
}

// Connect makes a connection to an lnd and returns at once; an error means that the
// configuration is wrong, never that the node is away. The connection repairs itself.
func Connect(config Config) (*grpc.ClientConn, error) {
	address, err := parseHost(config.Host)
	if err != nil {
		return nil, err
	}
	certificate, err := newFreshTLS(config.CertFile)
	if err != nil {
		return nil, err
	}
	macaroon, err := newFreshMacaroon(config.MacaroonFile)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.Dial(address,
		grpc.WithTransportCredentials(certificate),
		grpc.WithPerRPCCredentials(macaroon),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		// lnd refuses pings that come while no call is open, so a connection that died in
		// silence is noticed by the next call.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  reconnectFirst,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   reconnectMost,
			},
			MinConnectTimeout: connectTimeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to lnd at %s: %w", address, err)
	}
	return conn, nil
}

// parseHost takes the scheme off an address and checks what is left.
func parseHost(host string) (string, error) {
	address := strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/")
	name, port, err := net.SplitHostPort(address)
	if err != nil || name == "" || port == "" || strings.Contains(address, "/") {
		return "", fmt.Errorf("lnd address %q: want https://host:port or host:port; lnd's usual port is 10009", host)
	}
	return address, nil
}

// CheckCertificate says what is wrong with a file that should hold lnd's certificate.
func CheckCertificate(path string) error {
	_, err := readCertificate(path)
	return err
}

func readCertificate(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("lnd certificate", path, "lnd keeps it as tls.cert in its directory; copy it to this machine and name it in lnd_cert_file", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("lnd certificate %s: there is no PEM certificate in it; copy lnd's tls.cert again", path)
	}
	return roots, nil
}

func readMacaroon(path string) (*macaroon.Macaroon, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError("lnd macaroon", path, "bake one with lncli bakemacaroon and name it in lnd_macaroon_file", err)
	}
	var mac macaroon.Macaroon
	if err := mac.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("lnd macaroon %s: not a binary macaroon (hex or base64 text will not do); bake it with --save_to: %w", path, err)
	}
	return &mac, nil
}

// fileError says which file cannot be read and what to do about it.
func fileError(what, path, remedy string, err error) error {
	switch {
	case path == "":
		return fmt.Errorf("%s: no file is named: %s", what, remedy)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: this user may not read it; change its owner or mode: %w", what, path, err)
	default:
		return fmt.Errorf("%s: %w; %s", what, err, remedy)
	}
}

// withDeadline bounds a call whose caller set no bound: lnd has hung in every one of its
// calls at some time.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTimeout)
}
