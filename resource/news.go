package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// actionNews is the Action of entries about news; they are told and not kept.
const actionNews = "news"

// Apply takes sealed news (D22) and gives the sealed receipt. News is applied whole and once: the newest again gets the
// same receipt, an older is refused. When something in it would be a step that only a live server may take (D16), nothing
// is applied and the receipt says so. Every refusal is a *RefusedError.
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
	switch {
	case n.Sequence == s.state.News && s.state.Receipt != nil:
		return s.state.Receipt, nil
	case n.Sequence <= s.state.News:
		return nil, refuse(codes.BadRequest, ErrOldNews)
	}
	receipt, err := s.applyNews(n, now, origin.Server)
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

func (s *Server) applyNews(n news.News, now instant, live bool) ([]byte, error) {
	next := s.state.clone()
	if !live && next.stepsTooFar(n, now) {
		return s.receipt(&next, n.Sequence, false) // not remembered: a live server may say it again
	}
	now.raise(n.IssuedAt, live)
	for _, item := range n.Items {
		switch item.Kind {
		case news.KindHashes:
			next.revoke(item.Hashes)
		case news.KindEpoch:
			next.raiseEpoch(item.Epoch)
		case news.KindTime:
			now.raise(item.Time, live)
		}
	}
	next.News = n.Sequence
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

func (s *State) stepsTooFar(n news.News, now instant) bool {
	return slices.ContainsFunc(n.Items, func(item news.Item) bool {
		return item.Kind == news.KindEpoch && epochTooFar(s.Epoch, item.Epoch) ||
			item.Kind == news.KindTime && now.stepTooFar(item.Time)
	})
}

// revoke ends the sessions of tokens and keeps the hashes, so that they are not accepted again (RFC 9770 §10). Where space
// runs out the oldest hash goes; if it was an exi token's, its number counts as expired instead.
func (s *State) revoke(hashes [][]byte) {
	for _, hash := range hashes {
		if slices.ContainsFunc(s.Revoked, func(r Revoked) bool { return bytes.Equal(r.Hash, hash) }) {
			continue
		}
		revoked := Revoked{Hash: hash}
		s.drop(func(r *Record) bool {
			if !checks.Revocation || !slices.ContainsFunc(r.Hashes, func(h []byte) bool { return bytes.Equal(h, hash) }) {
				return false
			}
			if r.ExpiresIn > 0 {
				revoked.Sequence = r.Sequence
			}
			return true
		})
		s.Revoked = append(s.Revoked, revoked)
	}
	for len(s.Revoked) > MaxRevoked {
		if oldest := s.Revoked[0]; oldest.Sequence > 0 {
			s.expire(oldest.Sequence)
		}
		s.Revoked = slices.Delete(s.Revoked, 0, 1)
	}
}

// receipt seals the answer, with the oldest entries of the log that were not reported yet.
func (s *Server) receipt(next *State, sequence uint64, applied bool) ([]byte, error) {
	key, err := s.device.SymmetricKey(provision.PurposeNewsUp, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	entries := s.finished(next, next.Reported, MaxReceiptLog)
	if applied && len(entries) > 0 {
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
