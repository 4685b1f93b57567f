package main

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mostro/relay/mirror"
)

// maxPeerLabel is the length of a relay's address in a label, in bytes. A followed Mostro can choose up to three
// of them.
const maxPeerLabel = 100

// peerFigure is one number about another relay.
type peerFigure struct {
	name, help   string
	kind         prometheus.ValueType
	label, value string // beside that of the relay; "" = none
	of           func(h *mirror.Health, now time.Time) float64
}

// peerFiguresOf is all that is told of another relay but refusals by cause. Rows of one name follow each other.
func peerFiguresOf() []peerFigure {
	count := func(of func(h *mirror.Health) int64) func(*mirror.Health, time.Time) float64 {
		return func(h *mirror.Health, _ time.Time) float64 { return float64(of(h)) }
	}
	flag := func(of func(h *mirror.Health) bool) func(*mirror.Health, time.Time) float64 {
		return func(h *mirror.Health, _ time.Time) float64 {
			if of(h) {
				return 1
			}
			return 0
		}
	}
	moment := func(of func(h *mirror.Health) time.Time) func(*mirror.Health, time.Time) float64 {
		return func(h *mirror.Health, _ time.Time) float64 {
			if at := of(h); !at.IsZero() {
				return float64(at.UnixMilli()) / 1000
			}
			return 0
		}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	const (
		events    = "Events of followed keys that came from this relay, by what became of them here."
		bytes     = "Bytes of frames that came from this relay and went there."
		messages  = "Messages of traders that went there, came back to clients here, and came to this node."
		published = "Events of this node that the relay has confirmed and refused."
	)
	return []peerFigure{
		{"mostro_peer_up", "Whether this relay is connected.", gauge, "", "",
			flag(func(h *mirror.Health) bool { return h.State == mirror.Live || h.State == mirror.Syncing })},
		{"mostro_peer_live", "Whether all that this relay had has been compared since it was connected.", gauge, "", "",
			flag(func(h *mirror.Health) bool { return h.State == mirror.Live })},
		{"mostro_peer_negentropy", "Whether this relay compares by negentropy (NIP-77).", gauge, "", "",
			flag(func(h *mirror.Health) bool { return h.Negentropy })},
		{"mostro_peer_full", "Whether a followed key has all the room that federation.max_events and max_mib give it.", gauge, "", "",
			flag(func(h *mirror.Health) bool { return h.Full })},
		{"mostro_peer_connections_total", "Connections made to this relay.", counter, "", "", count(func(h *mirror.Health) int64 { return h.Sessions })},
		{"mostro_peer_failures_total", "Connections to this relay that ended, or never came about.", counter, "", "", count(func(h *mirror.Health) int64 { return h.Failures })},
		{"mostro_peer_lag_seconds", "From created_at of the last live event to its arrival.", gauge, "", "",
			func(h *mirror.Health, _ time.Time) float64 { return h.Lag }},
		{"mostro_peer_last_event_timestamp_seconds", "When the last new event came from there; 0: never.", gauge, "", "",
			moment(func(h *mirror.Health) time.Time { return h.LastEvent })},
		{"mostro_peer_synced_timestamp_seconds", "When all that this relay had was last compared; 0: never.", gauge, "", "",
			moment(func(h *mirror.Health) time.Time { return h.Synced })},
		{"mostro_peer_backlog_events", "Events that comparing has found there and that are still to come.", gauge, "", "",
			count(func(h *mirror.Health) int64 { return h.Backlog })},
		{"mostro_peer_events_total", events, counter, "result", "new", count(func(h *mirror.Health) int64 { return h.Stored })},
		{"mostro_peer_events_total", events, counter, "result", "known", count(func(h *mirror.Health) int64 { return h.Known })},
		{"mostro_peer_events_total", events, counter, "result", "refused", count(func(h *mirror.Health) int64 { return h.Refused + h.Ahead })},
		{"mostro_peer_events_total", events, counter, "result", "bad", count(func(h *mirror.Health) int64 { return h.Bad })},
		{"mostro_peer_checked_total", "Events from there whose signatures were verified.", counter, "", "", count(func(h *mirror.Health) int64 { return h.Checked })},
		{"mostro_peer_reviews_total", "Reviews of Mostros that were new here.", counter, "", "", count(func(h *mirror.Health) int64 { return h.Reviews })},
		{"mostro_peer_bytes_total", bytes, counter, "direction", "in", count(func(h *mirror.Health) int64 { return h.BytesIn })},
		{"mostro_peer_bytes_total", bytes, counter, "direction", "out", count(func(h *mirror.Health) int64 { return h.BytesOut })},
		{"mostro_peer_messages_total", messages, counter, "direction", "there", count(func(h *mirror.Health) int64 { return h.CarriedTo })},
		{"mostro_peer_messages_total", messages, counter, "direction", "back", count(func(h *mirror.Health) int64 { return h.CarriedIn })},
		{"mostro_peer_messages_total", messages, counter, "direction", "node", count(func(h *mirror.Health) int64 { return h.Received })},
		{"mostro_peer_published_total", published, counter, "result", "confirmed", count(func(h *mirror.Health) int64 { return h.Published })},
		{"mostro_peer_published_total", published, counter, "result", "refused", count(func(h *mirror.Health) int64 { return h.Rejected })},
		{"mostro_peer_outbox_events", "Events of this node that wait for the relay's confirmation.", gauge, "", "",
			count(func(h *mirror.Health) int64 { return int64(h.Waiting) })},
		{"mostro_peer_outbox_oldest_seconds", "For how long the first of them has waited.", gauge, "", "",
			func(h *mirror.Health, now time.Time) float64 {
				if h.Oldest.IsZero() {
					return 0
				}
				return max(0, now.Sub(h.Oldest).Seconds())
			}},
	}
}

// peerFigures tells a Prometheus how things stand with other relays.
type peerFigures struct {
	health   func() []mirror.Health
	rows     []peerFigure
	descs    map[string]*prometheus.Desc // by name
	refusals *prometheus.Desc
	lost     *prometheus.Desc
	leftOut  *prometheus.Desc
}

func newPeerFigures(health func() []mirror.Health) *peerFigures {
	f := &peerFigures{
		health: health, rows: peerFiguresOf(), descs: make(map[string]*prometheus.Desc),
		refusals: prometheus.NewDesc("mostro_peer_refusals_total", "What was refused here, and what that relay refused, by cause.", []string{"peer", "by", "cause"}, nil),
		leftOut:  prometheus.NewDesc("mostro_followed_offers_left_out", "Pending offers of a followed key that are not kept: it has more than federation.max_offers, and all together are more than relay.default_limit.", []string{"key"}, nil),
		lost:     prometheus.NewDesc("mostro_followed_without_relay", "Followed keys of which no relay is known.", nil, nil),
	}
	for _, row := range f.rows {
		if f.descs[row.name] == nil {
			labels := []string{"peer"}
			if row.label != "" {
				labels = append(labels, row.label)
			}
			f.descs[row.name] = prometheus.NewDesc(row.name, row.help, labels, nil)
		}
	}
	return f
}

// Describe implements prometheus.Collector.
func (f *peerFigures) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range f.descs {
		out <- desc
	}
	out <- f.refusals
	out <- f.lost
	out <- f.leftOut
}

