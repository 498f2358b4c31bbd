package sqlstore

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// How values rest in columns. Types with Scan are destinations, those with Value arguments.

// ms is a time as a column holds it: unix milliseconds, 0 for the zero time.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment is ms of a time that a rule depends on. What would be stored as "never" or before it is refused: a code
// consumed at 0 would count as unspent.
func moment(t time.Time) (int64, error) {
	if at := ms(t); at > 0 {
		return at, nil
	}
	return 0, errors.New("the time given is not after 1970: set the clock")
}

type when time.Time

// Scan reads what ms wrote, in UTC.
func (w *when) Scan(column any) error {
	at, ok := column.(int64)
	if !ok {
		return columnError("time", column)
	}
	*w = when{}
	if at != 0 {
		*w = when(time.UnixMilli(at).UTC())
	}
	return nil
}

// seconds is a duration as a column holds it.
type seconds time.Duration

// Scan reads whole seconds.
func (s *seconds) Scan(column any) error {
	n, ok := column.(int64)
	if !ok || n > math.MaxInt64/int64(time.Second) || n < 0 {
		return columnError("duration", column)
	}
	*s = seconds(time.Duration(n) * time.Second)
	return nil
}

// optional is a count, 0 for NULL.
type optional int64

// Scan reads a count.
func (o *optional) Scan(column any) error {
	if column == nil {
		*o = 0
		return nil
	}
	n, ok := column.(int64)
	if !ok {
		return columnError("count", column)
	}
	*o = optional(n)
	return nil
}

// counter is a value that SQL's signed integers must hold.
type counter uint64

// Value refuses the upper half: stored as a negative number it would seem to go back.
func (c counter) Value() (driver.Value, error) {
	if c > math.MaxInt64 {
		return nil, fmt.Errorf("%d is too large to be stored", uint64(c))
	}
	return int64(c), nil
}

// Scan reads a count.
func (c *counter) Scan(column any) error {
	n, ok := column.(int64)
	if !ok || n < 0 {
		return columnError("count", column)
	}
	*c = counter(n)
	return nil
}

// id8 is an identifier of exactly eight bytes.
type id8 [8]byte

// Scan refuses any other length.
func (i *id8) Scan(column any) error {
	data, ok := column.([]byte)
	if !ok || len(data) != len(i) {
		return columnError("id", column)
	}
	copy(i[:], data)
	return nil
}

// grantRef is a grant id of a token; the owner's own rights, the zero id, are NULL so that no index holds them.
type grantRef pop.GrantID

// Value is the id or NULL.
func (g grantRef) Value() (driver.Value, error) {
	if g == (grantRef{}) {
		return nil, nil
	}
	return g[:], nil
}

// Scan reads the id or NULL.
func (g *grantRef) Scan(column any) error {
	if column == nil {
		*g = grantRef{}
		return nil
	}
	return (*id8)(g).Scan(column)
}

// deviceRef is the id of a device, NULL for none.
type deviceRef provision.DeviceID

// Value is the id or NULL.
func (d deviceRef) Value() (driver.Value, error) { return grantRef(d).Value() }

// Scan reads the id or NULL.
func (d *deviceRef) Scan(column any) error { return (*grantRef)(d).Scan(column) }

// rights rest as AIF in CBOR.
type rights aif.Rights

// Value refuses rights that cannot be encoded.
func (r rights) Value() (driver.Value, error) { return aif.Rights(r).Encode() }

// Scan parses strictly.
func (r *rights) Scan(column any) error {
	data, ok := column.([]byte)
	if !ok {
		return columnError("rights", column)
	}
	parsed, err := aif.Parse(data)
	*r = rights(parsed)
	return err
}

// asJSON is any value as JSON text; of points to it. Nil and empty lists and byte strings stay apart.
type asJSON struct{ of any }

// Value encodes.
func (j asJSON) Value() (driver.Value, error) {
	data, err := json.Marshal(j.of)
	return string(data), err
}

// Scan decodes into the value pointed to.
func (j asJSON) Scan(column any) error {
	switch text := column.(type) {
	case string:
		return json.Unmarshal([]byte(text), j.of)
	case []byte:
		return json.Unmarshal(text, j.of)
	}
	return columnError("list", column)
}

func columnError(want string, column any) error {
	return fmt.Errorf("a column of type %T is no %s", column, want)
}

// storable reports whether every engine can hold the text: PostgreSQL refuses NUL and broken UTF-8. Nothing is ever
// found under any other.
func storable(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// legible makes text that strangers may have chosen storable, because an audit entry must not be lost for it.
func legible(text string) string {
	if storable(text) {
		return text
	}
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "�"), "�")
}
