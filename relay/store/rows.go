package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The rows on disk. Serials are in big endian, so that rows come in the order of commits.
//
//	e serial          raw JSON of an event
//	m serial          what the index needs of it, so that a start parses no JSON
//	t id author       tombstone: this author deleted this event, if it is his or sent to him
//	a address         tombstone: versions up to the second in the value are deleted
//	v author          request to vanish: events up to the second in the value are deleted
//	g                 second up to which tombstones were forgotten: no event of then or before is taken
//	x ...             row of an older format that could not be read
//	f                 number of the format
//	b                 while a folder of an older format is moved: the key of the last row that was
//
// Tombstones outlive the deletion that made them. The second in the value of a t row is the time of the event, or, when
// that was not here, later than it can be.
const (
	rowEvent     = 'e'
	rowMeta      = 'm'
	rowDeleted   = 't'
	rowAddress   = 'a'
	rowVanished  = 'v'
	rowFloor     = 'g'
	rowUnread    = 'x'
	rowFormat    = 'f'
	rowMoved     = 'b'
	formatNumber = 1
)

func serialRow(row byte, serial uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{row}, serial)
}

func deletedRow(id, author Key) []byte {
	return append(append(append(make([]byte, 0, 65), rowDeleted), id[:]...), author[:]...)
}

func addressRow(k listKey) []byte     { return append([]byte{rowAddress}, k[:]...) }
func vanishedRow(author Key) []byte   { return append([]byte{rowVanished}, author[:]...) }
func secondValue(second int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(second)) }

func readSecond(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("time of %d bytes, want 8", len(value))
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

const metaHead = 32 + 32 + 8 + 4 + 4 + 2

// encode gives the value of an m row.
func (e *entry) encode() []byte {
	b := make([]byte, 0, metaHead+len(e.keys)*len(listKey{}))
	b = append(b, e.id[:]...)
	b = append(b, e.author[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.created))
	b = binary.BigEndian.AppendUint32(b, e.expires)
	b = binary.BigEndian.AppendUint32(b, e.size)
	b = binary.BigEndian.AppendUint16(b, e.kind)
	for i := range e.keys {
		b = append(b, e.keys[i][:]...)
	}
	return b
}

var errMeta = errors.New("row has a wrong length")

// decode reads the value of an m row into e, whose keys it uses again.
func (e *entry) decode(b []byte) error {
	rest := len(b) - metaHead
	if rest <= 0 || rest%len(listKey{}) != 0 || rest/len(listKey{}) > maxKeys {
		return errMeta
	}
	copy(e.id[:], b)
	copy(e.author[:], b[32:])
	e.created = int64(binary.BigEndian.Uint64(b[64:]))
	e.expires = binary.BigEndian.Uint32(b[72:])
	e.size = binary.BigEndian.Uint32(b[76:])
	e.kind = binary.BigEndian.Uint16(b[80:])
	e.keys = e.keys[:0]
	for b = b[metaHead:]; len(b) > 0; b = b[len(listKey{}):] {
		e.keys = append(e.keys, listKey(b))
	}
	return nil
}
