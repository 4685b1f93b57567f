package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// manage answers the calls of administrators (NIP-86). khatru's own handler reads bodies without
// a bound, falls over a missing tag, and takes the relay's address from headers.
func (r *Relay) manage(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", managementType)
	w.Header().Set("Access-Control-Allow-Origin", "*")
	var answer struct {
		Result any    `json:"result"`
		Error  string `json:"error,omitempty"`
	}
	result, status, err := r.call(w, req)
	answer.Result = result
	if err != nil {
		answer.Error = err.Error()
	}
	w.WriteHeader(status)
	// The client may be gone.
	_ = json.NewEncoder(w).Encode(answer)
}

// call is one call to the management, with the HTTP status for it.
func (r *Relay) call(w http.ResponseWriter, req *http.Request) (result any, status int, err error) {
	if req.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("invalid: the method is POST")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManagementBody))
	if err != nil {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("invalid: read the body: %w", err)
	}
	pubkey, status, err := r.authorize(req, body)
	if err != nil {
		return nil, status, err
	}
	var call struct {
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(body, &call); err != nil {
		return nil, http.StatusBadRequest, errors.New("invalid: the body is not a call")
	}
	methods := r.methods()
	if call.Method == "supportedmethods" {
		names := []string{"supportedmethods"}
		for name := range methods {
			names = append(names, name)
		}
		slices.Sort(names)
		return names, http.StatusOK, nil
	}
	method, ok := methods[call.Method]
	if !ok {
		return nil, http.StatusBadRequest, errors.New("unsupported: there is no such method")
	}
	result, err = method(req.Context(), params(call.Params))
	if err != nil {
		return nil, http.StatusBadRequest, err
	}
	r.log.Info("manage relay", "method", call.Method, "by", pubkey)
	return result, http.StatusOK, nil
}

// params are the parameters of a call.
type params []json.RawMessage

// at reads one parameter into to; one that is missing leaves it as it is.
func (p params) at(i int, to any) error {
	if i >= len(p) {
		return nil
	}
	if err := json.Unmarshal(p[i], to); err != nil {
		return fmt.Errorf("invalid: parameter %d: %w", i+1, err)
	}
	return nil
}

// key reads a key or id and the reason that may follow.
func (p params) key() (value, why string, err error) {
	if err := errors.Join(p.at(0, &value), p.at(1, &why)); err != nil {
		return "", "", err
	}
	if _, err := parseKey(value); err != nil {
		return "", "", fmt.Errorf("invalid: %w", err)
	}
	return value, shorten(why), nil
}

func shorten(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxReason)], "") }

// managementMethod carries out one method.
type managementMethod func(ctx context.Context, p params) (any, error)

