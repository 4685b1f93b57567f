package mostro

import (
	"fmt"
	"math"
	"strconv"

	"github.com/google/uuid"
)

// maxIndex is the highest index that the protocol's next_trade can carry (u32).
const maxIndex = math.MaxUint32

// decoder turns values into typed ones and keeps the first thing that is wrong. After an
// error it goes on with zero values, so that callers check once, at the end.
type decoder struct{ err error }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *decoder) array(v value) []value {
	if v.form != array {
		d.fail("an array is needed")
	}
	return v.items
}

func (d *decoder) text(v value) string {
	if v.form != text {
		d.fail("a string is needed")
		return ""
	}
	return v.text
}

func (d *decoder) optText(v value) string {
	if v.form == null {
		return ""
	}
	return d.text(v)
}

// id reads a UUID in any of its text forms, "" for null.
func (d *decoder) id(v value) string {
	s := d.optText(v)
	if v.form == null {
		return ""
	}
	if err := uuid.Validate(s); err != nil {
		d.fail("an id is no UUID: %v", err)
		return ""
	}
	return uuid.MustParse(s).String()
}

func (d *decoder) int(v value) int64 { return d.within(v, math.MinInt64, math.MaxInt64) }

// within reads an integer, written as one: no fraction, no exponent, even of value zero.
func (d *decoder) within(v value, low, high int64) int64 {
	n, err := strconv.ParseInt(v.text, 10, 64)
	if v.form != number || err != nil || n < low || n > high {
		d.fail("an integer from %d to %d is needed", low, high)
		return 0
	}
	return n
}

func (d *decoder) optInt(v value) *int64 {
	if v.form == null {
		return nil
	}
	n := d.int(v)
	return &n
}

func parseUint(v value) (uint64, bool) {
	n, err := strconv.ParseUint(v.text, 10, 64)
	return n, v.form == number && err == nil
}

// fields is an object that is being read; a failure names the member.
type fields struct {
	d *decoder
	v value
}

// object demands an object. A member whose name is one of the known ones in another case
// is refused, every other unknown member is ignored.
func (d *decoder) object(v value, known ...string) fields {
	if v.form != object {
		d.fail("an object is needed")
		v = value{}
	}
	for _, name := range v.names {
		if miscased(name, known) {
			d.fail("key %q is written in another case", name)
		}
	}
	return fields{d, v}
}

func (f fields) member(name string) value { return f.v.member(name) }

func (f fields) text(name string) string    { return read(f, name, (*decoder).text) }
func (f fields) optText(name string) string { return read(f, name, (*decoder).optText) }
func (f fields) optID(name string) string   { return read(f, name, (*decoder).id) }
func (f fields) int(name string) int64      { return read(f, name, (*decoder).int) }
func (f fields) optInt(name string) *int64  { return read(f, name, (*decoder).optInt) }

func (f fields) within(name string, low, high int64) int64 {
	return read(f, name, func(d *decoder, v value) int64 { return d.within(v, low, high) })
}

func (f fields) optUint(name string) *uint64 {
	return read(f, name, func(d *decoder, v value) *uint64 {
		if v.form == null {
			return nil
		}
		n, ok := parseUint(v)
		if !ok {
			d.fail("an integer from 0 to %d is needed", uint64(math.MaxUint64))
		}
		return &n
	})
}

func (f fields) bool(name string) bool {
	return read(f, name, func(d *decoder, v value) bool {
		if v.form != boolean {
			d.fail("true or false is needed")
		}
		return v.text == "true"
	})
}

func (f fields) float(name string) float64 {
	return read(f, name, func(d *decoder, v value) float64 {
		n, err := strconv.ParseFloat(v.text, 64)
		if v.form != number || err != nil {
			d.fail("a number is needed")
			return 0
		}
		return n
	})
}

// read reads one member and puts its name before what is wrong with it.
func read[T any](f fields, name string, as func(*decoder, value) T) T {
	var d decoder
	got := as(&d, f.v.member(name))
	if d.err != nil {
		f.d.fail("%s: %w", name, d.err)
	}
	return got
}
