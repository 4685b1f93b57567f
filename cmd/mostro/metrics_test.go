package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mostro/escrow/mostro"
	"mostro/relay/mirror"
)

// scrape reads figures by name with labels, as they are written.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v\n%s", res.Status, err, text)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if at := strings.LastIndexByte(line, '}'); at > 0 {
			name, number = line[:at+1], strings.TrimSpace(line[at+1:])
		}
		if value, err := strconv.ParseFloat(number, 64); err == nil && line[0] != '#' {
			all[name] = value
		}
	}
	return all
}

// TestMetrics: a running node tells a Prometheus how things stand with another relay: connected, then
// gone, with its own events waiting.
func TestMetrics(t *testing.T) {
	b := serveWith(t)
	o := newOperated(t, fmt.Sprintf("[mostro]\npublish_mostro_info_interval = 1\n[nostr]\nrelays = [%q]\n[federation]\nfollow = [%q]\n",
		b.url, b.cfg.key.Public()+"@"+b.url))
	o.node = startProcess(o.t, "serve", "--data-dir", o.dir, "--settings", "relay.listen=127.0.0.1:0", "--settings", "metrics.listen=127.0.0.1:0")
	at := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(o.node.waitLine("serving figures"))
	go func() {
		for range o.node.lines { // it must not stop because nobody reads
		}
	}()
	peer := func(name string, labels ...string) string {
		return fmt.Sprintf("mostro_peer_%s{%s}", name, strings.Join(slices.Sorted(slices.Values(append(labels, fmt.Sprintf("peer=%q", b.url)))), ","))
	}
	until := func(what string, so func(all map[string]float64) bool) (all map[string]float64) {
		t.Helper()
		for end := time.Now().Add(relayPatience); ; time.Sleep(50 * time.Millisecond) {
			if all = scrape(t, at); so(all) {
				return all
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%v", what, all)
			}
		}
	}
	refused := peer("refusals_total", `by="there"`, `cause="blocked"`) // B does not follow this node and takes no terms of it
	all := until("it is level", func(all map[string]float64) bool {
		return all[peer("live")] == 1 && all[peer("events_total", `result="new"`)] >= 2 && all[refused] > 0 && all[peer("published_total", `result="confirmed"`)] > 0
	})
	for name, want := range map[string]func(float64) bool{
		peer("up"):                                            func(n float64) bool { return n == 1 },
		peer("negentropy"):                                    func(n float64) bool { return n == 1 },
		peer("connections_total"):                             func(n float64) bool { return n == 1 },
		peer("failures_total"):                                func(n float64) bool { return n == 0 },
		peer("bytes_total", `direction="in"`):                 func(n float64) bool { return n > 1000 },
		peer("bytes_total", `direction="out"`):                func(n float64) bool { return n > 1000 },
		peer("events_total", `result="bad"`):                  func(n float64) bool { return n == 0 },
		peer("last_event_timestamp_seconds"):                  func(n float64) bool { return time.Since(time.Unix(int64(n), 0)) < 2*relayPatience },
		peer("synced_timestamp_seconds"):                      func(n float64) bool { return time.Since(time.Unix(int64(n), 0)) < 2*relayPatience },
		"mostro_followed_without_relay":                       func(n float64) bool { return n == 0 },
		fmt.Sprintf("mostro_build_info{version=%q}", version): func(n float64) bool { return n == 1 },
		"go_goroutines":                                       func(n float64) bool { return n > 1 },
	} {
		if n, there := all[name]; !there || !want(n) {
			t.Errorf("%s is %v (%v)", name, n, there)
		}
	}
	if all[refused] != all[peer("published_total", `result="refused"`)] {
		t.Errorf("refusals there are %v, events refused there %v", all[refused], all[peer("published_total", `result="refused"`)])
	}
	b.stop()
	all = until("it is gone and something has waited", func(all map[string]float64) bool {
		return all[peer("up")] == 0 && all[peer("failures_total")] > 1 && all[peer("outbox_events")] > 0 && all[peer("outbox_oldest_seconds")] > 1
	})
	if all[peer("live")] != 0 || all[peer("connections_total")] != 1 {
		t.Errorf("of a relay that is gone: live %v, connections %v", all[peer("live")], all[peer("connections_total")])
	}
	for name := range all {
		if regexp.MustCompile(`[0-9a-f]{64}`).MatchString(name) {
			t.Errorf("a label holds a key or an id: %s", name)
		}
	}
	if res, err := http.Get(strings.TrimSuffix(at, metricsPath) + "/"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("beside the figures: %v, %v", res, err)
	}
}

