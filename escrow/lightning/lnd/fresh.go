package lnd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lightningnetwork/lnd/macaroons"
	"google.golang.org/grpc/credentials"
)

// lnd makes a new certificate when the old one has expired, after 14 months, or when its addresses
// have changed. A process that goes on with the one that it has read at its start is cut off from
// then on, while the escrows' blocks run out. So both files are read again: the certificate at each
// handshake, the macaroon when its file has changed.

// freshTLS trusts the certificate that is in the file at each handshake.
type freshTLS struct {
	credentials.TransportCredentials        // with what the file had at the start
	file                             string // lnd's tls.cert

	mu   sync.Mutex
	last credentials.TransportCredentials // with what the file had when it was last read whole
}

func newFreshTLS(file string) (*freshTLS, error) {
	roots, err := readCertificate(file)
	if err != nil {
		return nil, err
	}
	is := trust(roots)
	return &freshTLS{TransportCredentials: is, file: file, last: is}, nil
}

func trust(roots *x509.CertPool) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
}

// ClientHandshake says, where lnd shows another certificate, what to do about it.
func (c *freshTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c.mu.Lock()
	if roots, err := readCertificate(c.file); err == nil { // a file that is being written is read at the next one
		c.last = trust(roots)
	}
	is := c.last
	c.mu.Unlock()
	conn, info, err := is.ClientHandshake(ctx, authority, raw)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		err = fmt.Errorf("lnd shows another certificate than that in %s: if lnd has made a new one, copy its tls.cert there, it is read by itself: %w", c.file, err)
	}
	return conn, info, err
}

// Clone keeps reading the file.
func (c *freshTLS) Clone() credentials.TransportCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &freshTLS{TransportCredentials: c.TransportCredentials.Clone(), file: c.file, last: c.last}
}

// freshMacaroon sends the macaroon that is in the file.
type freshMacaroon struct {
	file string

	mu   sync.Mutex
	at   time.Time // of the file that was read
	size int64
	is   macaroons.MacaroonCredential
}

func newFreshMacaroon(file string) (*freshMacaroon, error) {
	c := &freshMacaroon{file: file}
	return c, c.read()
}

func (c *freshMacaroon) read() error {
	at, err := os.Stat(c.file)
	if err == nil && at.ModTime().Equal(c.at) && at.Size() == c.size {
		return nil
	}
	mac, err := readMacaroon(c.file)
	if err != nil {
		return err
	}
	is, err := macaroons.NewMacaroonCredential(mac)
	if err != nil {
		return fmt.Errorf("copy macaroon of %s: %w", c.file, err)
	}
	if c.is = is; at != nil {
		c.at, c.size = at.ModTime(), at.Size()
	}
	return nil
}

// RequireTransportSecurity keeps the macaroon off a wire that others can read.
func (c *freshMacaroon) RequireTransportSecurity() bool { return true }

// GetRequestMetadata sends what was read last where the file cannot be read now.
func (c *freshMacaroon) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	c.mu.Lock()
	_ = c.read()
	is := c.is
	c.mu.Unlock()
	return is.GetRequestMetadata(ctx, uri...)
}
