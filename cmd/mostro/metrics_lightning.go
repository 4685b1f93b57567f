package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"mostro/escrow"
)

// newLightningFigures tells a Prometheus how the escrow's Lightning node stands, and what of it waits for the operator.
func newLightningFigures(stands func() escrow.LightningStands) []prometheus.Collector {
	figure := func(name, help string, of func(escrow.LightningStands) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return of(stands()) })
	}
	flag := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	return []prometheus.Collector{
		figure("mostro_lightning_ready", "Whether the Lightning node answers and is synced to the chain.", func(s escrow.LightningStands) float64 { return flag(s.Ready) }),
		figure("mostro_lightning_chain_alarm", "Whether the Lightning node is behind the chain for long, or has seen no block for 90 minutes.", func(s escrow.LightningStands) float64 { return flag(s.Chain != "") }),
		figure("mostro_lightning_tip_timestamp_seconds", "When the latest block was made that the Lightning node has told of; 0: it has not answered yet.", func(s escrow.LightningStands) float64 { return float64(s.Tip) }),
		figure("mostro_lightning_orphan_holds", "Hold invoices of this escrow that belong to no order and no bond: mostro status lists them.", func(s escrow.LightningStands) float64 { return float64(s.Orphans) }),
	}
}
