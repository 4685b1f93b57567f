package mostro

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// NodeInfo is what a node tells about itself (kind 38385). Mobile reads every number
// without a default, so all of them are always published. What the Lightning node says of
// itself is empty while it cannot be asked.
type NodeInfo struct {
	MostroVersion    string
	MostroCommitHash string

	MaxOrderAmount       int64    // sat
	MinOrderAmount       int64    // sat
	ExpirationHours      int64    // life of a pending order
	ExpirationSeconds    int64    // of a wait for invoice or payment
	FiatCurrencies       []string // empty = all
	MaxOrdersPerResponse int64
	Fee                  string // fraction of the amount, both sides together, as in the settings

	Pow             int // bits (NIP-13)
	PowFirstContact int // bits for a trade key that the node does not know

	HoldInvoiceExpirationWindow int64 // seconds
	HoldInvoiceCLTVDelta        int64 // blocks
	InvoiceExpirationWindow     int64 // seconds that a buyer's invoice must still live

	LNDVersion    string
	LNDPubkey     string
	LNDCommitHash string
	LNDAlias      string
	LNDChains     []string
	LNDNetworks   []string
	LNDURIs       []string

	Bond *BondTerms // nil = no bonds
}

// BondTerms are the published terms of the anti-abuse bond.
type BondTerms struct {
	AmountPct         string // fraction of the amount, as in the settings
	BaseAmount        int64  // sat; the least
	ApplyTo           string // "take", "make", "both"
	SlashOnTimeout    bool
	SlashNodeSharePct string // fraction that the node keeps, as in the settings
	PayoutClaimDays   int64  // days
}

// protocolVersion is the one that clients are told to use; GiftWrap is accepted too.
const protocolVersion = NIP44

// InfoEvent is the node's description of itself, without author and time.
func InfoEvent(i NodeInfo, in Instance) nostr.Event {
	tags := nostr.Tags{
		{"d", in.Pubkey},
		{"mostro_version", i.MostroVersion},
		{"mostro_commit_hash", i.MostroCommitHash},
		{"max_order_amount", decimal(i.MaxOrderAmount)},
		{"min_order_amount", decimal(i.MinOrderAmount)},
		{"expiration_hours", decimal(i.ExpirationHours)},
		{"expiration_seconds", decimal(i.ExpirationSeconds)},
		{"fiat_currencies_accepted", strings.Join(i.FiatCurrencies, ",")},
		{"max_orders_per_response", decimal(i.MaxOrdersPerResponse)},
		{"fee", i.Fee},
		{"pow", strconv.Itoa(i.Pow)},
		{"pow_first_contact", strconv.Itoa(max(i.Pow, i.PowFirstContact))},
		{"protocol_version", strconv.Itoa(protocolVersion.Version())},
		{"hold_invoice_expiration_window", decimal(i.HoldInvoiceExpirationWindow)},
		{"hold_invoice_cltv_delta", decimal(i.HoldInvoiceCLTVDelta)},
		{"invoice_expiration_window", decimal(i.InvoiceExpirationWindow)},
		{"lnd_version", i.LNDVersion},
		{"lnd_node_pubkey", i.LNDPubkey},
		{"lnd_commit_hash", i.LNDCommitHash},
		{"lnd_node_alias", i.LNDAlias},
		{"lnd_chains", strings.Join(i.LNDChains, ",")},
		{"lnd_networks", strings.Join(i.LNDNetworks, ",")},
		{"lnd_uris", strings.Join(i.LNDURIs, ",")},
		in.tag(),
		{"z", "info"},
		{"bond_enabled", strconv.FormatBool(i.Bond != nil)},
	}
	if b := i.Bond; b != nil {
		tags = append(tags,
			nostr.Tag{"bond_amount_pct", b.AmountPct},
			nostr.Tag{"bond_base_amount_sats", decimal(b.BaseAmount)},
			nostr.Tag{"bond_apply_to", b.ApplyTo},
			nostr.Tag{"bond_slash_on_waiting_timeout", strconv.FormatBool(b.SlashOnTimeout)},
			nostr.Tag{"bond_slash_node_share_pct", b.SlashNodeSharePct},
			nostr.Tag{"bond_payout_claim_window_days", decimal(b.PayoutClaimDays)},
		)
	}
	return nostr.Event{Kind: KindInfo, Tags: tags}
}
