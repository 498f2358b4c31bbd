package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
)

// Mint is one transaction, which mints that come at the same time share. It takes its locks always in this order: gate,
// proofs, codes, families, keys, sequences, clock, each kind in the order of its values; so two of them cannot wait for each
// other. The gate is what a revocation or suspension waits for: once that has returned, no Mint that began before it is still on
// its way.
//
// A mint that is refused before it has written anything leaves its neighbours alone. When one fails later the transaction is
// undone and each runs by itself.
func (s *Store) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.Issued, error)) error {
	if _, err := moment(spec.Now); err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	m := &mint{ctx: ctx, spec: &spec, issue: issue, next: make(chan step, 1)}
	next := s.mints.join(m)
	if next == stepLead {
		next = s.lead(ctx, m)
	}
	if next == stepAlone {
		s.alone(ctx, m)
	}
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.err
}

// mint is one call of Mint.
type mint struct {
	ctx   context.Context
	spec  *authz.MintSpec
	issue func(authz.Minting) (authz.Issued, error)
	next  chan step

	found    authz.Minting
	issued   authz.Issued
	wrote    bool // what only its undoing takes back
	err      error
	panicked any
}

// transaction mints.
type transaction struct {
	*Store
	q         Querier
	shared    bool // others wait for it, so it waits for nobody for long, and each runs by itself if it fails
	batch     []*mint
	live      []*mint // those that were not refused
	mark      mark
	standings map[authz.Parties]standing // read by this transaction
	signers   map[string]bool
	numbered  []*numbered
	newest    uint64
	reached   int64
}

func (t *transaction) run(ctx context.Context) error {
	for _, m := range t.batch {
		m.found, m.issued, m.wrote, m.panicked = authz.Minting{}, authz.Issued{}, false, nil
		if m.err = m.ctx.Err(); m.err == nil {
			t.live = append(t.live, m)
		}
	}
	if len(t.live) == 0 {
		return t.nothing()
	}
	var first []Step
	if text := t.engine.Impatience(); text != "" && t.shared {
		first = append(first, Step{Text: text}) // by itself a mint waits for what only it needs
	}
	first = append(append(first, t.gate(many)...), t.mark.read())
	phases := []func(context.Context) error{t.spend, t.check, t.number, t.issueAll, t.keepAll}
	if t.early() {
		first = append(first, t.numbers()...)
		phases = slices.Delete(phases, 2, 3)
	}
	if err := together(ctx, t.q, first...); err != nil {
		return t.failed(err)
	}
	t.assign()
	for _, phase := range phases {
		if err := phase(ctx); err != nil {
			return err
		}
		if len(t.live) == 0 {
			return t.nothing()
		}
	}
	var err error
	t.reached, err = t.tick(ctx, t.q, t.newest)
	return err
}

// failed says what an error of the database means for a transaction: which mint it is of is not known.
func (t *transaction) failed(err error) error {
	if t.shared {
		return errAlone
	}
	return err
}

// nothing is the error that undoes a transaction in which all were refused.
func (t *transaction) nothing() error {
	if len(t.batch) == 1 && t.batch[0].err != nil {
		return t.batch[0].err
	}
	return errNothing
}

// committed keeps in memory what the transaction has read.
func (t *transaction) committed() {
	t.ticked(t.reached)
	for p, f := range t.standings {
		t.known.standings.put(t.mark.changes, p, f)
	}
	for id, good := range t.signers {
		t.known.signers.put(t.mark.changes, id, good)
	}
}

// each does something for all who are left. refusal tells whether an error is an answer to one of them, so that the others may
// go on.
func (t *transaction) each(do func(*mint) error, refusal func(error) bool) error {
	left := t.live[:0:0]
	for _, m := range t.live {
		err := do(m)
		if err == nil && m.panicked == nil {
			left = append(left, m)
			continue
		}
		m.err = err
		if len(t.batch) > 1 && m.wrote || t.shared && !refusal(err) {
			return errAlone
		}
		if !refusal(err) {
			return err
		}
	}
	t.live = left
	return nil
}

