package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"mostro/escrow/lnurl"
)

// problem is one thing that is wrong with the settings.
type problem struct {
	where  string // "settings.toml line 12", "--settings", "" for a default
	key    string
	what   string
	remedy string
}

// settingsError is everything that is wrong, so that an operator mends it in one go.
type settingsError []problem

func (e settingsError) Error() string {
	var b strings.Builder
	for i, p := range e {
		if i > 0 {
			b.WriteString("\n")
		}
		if p.where != "" {
			b.WriteString(p.where + ": ")
		}
		if p.key != "" {
			b.WriteString(p.key + " ")
		}
		b.WriteString(p.what)
		if p.remedy != "" {
			b.WriteString("\n    -> " + p.remedy)
		}
	}
	return b.String()
}

// loaded is Settings and where each of them was set, for later errors.
type loaded struct {
	Settings
	origin map[string]string // path -> "settings.toml line 12"; absent: a default
	// harmful is what was taken once and is refused now, unless orders are live: see mayServe.
	harmful settingsError
	// changed is what is read otherwise than it is written.
	changed settingsError
}

// problemOf describes what is wrong with a setting that was found wrong after loading.
func (l *loaded) problemOf(path, what, remedy string) error {
	return settingsError{{where: l.origin[path], key: path, what: what, remedy: remedy}}
}

// assignment is KEY = VALUE, wherever it stands.
type assignment struct {
	where string
	path  string
	value literal
}

// onCommandLine is where overrides stand.
const onCommandLine = "--settings"

// loadSettings is parseSettings that refuses what is harmful.
func loadSettings(name string, file []byte, overrides []string) (*loaded, error) {
	l, err := parseSettings(name, file, overrides)
	if err == nil && len(l.harmful) > 0 {
		return nil, l.harmful
	}
	return l, err
}

// parseSettings reads a settings file (name is for messages) and then the overrides, each
// KEY=VALUE with a dotted path, over the defaults. It returns a settingsError that names
// every unknown key and bad value.
func parseSettings(name string, file []byte, overrides []string) (*loaded, error) {
	assignments, err := parseFile(name, file)
	if err != nil {
		return nil, err
	}
	var problems settingsError
	for _, text := range overrides {
		a, err := parseOverride(text)
		if err != nil {
			problems = append(problems, problem{onCommandLine, "", err.Error(), "write --settings mostro.fee=0.01"})
			continue
		}
		assignments = append(assignments, a)
	}

	l := &loaded{origin: map[string]string{}}
	keys := l.keys()
	byPath := make(map[string]key, len(keys))
	for _, k := range keys {
		byPath[k.path] = k
		preset, err := parseValue(k.preset)
		if err == nil {
			err = k.value.set(preset)
		}
		if err != nil {
			return nil, fmt.Errorf("default of %s: %w", k.path, err)
		}
	}
	for _, a := range assignments {
		k, ok := byPath[a.path]
		if !ok {
			problems = append(problems, unknownKey(a, keys))
			continue
		}
		open := problem{a.where, a.path, "is a secret, and every user of the machine can read a command line", "put it into settings.toml"}
		if _, secret := k.value.(*secretValue); secret && a.where == onCommandLine {
			problems = append(problems, open)
			continue
		}
		if _, proxy := k.value.(*proxyValue); proxy && a.where == onCommandLine && strings.Contains(a.value.text, "@") {
			l.harmful = append(l.harmful, open) // a password stands before the host
		}
		l.once(k, &a)
		if err := k.value.set(a.value); err != nil {
			problems = append(problems, problem{a.where, a.path, err.Error(), k.remedy()})
			continue
		}
		l.origin[a.path] = a.where
	}
	if len(problems) == 0 {
		problems = l.checkTogether()
	}
	if len(problems) > 0 {
		return nil, append(problems, l.harmful...)
	}
	if l.Mostro.PowFirstContact == samePow {
		l.Mostro.PowFirstContact = l.Mostro.Pow
	}
	return l, nil
}

// remedy is what an operator can do about a bad value.
func (k key) remedy() string {
	if k.preset == `""` {
		return "mend it, or see what it means: mostro settings template"
	}
	return "default: " + k.preset
}

