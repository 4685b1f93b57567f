package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	scrapeTime     = 10 * time.Second // for one answer
	scrapesAtOnce  = 4
	metricsPath    = "/metrics"
	metricsSetting = "metrics.listen"
)

// MetricsSettings say where figures are served.
type MetricsSettings struct{ Listen string }

func (s *MetricsSettings) section() section {
	return section{"metrics", "Figures for a Prometheus."}
}

func (s *MetricsSettings) keys() []key {
	return []key{{metricsSetting, &hostValue{to: &s.Listen, optional: true}, `""`, "",
		"Address at which GET " + metricsPath + " answers, such as 127.0.0.1:9070. Whoever reaches it reads the figures: leave it on this machine or in a network of your own. Empty: none."}}
}

// listen makes the socket; nil when no figures are served.
func (s *MetricsSettings) listen() (net.Listener, error) {
	if s.Listen == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return nil, hint(fmt.Errorf("serve figures (%s): listen on %s: %w", metricsSetting, s.Listen, err),
			"choose a free port of this machine, such as 127.0.0.1:9070, or \"\" for none")
	}
	return listener, nil
}

// figures is what a process tells of itself at metrics.listen. Parts add theirs to its registry before it
// serves. No figure has a label that a stranger chooses, nor keys of users, hashes or ids.
type figures struct {
	*prometheus.Registry
	listener net.Listener // nil: nobody asks
	log      *slog.Logger
}

// newFigures begins with those of the process itself.
func newFigures(listener net.Listener, logger *slog.Logger) *figures {
	f := &figures{prometheus.NewRegistry(), listener, logger}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mostro_build_info", Help: "1; the label is the version that runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	f.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return f
}

// serve answers until ctx ends.
func (f *figures) serve(ctx context.Context) error {
	if f.listener == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+metricsPath, promhttp.HandlerFor(f.Registry, promhttp.HandlerOpts{
		// One part that fails does not hide the others.
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: scrapeLog{f.log}, MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTime,
	}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, WriteTimeout: 2 * scrapeTime, MaxHeaderBytes: maxHeader}
	context.AfterFunc(ctx, func() { server.Close() })
	f.log.Info("serving figures", "at", "http://"+f.listener.Addr().String()+metricsPath)
	if err := server.Serve(f.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// scrapeLog is where the handler complains.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Error("serve figures", "error", fmt.Sprint(v...)) }