func always(error) bool { return true }
func never(error) bool  { return false }

var refusals = []error{
	authz.ErrNotFound, authz.ErrGrantEnded, authz.ErrSeriesEnded, authz.ErrKeySeen, authz.ErrReplayed, authz.ErrPending, authz.ErrDenied,
	authz.ErrBusy, authz.ErrClockStepped, authz.ErrLogWanted,
}

// refused reports whether an error is an answer by our rules, and none of the database.
func refused(err error) bool {
	return errors.As(err, new(*authz.CodeSpentError)) || errors.As(err, new(*authz.RefreshReusedError)) || errors.As(err, new(*authz.SuspendedError)) ||
		slices.ContainsFunc(refusals, func(known error) bool { return errors.Is(err, known) })
}

// spend consumes what clients showed, one kind after the other; client_credentials shows nothing.
func (t *transaction) spend(ctx context.Context) error {
	for _, kind := range []struct {
		key   func(*authz.MintSpec) []byte // nil: shows none
		spend func(*mint) error
	}{
		{firstProof, func(m *mint) error { return useOnce(ctx, t.q, m.spec.Now, m.spec.Proofs) }},
		{func(s *authz.MintSpec) []byte { return s.Code }, func(m *mint) (err error) {
			m.found.Code, err = consumeCode(ctx, t.q, m.spec.Code, ms(m.spec.Now))
			return err
		}},
		{func(s *authz.MintSpec) []byte { return s.DeviceCode }, func(m *mint) (err error) {
			m.found.DeviceCode, err = consumeDeviceCode(ctx, t.q, m.spec.DeviceCode, ms(m.spec.Now))
			return err
		}},
		{family, func(m *mint) (err error) {
			m.found.Family, err = t.refresh(ctx, t.q, m.spec.Refresh, m.spec.Now)
			return err
		}},
		{func(s *authz.MintSpec) []byte { return s.ClientKey }, func(m *mint) error {
			return t.rememberKey(ctx, t.q, m.spec.ClientKey, m.spec.Now)
		}},
	} {
		if err := t.spendOne(kind.key, kind.spend); err != nil {
			return err
		}
	}
	return nil
}

func firstProof(s *authz.MintSpec) []byte {
	if len(s.Proofs) == 0 {
		return nil
	}
	return present(s.Proofs[0].Value)
}

func family(s *authz.MintSpec) []byte {
	if s.Refresh == nil {
		return nil
	}
	return s.Refresh.Family[:]
}

// spendOne spends things of one kind, in the order of their values.
func (t *transaction) spendOne(key func(*authz.MintSpec) []byte, spend func(*mint) error) error {
	if !slices.ContainsFunc(t.live, func(m *mint) bool { return key(m.spec) != nil }) {
		return nil
	}
	slices.SortStableFunc(t.live, func(a, b *mint) int { return bytes.Compare(key(a.spec), key(b.spec)) })
	return t.each(func(m *mint) error {
		if key(m.spec) == nil {
			return nil
		}
		err := spend(m)
		m.wrote = m.wrote || err == nil
		return err
	}, refused)
}

// check lets no token through that its parties, or the end of its series, forbid.
func (t *transaction) check(ctx context.Context) error {
	return t.each(func(m *mint) error {
		f, err := t.standing(ctx, m.spec.Parties)
		if err == nil {
			err = f.checkParties(&m.spec.Parties, t.mark, m.spec.Now)
		}
		if err == nil && m.spec.Series != nil {
			err = checkSeries(ctx, t.q, m.spec.Series)
		}
		m.found.Epoch = f.epoch
		return err
	}, refused)
}

