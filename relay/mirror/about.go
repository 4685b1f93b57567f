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
func (d Dial) describe(ctx context.Context, url string) (about, error) {
	var a about
	ctx, cancel := context.WithTimeout(ctx, aboutTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimPrefix(url, "ws"), nil)
	if err != nil {
		return a, fmt.Errorf("ask relay what it is: %w", err)
	}
	req.Header.Set("Accept", "application/nostr+json")
	req.Header.Set("User-Agent", agent)
	answer, err := d.client().Do(req)
	if err != nil {
		return a, fmt.Errorf("ask relay what it is: %w", err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAbout)).Decode(&a); err != nil {
		return a, fmt.Errorf("ask relay what it is: %w", err)
	}
	return a, nil
}

// mayReconcile reports whether a relay may know negentropy: unless it lists what it knows and that
// is not there.
func (a about) mayReconcile() bool {
	return len(a.NIPs) == 0 || slices.Contains(a.NIPs, any(float64(77)))
}
