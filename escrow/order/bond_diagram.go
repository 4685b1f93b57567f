package order

import (
	"fmt"
	"strings"
)

// BondDiagram prints the bond's table as Markdown, as Diagram does the order's. bonds.md is
// its output.
func BondDiagram() string {
	var b strings.Builder
	b.WriteString("# The states of a bond\n\nMade from the table in `bond_table.go` by `go test ./escrow/order -run Diagram -update`; do not edit.\n\n")
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> requested: the order asks for a bond\n    [*] --> pending_payout: what is left of a slashed one\n")
	var arrows arrows
	for _, row := range BondTable() {
		if row.Refuse == "" && row.To != sameBond {
			for _, from := range row.From {
				arrows.add(bondNode(from), bondNode(row.To), row.On)
			}
		}
	}
	arrows.draw(&b)
	for _, s := range bondEnds {
		fmt.Fprintf(&b, "    %s --> [*]\n", bondNode(s))
	}
	b.WriteString("```\n\n## What happens\n\n| in | on | by | if | goes to | does |\n|---|---|---|---|---|---|\n")
	for _, row := range BondTable() {
		var does []string
		for _, e := range row.Do {
			does = append(does, e.Name)
		}
		to, what := string(row.To), strings.Join(does, "; ")
		switch {
		case row.Refuse != "":
			to, what = "(stays)", fmt.Sprintf("refuse: `%s`", row.Refuse)
		case row.To == sameBond:
			to = "(stays)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", bondStates(row.From), row.On, row.By, row.If.Name, to, what)
	}
	b.WriteString("\n## When the clock looks\n\n| in | event |\n|---|---|\n")
	for _, w := range BondWakes() {
		fmt.Fprintf(&b, "| %s | %s |\n", bondStates(w.In), w.On)
	}
	return b.String()
}

func bondNode(s BondState) string { return strings.ReplaceAll(string(s), "-", "_") }

func bondStates(list []BondState) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}
