package main

import (
	"slices"
	"time"

	"mostro/escrow/lightning/lnd"
)

// Settings is everything that an operator can choose, as read from settings.toml. Sections
// and key names are those of an existing Mostro, with ours beside them. What each key means,
// its unit, its default and its range stand in one place: the table that keys returns.
type Settings struct {
	Lightning  LightningSettings
	Nostr      NostrSettings
	Mostro     MostroSettings
	Expiration ExpirationSettings
	Price      PriceSettings
	Bond       BondSettings
	Network    NetworkSettings
	Guards     GuardSettings
	Store      StoreSettings
	Backup     BackupSettings
	Admin      AdminSettings
	Federation FederationSettings
	Metrics    MetricsSettings
	Relay      RelaySettings
}

// LightningSettings say where the Lightning node is and how far the escrow trusts time.
type LightningSettings struct {
	Host           string
	CertFile       string
	MacaroonFile   string
	InvoiceWindow  int64 // seconds
	CLTVDelta      int64 // blocks
	Attempts       int64
	RetryInterval  int64 // seconds
	MaxFinalCLTV   int64 // blocks
	HoldExpiry     int64 // blocks
	RoutingSubsidy int64 // sats
	MaxHolds       int64
	PayoutCLTV     int64 // blocks
	PayoutParts    int64
	PayoutSeconds  int64
	PayoutGrace    int64 // seconds
}

// NostrSettings hold the node's key.
type NostrSettings struct {
	Nsec   secretText
	Relays []string // beside the node's own
}

// MostroSettings are the terms of trade and what the node says about itself.
type MostroSettings struct {
	Name, About, Picture, Website string

	FeePPM            int64
	DevFeePPM         int64
	DevFeeAddress     string
	MaxRoutingFeePPM  int64
	MaxOrderAmount    int64 // sats
	MinPaymentAmount  int64 // sats
	ExpirationHours   int64
	MaxExpirationDays int64
	ExpirationSeconds int64
	InfoInterval      int64 // seconds
	Pow               int64 // bits
	PowFirstContact   int64 // bits
	Fiat              []string
	MaxOrders         int64
	MaxOpen           int64
	MaxTakes          int64
}

// ExpirationSettings say how many days the relay keeps what the node publishes.
type ExpirationSettings struct {
	OrderDays, DisputeDays, RatingDays, DMDays, DevFeeDays int64
}

// NetworkSettings say how the node reaches others over HTTP and WebSocket.
type NetworkSettings struct {
	Proxy secretText
}

// AdminSettings name the administrators beside the node's own key.
type AdminSettings struct {
	Pubkeys []string // hex
}

// seconds turns a setting into a duration.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// key is one setting: its dotted path, the value behind it, its default as it is written in
// TOML, and what the template says about it.
type key struct {
	path    string
	value   value
	preset  string
	unit    string
	meaning string
}

// section is a heading of the template.
type section struct{ name, meaning string }

// sections are the headings of the template, in its order.
func (s *Settings) sections() []section {
	return slices.Concat([]section{
		{"lightning", "The LND node that holds the sellers' sats and pays the buyers."},
		{"nostr", "The node's identity."},
		{"mostro", "What the node says about itself, and its terms of trade. An order keeps the terms it was born with."},
		{"expiration", "How long the node's own events stay on the relay (NIP-40)."},
		{"price", "Where market orders get their price from."},
	}, s.Price.sections(), s.Bond.sections(), []section{
		{"network", "How the node reaches price providers, the servers of Lightning addresses, and other relays."},
		s.Guards.section(),
	}, s.backupSections(), []section{
		{"admin", "Who may act as an administrator, beside the node's own key."},
		{"federation", "The other Mostros whose offers are shown here."},
		s.Metrics.section(),
		{"relay", "The relay, which is the same process."},
	})
}

