package main

import (
	"fmt"

	"mostro/escrow"
	"mostro/escrow/order"
)

// GuardSettings bound what the escrow does on its own.
type GuardSettings struct {
	Mode       escrow.Mode
	Uncovered  int64 // sats
	VolumeHour int64 // sats
	VolumeDay  int64 // sats
}

func (g *GuardSettings) section() section {
	return section{"guards", "What stops the escrow when something is wrong. `mostro status` shows how they stand."}
}

func (g *GuardSettings) keys() []key {
	return []key{
		{"guards.mode", &modeValue{&g.Mode}, `"open"`, "",
			"maintenance: no new orders and no takes; what is running goes on. drain: beside that the offers leave the book, before the node is closed. `mostro mode` does the same without a restart."},
		{"guards.max_uncovered_outflow", &intValue{&g.Uncovered, 0, 1_000_000_000}, "10000", "sats",
			"Paid out in 24 hours beyond what the same orders brought in and lightning.routing_subsidy adds to each. More stops all payouts until `mostro breaker reset`; trading alone never gets there. When more than as much of the subsidy was spent in 24 hours, no order is made or taken."},
		{"guards.max_volume_per_hour", &intValue{&g.VolumeHour, 0, 100_000_000_000}, "0", "sats",
			"Paid out in an hour, beyond which no order is made or taken for a while. 0: no limit."},
		{"guards.max_volume_per_day", &intValue{&g.VolumeDay, 0, 1_000_000_000_000}, "0", "sats",
			"The same for 24 hours. 0: no limit."},
	}
}

func (g *GuardSettings) engine() escrow.Guards {
	return escrow.Guards{Mode: g.Mode, Uncovered: order.Sat(g.Uncovered), VolumeHour: order.Sat(g.VolumeHour), VolumeDay: order.Sat(g.VolumeDay)}
}

// modeValue is what the node may begin.
type modeValue struct{ to *escrow.Mode }

func (v *modeValue) set(l literal) error {
	if err := wants(aString, l); err != nil {
		return err
	}
	m, err := escrow.ParseMode(l.text)
	if err != nil {
		return fmt.Errorf("is %.40q, want open, maintenance or drain", l.text)
	}
	*v.to = m
	return nil
}

func (v *modeValue) takes() string { return "open, maintenance or drain" }
