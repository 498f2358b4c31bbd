package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Bounds of RFC 8628.
const (
	defaultPace = 5 * time.Second // §3.2, without interval
	slowerBy    = 5 * time.Second // §3.5, after slow_down
	maxPace     = time.Minute     // a server that asks for more has lost its senses
)

// DeviceLogin is a login that a person answers on another screen (RFC 8628 §3.2). Code is a secret.
type DeviceLogin struct {
	Code      string        `json:"device_code"`
	UserCode  string        `json:"user_code"`                           // what the person types in or compares
	Address   string        `json:"verification_uri"`                    // where
	WithCode  string        `json:"verification_uri_complete,omitempty"` // the same with the code in it, for a QR code; may be empty
	Pace      time.Duration `json:"pace"`                                // between questions
	ExpiresAt time.Time     `json:"expires_at"`
}

// String hides the code.
func (DeviceLogin) String() string { return "[redacted]" }

// GoString hides the code.
func (DeviceLogin) GoString() string { return "[redacted]" }

// LoginElsewhere starts a login for an app without a browser. Show the person Address and UserCode, then call Token with
// the result as Want.Device: it waits for the answer. Redirect of ask is not used.
func (c *Client) LoginElsewhere(ctx context.Context, ask Ask) (DeviceLogin, error) {
	if c.at.Device == "" {
		return DeviceLogin{}, errors.New("this server has no device authorization")
	}
	form := url.Values{"audience": {ask.Audience}}
	if ask.Scope != "" {
		form.Set("scope", ask.Scope)
	}
	var answer struct {
		DeviceLogin
		Interval  uint32 `json:"interval"`
		ExpiresIn uint32 `json:"expires_in"`
	}
	if err := c.postForm(ctx, c.at.Device, form, http.StatusOK, &answer); err != nil {
		return DeviceLogin{}, fmt.Errorf("device authorization: %w", err)
	}
	login := answer.DeviceLogin
	if login.Code == "" || login.UserCode == "" || login.Address == "" || answer.ExpiresIn == 0 {
		return DeviceLogin{}, errors.New("device authorization: the answer is not complete")
	}
	login.Pace, login.ExpiresAt = time.Duration(answer.Interval)*time.Second, c.Now().Add(time.Duration(answer.ExpiresIn)*time.Second)
	if answer.Interval == 0 {
		login.Pace = defaultPace
	}
	return login, nil
}

// redeem asks the token endpoint: once, unless a person has yet to answer on another screen.
func (c *Client) redeem(ctx context.Context, w Want, request ace.TokenRequest) (*ace.TokenResponse, error) {
	if w.Device == nil {
		return c.Request(ctx, request)
	}
	pace := w.Device.Pace
	for {
		response, err := c.Request(ctx, request)
		switch {
		case errors.Is(asRefusal(err), &ace.Error{Code: ace.AuthorizationPending}):
		case errors.Is(asRefusal(err), &ace.Error{Code: ace.SlowDown}):
			pace = min(pace+slowerBy, maxPace)
		default:
			return response, err
		}
		if !c.Now().Add(pace).Before(w.Device.ExpiresAt) {
			return nil, &ace.Error{Code: ace.ExpiredToken, Description: "nobody answered in time; log in again"}
		}
		if err := c.wait(ctx, pace); err != nil {
			return nil, err
		}
	}
}

// asRefusal is the code of a refusal without what was said about it; nil for other errors.
func asRefusal(err error) error {
	var refused *ace.Error
	if !errors.As(err, &refused) {
		return nil
	}
	return &ace.Error{Code: refused.Code}
}
