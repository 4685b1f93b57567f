package relay

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr/nip11"
)

const (
	informationType = "application/nostr+json"
	managementType  = "application/nostr+json+rpc" // NIP-86
)

// Handler serves everything on one address: WebSocket connections on any path, the relay's
// description (NIP-11), and the registered routes.
func (r *Relay) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.believe(req)
		switch {
		case websocket.IsWebSocketUpgrade(req):
			r.serve(w, req)
		case wantsInformation(req):
			req.Header.Set("Accept", informationType) // khatru compares the whole header
			r.khatru.ServeHTTP(w, req)
		case req.Header.Get("Content-Type") == managementType:
			r.manage(w, req)
		default:
			r.khatru.ServeHTTP(w, req)
		}
	})
}

// wantsInformation reports whether a client asks for the relay's description, however it
// writes that down.
func wantsInformation(req *http.Request) bool {
	for _, header := range req.Header.Values("Accept") {
		for value := range strings.SplitSeq(header, ",") {
			kind, _, _ := strings.Cut(value, ";")
			if strings.EqualFold(strings.TrimSpace(kind), informationType) {
				return true
			}
		}
	}
	return false
}

// describe fills the relay's description (NIP-11).
func (r *Relay) describe() {
	r.khatru.ServiceURL = r.cfg.ServiceURL
	r.khatru.Info = &nip11.RelayInformationDocument{
		Name:          r.cfg.Name,
		Description:   r.cfg.Description,
		PubKey:        r.cfg.Pubkey,
		Contact:       r.cfg.Contact,
		Icon:          r.cfg.Icon,
		Software:      "mostro",
		Version:       r.cfg.Version,
		SupportedNIPs: r.nips(),
		Limitation:    r.cfg.Limits.advertised(),
		Retention:     r.retention(),
	}
	r.khatru.OverwriteRelayInformation = append(r.khatru.OverwriteRelayInformation,
		func(_ context.Context, _ *http.Request, info nip11.RelayInformationDocument) nip11.RelayInformationDocument {
			set := r.management.now()
			info.Name, info.Description, info.Icon = cmp.Or(set.Name, info.Name), cmp.Or(set.Description, info.Description), cmp.Or(set.Icon, info.Icon)
			return info
		})
}

// nips lists what works: some only with an address in the settings, without which nobody can
// sign for this relay, and one only with administrators.
func (r *Relay) nips() []any {
	nips := []any{1, 2, 4, 9, 11, 13, 17, 22, 28, 40}
	if r.cfg.ServiceURL != "" {
		nips = append(nips, 42)
	}
	nips = append(nips, 45, 50, 56, 59, 62, 65, 69)
	if r.cfg.ServiceURL != "" {
		nips = append(nips, 70)
	}
	nips = append(nips, 77)
	if r.cfg.ServiceURL != "" && len(r.cfg.Admins) > 0 {
		nips = append(nips, 86)
	}
	return nips
}

// routes registers the relay's own routes.
func (r *Relay) routes() {
	r.Handle("GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		closing := r.closing
		r.mu.Unlock()
		if closing {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}))
}
