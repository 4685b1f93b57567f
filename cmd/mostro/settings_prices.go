package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"mostro/escrow/price"
)

// PriceSettings say where prices come from, and how far a source is believed.
type PriceSettings struct {
	UpdateSeconds    int64
	StalenessSeconds int64
	TimeoutSeconds   int64
	OutlierPPM       int64
	JumpPPM          int64
	Failures         int64
	CooldownSeconds  int64
	Publish          bool

	Yadio, CoinGecko, CurrencyAPI, Blockchain, ElToque, Nostr, Fixed ProviderSettings
}

// ProviderSettings are one source of prices. No source uses all of them.
type ProviderSettings struct {
	Enabled      bool
	URL          string
	Fallbacks    []string
	Key          secretText
	Nodes        []string // hex
	Rates        map[string]int64
	Only, Except []string
}

// provider is a source of prices that can be chosen by settings. Its keys stand under
// price.providers.NAME.
type provider struct {
	name    string
	to      *ProviderSettings
	meaning string
	enabled bool   // by default
	url     string // by default; "" = it is not asked by URL
	backup  string // by default
	secret  string // name of its key; "" = it takes none
	own     []key  // settings that no other source has
	make    func(price.Provider) price.Source
}

// providers is the table of all sources.
func (p *PriceSettings) providers() []provider {
	return []provider{
		{name: "yadio", to: &p.Yadio, meaning: "GET url/exrates/BTC. Most currencies, at the rates of the street.",
			enabled: true, url: "https://api.yadio.io", make: price.Yadio},
		{name: "coingecko", to: &p.CoinGecko, meaning: "GET url/simple/price. Some 40 currencies.",
			url: "https://api.coingecko.com/api/v3", secret: "api_key", make: price.CoinGecko},
		{name: "currency_api", to: &p.CurrencyAPI, meaning: "GET url/currencies/btc.min.json. A daily table of official rates.",
			url: "https://cdn.jsdelivr.net/npm/@fawazahmed0/currency-api@latest/v1", backup: "https://latest.currency-api.pages.dev/v1", make: price.CurrencyAPI},
		{name: "blockchain", to: &p.Blockchain, meaning: "GET url/ticker.",
			url: "https://blockchain.info", make: price.Blockchain},
		{name: "eltoque", to: &p.ElToque, meaning: "GET url/v1/trmi. CUP and MLC of Cuba's informal market, by the dollar of the other providers.",
			url: "https://tasas.eltoque.com", secret: "token", make: price.ElToque},
		{name: "nostr", to: &p.Nostr, meaning: "Rates that other Mostros publish (kind 30078) and that this relay has; only for currencies that no other provider has.",
			own: []key{{"price.providers.nostr.trusted_nodes", &pubkeysValue{&p.Nostr.Nodes}, "[]", "",
				"Public keys of these Mostros, npub1... or hex."}},
			make: func(price.Provider) price.Source { return price.Nodes(p.Nostr.Nodes...) }},
		{name: "fixed", to: &p.Fixed, meaning: "The same rates for ever, for closed networks. No other provider beside it.",
			own:  []key{{"price.providers.fixed.rates", &ratesValue{&p.Fixed.Rates}, "[]", "", `What a bitcoin costs: ["USD=100000", "EUR=90000.5"].`}},
			make: func(price.Provider) price.Source { return price.Fixed(p.Fixed.Rates) }},
	}
}

func (p provider) path(key string) string { return "price.providers." + p.name + "." + key }

// sections are the headings of the providers in the template.
func (p *PriceSettings) sections() (list []section) {
	for _, each := range p.providers() {
		list = append(list, section{"price.providers." + each.name, each.meaning})
	}
	return list
}

// keys are all settings of prices.
func (p *PriceSettings) keys() []key {
	list := []key{
		{"price.update_interval_seconds", &intValue{&p.UpdateSeconds, 1, 86400}, "300", "seconds", "Between two polls."},
		{"price.max_price_staleness_seconds", &intValue{&p.StalenessSeconds, 1, 7 * 86400}, "1800", "seconds",
			"Age beyond which a price is not used; market orders are then refused."},
		{"price.provider_timeout_seconds", &intValue{&p.TimeoutSeconds, 1, 120}, "10", "seconds", "Of one request."},
		{"price.outlier_threshold_pct", &percentValue{&p.OutlierPPM, 1, 1_000_000}, "5.0", "percent",
			"Of three or more providers, one that is further from their median does not count; and two of them must be as near to each other as this. Where only two quote a currency and are further apart, it has no price, and market orders are refused, until they agree."},
		{"price.max_jump_pct", &percentValue{&p.JumpPPM, 0, 1_000_000}, "10.0", "percent",
			"A price that is further from the last one is used only once a second look confirms it. 0: any is used at once."},
		{"price.provider_failure_threshold", &intValue{&p.Failures, 1, 1000}, "3", "failures",
			"In a row, until a provider is left alone for a while."},
		{"price.provider_failure_cooldown_seconds", &intValue{&p.CooldownSeconds, 1, 1800}, "120", "seconds",
			"That it is left alone; doubles up to 1800."},
		{"price.publish_to_nostr", &boolValue{&p.Publish}, "true", "",
			"Publish the prices on this relay (kind 30078), so that other Mostros can use them."},
	}
	for _, each := range p.providers() {
		list = append(list, each.keys()...)
	}
	return list
}

