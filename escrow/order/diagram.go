package order

import (
	"fmt"
	"slices"
	"strings"

	"mostro/escrow/mostro"
)

// roleNames in the order in which they are printed.
var roleNames = []struct {
	role Role
	name string
}{{Node, "node"}, {Clock, "clock"}, {Maker, "maker"}, {Taker, "taker"}, {Buyer, "buyer"}, {Seller, "seller"}, {MakerIdentity, "maker's identity"}, {Solver, "solver"}, {Assigned, "assigned solver"}, {TheBond, "bond"}, {TheOrder, "order"}, {Winner, "winner"}, {LeftTaker, "taker who left"}, {Anyone, "anyone"}}

func (r Role) String() string {
	var names []string
	for _, each := range roleNames {
		if r&each.role != 0 {
			names = append(names, each.name)
		}
	}
	return strings.Join(names, " or ")
}

// arrows are the ways between states, in the order in which they were added, each with all that takes it.
type arrows []arrow

type arrow struct {
	from, to string
	on       []string
}

func (a *arrows) add(from, to string, on EventName) {
	i := slices.IndexFunc(*a, func(x arrow) bool { return x.from == from && x.to == to })
	if i < 0 {
		i = len(*a)
		*a = append(*a, arrow{from: from, to: to})
	}
	if x := &(*a)[i]; !slices.Contains(x.on, string(on)) {
		x.on = append(x.on, string(on))
	}
}

func (a arrows) draw(b *strings.Builder) {
	for _, x := range a {
		fmt.Fprintf(b, "    %s --> %s: %s\n", x.from, x.to, strings.Join(x.on, ", "))
	}
}

// Diagram prints the table as Markdown: the way of a trade as a picture, every row in words,
// and the refusals. states.md is its output.
func Diagram() string {
	var b strings.Builder
	b.WriteString("# The states of an order\n\nMade from the table in `table.go` by `go test ./escrow/order -run Diagram -update`; do not edit.\n\n")
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	var arrows arrows
	for _, row := range Table() {
		if row.Refuse == "" && row.To != same {
			for _, from := range row.From {
				arrows.add(node(from), node(row.To), row.On)
			}
		}
	}
	arrows.draw(&b)
	for _, s := range ended {
		fmt.Fprintf(&b, "    %s --> [*]\n", node(s))
	}
	b.WriteString("```\n\n## What happens\n\n| in | on | by | if | goes to | does |\n|---|---|---|---|---|---|\n")
	for _, row := range Table() {
		if row.Refuse != "" {
			continue
		}
		var does []string
		for _, e := range row.Do {
			does = append(does, e.Name)
		}
		to := string(row.To)
		if row.To == same {
			to = "(stays)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", statuses(row.From), row.On, row.By, row.If.Name, to, strings.Join(does, "; "))
	}
	b.WriteString("\n## What is refused\n\nThe first row that fits answers; a request that no row fits gets the reason in the last table.\n\n| in | on | by | if | answer |\n|---|---|---|---|---|\n")
	for _, row := range Table() {
		if row.Refuse != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` |\n", statuses(row.From), row.On, row.By, row.If.Name, row.Refuse)
		}
	}
	b.WriteString("\n| otherwise, on | answer |\n|---|---|\n")
	var names []string
	for name := range refusals {
		names = append(names, string(name))
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "| %s | `%s` |\n", name, refusals[EventName(name)])
	}
	b.WriteString("\n## When the clock looks\n\n| in | event | |\n|---|---|---|\n")
	for _, w := range Wakes() {
		by := "at a time"
		if w.Height != nil {
			by = "at a block"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", statuses(w.In), w.On, by)
	}
	return b.String()
}

func node(s mostro.Status) string {
	if s == none {
		return "[*]"
	}
	return strings.ReplaceAll(string(s), "-", "_")
}

func statuses(list []mostro.Status) string {
	names := make([]string, len(list))
	for i, s := range list {
		if names[i] = string(s); s == none {
			names[i] = "(no order)"
		}
	}
	return strings.Join(names, ", ")
}