// keys is the table of all settings, bound to s.
func (s *Settings) keys() []key {
	l, m, e, p := &s.Lightning, &s.Mostro, &s.Expiration, &s.Price
	return slices.Concat([]key{
		{"lightning.lnd_grpc_host", &hostValue{to: &l.Host, optional: true}, `""`, "",
			"Address of LND's gRPC: https://host:port or host:port. Required."},
		{"lightning.lnd_cert_file", &textValue{to: &l.CertFile, max: maxPath}, `""`, "",
			"LND's tls.cert. A relative path starts at the data directory. Required."},
		{"lightning.lnd_macaroon_file", &textValue{to: &l.MacaroonFile, max: maxPath}, `""`, "",
			"A macaroon of LND; `mostro macaroon` prints how to bake one that can do what is needed and no more. Required."},
		{"lightning.invoice_expiration_window", &intValue{&l.InvoiceWindow, 60, 7 * 86400}, "3600", "seconds",
			"Life that a buyer's invoice must still have when it is given."},
		{"lightning.hold_invoice_cltv_delta", &intValue{&l.CLTVDelta, 54, 2016}, "288", "blocks",
			"How long a seller's sats can be held; fiat must be paid, and disputes decided, within."},
		{"lightning.payment_attempts", &intValue{&l.Attempts, 1, 20}, "3", "tries",
			"Payout tries before the buyer is asked for another invoice."},
		{"lightning.payment_retries_interval", &intValue{&l.RetryInterval, 1, 3600}, "60", "seconds",
			"Wait between two payout tries."},
		{"lightning.max_final_cltv_expiry_delta", &intValue{&l.MaxFinalCLTV, 18, 1008}, "144", "blocks",
			"Largest final CLTV delta that a buyer's invoice may ask for."},
		{"lightning.payout_cltv_limit", &intValue{&l.PayoutCLTV, 144, 2016}, "1008", "blocks",
			"Longest that sats of a payout can be locked on their way, such as by a payee who neither takes nor refuses them. Must be more than lightning.max_final_cltv_expiry_delta, to leave room for the route."},
		{"lightning.payout_max_parts", &intValue{&l.PayoutParts, 1, 100}, "16", "parts", "Most parts that a payout is split into."},
		{"lightning.payout_timeout_seconds", &intValue{&l.PayoutSeconds, 5, 3600}, "60", "seconds",
			"How long a payout looks for a route. One that is on its way may take longer; nobody else waits for it."},
		{"lightning.payout_grace_seconds", &intValue{&l.PayoutGrace, 1, 86400}, "300", "seconds",
			"After LND has called a payout failed, before another invoice is paid instead: a busy LND may take its word back for a while."},
		{"lightning.lnd_hold_expiry_delta", &intValue{&l.HoldExpiry, 11, 144}, "12", "blocks",
			"LND's own invoices.holdexpirydelta. Must say what LND's configuration says: the deadlines of a trade are counted from it."},
		{"lightning.routing_subsidy", &intValue{&l.RoutingSubsidy, 0, 100_000}, "0", "sats",
			"What the node adds to the routing budget of each payout when its own fee on the order, or its share of a slashed bond, does not cover it."},
		{"lightning.max_held_invoices", &intValue{&l.MaxHolds, 0, 100_000}, "0", "invoices",
			"Hold invoices that live at once, all channels together. 0: what the active channels carry, with a reserve; LND takes 483 HTLCs a channel."},

		{"nostr.nsec_privkey", &secretValue{&s.Nostr.Nsec}, `""`, "",
			"The node's key, nsec1... Better kept in the file .env of the data directory (`mostro key` makes one) or in MOSTRO_NSEC_PRIVKEY, which win over this."},

		{"nostr.relays", &relaysValue{&s.Nostr.Relays}, "[]", "",
			"Other relays, wss://..., to which the node's public events are copied and over which it takes messages and answers them. Its own relay is always there and not listed."},

		{"mostro.name", &textValue{to: &m.Name, max: maxText}, `""`, "", "Name of the node, in its profile, its orders and the relay's information."},
		{"mostro.about", &textValue{to: &m.About, max: maxText}, `""`, "", "About the node, in its profile."},
		{"mostro.picture", &textValue{to: &m.Picture, max: maxText}, `""`, "", "Address of a picture, in its profile."},
		{"mostro.website", &textValue{to: &m.Website, max: maxText}, `""`, "", "Address of a website, in its profile."},
		{"mostro.fee", &ppmValue{&m.FeePPM, 0, 500_000}, "0.006", "fraction of the amount",
			"The node's fee, both sides together; each pays half. Payouts are routed with it: 0 needs lightning.routing_subsidy. Orders keep that which they were made with, and some clients refuse what is in the book from before a change."},
		{"mostro.dev_fee_percentage", &ppmValue{&m.DevFeePPM, 0, maxDevFee}, "0", "fraction of the fee",
			"What the node gives of its fee on each trade to who develops the software. The rest must cover routing. 0: nothing."},
		{"mostro.dev_fee_address", &textValue{to: &m.DevFeeAddress, max: maxText}, `""`, "",
			"Lightning address or LNURL that it goes to. Each payment is made public (kind 8383)."},
		{"mostro.max_routing_fee", &ppmValue{&m.MaxRoutingFeePPM, 0, 100_000}, "0.002", "fraction of the amount",
			"Most that a payout may cost in routing fees, though 10 sats at least, as far as what its order or bond brings the node goes, with lightning.routing_subsidy."},
		{"mostro.max_order_amount", &intValue{&m.MaxOrderAmount, 1, 100_000_000_000}, "1000000", "sats", "Largest order."},
		{"mostro.min_payment_amount", &intValue{&m.MinPaymentAmount, 1, 100_000_000_000}, "100", "sats", "Smallest order. One whose fee rounds to 0 sats is refused too, unless lightning.routing_subsidy pays for its routing: below 167 sats with the default fee."},
		{"mostro.expiration_hours", &intValue{&m.ExpirationHours, 1, 8760}, "24", "hours",
			"Life of an order that nobody takes, when its maker does not say."},
		{"mostro.max_expiration_days", &intValue{&m.MaxExpirationDays, 1, 365}, "15", "days",
			"Longest life that a maker can ask for."},
		{"mostro.expiration_seconds", &intValue{&m.ExpirationSeconds, 1, 86400}, "900", "seconds",
			"How long a trade waits for the seller's payment, and for the buyer's invoice."},
		{"mostro.publish_mostro_info_interval", &intValue{&m.InfoInterval, 1, 86400}, "300", "seconds",
			"Between two publications of the node's profile, relay list and terms (kinds 0, 10002, 38385)."},
		{"mostro.pow", &intValue{&m.Pow, 0, 40}, "0", "bits", "Proof of work (NIP-13) of every message to the node."},
		{"mostro.pow_first_contact", &intValue{&m.PowFirstContact, samePow, 40}, "-1", "bits",
			"Proof of work of messages from keys without a trade. -1: the same as mostro.pow. Most clients mine only mostro.pow."},
		{"mostro.fiat_currencies_accepted", &codesValue{&m.Fiat}, `["USD", "EUR", "ARS", "CUP"]`, "",
			"Currencies of orders. []: all."},
		{"mostro.max_open_orders_per_user", &intValue{&m.MaxOpen, 0, 100000}, "25", "orders",
			"Most orders of one identity that wait in the book at once. 0: no limit. Some clients restore only what one message holds, about 300 orders."},
		{"mostro.max_waiting_takes_per_user", &intValue{&m.MaxTakes, 0, 100000}, "3", "orders",
			"Most orders that one identity has taken and that wait for an invoice or a payment. 0: no limit."},
		{"mostro.max_orders_per_response", &intValue{&m.MaxOrders, 1, 255}, "100", "orders",
			"Most orders in one answer to a client that asks for its orders. Some clients restore none when one is missing."},

		{"expiration.order_days", &intValue{&e.OrderDays, 1, 3650}, "30", "days", "Orders that ended."},
		{"expiration.dispute_days", &intValue{&e.DisputeDays, 1, 3650}, "90", "days", "Disputes."},
		{"expiration.rating_days", &intValue{&e.RatingDays, 1, 3650}, "90", "days", "Ratings."},
		{"expiration.fee_audit_days", &intValue{&e.DevFeeDays, 1, 3650}, "365", "days", "Records of development fees."},
		{"expiration.dm_days", &intValue{&e.DMDays, 1, 3650}, "30", "days", "The node's messages to traders."},
	}, p.keys(), s.Bond.keys(), s.Guards.keys(), s.backupKeys(), []key{
		{"network.proxy", &proxyValue{&s.Network.Proxy}, `""`, "",
			"SOCKS5 proxy for all of them: socks5h://host:port, which resolves names too and reaches .onion (Tor), or socks5://host:port. Empty: direct, and no .onion."},

		{"admin.pubkeys", &pubkeysValue{&s.Admin.Pubkeys}, "[]", "", "Public keys, npub1... or hex."},
	}, s.Federation.keys(), s.Metrics.keys(), s.Relay.keys())
}