// checkTogether checks values that depend on each other.
func (l *loaded) checkTogether() (problems settingsError) {
	wrong := func(path, what, remedy string) {
		problems = append(problems, problem{l.origin[path], path, what, remedy})
	}
	if l.Mostro.MinPaymentAmount > l.Mostro.MaxOrderAmount {
		wrong("mostro.min_payment_amount", fmt.Sprintf("is %d, above mostro.max_order_amount, %d",
			l.Mostro.MinPaymentAmount, l.Mostro.MaxOrderAmount), "lower it or raise the other")
	}
	if least := minCLTVDelta(l.Lightning.HoldExpiry); l.Lightning.CLTVDelta < least {
		wrong("lightning.hold_invoice_cltv_delta", fmt.Sprintf(
			"is %d: too short for a trade with lightning.lnd_hold_expiry_delta %d", l.Lightning.CLTVDelta, l.Lightning.HoldExpiry),
			fmt.Sprintf("set it to %d or more", least))
	}
	if least := l.Lightning.MaxFinalCLTV + minRouteCLTV; l.Lightning.PayoutCLTV < least {
		wrong("lightning.payout_cltv_limit", fmt.Sprintf("is %d: too short for an invoice with lightning.max_final_cltv_expiry_delta, %d, and a route to it",
			l.Lightning.PayoutCLTV, l.Lightning.MaxFinalCLTV), fmt.Sprintf("set it to %d or more, or lower the other", least))
	}
	if l.Mostro.DevFeePPM > 0 {
		payees, err := lnurl.New(lnurl.Config{Proxy: string(l.Network.Proxy)})
		switch address := l.Mostro.DevFeeAddress; {
		case address == "":
			wrong("mostro.dev_fee_percentage", "is set, and no address that it goes to", "set mostro.dev_fee_address, or delete this")
		case err != nil || !payees.IsAddress(address):
			wrong("mostro.dev_fee_address", fmt.Sprintf("is %.80q, which is no public Lightning address or LNURL", address), "write name@domain")
		}
	}
	if f := l.Mostro.PowFirstContact; f != samePow && f < l.Mostro.Pow {
		wrong("mostro.pow_first_contact", fmt.Sprintf("is %d, below mostro.pow, %d", f, l.Mostro.Pow), "raise it, or delete it to use mostro.pow")
	}
	l.Price.check(string(l.Network.Proxy), wrong)
	l.checkRelays(wrong)
	l.Relay.check(wrong)
	l.checkHarm()
	return problems
}

// maxDevFee leaves a tenth of the fee for routing, in parts per million.
const maxDevFee = 900_000

// minRouteCLTV is what the hops before the last one may add: two at lnd's default of 80 blocks.
const minRouteCLTV = 160

// minCLTVDelta is the shortest CLTV delta with which the last step of the deadline ladder,
// 24 blocks before the node cancels by itself, comes after the seller has paid. The node
// cancels max(hold expiry delta, 18) + 12 blocks before the HTLC expires.
func minCLTVDelta(holdExpiry int64) int64 { return max(holdExpiry, 18) + 12 + 24 }

func unknownKey(a assignment, keys []key) problem {
	for path, why := range unsupported() {
		if a.path == path || strings.HasPrefix(a.path, path+".") {
			return problem{a.where, a.path, "cannot be used: " + why, ""}
		}
	}
	remedy := "`mostro settings template` lists all keys"
	best := 4 // edits; more is another word
	for _, k := range keys {
		if d := distance(a.path, k.path); d < best {
			best, remedy = d, "did you mean "+k.path+"?"
		}
		if a.path[strings.LastIndex(a.path, ".")+1:] == k.path[strings.LastIndex(k.path, ".")+1:] && best == 4 {
			remedy = "did you mean " + k.path + "?"
		}
	}
	return problem{a.where, a.path, "is not a setting", remedy}
}

// distance is the number of single-letter edits between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			left, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, left+cost)
		}
	}
	return row[len(b)]
}