// TestMetricsOfReplica: a replica serves its own.
func TestMetricsOfReplica(t *testing.T) {
	o := newOperated(t, "")
	key, err := os.ReadFile(filepath.Join(o.dir, envFile))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mostro.ParseSecret(strings.TrimSpace(strings.TrimPrefix(string(key), nsecVariable+"=")))
	if err != nil {
		t.Fatal(err)
	}
	p := serveWith(t, fmt.Sprintf("federation.replicas=[%q]", secret.Public()), `federation.peers=["127.0.0.1"]`)
	o.node = startProcess(o.t, "serve", "--replica-of", p.url, "--data-dir", o.dir, "--settings", "relay.listen=127.0.0.1:0", "--settings", "metrics.listen=127.0.0.1:0")
	at := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(o.node.waitLine("serving figures"))
	until := func(name string, want float64) {
		t.Helper()
		for end := time.Now().Add(relayPatience); ; time.Sleep(50 * time.Millisecond) {
			n, is := scrape(t, at)[name]
			if is && n == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s is %v (%v), want %v", name, n, is, want)
			}
		}
	}
	until("mostro_replica_ready", 1)
	until("mostro_replica_connected", 1)
	p.stop()
	until("mostro_replica_connected", 0)
}

// TestMetricsCareless: an address that cannot be had is an error that names the setting and what to do.
func TestMetricsCareless(t *testing.T) {
	taken, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{taken.Addr().String(), "192.0.2.1:9070"} { // one in use, one that is not of this machine
		o := newOperated(t, "")
		o.run(exitError, "choose a free port of this machine", "serve", "--settings", "relay.listen=127.0.0.1:0", "--settings", "metrics.listen="+address)
		o.run(exitError, "metrics.listen", "serve", "--settings", "relay.listen=127.0.0.1:0", "--settings", "metrics.listen="+address)
	}
	if _, err := loadSettings("f", nil, []string{`metrics.listen="9070"`}); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("a port alone: %v", err)
	}
}

// TestMetricsLabels: whatever address another has chosen, the figures can be read, and two relays are two.
func TestMetricsLabels(t *testing.T) {
	long := "wss://relay.example/" + strings.Repeat("x", 200)
	var all []mirror.Health
	for _, url := range []string{long + "a", long + "b", "wss://a.example?token=secret", "ws://\xff.example", "wss://b.example/\"\n"} {
		all = append(all, mirror.Health{URL: url, State: mirror.Waiting, RefusedFor: map[mirror.Cause]int64{{Word: "id"}: 3}})
	}
	all = append(all, mirror.Health{State: mirror.Searching, Mostros: []string{aMostro}})
	registry := prometheus.NewRegistry()
	registry.MustRegister(newPeerFigures(func() []mirror.Health { return all }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	peers := make(map[string]int)
	for _, family := range families {
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				if label.GetName() == "peer" {
					peers[label.GetValue()]++
				}
			}
		}
	}
	if len(peers) != len(all)-1 {
		t.Errorf("%d relays, %d names: %v", len(all)-1, len(peers), peers)
	}
	for name := range peers {
		if strings.Contains(name, "secret") || len(name) > maxPeerLabel+3 {
			t.Errorf("a relay is called %s", name)
		}
	}
}
