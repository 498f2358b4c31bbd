package resource

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Action does what a request asks for: it moves a bolt, or reads a value. It runs after every check has passed and, for
// what may happen once, after the use was written down. It is never called again for the same request. ctx ends after
// ActionTimeout.
//
// An error means "unknown": the bolt may have moved. What is known not to have happened is an Answer with an error code.
type Action func(ctx context.Context, call Call) (Answer, error)

// Call is a request as an action sees it.
type Call struct {
	Code    codes.Code
	Path    string // with the query, if there is one: "/door?side=left"
	Payload []byte
	Grant   pop.GrantID // zero: the owner
	Grade   grade.Grade // what the server knew of the app when it made the token; zero: nobody vouched for it
}

// Answer is what the client gets.
type Answer struct {
	Code    codes.Code // 0: 2.05 to GET and FETCH, 2.04 to all others
	Format  message.MediaType
	Payload []byte // without one Format means nothing
}

// Request is a verified request of a session.
type Request struct {
	Session *Session
	Code    codes.Code
	Path    string // with the query, if there is one
	Fresh   bool   // it carries an unused Echo that this device made at most FreshFor ago for this context
	Echo    []byte // that Echo; nil where it is fresh by other means
	Token   []byte // integrity token; nil without
}

// Decision is the answer to a Request. When Allowed, the use is already spent and Act must follow.
type Decision struct {
	Code      codes.Code // why not; 0: allowed
	Challenge bool       // answer 4.01 with an Echo; the same request with it may be allowed
	Wanted    bool       // with Challenge: it has to come with an integrity token for that Echo too
	Reason    error      // nil when allowed

	action  *action
	grade   grade.Grade
	changes bool
	entry   Entry
}

// Allowed reports whether the request may be acted upon.
func (d Decision) Allowed() bool { return d.Code == codes.Empty }

// Decide checks a request against its token, and spends what can be used once before anything moves. The order is that
// of RFC 9200 §5.10.2: no valid token 4.01, path not covered 4.03, method not covered 4.05; then freshness (D15) and
// once (D14). Two simultaneous requests for one use are decided one after the other.
func (s *Server) Decide(_ context.Context, r Request) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.sweep()
	if err != nil {
		return Decision{Code: codes.InternalServerError, Reason: err}
	}
	d := s.decide(now, r)
	if d.Allowed() {
		if !d.changes {
			s.tell(d.entry)
		}
		return d
	}
	d.entry.Result, d.entry.Reason = Refused, d.Reason.Error()
	if d.Challenge {
		s.tell(d.entry) // the client's next message decides; the ring keeps what was decided
	} else {
		s.remember(d.entry)
	}
	return d
}

// decide works on a copy, which replaces the state only when it is stored.
func (s *Server) decide(now instant, r Request) Decision {
	next := s.state.clone()
	record, ok := next.session(r.Session.number)
	if !ok {
		return s.withoutRecord(now, r)
	}
	method, _ := aif.MethodOf(r.Code)
	d := Decision{grade: record.Grant.Grade, entry: now.stamp(Entry{Grant: record.Grant.Grant, Action: s.actionName(r.Path, method)})}
	confirmed := next.confirm(record)
	if confirmed {
		record, _ = next.session(r.Session.number) // confirm moves records
	}
	d = s.judge(d, judgement{now: now, state: &next, record: record, request: r, method: method})
	if !confirmed && (!d.Allowed() || !d.changes) {
		return d
	}
	if d.Allowed() && d.changes {
		d.entry = next.log(d.entry)
	}
	dropped := next.dropUsedUp()
	if err := s.saveUsedUp(next, now, dropped); err != nil {
		return Decision{Code: codes.ServiceUnavailable, Reason: err, entry: d.entry}
	}
	if d.Allowed() && d.changes {
		s.acting[d.entry.Number] = false
	}
	return d
}

