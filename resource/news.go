package resource

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// actionNews is the Action of entries about news; they are told and not kept.
const actionNews = "news"

// Apply takes sealed news (D22) and gives the sealed receipt. News is applied whole and once: the very same bytes again get
// the same receipt, and what is not newer is refused, other news of the same number too: two servers that number alike,
// because one was restored, must not take each other's receipts for their own. When something in it would be a step that
// only a live server may take (D16), or there is no room for it, nothing is applied and the receipt says so. Every refusal
// is a *RefusedError.
func (s *Server) Apply(_ context.Context, sealed []byte, origin Origin) ([]byte, error) {
	n, err := s.openNews(sealed)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.sweep()
	if err != nil {
		return nil, refuse(codes.InternalServerError, err)
	}
	hash := sha256.Sum256(sealed)
	switch {
	case n.Sequence == s.state.News && bytes.Equal(hash[:], s.state.NewsHash):
		return s.state.Receipt, nil
	case n.Sequence <= s.state.News:
		return nil, refuse(codes.BadRequest, ErrOldNews)
	}
	receipt, err := s.applyNews(n, hash[:], now, origin.Server)
	if err != nil {
		return nil, refuse(codes.InternalServerError, err)
	}
	return receipt, nil
}

func (s *Server) openNews(sealed []byte) (news.News, error) {
	key, err := s.device.SymmetricKey(provision.PurposeNewsDown, provision.FirstKeyID)
	if err != nil {
		return news.News{}, refuse(codes.InternalServerError, err)
	}
	n, err := news.Open(sealed, key)
	switch {
	case errors.Is(err, news.ErrProtection):
		return n, refuse(codes.Unauthorized, fmt.Errorf("%w: %w", ErrBadProtection, err))
	case err != nil:
		return n, refuse(codes.BadRequest, fmt.Errorf("%w: %w", ErrMalformed, err))
	}
	return n, nil
}

func (s *Server) applyNews(n news.News, hash []byte, now instant, live bool) ([]byte, error) {
	next := s.state.clone()
	applied := live || !next.stepsTooFar(n, now)
	if applied {
		now.raise(n.IssuedAt, live)
		applied = next.apply(n.Items, &now, live)
	}
	if !applied { // not remembered: it may be said again, by a live server or when there is room
		return s.receipt(&s.state, n.Sequence, false)
	}
	next.News, next.NewsHash = n.Sequence, hash
	receipt, err := s.receipt(&next, n.Sequence, true)
	if err != nil {
		return nil, err
	}
	next.Receipt = receipt
	if err := s.save(next, now); err != nil {
		return nil, err
	}
	s.tell(now.stamp(Entry{Action: actionNews, Result: Accepted, Reason: fmt.Sprintf("news %d", n.Sequence)}))
	return receipt, nil
}

// apply reports false when there is no room.
func (s *State) apply(items []news.Item, now *instant, live bool) bool {
	for _, item := range items {
		switch item.Kind {
		case news.KindHashes:
			if !s.revoke(item.Hashes, *now) {
				return false
			}
		case news.KindEpoch:
			s.raiseEpoch(item.Epoch)
		case news.KindTime:
			now.raise(item.Time, live)
		}
	}
	return true
}

func (s *State) stepsTooFar(n news.News, now instant) bool {
	return slices.ContainsFunc(n.Items, func(item news.Item) bool {
		return item.Kind == news.KindEpoch && epochTooFar(s.Epoch, item.Epoch) ||
			item.Kind == news.KindTime && now.stepTooFar(item.Time)
	})
}

// revoke ends the sessions of tokens and keeps the hashes, so that they are not accepted again (RFC 9770 §10). It reports
// false when there is no room for them all: then more was not revoked than the server believes, and it must hear that.
func (s *State) revoke(hashes [][]byte, now instant) bool {
	for _, hash := range hashes {
		if slices.ContainsFunc(s.Revoked, func(r Revoked) bool { return bytes.Equal(r.Hash, hash) }) {
			continue
		}
		revoked := Revoked{Hash: hash}
		if !now.low.IsZero() {
			revoked.Over = now.low.Add(RevokedFor)
		}
		s.drop(func(r *Record) bool {
			if !checks.Revocation || !slices.ContainsFunc(r.Hashes, func(h []byte) bool { return bytes.Equal(h, hash) }) {
				return false
			}
			if r.ExpiresIn > 0 {
				revoked.Sequence = r.Sequence
			}
			if !r.Expires.IsZero() {
				revoked.Over = r.Expires
			}
			return true
		})
		if len(s.Revoked) >= MaxRevoked && !s.forgetRevoked(now) {
			return false
		}
		s.Revoked = append(s.Revoked, revoked)
	}
	return true
}

// forgetRevoked makes room for one hash: the oldest of a token that is over by now, else the oldest of an exi token that
// was seen, whose number counts as expired instead (RFC 9770 §10).
func (s *State) forgetRevoked(now instant) bool {
	i := slices.IndexFunc(s.Revoked, func(r Revoked) bool { return !r.Over.IsZero() && !r.Over.After(now.low) })
	if i < 0 {
		i = slices.IndexFunc(s.Revoked, func(r Revoked) bool { return r.Sequence > 0 })
	}
	if i < 0 {
		return false
	}
	s.expire(s.Revoked[i].Sequence)
	s.Revoked = slices.Delete(s.Revoked, i, i+1)
	return true
}

