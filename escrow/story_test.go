package escrow

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mostro/escrow/audit"
	"mostro/escrow/lightning"
	"mostro/escrow/mostro"
	"mostro/escrow/order"
)

var update = flag.Bool("update", false, "rewrite the transcripts of the stories")

// TestStories plays the files of testdata: one trade each. Lines that begin with ">" are
// commands; what follows them is what must happen. They are the readable specification, and
// -update writes them anew.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, strings.TrimSuffix(filepath.Base(file), ".txt"), string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want), got); diff != "" && !*update {
				t.Errorf("the story goes otherwise (-update rewrites it):\n%s", diff)
			}
		})
	}
}

// play runs a story's commands and returns it with the transcript of this run.
func play(t *testing.T, name, text string) string {
	w := newWorld(t)
	var differences []audit.Kind
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&b, line)
			w.out.Reset()
			if err := w.command(strings.Fields(line[2:])); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			b.WriteString(w.out.String())
			differences = append(differences, w.agree(t, name, line)...)
		case line == "", strings.HasPrefix(line, "#"):
			fmt.Fprintln(&b, line)
		}
	}
	total, minted := w.net.Total()
	if total != minted {
		t.Errorf("the network holds %d msat of %d", total, minted)
	}
	if want := faults[name]; want != "" && len(differences) == 0 {
		t.Errorf("the auditor finds nothing, and there is %s", want)
	}
	return b.String()
}

// commands of the stories; each gets its words and its key=value arguments.
var commands = map[string]func(*world, *person, args) error{
	"new":          (*world).newOrder,
	"take":         (*world).take,
	"add-invoice":  (*world).addInvoice,
	"fiat-sent":    func(w *world, p *person, a args) error { w.act(p, mostro.FiatSent, a); return nil },
	"release":      func(w *world, p *person, a args) error { w.act(p, mostro.Release, a); return nil },
	"cancel":       func(w *world, p *person, a args) error { w.act(p, mostro.Cancel, a); return nil },
	"send":         func(w *world, p *person, a args) error { w.act(p, mostro.Action(a.words[0]), a); return nil },
	"pay":          (*world).pay,
	"claim":        (*world).claim,
	"repeat":       func(w *world, p *person, _ args) error { _ = w.deliver(p.last); return nil },
	"is":           (*world).is,
	"route":        (*world).route,
	"uses":         (*world).uses,
	"dispute":      func(w *world, p *person, a args) error { w.act(p, mostro.Dispute, a); return nil },
	"rate":         (*world).rate,
	"review":       (*world).review,
	"orders":       (*world).askOrders,
	"restore":      (*world).restore,
	"last-index":   (*world).lastIndex,
	"trade-key":    (*world).tradeKey,
	"add-solver":   (*world).addSolver,
	"settle":       func(w *world, p *person, a args) error { w.admin(p, mostro.AdminSettle, a); return nil },
	"undo":         func(w *world, p *person, a args) error { w.admin(p, mostro.AdminCancel, a); return nil },
	"take-dispute": (*world).takeDispute,
}

type args struct {
	words []string
	named map[string]string
}

