// Package attacks tries what must not work, on the real programs, and wants each refusal with its own code and its own
// reason in the access log or the audit log. Start from All.
package attacks

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Attack is one try. Check names the build tag nocheck_… under which exactly this one gets through.
type Attack struct {
	Says  string
	Check string
	Do    func(ctx context.Context, s *Siege) error
}

// All are the attacks, in the order of the demonstration.
var All = []Attack{
	{"A thief shows a stolen token but has not its key: refused, no possession shown.", "possession", stolenToken},
	{"A recorded unlock is played again: refused, replay detected.", "replay", replayed},
	{"A recorded unlock is held back until the lock has restarted: refused, not fresh.", "echo", delayed},
	{"One bit of an unlock is flipped on the way: refused, decryption failed.", "integrity", flipped},
	{"A token is shown to another device: refused, wrong audience.", "audience", foreign},
	{"A once-grant is used a second time: refused, used.", "once", secondUse},
	{"A token is used after its window: refused, expired.", "expiry", late},
	{"An unlock is tried after the lock confirmed the revocation: refused, revoked.", "revocation", revoked},
	{"A guest asks for more than was granted: refused, more than was granted.", "rights", greedy},
	{"One code is redeemed twice at the same time: one token, one refusal.", "code", twice},
}

// stolenToken shows the token itself, which anybody may, and then asks without its key.
func stolenToken(ctx context.Context, s *Siege) error {
	if err := s.admit(ctx, "stolen", "unlock", "--until", "1h"); err != nil {
		return err
	}
	token, err := s.Phone(ctx, "guest", "", "token", "--session", "stolen", "--no-upload", "--print")
	if err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return err
	}
	thief, err := newThief(ctx, s.Address)
	if err != nil {
		return err
	}
	defer thief.Close()
	if err := thief.show(ctx, raw); err != nil {
		return err
	}
	log := watching(s.Lock)
	code, err := thief.plainUnlock(ctx)
	if err != nil {
		return err
	}
	return s.refused(code, codes.Unauthorized, log, "no possession shown")
}

// replayed sends a datagram that worked a second time, from elsewhere.
func replayed(ctx context.Context, s *Siege) error {
	if err := s.session(ctx, "replay", "unlock", "--until", "1h"); err != nil {
		return err
	}
	before := len(s.Air.Seen())
	if err := s.unlock(ctx, "replay"); err != nil {
		return err
	}
	recorded, err := s.lastToLock(before)
	if err != nil {
		return err
	}
	return s.sendAndWant(ctx, recorded, codes.Unauthorized, "replay detected")
}

// delayed holds an unlock back, cuts the lock's power, and delivers then.
func delayed(ctx context.Context, s *Siege) error {
	if err := s.session(ctx, "delay", "unlock", "--until", "1h"); err != nil {
		return err
	}
	held, err := s.hold(ctx, "delay")
	if err != nil {
		return err
	}
	if err := s.reboot(); err != nil {
		return err
	}
	// The answer is a protected challenge, whose outer code is 2.04: only its owner could read it.
	return s.sendAndWant(ctx, held, codes.Changed, "not shown to be fresh")
}

// flipped changes the last bit of an unlock that never arrived.
func flipped(ctx context.Context, s *Siege) error {
	if err := s.session(ctx, "flip", "unlock", "--until", "1h"); err != nil {
		return err
	}
	held, err := s.hold(ctx, "flip")
	if err != nil {
		return err
	}
	held[len(held)-1] ^= 1
	return s.sendAndWant(ctx, held, codes.BadRequest, "decryption failed")
}

// foreign shows Carol's token for her monitor to another monitor of the same server.
func foreign(ctx context.Context, s *Siege) error {
	if err := s.login(ctx, "foreign", "monitor-one", "view"); err != nil {
		return err
	}
	if _, err := s.Phone(ctx, "guest", "", "token", "--session", "foreign"); err != nil {
		return err
	}
	log := watching(s.Other)
	_, err := s.Phone(ctx, "guest", "", "deliver", "--session", "foreign", "--to", "gatt:"+s.Path("monitor-two.sock"))
	if err := wantText(err, "Forbidden"); err != nil {
		return err
	}
	return log.refused("token for another audience")
}

func secondUse(ctx context.Context, s *Siege) error {
	if err := s.session(ctx, "once", "view unlock", "--until", "1h", "--once"); err != nil {
		return err
	}
	if err := s.unlock(ctx, "once"); err != nil {
		return err
	}
	log := watching(s.Lock)
	_, err := s.Phone(ctx, "guest", "", "post", "/door/unlock", "--session", "once", "--to", s.Air.Address())
	if err := wantText(err, "Forbidden"); err != nil {
		return err
	}
	return log.refused("used")
}

// late waits for the end of a window of seconds.
func late(ctx context.Context, s *Siege) error {
	if err := s.session(ctx, "late", "unlock", "--until", window.String()); err != nil {
		return err
	}
	if err := s.unlock(ctx, "late"); err != nil {
		return fmt.Errorf("within the window: %w", err)
	}
	select {
	case <-time.After(time.Until(s.until.Add(slack))):
	case <-ctx.Done():
		return ctx.Err()
	}
	log := watching(s.Lock)
	_, err := s.Phone(ctx, "guest", "", "post", "/door/unlock", "--session", "late", "--to", s.Air.Address())
	if err := wantText(err, "Unauthorized"); err != nil {
		return err
	}
	return log.refused("token expired")
}

// revoked shows the token again after the lock has confirmed that it ended.
func revoked(ctx context.Context, s *Siege) error {
	if err := s.admit(ctx, "revoked", "unlock", "--until", "1h"); err != nil {
		return err
	}
	if _, err := s.Phone(ctx, "guest", "", "token", "--session", "revoked", "--no-upload"); err != nil {
		return err
	}
	deliver := func() error {
		_, err := s.Phone(ctx, "guest", "", "deliver", "--session", "revoked", "--to", s.Air.Address())
		return err
	}
	if err := deliver(); err != nil {
		return err
	}
	if err := s.revoke(ctx); err != nil {
		return err
	}
	log := watching(s.Lock)
	_, err := s.Phone(ctx, "guest", "", "post", "/door/unlock", "--session", "revoked", "--to", s.Air.Address())
	if err := wantText(err, "Unauthorized"); err != nil {
		return err
	}
	if err := wantText(deliver(), "Unauthorized"); err != nil {
		return err
	}
	return log.refused("token revoked")
}

func greedy(ctx context.Context, s *Siege) error {
	if err := s.grant(ctx, "view unlock", "--until", "1h"); err != nil {
		return err
	}
	err := s.login(ctx, "greedy", "back-door", "unlock lock disarm")
	if err := wantText(err, "invalid_scope"); err != nil {
		return err
	}
	return s.audited(ctx, "more than was granted")
}

// twice redeems one code from two places at once.
func twice(ctx context.Context, s *Siege) error {
	if err := s.grant(ctx, "view", "--until", "1h"); err != nil {
		return err
	}
	c, code, err := s.code(ctx, "back-door", "view")
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = c.Token(ctx, client.Want{Code: &code}, func(client.Saved) error { return nil })
		})
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		return fmt.Errorf("not one token and one refusal: %v, %v", errs[0], errs[1])
	}
	refusal := errs[0]
	if refusal == nil {
		refusal = errs[1]
	}
	if err := wantText(refusal, "invalid_grant"); err != nil {
		return err
	}
	return s.audited(ctx, "code was redeemed before")
}
