package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/nbd-wtf/go-nostr/nip19"

	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
)

// maxRelayInfo bounds a relay's description in bytes.
const maxRelayInfo = 1 << 20

// findNode decides which node to trade with: that of the trade, the one that was asked for, or
// the one that the relay names, which must be the same as the first time, since a relay that
// names another one could take over what comes next.
func (s *clientSession) findNode() error {
	asked := ""
	if s.o.node != "" {
		var err error
		if asked, err = mostro.ParsePubkey(s.o.node); err != nil {
			return hint(usageError{fmt.Errorf("--mostro: %w", err)}, "want an npub or 64 hex digits")
		}
	}
	if s.node != "" {
		if asked != "" && asked != s.node {
			return fmt.Errorf("this trade is with the node %s, not with %s", npub(s.node), npub(asked))
		}
		return nil
	}
	state, err := s.dir.load()
	if err != nil {
		return err
	}
	known := state.Nodes[s.relay]
	if s.node = asked; asked != "" {
		// Of a relay that carries other Mostros too only the one that it names is kept.
		if named, err := nodeOf(s.ctx, s.relay); err != nil || named != asked {
			return nil
		}
	} else {
		if s.node, err = nodeOf(s.ctx, s.relay); err != nil {
			return err
		}
		if known != "" && known != s.node {
			return hint(fmt.Errorf("%s names the node %s, and named %s before", s.relay, npub(s.node), npub(known)),
				"ask the operator; if it is right: --mostro "+npub(s.node))
		}
	}
	if !s.remembers || known == s.node {
		return nil
	}
	return s.dir.locked(s.ctx, func(state *clientState, save func() error) error {
		state.Nodes[s.relay] = s.node
		return save()
	})
}

// nodeOf asks a relay for the key in its description (NIP-11). A dev network on this machine
// says it in a file, too.
func nodeOf(ctx context.Context, relay string) (string, error) {
	pubkey, err := describedBy(ctx, relay)
	if err == nil {
		return pubkey, nil
	}
	if cache, cacheErr := regtest.DefaultCacheDir(); cacheErr == nil {
		var info devInfo
		data, readErr := os.ReadFile(filepath.Join(cache, "dev", devFile))
		if readErr == nil && json.Unmarshal(data, &info) == nil && info.RelayURL == relay {
			return mostro.ParsePubkey(info.MostroPubkey)
		}
	}
	return "", hint(err, "is it running? mostro serve, or mostro dev; --relay names another one",
		"if the relay does not name a node: --mostro NPUB")
}

func describedBy(ctx context.Context, relay string) (string, error) {
	rest, ok := strings.CutPrefix(relay, "ws")
	if !ok {
		return "", usageError{fmt.Errorf("--relay %q: want ws://host:port or wss://host", relay)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+rest, nil)
	if err != nil {
		return "", usageError{fmt.Errorf("--relay: %w", err)}
	}
	req.Header.Set("Accept", "application/nostr+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the relay for its node: %w", err)
	}
	defer res.Body.Close()
	var info struct {
		Pubkey string `json:"pubkey"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxRelayInfo)).Decode(&info); err != nil {
		return "", fmt.Errorf("read the description of %s: %w", relay, err)
	}
	pubkey, err := mostro.ParsePubkey(info.Pubkey)
	if err != nil {
		return "", fmt.Errorf("read the description of %s: %w", relay, err)
	}
	return pubkey, nil
}

// npub is a public key as people know it.
func npub(pubkey string) string {
	encoded, err := nip19.EncodePublicKey(pubkey)
	if err != nil {
		return pubkey
	}
	return encoded
}