func (a args) number(name string, otherwise int64) int64 {
	if a.named[name] == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(a.named[name], 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func parse(words []string) args {
	a := args{named: map[string]string{}}
	for _, word := range words {
		if name, value, ok := strings.Cut(word, "="); ok {
			a.named[name] = value
		} else {
			a.words = append(a.words, word)
		}
	}
	return a
}

func (w *world) command(words []string) error {
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		w.advance(d)
		return nil
	case "mine":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		w.mine(uint32(n))
		return nil
	case "crash":
		w.crash()
		w.settle()
		return nil
	case "takes":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.Rules.MaxTakes = n
		return err
	case "holds":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.HoldCap = n
		return err
	case "server":
		w.server = words[1]
		return nil
	case "dev-fee": // "dev-fee ppm=300000 to=dev@ln.example": the operator's settings
		a := parse(words[1:])
		for _, terms := range []*order.Terms{&w.cfg.Settings.Terms, &w.e.cfg.Settings.Terms} {
			terms.DevFeePPM, terms.DevFeeAddress = a.number("ppm", terms.DevFeePPM), a.named["to"]
		}
		return nil
	case "attempts":
		n, err := strconv.ParseInt(words[1], 10, 64)
		w.e.cfg.Settings.Terms.PaymentAttempts = n
		return err
	case "lose": // "lose answers of METHOD": the call has its effect, and nobody hears of it
		w.node.SetFaults(lightning.Faults{After: func(m lightning.SimMethod, _ order.Hash) error {
			if string(m) == words[3] {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		return nil
	case "keep":
		w.node.SetFaults(lightning.Faults{})
		return nil
	case "deaf", "hear": // the event store is away, and back
		w.deaf = words[0] == "deaf"
		return nil
	case "away": // this process is down for a while
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		w.net.Advance(d)
		w.crash()
		w.settle()
		return nil
	case "price":
		w.price = parse(words[1:]).number("usd", 0)
		return nil
	case "limit":
		n, err := strconv.Atoi(words[1])
		w.e.cfg.Settings.Rules.MaxOpen = n
		return err
	case "node":
		return w.nodeCommand(words[1], parse(words[2:]))
	case "streams": // of the node: "off" until "on", nobody hears of what it does by itself
		w.unheard = words[1] == "off"
		w.settle()
		return nil
	case "bonds":
		w.bondTerms(parse(words[1:]))
		return nil
	case "bond":
		return w.showBonds(words[1])
	case "ledger":
		return w.ledger(words[1])
	}
	if len(words) < 2 || commands[words[1]] == nil {
		return fmt.Errorf("no such command: %q", words)
	}
	return commands[words[1]](w, w.person(words[0]), parse(words[2:]))
}

func (w *world) nodeCommand(what string, a args) error {
	switch what {
	case "down":
		w.node.Stop()
	case "up":
		w.node.Start()
	case "lame": // up, but it makes no hold invoices
		w.node.SetFaults(lightning.Faults{Before: func(m lightning.SimMethod, _ order.Hash) error {
			if m == lightning.SimOpenHold {
				return lightning.ErrSimDropped
			}
			return nil
		}})
		w.node.Start()
	case "lies": // it calls each payment failed that it sends from now on
		w.node.SetFaults(lightning.Faults{Fate: func(hash order.Hash) lightning.SimFate {
			w.lied = append(w.lied, hash)
			return lightning.SimLying
		}})
	case "honest":
		w.node.SetFaults(lightning.Faults{})
		for _, hash := range w.lied {
			w.node.Unstick(hash)
		}
	case "unsynced":
		w.net.SetSynced(false)
	case "synced":
		w.net.SetSynced(true)
	case "cancels": // as lnd does by itself near the deadline
		for hash := range w.watches {
			w.check(w.node.Cancel(w.t.Context(), hash))
		}
	case "loses": // its hold invoices, as one does that was put back from its seed
		w.amnesia = true
	case "deletes": // its hold invoices that nobody has paid
		for hash, each := range w.watches {
			if h, ok := w.node.HoldState(hash); ok && !each.payment && h.State == lightning.Open {
				w.node.ForgetHold(hash)
			}
		}
	case "finds":
		w.amnesia, w.missing = false, map[order.Hash]time.Time{}
	case "forgets":
		for hash := range w.watches {
			w.node.ForgetPayment(hash)
		}
	default:
		return fmt.Errorf("no such fault: %s", what)
	}
	w.retry()
	return nil
}

// order finds an order by its letter; the latest one without.
func (w *world) order(a args) string {
	letter := a.named["order"]
	if letter == "" {
		letter = string(rune('A' + len(w.names) - 1))
	}
	for id, name := range w.names {
		if name == "order "+letter {
			return id
		}
	}
	return "00000000-0000-4000-8000-000000000000"
}