// need is a setting without which serve refuses to start.
type need struct {
	path  string
	to    *string
	check func(path string) error // what must be in the file that it names; nil: it names none
}

func (s *Settings) needs() []need {
	return []need{
		{"lightning.lnd_grpc_host", &s.Lightning.Host, nil},
		{"lightning.lnd_cert_file", &s.Lightning.CertFile, lnd.CheckCertificate},
		{"lightning.lnd_macaroon_file", &s.Lightning.MacaroonFile, func(path string) error {
			_, _, err := lnd.CheckMacaroon(path)
			return err
		}},
	}
}

// unsupported explains the keys of an existing Mostro that this program does not take. An
// entry for a section covers all its keys.
func unsupported() map[string]string {
	const later = "not supported yet by this version; delete it"
	all := map[string]string{
		"cashu":    "Cashu escrow is " + later,
		"rpc":      "the gRPC admin service is " + later,
		"database": "the stores are folders of the data directory; delete it",

		"lightning.hold_invoice_expiration_window": "sellers have mostro.expiration_seconds to pay, and clients are told so; delete it",
		"lightning.escrow_deadline_margin_blocks":  "the margin follows from lightning.lnd_hold_expiry_delta; delete it",

		"mostro.user_rates_sent_interval_seconds":       "ratings go out within the minute; delete it",
		"mostro.active_pubkeys_refresh_interval":        "the set of known keys is always fresh; delete it",
		"mostro.publish_relays_interval":                "the relay list goes out with the node's terms, each mostro.publish_mostro_info_interval; delete it",
		"mostro.transport":                              "both transports are always on; delete it",
		"mostro.bitcoin_price_api_url":                  "it is price.providers.yadio.url now; move it there",
		"mostro.publish_exchange_rates_to_nostr":        "it is price.publish_to_nostr now; move it there",
		"mostro.exchange_rates_update_interval_seconds": "it is price.update_interval_seconds now; move it there",
	}
	// An existing Mostro takes these of every provider.
	for _, each := range new(PriceSettings).providers() {
		for _, name := range []string{"url", "fallback_urls", "api_key", "token", "trusted_nodes"} {
			if !slices.ContainsFunc(each.keys(), func(k key) bool { return k.path == each.path(name) }) {
				all[each.path(name)] = "this provider has no use for it; delete it"
			}
		}
	}
	return all
}
