package relay

import (
	"io"
	"net/http"
	"strings"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr/nip11"
)

const (
	informationType = "application/nostr+json"
	managementType  = "application/nostr+json+rpc" // NIP-86; khatru's handler reads bodies without a bound
)

// Handler serves everything on one address: WebSocket connections on any path, the relay's
// description (NIP-11), and the registered routes.
func (r *Relay) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
			req.Header.Del(name)
		}
		switch {
		case websocket.IsWebSocketUpgrade(req):
			r.serve(w, req)
		case wantsInformation(req):
			req.Header.Set("Accept", informationType) // khatru compares the whole header
			r.khatru.ServeHTTP(w, req)
		case req.Header.Get("Content-Type") == managementType:
			http.Error(w, "this relay is not managed over HTTP", http.StatusNotImplemented)
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
		SupportedNIPs: []any{1, 9, 11, 40, 59, 69},
		Limitation:    r.cfg.Limits.advertised(),
	}
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