// withoutRecord tells a key that was used up from one that expired or was revoked.
func (s *Server) withoutRecord(now instant, r Request) Decision {
	method, _ := aif.MethodOf(r.Code)
	d := Decision{entry: now.stamp(Entry{Action: s.actionName(r.Path, method)})}
	if r.Session.used {
		return d.refuse(codes.Forbidden, ErrUsed)
	}
	return d.refuse(codes.Unauthorized, ErrNoSession)
}

// judgement is one request with everything that decides it.
type judgement struct {
	now     instant
	state   *State
	record  *Record
	request Request
	method  aif.Methods
}

func (s *Server) judge(d Decision, j judgement) Decision {
	if err := s.valid(j.state, j.now, j.record.bounds()); err != nil {
		return d.refuse(codes.Unauthorized, err)
	}
	switch j.record.Rights.Allows(j.request.Path, j.method) {
	case aif.PathUnknown:
		return d.refuse(codes.Forbidden, ErrPathNotCovered)
	case aif.MethodNotAllowed:
		return d.refuse(codes.MethodNotAllowed, ErrMethod)
	}
	d.action = s.action(j.request.Path, j.method)
	if d.action == nil || d.action.do == nil {
		return d.refuse(codes.NotImplemented, ErrNoAction)
	}
	d.Wanted = d.action.vouched
	d.changes = j.method.ChangesState()
	if d.Wanted {
		if err := s.genuine(j); err != nil {
			d.Challenge = true
			return d.refuse(codes.Unauthorized, err)
		}
	}
	if !d.changes {
		return d
	}
	if !j.request.Session.fresh(j.request.Fresh, j.now) {
		d.Challenge = true
		return d.refuse(codes.Unauthorized, ErrNotFresh)
	}
	if err := j.spend(d.action.Methods.Changing()); errors.Is(err, ErrUsed) {
		return d.refuse(codes.Forbidden, err)
	} else if err != nil {
		return d.refuse(codes.ServiceUnavailable, err)
	}
	return d
}

// genuine wants an integrity token for the very Echo of the request, which counts once.
func (s *Server) genuine(j judgement) error {
	if !checks.Attestation {
		return nil
	}
	if len(j.request.Echo) == 0 || len(j.request.Token) == 0 {
		return ErrNotGenuine
	}
	var now time.Time
	if j.now.known {
		now = j.now.low
	}
	if err := s.options.Apps.Genuine(j.request.Token, base64.RawURLEncoding.EncodeToString(j.request.Echo), now); err != nil {
		return fmt.Errorf("%w: %w", ErrNotGenuine, err)
	}
	return nil
}

func (d Decision) refuse(code codes.Code, reason error) Decision {
	d.Code, d.Reason = code, reason
	return d
}

// spend marks a once-action as used (D14): with all its methods, for one use of it is one, whichever method was asked for.
func (j judgement) spend(methods aif.Methods) error {
	if !j.record.once(j.request.Path) {
		return nil
	}
	grant := j.record.Grant.Grant
	if j.state.isSpent(grant, j.request.Path, j.method) {
		return ErrUsed
	}
	if !j.state.roomToSpend(j.now) {
		return fmt.Errorf("%w: used-up actions", ErrNoRoom)
	}
	j.state.Spent = append(j.state.Spent, Spent{Grant: grant, Path: j.request.Path, Methods: methods, Expires: j.record.Expires})
	return nil
}

// once reports whether what changes state at path may be done once only.
func (r *Record) once(path string) bool {
	return slices.ContainsFunc(r.Grant.Once, func(i uint) bool { return i < uint(len(r.Rights)) && r.Rights[i].Path == path })
}

func (s *State) isSpent(grant pop.GrantID, path string, method aif.Methods) bool {
	return checks.Once && slices.ContainsFunc(s.Spent, func(x Spent) bool { return x.Grant == grant && x.Path == path && x.Methods&method != 0 })
}