// receipt seals the answer; one to news that was applied has the oldest entries of the log that were not reported yet,
// stored by the same step.
func (s *Server) receipt(next *State, sequence uint64, applied bool) ([]byte, error) {
	key, err := s.device.SymmetricKey(provision.PurposeNewsUp, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	if applied {
		entries = s.finished(next, next.Reported, MaxReceiptLog)
	}
	if len(entries) > 0 {
		next.Reported = entries[len(entries)-1].Number
	}
	r := news.Receipt{Sequence: sequence, Applied: applied, Cursor: next.NextEntry, Entries: s.wire(entries)}
	return news.SealReceipt(r, key, s.rand)
}

// wire gives entries as they travel (D22): an action is its index in the device's record.
func (s *Server) wire(entries []Entry) []news.Entry {
	out := make([]news.Entry, 0, len(entries))
	for _, e := range entries {
		w := news.Entry{N: e.Number, Time: e.Time, Boot: e.Boot, Grant: e.Grant, Action: news.NoAction, Result: news.Result(e.Result)}
		if i := slices.IndexFunc(s.actions, func(a *action) bool { return a.Name == e.Action }); i >= 0 {
			w.Action = uint64(i)
		}
		out = append(out, w)
	}
	return out
}

// LogCBOR is Log as it travels: a CBOR array of the entries of D22.
func (s *Server) LogCBOR(after uint64) ([]byte, error) {
	entries, err := s.Log(after)
	if err != nil {
		return nil, err
	}
	return news.EncodeEntries(s.wire(entries))
}

// actionAccept is the Action of entries about tokens.
const actionAccept = "accept"

// actionExpire is the Action of entries about tokens that ended by themselves; they go to OnLog only.
const actionExpire = "expire"

// actionName is "" for what the device does not have: a path is the client's word and not for the log.
func (s *Server) actionName(path string, method aif.Methods) string {
	if a := s.action(path, method); a != nil {
		return a.Name
	}
	return ""
}

// stamp puts into e what is known about the time.
func (i instant) stamp(e Entry) Entry {
	e.Boot = i.boots
	if i.known {
		e.Time = i.low
	}
	return e
}

// log appends an entry with the next number and keeps the ring bounded.
func (s *State) log(e Entry) Entry {
	s.NextEntry++
	e.Number = s.NextEntry
	s.Log = append(s.Log, e)
	if len(s.Log) > MaxLog || s.minor() > MaxLog/4 && e.minor() {
		s.dropEntry()
	}
	return e
}

// minor entries moved nothing. They never push out what did, or a guest could wash his unlock away with refusals.
func (e Entry) minor() bool { return e.Result == Refused || e.Result == Accepted }

func (s *State) minor() (n int) {
	for i := range s.Log {
		if s.Log[i].minor() {
			n++
		}
	}
	return n
}

func (s *State) dropEntry() {
	i := 0
	if s.minor() > MaxLog/4 {
		i = slices.IndexFunc(s.Log, Entry.minor)
	}
	s.Log = slices.Delete(s.Log, i, i+1)
}

// remember appends an entry that the next stored change takes along: a refusal is not worth wearing out the flash for.
// What others get to read of the log is stored first, so that no number is ever given twice.
func (s *Server) remember(e Entry) {
	s.state.Log = slices.Clone(s.state.Log) // the store may still read the old one
	e = s.state.log(e)
	s.unsaved = true
	s.tell(e)
}

// tell hands an entry to the program.
func (s *Server) tell(e Entry) {
	if s.options.OnLog != nil {
		s.options.OnLog(e)
	}
}

// begin claims the one execution of an allowed change.
func (s *Server) begin(number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	started, decided := s.acting[number]
	if !decided || started {
		return false
	}
	s.acting[number] = true
	return true
}

// finish completes the entry of a change. Until the next stored change the store still says "unknown", which is what a
// power cut now would make of it.
func (s *Server) finish(e Entry, result Result, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acting, e.Number)
	e.Result, e.Reason = result, reason
	s.state.Log = slices.Clone(s.state.Log)
	if i, ok := slices.BinarySearchFunc(s.state.Log, e.Number, byNumber); ok {
		s.state.Log[i] = e
	}
	s.unsaved = true
	s.tell(e)
}

func byNumber(e Entry, number uint64) int { return cmp.Compare(e.Number, number) }

// Log gives up to MaxLogBatch finished entries with numbers above after, oldest first. It ends before an action that is
// still going on, so that a reader who asks on from the last number misses nothing.
func (s *Server) Log(after uint64) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(); err != nil {
		return nil, err
	}
	// What is asked for next shows what has arrived.
	s.state.Reported = max(s.state.Reported, min(after, s.state.NextEntry))
	return s.finished(&s.state, after, MaxLogBatch), nil
}

// finished gives up to limit entries with numbers above after, up to the first that is still going on.
func (s *Server) finished(state *State, after uint64, limit int) (out []Entry) {
	for _, e := range state.Log {
		if _, busy := s.acting[e.Number]; busy || len(out) == limit {
			break
		}
		if e.Number > after {
			out = append(out, e)
		}
	}
	return out
}

// flush stores what remember and finish left in memory.
func (s *Server) flush() error {
	if !s.unsaved {
		return nil
	}
	return s.save(s.state.clone(), s.now())
}
