package coapapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Registrar keeps the device registered at its authorization server, so that the server knows where to push (D5, D22), and
// learns the time and the epoch from the answers. Lost contexts are made anew by the channel (D1).
type Registrar struct {
	Server  *resource.Server
	Channel *coapsec.Channel
	// Peers reach the server, in order of preference, from the very socket that serves: pushes come back through the
	// mapping that these requests keep open.
	Peers []coapsec.Exchanger

	URIs         func() []string                                      // where phones nearby may reach the device; nil: nowhere
	Lifetime     time.Duration                                        // asked for; 0: DefaultLifetime
	OnError      func(error)                                          // nil: errors are dropped
	OnRegistered func(ace.RegisterAnswer)                             // nil: nobody is told
	Sleep        func(ctx context.Context, pause time.Duration) error // nil: the system's timer
}

var errNoPeer = errors.New("no address of the authorization server")

// Run registers again and again until ctx ends: at a third of the lifetime granted, or, when nobody answered, after a
// pause that doubles up to MaxPause. Both vary at random, so that the locks of a street do not come all at once after a
// power cut.
func (r *Registrar) Run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		answer, err := r.Register(ctx)
		pause := backoff(failures)
		if err != nil {
			failures++
			if r.OnError != nil && ctx.Err() == nil {
				r.OnError(err)
			}
		} else {
			failures, pause = 0, clamp(answer.Lifetime/3)
			if r.OnRegistered != nil {
				r.OnRegistered(answer)
			}
		}
		if r.sleep(ctx, vary(pause)) != nil {
			return
		}
	}
}

// Register does it once, with the first peer that answers.
func (r *Registrar) Register(ctx context.Context) (ace.RegisterAnswer, error) {
	request, err := r.request()
	if err != nil {
		return ace.RegisterAnswer{}, fmt.Errorf("register: %w", err)
	}
	failed := errNoPeer
	for _, peer := range r.Peers {
		answer, err := r.with(ctx, peer, request)
		if err == nil {
			return answer, nil
		}
		failed = err
	}
	return ace.RegisterAnswer{}, fmt.Errorf("register: %w", failed)
}

func (r *Registrar) request() ([]byte, error) {
	standing := r.Server.Standing()
	register := ace.Register{
		Lifetime: r.Lifetime, Epoch: standing.Epoch, HighestExpired: standing.HighestExpired, NewestNews: standing.News,
	}
	if register.Lifetime == 0 {
		register.Lifetime = DefaultLifetime
	}
	if r.URIs != nil {
		register.LocalURIs = r.URIs()
	}
	return register.Encode()
}

func (r *Registrar) with(ctx context.Context, peer coapsec.Exchanger, payload []byte) (ace.RegisterAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, ExchangeTimeout)
	defer cancel()
	response, err := r.Channel.Exchange(ctx, peer, coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, payload))
	if err != nil {
		return ace.RegisterAnswer{}, err
	}
	if response.Code != codes.Changed {
		return ace.RegisterAnswer{}, fmt.Errorf("the server answered %v", response.Code)
	}
	answer, err := ace.ParseRegisterAnswer(response.Payload)
	if err != nil {
		return ace.RegisterAnswer{}, err
	}
	return answer, errors.Join(r.Server.LearnTime(answer.Time), r.Server.LearnEpoch(answer.Epoch))
}

func (r *Registrar) sleep(ctx context.Context, pause time.Duration) error {
	if r.Sleep != nil {
		return r.Sleep(ctx, pause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff doubles from MinPause with each failure in a row.
func backoff(failures int) time.Duration {
	return clamp(MinPause << min(failures, 10))
}

func clamp(d time.Duration) time.Duration { return min(max(d, MinPause), MaxPause) }

// vary takes off up to a quarter. It needs no good randomness.
func vary(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/4+1)) }
