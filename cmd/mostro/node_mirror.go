package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"mostro/escrow/mostro"
	"mostro/relay"
	"mostro/relay/mirror"
)

const mirrorDir = "mirror"

// mirrorConfig translates settings to what the mirror takes.
func (n *node) mirrorConfig() (mirror.Config, error) {
	s := &n.cfg.settings.Federation
	dial, err := n.cfg.settings.Network.relayDial()
	return mirror.Config{
		Dir:       filepath.Join(n.cfg.dir, mirrorDir),
		Pubkey:    n.cfg.key.Public(),
		Follow:    slices.Concat(s.Follow, s.Platforms),
		Outside:   n.outside(),
		Own:       n.url,
		Sign:      func(ev *nostr.Event) error { return mostro.Sign(ev, n.cfg.key) },
		Replica:   s.isReplica,
		Party:     n.running,
		Strict:    n.cfg.settings.Relay.Reads == relay.ReadsStrict,
		Reads:     n.cfg.settings.Relay.Reads.String(),
		MaxEvents: int(s.MaxEvents),
		MaxBytes:  int(s.MaxMiB) << 20,
		MaxOffers: int(s.MaxOffers),
		Shown:     n.cfg.settings.Relay.Limits.Results,
		Policy:    s.policy(),
		Dial:      dial,
		Review:    provenReview,
		Logger:    n.cfg.logger,
	}, err
}

// provenReview reports whether a review carries the proof of whom it is about.
func provenReview(ev *nostr.Event) bool { return mostro.IsProvenReview(ev, time.Now().Unix()) }

// outside are the relays that the node's events are copied to. Its own, which a node with live orders may have in
// the list, would never take what waits for it.
func (n *node) outside() []string {
	own := func(url string) bool { return url == n.url || n.cfg.settings.isOwn(url) }
	return slices.DeleteFunc(slices.Clone(n.cfg.settings.Nostr.Relays), own)
}

// relayDial is how other relays are reached.
func (s *NetworkSettings) relayDial() (mirror.Dial, error) {
	if s.Proxy == "" {
		return mirror.Direct, nil
	}
	proxy, err := url.Parse(string(s.Proxy))
	if err != nil {
		return nil, errors.New("network.proxy is malformed") // the text may hold a password
	}
	return mirror.Through(proxy)
}

// relayURLs are the relays on which this node is reached, its own first (kind 10002).
func (n *node) relayURLs() []string {
	urls := []string{n.url}
	for _, url := range n.outside() {
		if !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}

// sendPeers writes how things stand with other relays.
func (n *node) sendPeers(w http.ResponseWriter, _ *http.Request) {
	if err := json.NewEncoder(w).Encode(n.mirror.Health()); err != nil {
		n.cfg.logger.Warn("send the state of other relays", "error", err)
	}
}

// sendCandidates writes which Mostros could be followed.
func (n *node) sendCandidates(w http.ResponseWriter, req *http.Request) {
	found, err := n.mirror.Candidates(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_ = json.NewEncoder(w).Encode(found) // the command may be gone
}

// follow is an operator's word about another Mostro.
type follow struct {
	mirror.Followed
	End bool // it is followed no more
}

func (n *node) takeFollow(w http.ResponseWriter, req *http.Request) {
	var f follow
	err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxControl)).Decode(&f)
	switch {
	case err != nil:
	case f.End:
		err = n.mirror.Disagree(f.Pubkey)
	default:
		err = n.mirror.Agree(f.Followed)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}