// roomToSpend drops marks that nobody can need: first those long past their grant, and when the table is still full the
// oldest whose token is over. A mark whose token may still be used is never dropped; then nothing more can be spent.
func (s *State) roomToSpend(now instant) bool {
	s.Spent = slices.DeleteFunc(s.Spent, func(x Spent) bool { return !x.Expires.IsZero() && x.Expires.Add(SpentFor).Before(now.low) })
	if len(s.Spent) < MaxSpent {
		return true
	}
	over := slices.IndexFunc(s.Spent, func(x Spent) bool { return !x.Expires.IsZero() && x.Expires.Before(now.low) })
	if over < 0 {
		return false
	}
	s.Spent = slices.Delete(s.Spent, over, over+1)
	return true
}

// anythingLeft reports whether any right of the token can still be used.
func (r *Record) anythingLeft(s *State) bool {
	for _, e := range r.Rights {
		if e.Methods.Changing() != e.Methods || !r.once(e.Path) {
			return true
		}
		for m := aif.Methods(1); m != 0 && m <= e.Methods; m <<= 1 {
			if e.Methods&m != 0 && !s.isSpent(r.Grant.Grant, e.Path, m) {
				return true
			}
		}
	}
	return false
}

// dropUsedUp forgets the keys of the sessions that have nothing left, and says which they were.
func (s *State) dropUsedUp() (numbers []uint64) {
	s.drop(func(r *Record) bool {
		if r.anythingLeft(s) {
			return false
		}
		numbers = append(numbers, r.Number)
		return true
	})
	return numbers
}

// saveUsedUp stores next and lets the dropped sessions linger in memory.
func (s *Server) saveUsedUp(next State, now instant, dropped []uint64) error {
	var lingering []*Session
	for session := range s.sessions() {
		if slices.Contains(dropped, session.number) && !session.used {
			session.used, session.usedAt = true, now
			lingering = append(lingering, session)
		}
	}
	err := s.save(next, now)
	if err != nil {
		for _, session := range lingering {
			session.used = false
		}
	}
	return err
}

// Act does what d allowed, once, and writes down what became of it. A change is done at most once for each decision.
func (s *Server) Act(ctx context.Context, d Decision, call Call) Answer {
	if !d.Allowed() {
		return Answer{Code: d.Code}
	}
	if d.action == nil || d.changes && !s.begin(d.entry.Number) {
		return Answer{Code: codes.InternalServerError}
	}
	call.Grant, call.Grade = d.entry.Grant, d.grade
	ctx, cancel := context.WithTimeout(ctx, ActionTimeout)
	defer cancel()
	answer, err := s.do(ctx, d, call)
	result, reason := Done, ""
	switch {
	case err != nil:
		result, reason = Unknown, err.Error()
		answer = Answer{Code: codes.InternalServerError}
		if d.changes {
			answer.Payload = []byte(unknownOutcome)
		}
	case answer.Code == codes.Empty:
		answer.Code = defaultCode(d.changes)
	case answer.Code >= codes.BadRequest:
		result, reason = Refused, answer.Code.String()
	}
	if d.changes {
		s.finish(d.entry, result, reason)
	}
	return answer
}

// do runs the action. If it panics, which whoever called Act may survive, the bolt may have moved.
func (s *Server) do(ctx context.Context, d Decision, call Call) (answer Answer, err error) {
	returned := false
	defer func() {
		if !returned && d.changes {
			s.finish(d.entry, Unknown, "the action panicked")
		}
	}()
	answer, err = d.action.do(ctx, call)
	returned = true
	return answer, err
}

// unknownOutcome is the diagnostic of 5.00 to something that may have happened.
const unknownOutcome = "unknown – check the door"

func defaultCode(changes bool) codes.Code {
	if changes {
		return codes.Changed
	}
	return codes.Content
}

// Used reports whether the request was refused because what may be done once has been done.
func (d Decision) Used() bool { return errors.Is(d.Reason, ErrUsed) }