// Collect implements prometheus.Collector.
func (f *peerFigures) Collect(out chan<- prometheus.Metric) {
	now, lost := time.Now(), 0
	named, leftOut := make(map[string]int), make(map[string]int)
	for _, h := range f.health() {
		maps.Copy(leftOut, h.LeftOut) // a key with several relays is told with each
		if h.State == mirror.Searching {
			lost += len(h.Mostros) // and no others, of which messages are still carried only
			continue
		}
		peer := peerLabel(h.URL, named)
		for _, row := range f.rows {
			labels := []string{peer}
			if row.label != "" {
				labels = append(labels, row.value)
			}
			out <- prometheus.MustNewConstMetric(f.descs[row.name], row.kind, row.of(&h, now), labels...)
		}
		for cause, n := range h.RefusedFor {
			by := "here"
			if cause.There {
				by = "there"
			}
			out <- prometheus.MustNewConstMetric(f.refusals, prometheus.CounterValue, float64(n), peer, by, cause.Word)
		}
	}
	out <- prometheus.MustNewConstMetric(f.lost, prometheus.GaugeValue, float64(lost))
	for key, n := range leftOut {
		out <- prometheus.MustNewConstMetric(f.leftOut, prometheus.GaugeValue, float64(n), key)
	}
}

// peerLabel is the address of a relay without what may be a secret in it. named counts what has been given
// out: two relays must not have one name.
func peerLabel(url string, named map[string]int) string {
	url, _, _ = strings.Cut(url, "?")
	url = strings.ToValidUTF8(url[:min(len(url), maxPeerLabel)], "")
	if named[url]++; named[url] > 1 {
		url += " " + strconv.Itoa(named[url])
	}
	return url
}

// newReplicaFigures tells a Prometheus how a replica stands.
func newReplicaFigures(copies *mirror.Replica) []prometheus.Collector {
	flag := func(name, help string, of func() bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if of() {
				return 1
			}
			return 0
		})
	}
	return []prometheus.Collector{
		flag("mostro_replica_ready", "Whether this replica has been level with its primary, and not without it for long since.", copies.Ready),
		flag("mostro_replica_connected", "Whether this replica is connected with its primary.", copies.Connected),
	}
}
