package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mostro/escrow"
)

// What stands wrong with the Lightning node is a figure of its own, which an alarm of Prometheus can look at.
func TestLightningFigures(t *testing.T) {
	stands := escrow.LightningStands{Ready: true, Tip: 1_700_000_000}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newLightningFigures(func() escrow.LightningStands { return stands })...)
	want := func(figures map[string]float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil || len(families) != len(figures) {
			t.Fatalf("%d figures, %v", len(families), err)
		}
		for _, f := range families {
			if got := f.GetMetric()[0].GetGauge().GetValue(); got != figures[f.GetName()] {
				t.Errorf("%s is %v, want %v", f.GetName(), got, figures[f.GetName()])
			}
		}
	}
	want(map[string]float64{"mostro_lightning_ready": 1, "mostro_lightning_chain_alarm": 0, "mostro_lightning_tip_timestamp_seconds": 1_700_000_000, "mostro_lightning_orphan_holds": 0})
	stands = escrow.LightningStands{Chain: "it stands still", Orphans: 2, Tip: 5}
	want(map[string]float64{"mostro_lightning_ready": 0, "mostro_lightning_chain_alarm": 1, "mostro_lightning_tip_timestamp_seconds": 5, "mostro_lightning_orphan_holds": 2})
}
