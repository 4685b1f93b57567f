package relay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// The decoders of events and filters take what is missing for empty and what comes twice for once,
// and overlook what they do not know. What is signed and what is asked for must not be guessed, so
// that everything is looked at once before it is decoded. All text here is valid JSON already.

// fields gives the names of an object, as they are written and without their quotes, and the values.
func fields(object []byte, visit func(name string, value []byte) error) error {
	rest := bytes.TrimLeft(object, whitespace)
	if len(rest) == 0 || rest[0] != '{' {
		return errors.New("it is not an object")
	}
	for rest = skipSpace(rest[1:]); len(rest) > 0 && rest[0] != '}'; rest = skipSpace(rest) {
		if rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
		name := rest[:endOf(rest)]
		rest = skipSpace(rest[len(name):])
		rest = skipSpace(rest[1:]) // the colon
		value := rest[:endOf(rest)]
		rest = rest[len(value):]
		if err := visit(string(name[1:len(name)-1]), value); err != nil {
			return err
		}
	}
	return nil
}

// elements gives the elements of an array; it reports false for what is none, or when visit does.
func elements(array []byte, visit func(value []byte) bool) bool {
	if array[0] != '[' {
		return false
	}
	rest := skipSpace(array[1:])
	for rest[0] != ']' {
		if rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
		end := endOf(rest)
		if !visit(rest[:end]) {
			return false
		}
		rest = skipSpace(rest[end:])
	}
	return true
}

const whitespace = " \t\r\n"

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// endOf is the length of the value that b begins with.
func endOf(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; ; i++ {
				i += bytes.IndexByte(b[i:], '"')
				slashes := 0
				for b[i-1-slashes] == '\\' {
					slashes++
				}
				if slashes%2 == 0 {
					break
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i // of a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

func isString(value []byte) bool { return value[0] == '"' }

// isNumber: digits and nothing else, as NIP-01 writes numbers. The decoders see to their size.
func isNumber(value []byte) bool {
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isTags(value []byte) bool {
	return elements(value, func(tag []byte) bool { return elements(tag, isString) })
}

// checkEvent looks at the fields of an event. It returns its id also when there is something wrong,
// if there is one to answer to.
func checkEvent(raw json.RawMessage) (id string, err error) {
	const all = 1<<7 - 1
	seen, fault := 0, error(nil)
	wrong := func(err error) {
		if fault == nil {
			fault = err
		}
	}
	err = fields(raw, func(name string, value []byte) error {
		bit, right := 0, false
		switch name {
		case "id":
			bit, right = 1<<0, isString(value)
			if text := string(value[min(1, len(value)-1) : len(value)-1]); right {
				if _, fault := parseKey(text); fault == nil {
					id = text
				}
			}
		case "pubkey":
			bit, right = 1<<1, isString(value)
		case "created_at":
			bit, right = 1<<2, isNumber(value) || value[0] == '-' // which is told apart later
		case "kind":
			bit, right = 1<<3, isNumber(value) || value[0] == '-'
		case "tags":
			bit, right = 1<<4, isTags(value)
		case "content":
			bit, right = 1<<5, isString(value)
		case "sig":
			bit, right = 1<<6, isString(value)
		default:
			wrong(fmt.Errorf("an event has no field %.20q", name))
			return nil
		}
		switch {
		case seen&bit != 0:
			wrong(fmt.Errorf("%s comes twice", name))
		case !right:
			wrong(fmt.Errorf("%s is of a wrong type", name))
		}
		seen |= bit
		return nil
	})
	if err == nil && fault == nil && seen != all {
		fault = errors.New("a field is missing")
	}
	return id, cmp.Or(err, fault)
}

// checkFilter looks at the fields of a filter. What it asks with a field that is not known here
// would else be answered with more than was asked for. The error is for the client.
func checkFilter(raw json.RawMessage) error {
	seen := make(map[string]bool, 4)
	return fields(raw, func(name string, value []byte) error {
		right := false
		switch {
		case name == "ids" || name == "authors":
			right = elements(value, isString)
		case name == "kinds":
			right = elements(value, isNumber)
		case name == "since" || name == "until" || name == "limit":
			right = isNumber(value)
		case name == "search":
			right = isString(value)
		case len(name) > 1 && name[0] == '#':
			right = elements(value, isString)
		default:
			return fmt.Errorf("unsupported: filters have no field %.20q here", name)
		}
		switch {
		case seen[name]:
			return fmt.Errorf("invalid: %.20s comes twice in a filter", name)
		case !right:
			return fmt.Errorf("invalid: %.20s of a filter is of a wrong type", name)
		}
		seen[name] = true
		return nil
	})
}
