package price

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// newClient makes the HTTP client for the operator's sources. Proxies of the environment are
// not used; hosts of the operator's own network are asked without the proxy.
func newClient(proxy *url.URL) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: func(req *http.Request) (*url.URL, error) {
				if isInner(req.URL.Hostname()) {
					return nil, nil
				}
				return proxy, nil
			},
			MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives:      true, // minutes pass between two requests
		},
		// A redirect could leave TLS, carry a key to another host, or reach an inner address.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			first := via[0].URL
			if len(via) > maxRedirects || req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// isInner tells whether a host is in the operator's own network, as far as its name shows.
func isInner(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (addr.IsLoopback() || addr.IsPrivate())
}

// ask gets the prices of one source: from its first URL that gives any.
func (f *Feed) ask(ctx context.Context, s Source) (quotes, error) {
	if s.fixed != nil {
		read := make(quotes, len(s.fixed))
		for code, value := range s.fixed {
			if value > 0 && s.takes(code) {
				read[code] = value
			}
		}
		return read, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout*time.Duration(len(s.urls))+time.Second)
	defer cancel()
	var failures []error
	for _, base := range s.urls {
		read, err := f.askURL(ctx, s, strings.TrimRight(base, "/")+s.path(f.cfg.Now()))
		if err == nil {
			return read, nil
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("ask %s for prices: %w", s.name, errors.Join(failures...))
}

func (f *Feed) askURL(ctx context.Context, s Source, url string) (quotes, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mostro")
	if s.sign != nil {
		s.sign(req)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: status %d", url, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("get %s: the answer is larger than %d bytes", url, maxBody)
	}
	read, err := s.read(body)
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", url, err)
	}
	return read, nil
}
