package escrow

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
)

// SimPlan is what is played of a seed: all of it, or what is left after minimising. Each step
// draws from a source of its own, so a step that is left out changes nothing in the others but
// what they find.
type SimPlan struct {
	Seed   uint64
	Trades int // orders made in all
	// Only these steps are played and only these faults happen in them; nil Steps = everything.
	Steps  []SimStep
	Faults []SimFault
}

// SimStep is one step of the faulty part of a seed.
type SimStep struct {
	N   uint64
	New bool // somebody makes an order
}

// SimFault is a fault that happened: the Nth of its name in a step.
type SimFault struct {
	Step uint64
	N    int
	Name string
}

// finishing is the number of the first step after the faults have stopped.
const finishing = 1 << 32

// begin makes what follows draw from the source of a step.
func (s *Simulation) begin(step uint64) {
	s.step, s.draws, s.starts = step, 0, 0
	s.source.Seed(s.plan.Seed, step)
	clear(s.nth)
}

func (s *Simulation) chance(percent int) bool { return s.r.IntN(100) < percent }

// choose draws one of a list by the names of its items. Where others are left out of the list the
// choice is the same, so that fewer of them are needed in a story.
func choose[T any](s *Simulation, list []T, name func(T) string) (i int) {
	draw, best := s.r.Uint64(), uint64(0)
	for j, each := range list {
		h := fnv.New64a()
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, draw))
		_, _ = io.WriteString(h, name(each))
		if sum := h.Sum64() * 0x9e3779b97f4a7c15 >> 1; j == 0 || sum > best {
			i, best = j, sum
		}
	}
	return i
}

func itself(text string) string { return text }

// fault decides whether a fault happens now. All faults are decided here, so that they are
// counted, and so that a story can do without those that it does not need.
func (s *Simulation) fault(name string, permille int) bool {
	if s.at != nil {
		return s.at(name)
	}
	if !s.faulty || s.r.IntN(1000) >= permille {
		return false
	}
	f := SimFault{s.step, s.nth[name], name}
	s.nth[name]++
	if s.only != nil && !s.only[f] {
		return false
	}
	s.hits = append(s.hits, f)
	s.happened(name)
	return true
}

// happened counts something that went wrong.
func (s *Simulation) happened(name string) {
	s.Stats.Faults[name]++
	s.say("  -- %s", name)
}

// WriteTo writes a plan as text: one word and its values a line.
func (p SimPlan) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\ntrades %d\n", p.Seed, p.Trades)
	if p.Steps != nil {
		b.WriteString("steps")
		for _, each := range p.Steps {
			fmt.Fprintf(&b, " %d", each.N)
			if each.New {
				b.WriteByte('+')
			}
		}
		b.WriteByte('\n')
	}
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "fault %d %d %s\n", f.Step, f.N, f.Name)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// ReadSimPlan reads what WriteTo has written. It passes over lines that are empty or begin with
// "#" and ends at a line "story", so that it reads a whole story.
func ReadSimPlan(r io.Reader) (p SimPlan, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "", "#":
		case "story":
			return p, nil
		case "seed":
			p.Seed, err = strconv.ParseUint(rest, 10, 64)
		case "trades":
			p.Trades, err = strconv.Atoi(rest)
		case "steps":
			p.Steps = []SimStep{}
			for each := range strings.FieldsSeq(rest) {
				number, isNew := strings.CutSuffix(each, "+")
				n, bad := strconv.ParseUint(number, 10, 64)
				p.Steps, err = append(p.Steps, SimStep{n, isNew}), first(err, bad)
			}
		case "fault":
			var f SimFault
			_, err = fmt.Sscanf(rest, "%d %d", &f.Step, &f.N)
			if parts := strings.SplitN(rest, " ", 3); len(parts) == 3 {
				f.Name = parts[2]
			}
			p.Faults = append(p.Faults, f)
		default:
			err = fmt.Errorf("%.40q is none of seed, trades, steps, fault, story", word)
		}
		if err != nil {
			return p, fmt.Errorf("read plan: %.60q: %w", lines.Text(), err)
		}
	}
	return p, lines.Err()
}
