package main

import (
	"fmt"
	"slices"
	"strings"
)

// settingsTemplate is a settings file with every key, its meaning, unit, range and default.
// Keys with a working default are commented out, so that a later version may better them.
func settingsTemplate() string {
	var b strings.Builder
	b.WriteString("# Settings of a Mostro node. Made by `mostro settings template`; a key that is commented out has the\n" +
		"# value shown. Times have their unit in the comment. Changes take effect at the next start.\n")
	var s Settings
	for _, section := range s.sections() {
		fmt.Fprintf(&b, "\n# %s\n[%s]\n", section.meaning, section.name)
		for _, k := range s.keys() {
			dot := strings.LastIndex(k.path, ".")
			if k.path[:dot] != section.name {
				continue
			}
			b.WriteString("\n")
			for _, line := range wrapText(k.describe(), 100) {
				b.WriteString("# " + line + "\n")
			}
			mark := "#"
			if slices.ContainsFunc(s.needs(), func(n need) bool { return n.path == k.path }) {
				mark = ""
			}
			fmt.Fprintf(&b, "%s%s = %s\n", mark, k.path[dot+1:], k.preset)
		}
	}
	return b.String()
}

func (k key) describe() string {
	text := k.meaning
	var notes []string
	if k.unit != "" {
		notes = append(notes, k.unit)
	}
	if takes := k.value.takes(); takes != "" {
		notes = append(notes, takes)
	}
	if len(notes) > 0 {
		text += " [" + strings.Join(notes, ", ") + "]"
	}
	return text
}

func wrapText(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
