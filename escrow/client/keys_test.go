package client_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mostro/escrow/client"
	"mostro/escrow/mostro"
)

// TestKeysHideWords: no way of printing shows a user's words (M53).
func TestKeysHideWords(t *testing.T) {
	words, err := mostro.NewMnemonic()
	if err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{Keys: client.Keys{Mnemonic: words}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("client", "keys", cfg.Keys)
	for _, shown := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), log.String()} {
		if strings.Contains(shown, words) {
			t.Errorf("it shows the words: %s", shown)
		}
	}
}
