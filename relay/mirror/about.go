package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const maxAbout = 256 << 10 // bytes of a relay's description

// about is what a relay says of itself (NIP-11), as far as it matters here.
type about struct {
	Pubkey string `json:"pubkey"`
	NIPs   []any  `json:"supported_nips"`
	Limits struct {
		Message float64 `json:"max_message_length"` // bytes
	} `json:"limitation"`
}

// describe asks a relay what it is.
func (d Dial) describe(ctx context.Context, url string) (a about, err error) {
	return a, d.get(ctx, url, "", "application/nostr+json", &a)
}

// get reads a small JSON answer of a relay.
func (d Dial) get(ctx context.Context, url, path, kind string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, aboutTime)
	defer cancel()
	address := "http" + strings.TrimPrefix(url, "ws")
	if path != "" {
		address = strings.TrimSuffix(address, "/") + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("ask relay what it is: %w", err)
	}
	req.Header.Set("Accept", kind)
	req.Header.Set("User-Agent", agent)
	answer, err := d.client().Do(req)
	if err != nil {
		return fmt.Errorf("ask relay what it is: %w", err)
	}
	defer answer.Body.Close()
	if path != "" && answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask relay what it is: %s %s", path, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAbout)).Decode(to); err != nil {
		return fmt.Errorf("ask relay what it is: %w", err)
	}
	return nil
}

// mayReconcile reports whether a relay may know negentropy: unless it lists what it knows and that
// is not there.
func (a about) mayReconcile() bool {
	return len(a.NIPs) == 0 || slices.Contains(a.NIPs, any(float64(77)))
}