// standing is what is known of the parties, or read.
func (t *transaction) standing(ctx context.Context, p authz.Parties) (standing, error) {
	if f, found := t.known.standings.get(t.mark.changes, p); found {
		return f, nil
	}
	if f, found := t.standings[p]; found {
		return f, nil
	}
	f, err := readStanding(ctx, t.q, &p)
	if err == nil {
		if t.standings == nil {
			t.standings = map[authz.Parties]standing{}
		}
		t.standings[p] = f
	}
	return f, err
}

// early reports whether sequences can be had together with the gate, because nothing is to be spent before, and parties are
// known that will be found as good as they were.
func (t *transaction) early() bool {
	return !slices.ContainsFunc(t.live, func(m *mint) bool {
		s := m.spec
		_, known := t.known.standings.any(s.Parties)
		return !known || s.Code != nil || s.DeviceCode != nil || s.Refresh != nil || s.Proofs != nil || s.ClientKey != nil
	})
}

// numbered are mints of one device and the last of their sequences.
type numbered struct {
	mints []*mint
	last  uint64
}

// number gives out sequences.
func (t *transaction) number(ctx context.Context) error {
	if err := together(ctx, t.q, t.numbers()...); err != nil {
		return t.failed(err)
	}
	t.assign()
	return nil
}

// numbers asks for sequences, device by device. None is less than its own second (D4), so the newest second of a device's mints
// counts for all of them.
func (t *transaction) numbers() (steps []Step) {
	slices.SortStableFunc(t.live, func(a, b *mint) int { return bytes.Compare(a.spec.Device[:], b.spec.Device[:]) })
	for at := 0; at < len(t.live); {
		device, now, end := t.live[at].spec.Device, t.live[at].spec.Now, at+1
		for ; end < len(t.live) && t.live[end].spec.Device == device; end++ {
			if m := t.live[end]; m.spec.Now.After(now) {
				now = m.spec.Now
			}
		}
		n := &numbered{mints: slices.Clone(t.live[at:end])}
		t.numbered = append(t.numbered, n)
		steps = append(steps, advance(device, authz.SequenceEXI, now, int64(end-at), &n.last))
		at = end
	}
	return steps
}

// assign gives each mint the number that the database gave out.
func (t *transaction) assign() {
	for _, n := range t.numbered {
		for i, m := range n.mints {
			m.found.Sequence = n.last - uint64(len(n.mints)-1-i)
		}
		t.newest = max(t.newest, n.last)
	}
}

// issueAll asks each caller for the token. A panic of one reaches its own caller.
func (t *transaction) issueAll(context.Context) error {
	return t.each(func(m *mint) (err error) {
		defer func() { m.panicked = recover() }()
		m.issued, err = m.issue(m.found)
		return err
	}, always)
}

// keepAll stores the tokens that were issued.
func (t *transaction) keepAll(ctx context.Context) error {
	return t.each(func(m *mint) error {
		if err := t.checkSigner(ctx, m.issued.Token.SignedBy); err != nil {
			return err
		}
		return t.keep(ctx, t.q, m.spec, &m.issued)
	}, never)
}

// checkSigner refuses a token that was signed with a key that another process has withdrawn meanwhile: the End that follows a
// withdrawal waits for every Mint before it, so a token is ended by that or refused here.
func (t *transaction) checkSigner(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	good, found := t.known.signers.get(t.mark.changes, id)
	if !found {
		good, found = t.signers[id]
	}
	if !found {
		var n int64
		if err := one(ctx, t.q, ask(`SELECT COUNT(*) FROM signing_keys WHERE id = $1 AND withdrawn_at = 0`, id), &n); err != nil {
			return fmt.Errorf("signing key %q: %w", id, err)
		}
		good = n > 0
		if t.signers == nil {
			t.signers = map[string]bool{}
		}
		t.signers[id] = good
	}
	if !good {
		return fmt.Errorf("signing key %q: %w", id, authz.ErrKeyWithdrawn)
	}
	return nil
}
