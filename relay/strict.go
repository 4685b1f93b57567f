package relay

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The decoders of events and filters take what is missing for empty and what comes twice for once,
// and overlook what they do not know. What is signed and what is asked for must not be guessed, so
// that everything is looked at once before it is decoded. All text here is valid JSON already.

// fields gives the names of an object, as they are written and without their quotes, and the values.
func fields(object []byte, visit func(name, value []byte) error) error {
	s := scanner{b: object}
	if len(object) == 0 || object[0] != '{' {
		return errors.New("it is not an object")
	}
	var err error
	s.list('}', func() bool {
		from := s.at
		s.text()
		name := object[from+1 : s.at-1]
		s.space()
		s.take(':')
		s.space()
		from = s.at
		s.value(1)
		err = visit(name, object[from:s.at])
		return err == nil
	})
	return err
}

// elements gives the elements of an array; it reports false for what is none, or when visit does.
func elements(array []byte, visit func(value []byte) bool) bool {
	s := scanner{b: array}
	return array[0] == '[' && s.list(']', func() bool {
		from := s.at
		s.value(1)
		return visit(array[from:s.at])
	})
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

// isNegative: such numbers are told apart later. Minus zero is not one, and some readers take it for none.
func isNegative(value []byte) bool { return value[0] == '-' && value[1] != '0' }

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
	err = fields(raw, func(name, value []byte) error {
		bit, right := 0, false
		switch string(name) {
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
			bit, right = 1<<2, isNumber(value) || isNegative(value)
		case "kind":
			bit, right = 1<<3, isNumber(value) || isNegative(value)
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
	return fields(raw, func(written, value []byte) error {
		name, right := string(written), false
		switch {
		case name == "ids" || name == "authors":
			right = elements(value, isString)
		case name == "kinds":
			right = elements(value, isNumber)
		case name == "since" || name == "until" || name == "limit":
			right = isNumber(value)
		case name == "search":
			right = isString(value)
		case len(name) > 1 && name[0] == '#' && !strings.Contains(name, `\`): // an escape can write a name that is here already
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
