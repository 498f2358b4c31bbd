package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// userLetters are those of a user code: no vowels, so that no words come of it (RFC 8628 §6.1). Eight of them are 34 bits.
const userLetters = "BCDFGHJKLMNPQRSTVWXZ"

// DeviceAuthorization is what an app without a browser shows and then asks with (RFC 8628 §3.2).
type DeviceAuthorization struct {
	DeviceCode string
	UserCode   string // XXXX-XXXX
	ExpiresIn  time.Duration
	Interval   time.Duration
}

// AuthorizeDevice begins a device authorization. Errors are *ace.Error for the client, or faults of this server.
func (s *Server) AuthorizeDevice(ctx context.Context, caller Caller, r AuthorizeRequest) (DeviceAuthorization, error) {
	a := Authorization{Request: r, Client: caller.Client}
	err := caller.attested()
	if err == nil {
		err = s.checkDeviceRequest(ctx, &a)
	}
	var out DeviceAuthorization
	if err == nil {
		out, err = s.newDeviceCode(ctx, &a, caller)
	}
	var refused *ace.Error
	if errors.As(err, &refused) {
		s.audit(ctx, AuditEntry{Event: "authorize", Result: "refused", Client: caller.Client.ID, Reason: auditReason(err, refused)})
	}
	return out, err
}

func (s *Server) checkDeviceRequest(ctx context.Context, a *Authorization) (err error) {
	if !slices.Contains(a.Client.GrantTypes, DeviceCodeGrant) {
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "this client may not use " + DeviceCodeGrant}
	}
	return s.readQuestion(ctx, a)
}

func (s *Server) newDeviceCode(ctx context.Context, a *Authorization, caller Caller) (DeviceAuthorization, error) {
	now := s.now()
	code, hash, err := Secret(s.rand)
	if err != nil {
		return DeviceAuthorization{}, err
	}
	row := DeviceCode{
		Hash: hash, Client: a.Client.ID, Device: a.Device.ID, Asked: a.Asked, Details: a.Request.Details, BoundKey: caller.Key(), Verdict: caller.verdict(),
		Pace: DevicePace, IssuedAt: now, ExpiresAt: now.Add(DeviceCodeLife),
	}
	const tries = 3 // two codes of 34 bits meet once in a long while
	for try := 1; ; try++ {
		if row.UserCode, err = newUserCode(s.rand); err != nil {
			return DeviceAuthorization{}, err
		}
		if err = s.store.AddDeviceCode(ctx, row); !errors.Is(err, ErrExists) || try == tries {
			break
		}
	}
	if err != nil {
		return DeviceAuthorization{}, fmt.Errorf("store device code: %w", err)
	}
	shown := row.UserCode[:4] + "-" + row.UserCode[4:]
	return DeviceAuthorization{DeviceCode: code, UserCode: shown, ExpiresIn: DeviceCodeLife, Interval: DevicePace}, nil
}

// newUserCode throws away bytes that would make some letters more likely.
func newUserCode(random io.Reader) (string, error) {
	const fair = 256 / len(userLetters) * len(userLetters)
	var code []byte
	one := make([]byte, 1)
	for len(code) < userCodeLength {
		if _, err := io.ReadFull(random, one); err != nil {
			return "", fmt.Errorf("user code: %w", err)
		}
		if int(one[0]) < fair {
			code = append(code, userLetters[int(one[0])%len(userLetters)])
		}
	}
	return string(code), nil
}

// plainUserCode is what was typed without case and separators; "" for what cannot be a code.
func plainUserCode(typed string) string {
	if len(typed) > 4*userCodeLength {
		return ""
	}
	code := strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(userLetters, r):
			return r
		case r == '-' || r == ' ':
			return -1
		}
		return '?'
	}, strings.ToUpper(typed))
	if len(code) != userCodeLength || strings.Contains(code, "?") {
		return ""
	}
	return code
}

// DeviceQuestion is a device authorization that waits for a person's answer.
type DeviceQuestion struct {
	Authorization
	UserCode string // as it was shown
	code     DeviceCode
}

