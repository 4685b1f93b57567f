package mostro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of one JSON text.
const (
	maxText    = 65535 // bytes; what NIP-44 can carry
	maxDepth   = 16    // the deepest known payload has 6 levels
	maxMembers = 64    // of one object; the largest known one has 23
)

// form is the JSON type of a value; the zero form is null.
type form int

const (
	null form = iota
	boolean
	number
	text
	array
	object
)

// value is a parsed JSON value. An absent member is the zero value, so absent and null
// read the same.
type value struct {
	form  form
	text  string   // of a text; the literal of a number; "true" of a boolean
	names []string // of an object, beside items
	items []value
}

// parseJSON reads exactly one JSON value and refuses what readers disagree about: invalid
// UTF-8, half surrogate pairs, duplicate keys, trailing data, absurd sizes and depths.
func parseJSON(raw []byte) (value, error) {
	switch {
	case len(raw) > maxText:
		return value{}, fmt.Errorf("JSON of %d bytes is longer than %d", len(raw), maxText)
	case !utf8.Valid(raw):
		return value{}, errors.New("JSON is not UTF-8")
	case !json.Valid(raw):
		return value{}, errors.New("not one JSON value")
	case halfSurrogate(raw):
		return value{}, errors.New("JSON string with half a surrogate pair")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return parseValue(dec, 1)
}

func parseValue(dec *json.Decoder, depth int) (value, error) {
	token, err := dec.Token()
	if err != nil {
		return value{}, fmt.Errorf("read JSON: %w", err)
	}
	switch t := token.(type) {
	case string:
		return value{form: text, text: t}, nil
	case json.Number:
		return value{form: number, text: t.String()}, nil
	case bool:
		return value{form: boolean, text: strconv.FormatBool(t)}, nil
	case json.Delim:
		if depth > maxDepth {
			return value{}, fmt.Errorf("JSON is deeper than %d levels", maxDepth)
		}
		if t == '{' {
			return parseObject(dec, depth)
		}
		return parseArray(dec, depth)
	}
	return value{}, nil
}

func parseArray(dec *json.Decoder, depth int) (value, error) {
	v := value{form: array}
	for dec.More() {
		item, err := parseValue(dec, depth+1)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
	}
	_, err := dec.Token() // the closing bracket
	return v, err
}

func parseObject(dec *json.Decoder, depth int) (value, error) {
	v := value{form: object}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return value{}, fmt.Errorf("read JSON: %w", err)
		}
		name, _ := token.(string)
		for _, other := range v.names {
			if other == name {
				return value{}, fmt.Errorf("duplicate key %q", name)
			}
		}
		if len(v.names) == maxMembers {
			return value{}, fmt.Errorf("object with more than %d members", maxMembers)
		}
		item, err := parseValue(dec, depth+1)
		if err != nil {
			return value{}, err
		}
		v.names, v.items = append(v.names, name), append(v.items, item)
	}
	_, err := dec.Token() // the closing brace
	return v, err
}

// member returns the value under name, null when there is none.
func (v value) member(name string) value {
	for i, n := range v.names {
		if n == name {
			return v.items[i]
		}
	}
	return value{}
}

// halfSurrogate finds a \ud800-\udfff escape without its other half in valid JSON.
// encoding/json reads it as U+FFFD where other readers refuse it.
func halfSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++ // the escaped character; valid JSON has one
		if raw[i] != 'u' {
			continue
		}
		first := escaped(raw[i+1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		rest := raw[i+1:]
		if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' ||
			utf16.DecodeRune(first, escaped(rest[2:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escaped reads the four hex digits of a \u escape.
func escaped(digits []byte) rune {
	r, _ := strconv.ParseUint(string(digits[:4]), 16, 16)
	return rune(r)
}

// splitTuple cuts a JSON array into its elements without touching their bytes: signatures
// cover the first one exactly as it was sent, without the white space around it.
func splitTuple(raw string) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(raw)))
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		return nil, errors.New("the content is not a JSON array")
	}
	var elements []json.RawMessage
	for dec.More() {
		if len(elements) == maxElements {
			return nil, fmt.Errorf("the array has more than %d elements", maxElements)
		}
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return nil, fmt.Errorf("read the array: %w", err)
		}
		elements = append(elements, element)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("read the end of the array: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data after the array")
	}
	return elements, nil
}

// maxElements of the array in an envelope: message, signature, identity proof.
const maxElements = 3
