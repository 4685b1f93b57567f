package mostro

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
)

func testInstance() Instance {
	return Instance{
		Pubkey: strings.Repeat("ab", 32), Name: "Test", RelayURLs: []string{"wss://a", "ws://127.0.0.1:7000"}, Network: "mainnet",
	}
}

func TestOrderEvent(t *testing.T) {
	market := BookOrder{
		ID: testID, Kind: Sell, Status: StatusPending, FiatCode: "EUR", MinAmount: ptr(int64(10)), MaxAmount: ptr(int64(50)),
		PaymentMethod: "Bizum, face to face ,,SEPA", Premium: -2, Rating: &Rating{TotalReviews: 3, TotalRating: 5, Days: 41},
		ExpiresAt: 1000, Expiration: 1000,
	}
	fixed := BookOrder{
		ID: testID, Kind: Buy, Status: StatusPending, Amount: 1500, FiatCode: "VES", FiatAmount: 100, PaymentMethod: "",
		ExpiresAt: 1000, Expiration: 1000,
	}
	taken := market
	taken.Status, taken.Amount, taken.FiatAmount, taken.Expiration = StatusInProgress, 7000, 25, 2000
	tests := []struct {
		name string
		o    BookOrder
		in   Instance
		want nostr.Tags
	}{
		{"pending range at market price", market, testInstance(), nostr.Tags{
			{"d", testID}, {"k", "sell"}, {"f", "EUR"}, {"s", "pending"}, {"amt", "0"}, {"fa", "10", "50"},
			{"pm", "Bizum", "face to face", "SEPA"}, {"premium", "-2"},
			{"rating", `["rating",{"total_reviews":3,"total_rating":5.0,"days":41}]`},
			{"source", "mostro:" + testID + "?relays=wss://a,ws://127.0.0.1:7000&mostro=" + testInstance().Pubkey},
			{"network", "mainnet"}, {"layer", "lightning"}, {"expires_at", "1000"}, {"expiration", "1000"},
			{"y", "mostro", "Test"}, {"z", "order"},
		}},
		{"pending, fixed, of a nameless node without known address", fixed, Instance{Network: "simnet"}, nostr.Tags{
			{"d", testID}, {"k", "buy"}, {"f", "VES"}, {"s", "pending"}, {"amt", "1500"}, {"fa", "100"}, {"pm", ""}, {"premium", "0"},
			{"network", "simnet"}, {"layer", "lightning"}, {"expires_at", "1000"}, {"expiration", "1000"}, {"y", "mostro"}, {"z", "order"},
		}},
		{"taken", taken, testInstance(), nostr.Tags{
			{"d", testID}, {"k", "sell"}, {"f", "EUR"}, {"s", "in-progress"}, {"amt", "7000"}, {"fa", "25"},
			{"pm", "Bizum", "face to face", "SEPA"}, {"premium", "-2"},
			{"network", "mainnet"}, {"layer", "lightning"}, {"expires_at", "1000"}, {"expiration", "2000"},
			{"y", "mostro", "Test"}, {"z", "order"},
		}},
	}
	for _, test := range tests {
		got := OrderEvent(test.o, test.in)
		if diff := cmp.Diff(nostr.Event{Kind: 38383, Tags: test.want}, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestDisputeEvent(t *testing.T) {
	got := DisputeEvent(DisputeState{ID: testID, Status: "initiated", Initiator: "buyer", CreatedAt: 5, Expiration: 6}, testInstance())
	want := nostr.Event{Kind: 38386, Tags: nostr.Tags{
		{"d", testID}, {"expiration", "6"}, {"s", "initiated"}, {"initiator", "buyer"}, {"created_at", "5"}, {"y", "mostro", "Test"}, {"z", "dispute"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := DisputeEvent(DisputeState{}, testInstance()).Tags[3]; got[1] != "unknown" {
		t.Errorf("initiator %q", got)
	}
}

func TestInfoEvent(t *testing.T) {
	info := NodeInfo{
		MostroVersion: "1.2.3", MostroCommitHash: "c0ffee", MaxOrderAmount: 1000000, MinOrderAmount: 100, ExpirationHours: 24,
		ExpirationSeconds: 900, FiatCurrencies: []string{"USD", "EUR"}, MaxOrdersPerResponse: 10, Fee: "0.006", Pow: 8, PowFirstContact: 4,
		HoldInvoiceExpirationWindow: 300, HoldInvoiceCLTVDelta: 288, InvoiceExpirationWindow: 3600, LNDVersion: "0.20.1", LNDPubkey: "02aa",
		LNDCommitHash: "v0", LNDAlias: "alias", LNDChains: []string{"bitcoin"}, LNDNetworks: []string{"simnet"}, LNDURIs: []string{"u@h:1", "u@i:2"},
	}
	tags := nostr.Tags{
		{"d", testInstance().Pubkey}, {"mostro_version", "1.2.3"}, {"mostro_commit_hash", "c0ffee"}, {"max_order_amount", "1000000"},
		{"min_order_amount", "100"}, {"expiration_hours", "24"}, {"expiration_seconds", "900"}, {"fiat_currencies_accepted", "USD,EUR"},
		{"max_orders_per_response", "10"}, {"fee", "0.006"}, {"pow", "8"}, {"pow_first_contact", "8"}, {"protocol_version", "2"},
		{"hold_invoice_expiration_window", "300"}, {"hold_invoice_cltv_delta", "288"}, {"invoice_expiration_window", "3600"},
		{"lnd_version", "0.20.1"}, {"lnd_node_pubkey", "02aa"}, {"lnd_commit_hash", "v0"}, {"lnd_node_alias", "alias"},
		{"lnd_chains", "bitcoin"}, {"lnd_networks", "simnet"}, {"lnd_uris", "u@h:1,u@i:2"}, {"y", "mostro", "Test"}, {"z", "info"},
	}
	want := nostr.Event{Kind: 38385, Tags: append(tags[:len(tags):len(tags)], nostr.Tag{"bond_enabled", "false"})}
	if diff := cmp.Diff(want, InfoEvent(info, testInstance())); diff != "" {
		t.Error(diff)
	}
	info.Bond = &BondTerms{AmountPct: "0.01", BaseAmount: 1000, ApplyTo: "take", SlashNodeSharePct: "0.5", PayoutClaimDays: 15}
	want.Tags = append(tags[:len(tags):len(tags)], nostr.Tags{
		{"bond_enabled", "true"}, {"bond_amount_pct", "0.01"}, {"bond_base_amount_sats", "1000"}, {"bond_apply_to", "take"},
		{"bond_slash_on_waiting_timeout", "false"}, {"bond_slash_node_share_pct", "0.5"}, {"bond_payout_claim_window_days", "15"},
	}...)
	if diff := cmp.Diff(want, InfoEvent(info, testInstance())); diff != "" {
		t.Error(diff)
	}
}

func TestProfileEvents(t *testing.T) {
	meta := MetadataEvent("a \"name\"", "<b> & more", "", "https://x", "_@x")
	if want := `{"name":"a \"name\"","about":"<b> & more","website":"https://x","nip05":"_@x"}`; meta.Content != want || meta.Kind != 0 {
		t.Errorf("kind %d: %s, want %s", meta.Kind, meta.Content, want)
	}
	if empty := MetadataEvent("", "", "", "", ""); empty.Content != "{}" || !json.Valid([]byte(meta.Content)) {
		t.Errorf("empty profile is %s", empty.Content)
	}
	want := nostr.Event{Kind: 10002, Tags: nostr.Tags{{"r", "wss://a"}, {"r", "wss://b"}}}
	if diff := cmp.Diff(want, RelayListEvent([]string{"wss://a", "wss://b"})); diff != "" {
		t.Error(diff)
	}
}

func TestDevFeeEvent(t *testing.T) {
	want := nostr.Event{Kind: 8383, Tags: nostr.Tags{
		{"order-id", testID}, {"amount", "180"}, {"hash", "ab"}, {"destination", "dev@example.com"}, {"network", "mainnet"},
		{"y", "mostro", "Test"}, {"z", "dev-fee-payment"}, {"expiration", "2000"},
	}}
	got := DevFeeEvent(DevFeePayment{OrderID: testID, Amount: 180, Hash: "ab", Destination: "dev@example.com", Expiration: 2000}, testInstance())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