// DeviceQuestion finds what a person is asked who typed a user code. A code that waits for nobody is ErrNotFound, whatever
// is wrong with it.
func (s *Server) DeviceQuestion(ctx context.Context, typed string) (DeviceQuestion, error) {
	plain := plainUserCode(typed)
	if plain == "" {
		return DeviceQuestion{}, fmt.Errorf("user code: %w", ErrNotFound)
	}
	c, err := s.store.DeviceCodeFor(ctx, plain, s.now())
	if err != nil {
		return DeviceQuestion{}, err
	}
	q := DeviceQuestion{UserCode: plain[:4] + "-" + plain[4:], code: c}
	if q.Client, err = s.store.Client(ctx, c.Client); err != nil {
		return DeviceQuestion{}, err
	}
	if q.Device, err = s.store.Device(ctx, c.Device); err != nil {
		return DeviceQuestion{}, err
	}
	q.Asked, q.Request.Details, q.Request.Verdict = c.Asked, c.Details, c.Verdict
	return q, nil
}

// AnswerDevice records a person's answer to a question, for exactly the rights that were shown: a yes to what Preview
// would refuse by now is a no. ErrNotFound when the question was answered or has expired meanwhile.
func (s *Server) AnswerDevice(ctx context.Context, q DeviceQuestion, user string, agreed aif.Rights) error {
	c := q.code
	c.Answer, c.User = AnswerNo, user
	entry := AuditEntry{Event: "authorize", Result: "refused", Reason: "the person said no", Client: c.Client, User: user, Device: q.Device.Audience()}
	if !agreed.Empty() {
		q.Asked = agreed
		d, err := s.Preview(ctx, q.Authorization, user)
		var refused *policy.RefusedError
		switch {
		case errors.As(err, &refused):
			entry.Reason = refused.Why()
		case err != nil:
			return err
		default:
			c.Answer, c.Rights, c.Grant = AnswerYes, d.Rights, d.Grant
			entry.Result, entry.Reason, entry.Grant = "granted", "", d.Grant
		}
	}
	if err := s.store.AnswerDeviceCode(ctx, c, s.now()); err != nil {
		return err
	}
	s.audit(ctx, entry)
	return nil
}

// badDeviceCode is the one answer to everything that can be wrong with a device code.
func badDeviceCode(reason string) error {
	return &reasonError{told: &ace.Error{Code: ace.InvalidGrant, Description: "the device code is not valid for this client"}, reason: reason}
}

// findDeviceCode reads the code, and says to wait while nobody has answered. Mint decides by itself again.
func (s *Server) findDeviceCode(ctx context.Context, r *request) error {
	if r.DeviceCode == "" {
		return &ace.Error{Code: ace.InvalidRequest, Description: "device_code is missing"}
	}
	c, err := s.store.DeviceCode(ctx, HashSecret(r.DeviceCode))
	switch {
	case errors.Is(err, ErrNotFound):
		return badDeviceCode("unknown device code")
	case err != nil:
		return err
	case c.Client != r.caller.Client.ID:
		return badDeviceCode("device code of another client")
	case !r.caller.proves(c.BoundKey):
		return badDeviceCode("device code of another key")
	case !c.ConsumedAt.IsZero():
		return badDeviceCode("device code was redeemed before")
	case !s.now().Before(c.ExpiresAt):
		return &ace.Error{Code: ace.ExpiredToken, Description: "nobody answered in time; begin again"}
	}
	if err := s.pollDevice(ctx, &c); err != nil {
		return err
	}
	r.shown = shown{
		user: c.User, device: c.Device, agreed: c.Rights, grant: c.Grant, details: c.Details, use: use{deviceCode: c.Hash},
	}
	return nil
}

// pollDevice answers a client that has to wait, or will never be let in.
func (s *Server) pollDevice(ctx context.Context, c *DeviceCode) error {
	switch c.Answer {
	case AnswerYes:
		return nil
	case AnswerNo:
		return &ace.Error{Code: ace.AccessDenied, Description: "the person said no"}
	}
	early, err := s.store.PollDeviceCode(ctx, c.Hash, s.now())
	switch {
	case err != nil:
		return err
	case early:
		return &ace.Error{Code: ace.SlowDown, Description: "wait 5 seconds longer between requests"}
	}
	return &ace.Error{Code: ace.AuthorizationPending, Description: "nobody has answered yet"}
}