// lineOf finds the line at which an error of the decoder is made that does not say so: the last
// of the shortest beginning of the file that has the same error.
func lineOf(file []byte, text string) int {
	lines := strings.SplitAfter(string(file), "\n")
	return 1 + sort.Search(len(lines)-1, func(n int) bool {
		var all map[string]any
		err := toml.Unmarshal([]byte(strings.Join(lines[:n+1], "")), &all)
		return err != nil && err.Error() == text
	})
}

// parseFile lists the assignments of a TOML file with their lines.
func parseFile(name string, file []byte) ([]assignment, error) {
	file = bytes.TrimPrefix(file, []byte(byteOrderMark))
	// The decoder knows all rules of TOML, such as that a key stands only once; the
	// parser below knows positions and keeps the digits of decimals.
	var all map[string]any
	if err := toml.Unmarshal(file, &all); err != nil {
		var line int
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, _ = at.Position()
		} else {
			line = lineOf(file, err.Error())
		}
		what, remedy := strings.TrimPrefix(err.Error(), "toml: "), "mend the line; texts need quotes"
		if strings.Contains(what, "already") {
			remedy = "it stands twice in the file: keep one of the two"
		}
		return nil, settingsError{{fmt.Sprintf("%s line %d", name, line), "", what, remedy}}
	}
	var list []assignment
	var table []string
	parser := unstable.Parser{}
	parser.Reset(file)
	for parser.NextExpression() {
		node := parser.Expression()
		names, line := keyOf(&parser, node)
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = names
		case unstable.KeyValue:
			where := fmt.Sprintf("%s line %d", name, line)
			list = appendValue(list, where, append(slices.Clone(table), names...), node.Value())
		}
	}
	if err := parser.Error(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return list, nil
}

// keyOf returns the names of a dotted key and the line it stands on.
func keyOf(parser *unstable.Parser, node *unstable.Node) (names []string, line int) {
	for it := node.Key(); it.Next(); {
		names = append(names, string(it.Node().Data))
		line = parser.Shape(it.Node().Raw).Start.Line
	}
	return names, line
}

// appendValue adds one assignment, or those of an inline table.
func appendValue(list []assignment, where string, names []string, node *unstable.Node) []assignment {
	if node.Kind != unstable.InlineTable {
		return append(list, assignment{where, strings.Join(names, "."), literalOf(node)})
	}
	for it := node.Children(); it.Next(); {
		child := it.Node()
		inner := slices.Clone(names)
		for key := child.Key(); key.Next(); {
			inner = append(inner, string(key.Node().Data))
		}
		list = appendValue(list, where, inner, child.Value())
	}
	return list
}

func literalOf(node *unstable.Node) literal {
	switch node.Kind {
	case unstable.String:
		return literal{kind: aString, text: string(node.Data)}
	case unstable.Integer, unstable.Float:
		return literal{kind: aNumber, text: string(node.Data)}
	case unstable.Bool:
		return literal{kind: aBoolean, text: string(node.Data)}
	case unstable.Array:
		items := []string{}
		for it := node.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return literal{kind: aThing}
			}
			items = append(items, string(it.Node().Data))
		}
		return literal{kind: aList, items: items}
	}
	return literal{kind: aThing}
}

// parseValue reads one TOML value.
func parseValue(text string) (literal, error) {
	list, err := parseFile("value", []byte("x = "+text))
	if err != nil {
		return literal{}, err
	}
	if len(list) != 1 {
		return literal{}, fmt.Errorf("%q is more than one value", text)
	}
	return list[0].value, nil
}

// parseOverride reads KEY=VALUE. A value that is not TOML is taken as a string, so that a
// shell needs no second quotes.
func parseOverride(text string) (assignment, error) {
	path, raw, ok := strings.Cut(text, "=")
	path, raw = strings.TrimSpace(path), strings.TrimSpace(raw)
	if !ok || path == "" {
		return assignment{}, fmt.Errorf("%.80q is not KEY=VALUE", text)
	}
	if path == "nostr.nsec_privkey" {
		return assignment{}, errors.New("nostr.nsec_privkey cannot be given on the command line, which every user of the machine can read; use MOSTRO_NSEC_PRIVKEY or the file .env")
	}
	value, err := parseValue(raw)
	if err != nil {
		value = literal{kind: aString, text: raw}
	}
	return assignment{onCommandLine, path, value}, nil
}
