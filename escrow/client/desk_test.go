package client

import (
	"testing"

	"mostro/escrow/mostro"
)

// The existing daemon's answer to restore-session names no request; any other message must.
func TestAnswersOfADesk(t *testing.T) {
	one, two := uint64(1), uint64(2)
	d := &desk{heard: []mostro.Message{
		{Action: mostro.RestoreSession}, {Action: mostro.RestoreSession, RequestID: &one}, {Action: mostro.LastTradeIndex, RequestID: &two}, {Action: mostro.Orders},
	}}
	for _, c := range []struct {
		to   mostro.Message
		want int
	}{
		{mostro.Message{Action: mostro.RestoreSession, RequestID: &one}, 2},
		{mostro.Message{Action: mostro.RestoreSession}, 1},
		{mostro.Message{Action: mostro.LastTradeIndex, RequestID: &two}, 1},
		{mostro.Message{Action: mostro.Orders, RequestID: &one}, 1},
		{mostro.Message{Action: mostro.Orders}, 0},
	} {
		if got := len(d.answers(c.to)); got != c.want {
			t.Errorf("%d answers to %+v, want %d", got, c.to, c.want)
		}
	}
}
