package cose

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// label is a header label: text if it is not nil, else n.
type label struct {
	n    int64
	text []byte
}

func (l label) equal(other label) bool {
	return l.n == other.n && (l.text == nil) == (other.text == nil) && bytes.Equal(l.text, other.text)
}

// value is the label as a caller writes it.
func (l label) value() any {
	if l.text != nil {
		return string(l.text)
	}
	return l.n
}

// String is the label in errors: a text is quoted and cut, since anyone may have written it.
func (l label) String() string {
	if l.text != nil {
		return fmt.Sprintf("%.32q", l.text)
	}
	return fmt.Sprint(l.n)
}

// parties are the six fields of PartyUInfo and PartyVInfo, each in its encoding: identity, nonce and other of both.
const parties = 6

// header is what both buckets of one layer say.
type header struct {
	alg          Algorithm // 0: absent
	algName      string    // an algorithm that has a name instead of a number; none of ours
	algProtected bool
	kid          KeyID // nil: absent
	iv           []byte
	partialIV    []byte // nil: absent
	ephemeral    []byte // a COSE_Key, not yet looked at
	salt         []byte
	party        [parties][]byte
	critical     []label

	protected []byte // as it stands in the structure that is signed or authenticated
}

// understood are the parameters that crit may name without the caller's leave.
var understood = []int64{headerAlgorithm, headerKeyID, headerIV, headerPartialIV, headerEphemeral}

// labels are those of both buckets, without a place on the heap.
type labels struct {
	all   [2 * maxHeaders]label
	count int
}

// parse reads both buckets (RFC 9052 §3). Unknown parameters are ignored unless they are critical. The unprotected one
// must have gone through own.
func (h *header) parse(protected, unprotected []byte) error {
	h.protected = protected
	var seen labels
	if len(protected) > 0 {
		if err := wire.Unmarshal(protected, &whole{}); err != nil {
			return malformed("%w", err)
		}
		if err := h.readBucket(protected, &seen, true); err != nil {
			return err
		}
	}
	sure := seen.count
	if sure == 0 {
		// RFC 9052 §3: an empty map is taken as the zero-length string in every structure.
		h.protected = nil
	}
	if err := h.readBucket(unprotected, &seen, false); err != nil {
		return err
	}
	for _, l := range seen.all[sure:seen.count] {
		if slices.ContainsFunc(seen.all[:sure], l.equal) {
			return malformed("header parameter %v stands in both buckets", l)
		}
	}
	for _, l := range h.critical {
		if !slices.ContainsFunc(seen.all[:sure], l.equal) {
			return malformed("critical header parameter %v is not protected", l)
		}
	}
	if h.iv != nil && h.partialIV != nil {
		return malformed("both IV and partial IV")
	}
	return nil
}

// readBucket takes the parameters of one bucket and notes their labels behind those that are there.
func (h *header) readBucket(bucket []byte, seen *labels, protected bool) error {
	r := reader{data: bucket}
	n, ok := r.items(majorMap)
	if !ok {
		return malformed("a header that is not a map")
	}
	if n > maxHeaders {
		return malformed("%d parameters, at most %d", n, maxHeaders)
	}
	for range n {
		l, ok := r.label()
		if !ok {
			return malformed("a header label")
		}
		seen.all[seen.count] = l
		seen.count++
		value := r.raw()
		if l.text != nil {
			continue
		}
		if err := h.readParameter(l.n, value, protected); err != nil {
			return err
		}
	}
	return nil
}

// label reads an integer or a text.
func (r *reader) label() (label, bool) {
	if text, ok := r.content(majorText); ok {
		return label{text: text}, true
	}
	n, ok := r.integer()
	return label{n: n}, ok
}

func (h *header) readParameter(name int64, value []byte, protected bool) error {
	r := reader{data: value}
	ok := true
	switch {
	case name == headerAlgorithm:
		h.algProtected = protected
		ok = h.readAlgorithm(&r)
	case name == headerCritical && !protected:
		return malformed("crit is not protected")
	case name == headerCritical:
		ok = h.readCritical(&r)
	case name == headerKeyID:
		var id []byte
		id, ok = r.bytes()
		h.kid, ok = id, ok && len(id) <= MaxKeyID
	case name == headerIV:
		h.iv, ok = r.bytes()
	case name == headerPartialIV:
		h.partialIV, ok = r.bytes()
	case name == headerEphemeral:
		h.ephemeral, ok = value, r.peek() == majorMap
	case name == headerSalt:
		h.salt, ok = r.bytes()
		ok = ok && len(h.salt) <= maxPartyInfo
	case name <= headerPartyUIdentity && name >= headerPartyVOther:
		// A nonce may be an integer (RFC 9053 §5.2); all else is a byte string.
		h.party[headerPartyUIdentity-name] = value
		integer := r.peek() <= majorNegative && (name == headerPartyUNonce || name == headerPartyVNonce)
		ok = len(value) <= maxPartyInfo+2 && (integer || r.peek() == majorBytes)
	}
	if !ok {
		return malformed("header parameter %d has the wrong type or length", name)
	}
	return nil
}