// methods are the methods of NIP-86 that work here.
func (r *Relay) methods() map[string]managementMethod {
	m := r.management
	methods := map[string]managementMethod{
		"banpubkey": func(_ context.Context, p params) (any, error) {
			pubkey, why, err := p.key()
			if err == nil && (pubkey == r.cfg.Pubkey || slices.Contains(r.cfg.Admins, pubkey)) {
				err = errors.New("restricted: the node and its administrators cannot be banned")
			}
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) {
				delete(s.Allowed, pubkey)
				s.Pubkeys[pubkey] = why
			})
		},
		"unbanpubkey": func(_ context.Context, p params) (any, error) {
			pubkey, _, err := p.key()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) { delete(s.Pubkeys, pubkey) })
		},
		"allowpubkey": func(_ context.Context, p params) (any, error) {
			pubkey, why, err := p.key()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) {
				delete(s.Pubkeys, pubkey)
				s.Allowed[pubkey] = why
			})
		},
		"unallowpubkey": func(_ context.Context, p params) (any, error) {
			pubkey, _, err := p.key()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) { delete(s.Allowed, pubkey) })
		},
		"listallowedpubkeys": func(context.Context, params) (any, error) {
			return m.list("pubkey", func(s *rules) map[string]string {
				all := maps.Clone(s.Allowed)
				for _, pubkey := range r.cfg.Allow {
					all[pubkey] = "in the settings"
				}
				return all
			}), nil
		},
		"listbannedpubkeys": func(context.Context, params) (any, error) {
			return m.list("pubkey", func(s *rules) map[string]string {
				all := maps.Clone(s.Pubkeys)
				for _, pubkey := range r.cfg.Deny {
					all[pubkey] = "in the settings"
				}
				return all
			}), nil
		},
		"banevent": func(ctx context.Context, p params) (any, error) {
			id, why, err := p.key()
			if err != nil {
				return nil, err
			}
			if err := m.change(func(s *rules) { s.Events[id] = why }); err != nil {
				return nil, err
			}
			// Whoever asked may be gone; the next start would do it.
			return true, r.forget(context.WithoutCancel(ctx), id)
		},
		"allowevent": func(_ context.Context, p params) (any, error) {
			id, _, err := p.key()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) { delete(s.Events, id) })
		},
		"listbannedevents": func(context.Context, params) (any, error) {
			return m.list("id", func(s *rules) map[string]string { return s.Events }), nil
		},
		"disallowkind": func(_ context.Context, p params) (any, error) {
			kind, err := p.kind()
			if err == nil && (kind == nostr.KindDirectMessage || kind == nostr.KindGiftWrap) && (r.cfg.Receive != nil || r.cfg.Federation.Forward != nil) {
				err = errors.New("restricted: traders write to the node in events of this kind")
			}
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) {
				delete(s.Taken, kind)
				s.Kinds[kind] = true
			})
		},
		"allowkind": func(_ context.Context, p params) (any, error) {
			kind, err := p.kind()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) {
				delete(s.Kinds, kind)
				if r.kinds != nil && !r.kinds[kind] {
					s.Taken[kind] = true
				}
			})
		},
		"listdisallowedkinds": func(context.Context, params) (any, error) {
			return append([]int{}, slices.Sorted(maps.Keys(m.now().Kinds))...), nil
		},
		"blockip": func(_ context.Context, p params) (any, error) {
			address, why, err := p.address()
			if err != nil {
				return nil, err
			}
			if err := m.change(func(s *rules) { s.Addresses[address] = why }); err != nil {
				return nil, err
			}
			r.cutAddress(address)
			return true, nil
		},
		"unblockip": func(_ context.Context, p params) (any, error) {
			address, _, err := p.address()
			if err != nil {
				return nil, err
			}
			return true, m.change(func(s *rules) { delete(s.Addresses, address) })
		},
		"listblockedips": func(context.Context, params) (any, error) {
			return m.list("ip", func(s *rules) map[string]string { return s.Addresses }), nil
		},
		"changerelayname":        m.rename(func(s *rules, text string) { s.Name = text }),
		"changerelaydescription": m.rename(func(s *rules, text string) { s.Description = text }),
		"changerelayicon":        m.rename(func(s *rules, text string) { s.Icon = text }),
	}
	if r.kinds != nil {
		methods["listallowedkinds"] = func(context.Context, params) (any, error) {
			kinds := slices.Collect(maps.Keys(r.kinds))
			kinds = slices.AppendSeq(kinds, maps.Keys(m.now().Taken))
			kinds = slices.DeleteFunc(kinds, func(kind int) bool { return !r.takes(kind) })
			slices.Sort(kinds)
			return slices.Compact(kinds), nil
		}
	}
	return methods
}

// kind reads the kind of an event.
func (p params) kind() (int, error) {
	kind := -1
	if err := p.at(0, &kind); err != nil || kind < 0 || kind > 65_535 {
		return 0, errors.New("invalid: want a kind")
	}
	return kind, nil
}

// address reads an IP address, or a network of one subscriber as listblockedips names it, and the
// reason that may follow.
func (p params) address() (address, why string, err error) {
	if err := errors.Join(p.at(0, &address), p.at(1, &why)); err != nil {
		return "", "", err
	}
	parsed, err := netip.ParseAddr(strings.TrimSuffix(address, "/64"))
	if err != nil {
		return "", "", fmt.Errorf("invalid: %w", err)
	}
	return subscriber(parsed.Unmap()), shorten(why), nil
}

// cutAddress ends the sessions from an address.
func (r *Relay) cutAddress(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.sessions {
		if s.from == address {
			go s.cut()
		}
	}
}

// banned reports whether administrators have banned an event, and why.
func (m *management) banned(id string) (why string, yes bool) {
	why, yes = m.now().Events[id]
	return why, yes
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// forgetBanned removes what is banned and yet here: the process was killed in between.
func (r *Relay) forgetBanned(ctx context.Context) error {
	var here []key
	for id := range r.management.now().Events {
		if k, err := parseKey(id); err == nil && r.store.has(k) {
			here = append(here, k)
		}
	}
	if err := r.retire(ctx, here); err != nil {
		return fmt.Errorf("remove banned events: %w", err)
	}
	return nil
}

// forget removes an event whatever its author says.
func (r *Relay) forget(ctx context.Context, id string) error {
	k, err := parseKey(id)
	if err != nil {
		return fmt.Errorf("invalid: %w", err)
	}
	if err := r.remove(ctx, k); err != nil {
		return fmt.Errorf("error: remove event %s: %w", id, err)
	}
	return nil
}
