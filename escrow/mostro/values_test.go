package mostro

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// words reads the constants of a type from words.go and message.go, so that a new one
// cannot be forgotten in the functions that list them.
func words(t *testing.T, typeName string) []string {
	t.Helper()
	var found []string
	for _, file := range []string{"words.go", "message.go"} {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == typeName {
				word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, word)
			}
			return true
		})
	}
	if len(found) < 2 {
		t.Fatalf("no constants of type %s", typeName)
	}
	return found
}

func TestKnown(t *testing.T) {
	for _, w := range words(t, "Wrapper") {
		if !Wrapper(w).Known() {
			t.Errorf("wrapper %s is not known", w)
		}
	}
	for _, w := range words(t, "Action") {
		if !Action(w).Known() {
			t.Errorf("action %s is not known", w)
		}
	}
	for _, w := range words(t, "OrderKind") {
		if !OrderKind(w).Known() {
			t.Errorf("kind %s is not known", w)
		}
	}
	for _, w := range words(t, "Status") {
		if known := Status(w) != StatusSettling; Status(w).Known() != known {
			t.Errorf("status %s: known %t", w, !known)
		}
	}
	if Wrapper("").Known() || Action("").Known() || OrderKind("").Known() || Status("").Known() {
		t.Error("the empty word is known")
	}
}

// mobileStatuses and mobileReasons are all that the mobile client can read.
const mobileStatuses = "active canceled canceled-by-admin settled-by-admin completed-by-admin dispute expired fiat-sent " +
	"settled-hold-invoice pending success waiting-buyer-invoice waiting-payment waiting-taker-bond cooperatively-canceled in-progress"

const mobileReasons = "invalid_signature invalid_trade_index invalid_amount invalid_invoice invalid_payment_request invalid_peer " +
	"invalid_rating invalid_text_message invalid_order_kind invalid_order_status invalid_pubkey invalid_parameters " +
	"order_already_canceled cant_create_user is_not_your_order not_allowed_by_status out_of_range_fiat_amount " +
	"out_of_range_sats_amount is_not_your_dispute dispute_creation_error not_found invalid_dispute_status invalid_action " +
	"invalid_fiat_currency pending_order_exists too_many_requests"

func TestClientValues(t *testing.T) {
	statuses, reasons := strings.Fields(mobileStatuses), strings.Fields(mobileReasons)
	for _, w := range words(t, "Status") {
		got := string(ClientStatus(Status(w)))
		if !slices.Contains(statuses, got) {
			t.Errorf("status %s is told as %s, which mobile cannot read", w, got)
		}
		if slices.Contains(statuses, w) && got != w {
			t.Errorf("status %s is told as %s", w, got)
		}
	}
	if got := ClientStatus(StatusWaitingMakerBond); got != StatusPending {
		t.Errorf("waiting-maker-bond is told as %s", got)
	}
	for _, w := range words(t, "Reason") {
		got := string(ClientReason(Reason(w), false))
		if !slices.Contains(reasons, got) {
			t.Errorf("reason %s is told as %s, which mobile cannot read", w, got)
		}
		if slices.Contains(reasons, w) && got != w {
			t.Errorf("reason %s is told as %s", w, got)
		}
		if got := ClientReason(Reason(w), true); string(got) != w {
			t.Errorf("an admin is told %s as %s", w, got)
		}
	}
	for r, want := range map[Reason]Reason{
		InvalidPayload: InvalidParameters, PriceTooStale: InvalidParameters,
		NotAuthorized: IsNotYourDispute, DisputeTakenByAdmin: IsNotYourDispute,
	} {
		if got := ClientReason(r, false); got != want {
			t.Errorf("reason %s is told as %s, want %s", r, got, want)
		}
	}
}

func TestPublicStatus(t *testing.T) {
	want := map[Status]Status{
		StatusPending: StatusPending, StatusWaitingTakerBond: StatusPending,
		StatusWaitingPayment: StatusInProgress, StatusWaitingBuyerInvoice: StatusInProgress, StatusActive: StatusInProgress,
		StatusFiatSent: StatusInProgress, StatusDispute: StatusInProgress, StatusSettling: StatusInProgress,
		StatusSettledHoldInvoice: StatusInProgress, StatusSettledByAdmin: StatusInProgress, StatusInProgress: StatusInProgress,
		StatusCanceled: StatusCanceled, StatusCanceledByAdmin: StatusCanceled, StatusCooperativelyCanceled: StatusCanceled,
		StatusExpired: StatusCanceled,
		StatusSuccess: StatusSuccess, StatusCompletedByAdmin: StatusSuccess,
	}
	for _, w := range words(t, "Status") {
		for _, kind := range []OrderKind{Buy, Sell} {
			got, published := PublicStatus(kind, Status(w))
			if got != want[Status(w)] || published != (got != "") {
				t.Errorf("%s %s order is published %t as %q, want %q", w, kind, published, got, want[Status(w)])
			}
		}
	}
}
