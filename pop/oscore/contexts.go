package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/plgd-dev/go-coap/v3/message"
)

// ErrTaken: another context of the table has the same Recipient ID and kid context.
var ErrTaken = errors.New("oscore: recipient id and id context are taken")

// Contexts finds the context of a request by kid and kid context, in constant time among a million. The zero value is an
// empty table, safe for concurrent use.
//
// Several contexts may have one Recipient ID under different ID Contexts (RFC 8613 §3.3). A request that carries a kid
// context, an empty one included, can only mean the one that has it. A request without may mean any of them: Candidates
// are then the one without ID Context and some of the others, MaxCandidates in all.
type Contexts struct {
	mu    sync.RWMutex
	byKID map[uint64]namesakes
	count int
}

// namesakes are the contexts with one Recipient ID. Almost always there is one, which then costs no more than a pointer.
type namesakes struct {
	only *Context
	many *crowd
}

// crowd is more than one namesake.
type crowd struct {
	plain *Context            // the one without ID Context
	named map[string]*Context // by kid context
	some  []*Context          // of named, at most MaxCandidates: those that a request without kid context is tried against
}

// keyOf packs a kid and its length; false if no context can have it.
func keyOf(kid []byte) (key uint64, ok bool) {
	if len(kid) > MaxID {
		return 0, false
	}
	for _, b := range kid {
		key = key<<8 | uint64(b)
	}
	return key<<8 | uint64(len(kid)), true
}

// Len is the number of contexts.
func (t *Contexts) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// Add puts c into the table. The error is ErrTaken; a context that is in the table already counts as another.
func (t *Contexts) Add(c *Context) error {
	key, _ := keyOf(c.RecipientID())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKID == nil {
		t.byKID = map[uint64]namesakes{}
	}
	n := t.byKID[key]
	if n.find(c.kidContext, c.kidContext != nil) != nil {
		return fmt.Errorf("%w: %x", ErrTaken, c.RecipientID())
	}
	switch {
	case n.many != nil:
		n.many.add(c)
	case n.only != nil:
		n.many = &crowd{named: map[string]*Context{}}
		n.many.add(n.only)
		n.many.add(c)
		n.only = nil
	default:
		n.only = c
	}
	t.byKID[key] = n
	t.count++
	return nil
}

// Remove takes c out of the table and drops its key schedules. It says whether c was there.
func (t *Contexts) Remove(c *Context) bool {
	if !t.remove(c) {
		return false
	}
	c.Rest()
	return true
}

func (t *Contexts) remove(c *Context) bool {
	key, _ := keyOf(c.RecipientID())
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byKID[key]
	if n.find(c.kidContext, c.kidContext != nil) != c {
		return false
	}
	t.count--
	if n.many != nil && n.many.remove(c) {
		return true
	}
	delete(t.byKID, key)
	return true
}

// Find returns the first of Candidates.
func (t *Contexts) Find(kid, kidContext []byte, hasContext bool) (*Context, bool) {
	key, ok := keyOf(kid)
	if !ok {
		return nil, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.byKID[key]
	if hasContext {
		found := n.find(kidContext, true)
		return found, found != nil
	}
	if n.many != nil {
		return n.many.first(), true
	}
	return n.only, n.only != nil
}

// Candidates appends to dst the contexts that a request may be meant for: one, if it has a kid context, and MaxCandidates at
// most if not.
func (t *Contexts) Candidates(dst []*Context, kid, kidContext []byte, hasContext bool) []*Context {
	key, ok := keyOf(kid)
	if !ok {
		return dst
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.byKID[key]
	switch {
	case hasContext:
		if found := n.find(kidContext, true); found != nil {
			dst = append(dst, found)
		}
	case n.many != nil:
		dst = n.many.candidates(dst)
	case n.only != nil:
		dst = append(dst, n.only)
	}
	return dst
}

// UnprotectRequest finds the context of a request and unprotects it; Exchange.Context is the one that did. Errors are those
// of Context.UnprotectRequest.
func (t *Contexts) UnprotectRequest(outer message.Message) (message.Message, *Exchange, error) {
	x := new(Exchange)
	inner, err := t.UnprotectRequestIn(new(Buffer), x, outer)
	if err != nil {
		return message.Message{}, nil, err
	}
	return inner, x, nil
}

// UnprotectRequestIn is UnprotectRequest into b and x, as Context.UnprotectRequestIn.
func (t *Contexts) UnprotectRequestIn(b *Buffer, x *Exchange, outer message.Message) (message.Message, error) {
	x.owner = nil
	option, err := requestOption(outer)
	if err != nil {
		return message.Message{}, err
	}
	var few, refused [MaxCandidates]*Context
	failed, forged := ErrNoContext, refused[:0]
	for _, c := range t.Candidates(few[:0], option.KID, option.KIDContext, option.HasKIDContext) {
		inner, err := c.openRequest(b, x, outer, option)
		switch {
		case err == nil:
			forgive(forged)
			return inner, nil
		case errors.Is(err, ErrDecrypt):
			failed, forged = err, append(forged, c)
		case errors.Is(err, ErrInner): // it verified
			forgive(forged)
			x.owner = nil
			return message.Message{}, err
		case failed == ErrNoContext: // a number used before says little while the request may be for another
			failed = err
		}
	}
	x.owner = nil
	return message.Message{}, failed
}

// forgive takes back the failures of those tried before the right one: what verifies is no forgery.
func forgive(tried []*Context) {
	for _, c := range tried {
		c.failures.Add(^uint32(0))
	}
}

// find returns the namesake with exactly this kid context, or the one without.
func (n namesakes) find(kidContext []byte, hasContext bool) *Context {
	switch {
	case n.many != nil && hasContext:
		return n.many.named[string(kidContext)]
	case n.many != nil:
		return n.many.plain
	case n.only == nil, hasContext != (n.only.kidContext != nil), !bytes.Equal(n.only.kidContext, kidContext):
		return nil
	}
	return n.only
}

func (m *crowd) add(c *Context) {
	if c.kidContext == nil {
		m.plain = c
		return
	}
	m.named[string(c.kidContext)] = c
	if len(m.some) < MaxCandidates {
		m.some = append(m.some, c)
	}
}

// remove says whether anyone is left.
func (m *crowd) remove(c *Context) bool {
	if c.kidContext == nil {
		m.plain = nil
	} else {
		delete(m.named, string(c.kidContext))
	}
	if at := slices.Index(m.some, c); at >= 0 {
		m.some = slices.Delete(m.some, at, at+1)
		m.refill()
	}
	return m.plain != nil || len(m.named) > 0
}

// refill finds another for m.some, where there are more.
func (m *crowd) refill() {
	if len(m.some) == len(m.named) {
		return
	}
	for _, c := range m.named {
		if !slices.Contains(m.some, c) {
			m.some = append(m.some, c)
			return
		}
	}
}

func (m *crowd) first() *Context {
	if m.plain != nil {
		return m.plain
	}
	return m.some[0]
}

func (m *crowd) candidates(dst []*Context) []*Context {
	room := MaxCandidates
	if m.plain != nil {
		dst = append(dst, m.plain)
		room--
	}
	return append(dst, m.some[:min(room, len(m.some))]...)
}