func (h *header) readAlgorithm(r *reader) bool {
	if name, ok := r.content(majorText); ok && utf8.Valid(name) {
		h.algName = fmt.Sprintf("algorithm %.32q", name)
		return true
	}
	n, ok := r.integer()
	h.alg = Algorithm(n)
	return ok && n != 0
}

func (h *header) readCritical(r *reader) bool {
	n, ok := r.items(majorArray)
	if !ok || n == 0 || n > maxHeaders {
		return false
	}
	for range n {
		l, ok := r.label()
		if !ok {
			return false
		}
		h.critical = append(h.critical, l)
	}
	return true
}

// check applies what only the reader of the message can decide: which critical parameters it understands, and whether
// the algorithm may be unprotected.
func (h *header) check(o *Options) error {
	if err := h.checkCritical(o); err != nil {
		return err
	}
	switch {
	case h.algName != "":
		return unsupported(h.algName)
	case h.alg == 0:
		return malformed("no algorithm")
	case !h.algProtected && !o.UnprotectedAlgorithm:
		return malformed("%v is not protected", h.alg)
	}
	return nil
}

func (h *header) checkCritical(o *Options) error {
	for _, l := range h.critical {
		known := l.text == nil && slices.Contains(understood, l.n)
		if !known && !slices.Contains(o.Critical, l.value()) {
			return unsupported(fmt.Sprintf("critical header parameter %v", l))
		}
	}
	return nil
}

var emptyMap = wire.RawMessage{0xa0}

// checkEmpty demands an empty unprotected bucket (RFC 9770 §3).
func checkEmpty(unprotected []byte) error {
	if !bytes.Equal(unprotected, emptyMap) {
		return fmt.Errorf("%w: the unprotected header is not empty", ErrNotCanonical)
	}
	return nil
}

// message is the part that all six structures share: both buckets and the content.
type message struct {
	header      header
	unprotected []byte
	bucket      []byte // the protected bucket as received
	content     []byte
}

// parse reads an array of size entries up to its content and leaves the reader behind it.
func (m *message) parse(data []byte, size int) (reader, error) {
	item, err := own(data)
	if err != nil {
		return reader{}, err
	}
	r := reader{data: item}
	if n, ok := r.items(majorArray); !ok || n != size {
		return r, malformed("not an array of %d", size)
	}
	if err := m.readBuckets(&r); err != nil {
		return r, err
	}
	var ok bool
	if m.content, ok = r.bytes(); !ok {
		return r, malformed("content is not a byte string; detached content must be attached first")
	}
	return r, nil
}

func (m *message) readBuckets(r *reader) error {
	var ok bool
	if m.bucket, ok = r.bytes(); !ok {
		return malformed("the protected header is not a byte string")
	}
	m.unprotected = r.raw()
	return m.header.parse(m.bucket, m.unprotected)
}

// finish refuses a structure with a head that is longer than needed: shortest heads outside of the buckets leave a
// message one spelling per content of its buckets.
func (r *reader) finish() error {
	if r.loose || len(r.data) > 0 {
		return malformed("a length that is not in its shortest encoding")
	}
	return nil
}

// KeyID is the key the message says it is for, nil if it does not say.
func (m *message) KeyID() KeyID { return m.header.kid }

// Algorithm is the algorithm the message says it uses; 0 if it has only a name.
func (m *message) Algorithm() Algorithm { return m.header.alg }

// Protected is the protected header as received: the encoded map, or no bytes for an empty one. Unprotected is the other.
func (m *message) Protected() []byte { return bytes.Clone(m.bucket) }

// Unprotected is the unprotected header as received. Nothing but its length is bound to the message.
func (m *message) Unprotected() []byte { return bytes.Clone(m.unprotected) }
