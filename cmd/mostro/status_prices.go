package main

import "strings"

// priceState is where prices come from, and what keeps market orders out.
type priceState struct {
	Sources []string `json:"sources"` // that are enabled
	Missing []string `json:"missing"` // currencies of orders that have no price now; all may be accepted, then none is listed
	Doubted []string `json:"doubted"` // currencies whose sources disagree, with what each says
}

func (n *node) priceState() priceState {
	s := &n.cfg.settings.Price
	state := priceState{Sources: []string{}, Missing: []string{}, Doubted: append([]string{}, n.prices.Doubted()...)}
	for _, each := range s.providers() {
		if each.to.Enabled {
			state.Sources = append(state.Sources, each.name)
		}
	}
	for _, code := range n.cfg.settings.Mostro.Fiat {
		if _, known := n.prices.Price(code); !known {
			state.Missing = append(state.Missing, code)
		}
	}
	return state
}

// text says it in lines.
func (p priceState) text() []string {
	if len(p.Sources) == 0 {
		return []string{"of nobody: market orders are refused; price.providers name sources"}
	}
	lines := []string{"of " + strings.Join(p.Sources, ", ")}
	if len(p.Missing) > 0 {
		lines = append(lines, "none now for "+strings.Join(p.Missing, ", ")+", where market orders are refused")
	}
	for _, says := range p.Doubted {
		lines = append(lines, "sources DISAGREE: "+says)
	}
	return lines
}