func (p provider) keys() []key {
	list := []key{{p.path("enabled"), &boolValue{&p.to.Enabled}, fmt.Sprint(p.enabled), "", "Whether it is asked."}}
	if p.enabled {
		list[0].meaning += " Without any provider only orders of a fixed amount of sats are possible."
	}
	if p.url != "" {
		backup := "[]"
		if p.backup != "" {
			backup = `["` + p.backup + `"]`
		}
		list = append(list,
			key{p.path("url"), &urlValue{&p.to.URL, []string{"https", "http"}}, `"` + p.url + `"`, "", "https, or http to this machine or to an onion service."},
			key{p.path("fallback_urls"), &urlsValue{&p.to.Fallbacks}, backup, "", "Asked in this order when it does not answer."})
	}
	if p.secret != "" {
		list = append(list, key{p.path(p.secret), &secretValue{&p.to.Key}, `""`, "", "A secret that the provider gave you."})
	}
	list = append(list, p.own...)
	return append(list,
		key{p.path("only"), &fiatValue{&p.to.Only}, "[]", "", "The only currencies that are taken from it. []: all."},
		key{p.path("except"), &fiatValue{&p.to.Except}, "[]", "", "Currencies that are not taken from it. Not together with only."})
}

// sources are the providers that are switched on.
func (p *PriceSettings) sources() (sources []price.Source) {
	for _, each := range p.providers() {
		s := each.to
		if !s.Enabled {
			continue
		}
		source := each.make(price.Provider{URL: s.URL, Fallbacks: s.Fallbacks, Key: string(s.Key)})
		if len(s.Only) > 0 {
			source = source.Only(s.Only...)
		}
		if len(s.Except) > 0 {
			source = source.Except(s.Except...)
		}
		sources = append(sources, source)
	}
	return sources
}

// check finds settings of prices that do not go together.
func (p *PriceSettings) check(proxy string, wrong func(path, what, remedy string)) {
	if p.StalenessSeconds < p.UpdateSeconds {
		wrong("price.max_price_staleness_seconds", fmt.Sprintf("is %d, below price.update_interval_seconds, %d: prices would be stale between two polls",
			p.StalenessSeconds, p.UpdateSeconds), "raise it or lower the other")
	}
	var direct []string // asked, and quoting by bitcoin
	for _, each := range p.providers() {
		s := each.to
		if len(s.Only) > 0 && len(s.Except) > 0 {
			wrong(each.path("except"), "stands together with "+each.path("only"), "keep one of the two")
		}
		if !s.Enabled {
			continue
		}
		if each.name != "eltoque" && each.name != "nostr" {
			direct = append(direct, each.name)
		}
		off := "or set " + each.path("enabled") + " = false"
		if each.url != "" && s.URL == "" {
			wrong(each.path("url"), "is empty", "give the address, "+off)
		}
		for i, text := range append([]string{s.URL}, s.Fallbacks...) {
			if u, err := url.Parse(text); err == nil && strings.HasSuffix(u.Hostname(), ".onion") && proxy == "" {
				path := each.path("url")
				if i > 0 {
					path = each.path("fallback_urls")
				}
				wrong(path, "is an onion service, which only a proxy reaches", "set network.proxy, such as socks5h://127.0.0.1:9050")
			}
		}
	}
	if p.ElToque.Enabled && p.ElToque.Key == "" {
		wrong("price.providers.eltoque.token", "is empty", "give the token, or set price.providers.eltoque.enabled = false")
	}
	if p.ElToque.Enabled && len(direct) == 0 {
		wrong("price.providers.eltoque.enabled", "is true, but no provider tells what a bitcoin costs in dollars, by which its rates go", "enable one, such as price.providers.yadio")
	}
	if p.Nostr.Enabled && len(p.Nostr.Nodes) == 0 {
		wrong("price.providers.nostr.trusted_nodes", "is empty", "name a node, or set price.providers.nostr.enabled = false")
	}
	if p.Fixed.Enabled && len(p.Fixed.Rates) == 0 {
		wrong("price.providers.fixed.rates", "is empty", `give rates such as ["USD=100000"], or set price.providers.fixed.enabled = false`)
	}
	if p.Fixed.Enabled && len(direct) > 1 || p.Fixed.Enabled && p.ElToque.Enabled {
		others := slices.DeleteFunc(direct, func(name string) bool { return name == "fixed" })
		if p.ElToque.Enabled {
			others = append(others, "eltoque")
		}
		wrong("price.providers.fixed.enabled", "is true beside "+strings.Join(others, ", ")+": a rate that never moves would count as a market's",
			"disable the others (yadio is on by default), or this")
	}
}
