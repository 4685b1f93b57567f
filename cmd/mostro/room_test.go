package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mostro/escrow"
	"mostro/escrow/lightning/regtest"
	"mostro/escrow/mostro"
	"mostro/relay/store"
)

const roomMiB = 300 // the minimum of free space in the test

// TestFullDisk fills the disk of a node while trades run: it takes nothing new when there is
// little room, goes on with what runs when there is none but its reserves, and ends by itself,
// saying why, when these are used up. It does not start until there is room; then it goes on,
// and nothing is lost or doubled.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var d *disk
	l := labOn(t, regtest.ForTest(t), func(l *lab, ctx context.Context) error {
		if d = newDisk(t, l.dir+"-disk", chaosDisk); d.why != nil {
			t.Skip("only root can mount a disk that may be full")
		}
		return d.start(l, ctx)
	}, "relay.min_free_mib=300")
	ctx := labContext(t)
	first, second, late := l.newTrade(t, ctx), l.newTrade(t, ctx), l.newTrade(t, ctx)
	first.run(ctx, first.funding())
	second.run(ctx, second.funding())
	late.run(ctx, late.steps()[:1])

	d.fillUp(t, "much", roomMiB/2)
	cantDo(t, "a new order", l.newTrade(t, ctx).newOrder(ctx), mostro.NotAllowedByStatus)
	_, _, err := late.buyer.client.Take(ctx, late.shown, "", late.takes)
	cantDo(t, "a take", err, mostro.NotAllowedByStatus)
	if err := l.waitLog(ctx, 0, "alarm: the disk is nearly full"); err != nil {
		t.Error(err)
	}
	first.run(ctx, first.payingOut()[:1])

	d.fillUp(t, "all", 0)
	first.run(ctx, first.payingOut()[1:])
	if err := l.waitLog(ctx, 0, "reserve of the money store is given up"); err != nil {
		t.Error(err)
	}

	d.fillUp(t, "reserves", 0)
	done := make(chan error, 1)
	go func() {
		err := second.fiatSent(ctx)
		for refusedByRelay(err) { // the node is stopping
			time.Sleep(lookAgain)
			err = second.fiatSent(ctx)
		}
		done <- err
	}()
	<-l.drained
	words := func(p *process) string { return strings.Join(p.seen[max(0, len(p.seen)-10):], "\n") }
	check := func(what string, p *process) {
		t.Helper()
		if code := p.cmd.ProcessState.ExitCode(); code != exitError {
			t.Errorf("%s: it ends with %d", what, code)
		}
		for _, text := range []string{escrow.ErrNoSpace.Error(), "make room on that disk"} {
			if !strings.Contains(words(p), text) {
				t.Errorf("%s: it does not say %q:\n%s", what, text, words(p))
			}
		}
		t.Logf("%s:\n%s", what, words(p))
	}
	check("on the full disk", l.process)
	if err := l.start(ctx); err == nil {
		t.Fatal("it starts on a full disk")
	}
	check("started on the full disk", l.process)

	for _, name := range []string{"much", "all", "reserves"} {
		if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.start(ctx), d.uses(l.process.cmd.Process)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	second.run(ctx, second.payingOut()[1:])
	late.patient = true
	late.run(ctx, late.steps()[1:])
	for _, x := range []*labTrade{first, second, late} {
		x.account(ctx)
	}
	l.settle(t)
}

// fillUp writes a file until so much is free on the disk.
func (d *disk) fillUp(t *testing.T, name string, leaveMiB uint64) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		free, _, err := store.DiskFree(d.dir)
		if err != nil {
			t.Fatal(err)
		}
		if leaveMiB > 0 && free <= leaveMiB<<20 {
			return
		}
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) && leaveMiB == 0 {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
