package mirror

import (
	"context"
	"slices"

	"mostro/relay/reconcile"
)

// A platform that is followed no more, since the settings name it no longer, leaves its offers here. Nobody hears when they are
// taken, so they go, and with them the row that a followed platform has:
//
//	p 0 key              1
const tablePlatform = 'p'

// notePlatform notes that a platform is followed.
func (m *Mirror) notePlatform(pubkey string) error {
	return m.state.set(map[string][]byte{string(stateRow(tablePlatform, pubkey)): {1}})
}

// leavePlatforms takes away the pending offers of platforms that are followed no more.
func (m *Mirror) leavePlatforms(ctx context.Context) error {
	var gone []string
	err := m.state.each(tablePlatform, nil, func(row [][]byte, _ []byte) error {
		if pubkey := string(row[0]); !m.Followed(pubkey) {
			gone = append(gone, pubkey)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, pubkey := range gone {
		offers, err := m.relay.Items(ctx, pendingOf(pubkey), maxItems)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(offers, idsAtOnce) {
			ids := make([]reconcile.ID, len(chunk))
			for i := range chunk {
				ids[i] = chunk[i].ID
			}
			if err := m.relay.Remove(ctx, ids...); err != nil {
				return err
			}
		}
		if err := m.state.set(map[string][]byte{string(stateRow(tablePlatform, pubkey)): nil}); err != nil {
			return err
		}
		m.log.Info("a platform is followed no more: its offers go", "pubkey", pubkey, "offers", len(offers))
	}
	return nil
}
