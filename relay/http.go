package relay

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
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
		// Pages say for themselves what they need beside this.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		switch {
		case websocket.IsWebSocketUpgrade(req):
			r.serve(w, req)
		case strings.EqualFold(req.Header.Get("Upgrade"), "websocket"):
			// khatru would try, also where its description is asked for, and write to the standard error what it thinks of each.
			http.Error(w, "this is not the handshake of a WebSocket", http.StatusBadRequest)
		case wantsInformation(req):
			r.inform(w, req)
		case isManagement(req):
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

// isManagement reports whether a request is a call to the management (NIP-86).
func isManagement(req *http.Request) bool {
	kind, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), managementType)
}

// describe fills the relay's description (NIP-11).
func (r *Relay) describe() {
	r.khatru.ServiceURL = r.cfg.ServiceURL
	r.khatru.Info = &nip11.RelayInformationDocument{
		Name:        r.cfg.Name,
		Description: r.cfg.Description,
		PubKey:      r.cfg.Pubkey,
		Contact:     r.cfg.Contact,
		Icon:        r.cfg.Icon,
		Software:    "mostro",
		Version:     r.cfg.Version,
		Limitation:  r.cfg.Limits.advertised(),
		Retention:   r.retention(),
	}
	r.khatru.OverwriteRelayInformation = append(r.khatru.OverwriteRelayInformation,
		func(_ context.Context, _ *http.Request, info nip11.RelayInformationDocument) nip11.RelayInformationDocument {
			set := r.management.now()
			info.SupportedNIPs = r.nips()
			limits := *info.Limitation
			limits.RestrictedWrites = r.cfg.OnlyAllowed || r.kinds != nil || limits.MinPowDifficulty > 0
			info.Limitation = &limits
			info.Name, info.Description, info.Icon = cmp.Or(set.Name, info.Name), cmp.Or(set.Description, info.Description), cmp.Or(set.Icon, info.Icon)
			return info
		})
}

// nips lists what works: some only with an address in the settings, without which nobody can
// sign for this relay, one only with administrators, and some only while their kinds are taken.
func (r *Relay) nips() []any {
	nips := []any{}
	for _, n := range []struct {
		number  int
		works   bool
		carries []int // kinds
	}{
		{1, true, nil}, {2, true, []int{3}}, {4, true, []int{4}}, {9, true, []int{5}}, {11, true, nil}, {13, true, nil},
		{17, true, []int{nostr.KindGiftWrap, nostr.KindDMRelayList}}, {22, true, nil}, {28, true, []int{40, 41, 42, 43, 44}},
		{40, true, nil}, {42, r.cfg.ServiceURL != "", nil}, {45, true, nil}, {50, true, nil}, {56, true, []int{nostr.KindReporting}},
		{59, true, []int{nostr.KindGiftWrap}}, {62, true, []int{kindVanish}}, {65, true, []int{nostr.KindRelayListMetadata}},
		{69, true, []int{kindOrder}}, {70, r.cfg.ServiceURL != "", nil}, {77, r.cfg.Limits.NegSessions > 0, nil},
		{86, r.cfg.ServiceURL != "" && len(r.cfg.Admins) > 0, nil},
	} {
		if n.works && !slices.ContainsFunc(n.carries, func(kind int) bool { return !r.takes(kind) }) {
			nips = append(nips, n.number)
		}
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
