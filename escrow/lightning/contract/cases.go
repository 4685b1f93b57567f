package contract

import (
	"context"
	"testing"
	"time"
)

// patience bounds every wait of a case. It is long because it only matters when something
// is broken: real nodes on a busy machine take seconds for what takes milliseconds.
const patience = 90 * time.Second

// cases in the order they run: those that restart nodes or fill channels come last.
func cases() []testCase {
	return []testCase{
		{name: "info", run: testInfo},
	}
}

func testInfo(t *testing.T, network Network) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, party := range []Party{Escrow, Seller, Buyer} {
		info, err := network.Node(party).Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !info.Synced || info.Height == 0 || len(info.Pubkey) != 66 {
			t.Errorf("%s: %+v, want a synced node with a key and a height", party, info)
		}
	}
}
