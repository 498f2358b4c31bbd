package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var (
	psk      = bytes.Repeat([]byte{5}, 16)
	kid      = []byte{0x3d, 0x02, 0x78, 0x33, 0xfc, 0x62, 0x67, 0xce}
	aToken   = []byte{0xd8, 0x3d, 0xd0, 0x83, 0x40, 0xa0, 0x41, 0x01}
	errDoor  = errors.New("no association")
	errNoInk = errors.New("nothing can be stored")
)

// lock is the far end of associations: it notes what it is shown and answers as it is told.
type lock struct {
	identities [][]byte
	keys       [][]byte
	requests   []message.Message
	closed     int
	refuse     bool
	answer     func(request message.Message) message.Message
}

func (l *lock) dial(_ context.Context, identity, key []byte) (Conn, error) {
	l.identities, l.keys = append(l.identities, identity), append(l.keys, key)
	if l.refuse {
		return nil, errDoor
	}
	return l, nil
}

// Exchange implements coapsec.Exchanger.
func (l *lock) Exchange(_ context.Context, m message.Message) (message.Message, error) {
	l.requests = append(l.requests, m)
	return l.answer(m), nil
}

// Close implements Conn.
func (l *lock) Close() error {
	l.closed++
	return nil
}

func always(m message.Message) func(message.Message) message.Message {
	return func(message.Message) message.Message { return m }
}

// keyed is a session of coap_dtls, and what was stored of it last.
func keyed(change func(*Saved)) (*Session, *Saved) {
	saved := Saved{Profile: pop.ProfileCoAPDTLS, Token: aToken, KeyID: kid, Secret: psk}
	if change != nil {
		change(&saved)
	}
	stored := saved
	return Restore(saved, func(s Saved) error { stored = s; return nil }, rand.Reader), &stored
}

func associate(t *testing.T, s *Session, l *lock) *Association {
	t.Helper()
	a, err := s.Dial(t.Context(), l.dial)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var get = coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil)

// TestKeysOfTokenResponses: the profile decides the form of the key, and neither is taken for the other.
func TestKeysOfTokenResponses(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := cose.PublicKey(&private.PublicKey, kid)
	if err != nil {
		t.Fatal(err)
	}
	symmetric := pop.Confirmation{Key: cose.NewSymmetric(psk, kid)}
	material := pop.Confirmation{OSCORE: &pop.InputMaterial{ID: kid, MasterSecret: psk}}
	done := ace.UploadDone
	tests := []struct {
		name   string
		change func(r *ace.TokenResponse)
		want   pop.Profile // 0: refused
	}{
		{"coap_dtls with a COSE_Key", nil, pop.ProfileCoAPDTLS},
		{"coap_dtls, delivered", func(r *ace.TokenResponse) { r.AccessToken, r.TokenUpload = nil, &done }, pop.ProfileCoAPDTLS},
		{"coap_dtls, delivered, an empty answer of the device", func(r *ace.TokenResponse) { r.TokenUpload, r.FromRS = &done, []byte{} }, pop.ProfileCoAPDTLS},
		{"coap_dtls, delivered, an answer as for OSCORE", func(r *ace.TokenResponse) { r.TokenUpload, r.FromRS = &done, []byte{0xa0} }, 0},
		{"coap_dtls, neither token nor delivery", func(r *ace.TokenResponse) { r.AccessToken = nil }, 0},
		{"coap_dtls without a lifetime", func(r *ace.TokenResponse) { r.ExpiresIn = 0 }, 0},
		{"coap_dtls without a key", func(r *ace.TokenResponse) { r.Cnf = nil }, 0},
		{"coap_dtls with OSCORE material", func(r *ace.TokenResponse) { r.Cnf = &material }, 0},
		{"coap_dtls with a key id alone", func(r *ace.TokenResponse) { r.Cnf = &pop.Confirmation{KeyID: kid} }, 0},
		{"coap_dtls with a key without id", func(r *ace.TokenResponse) { r.Cnf = &pop.Confirmation{Key: cose.NewSymmetric(psk, nil)} }, 0},
		{"coap_dtls with a public key", func(r *ace.TokenResponse) { r.Cnf = &pop.Confirmation{Key: public} }, 0},
		{"a COSE_Key and no profile", func(r *ace.TokenResponse) { r.Profile = 0 }, 0},
		{"a COSE_Key for coap_oscore", func(r *ace.TokenResponse) { r.Profile = pop.ProfileCoAPOSCORE }, 0},
		{"a COSE_Key for an unknown profile", func(r *ace.TokenResponse) { r.Profile = 3 }, 0},
		{"coap_oscore with its material", func(r *ace.TokenResponse) { r.Profile, r.Cnf = pop.ProfileCoAPOSCORE, &material }, pop.ProfileCoAPOSCORE},
		{"OSCORE material and no profile", func(r *ace.TokenResponse) { r.Profile, r.Cnf = 0, &material }, pop.ProfileCoAPOSCORE},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &ace.TokenResponse{AccessToken: aToken, Profile: pop.ProfileCoAPDTLS, ExpiresIn: time.Hour, Cnf: &symmetric,
				Scope: ace.Scope{Rights: aif.New(aif.Entry{Path: "/door", Methods: aif.GET})}}
			if tt.change != nil {
				tt.change(r)
			}
			s := &Session{rand: rand.Reader}
			err := s.take(r, Want{}, proposal{}, time.Unix(0, 0))
			switch saved := s.Saved(); {
			case (err == nil) != (tt.want != 0):
				t.Errorf("got %v, want taken: %v", err, tt.want != 0)
			case err == nil && (s.Profile() != tt.want || !bytes.Equal(saved.Secret, psk) || !bytes.Equal(saved.KeyID, kid)):
				t.Errorf("got %v with key id %x", s.Profile(), saved.KeyID)
			}
		})
	}
}

// TestDialShowsTheTokenOnce: form 2 of psk_identity until the device has the token, form 1 from then on, after a restart too.
func TestDialShowsTheTokenOnce(t *testing.T) {
	s, stored := keyed(nil)
	l := &lock{}
	l.refuse = true
	if _, err := s.Dial(t.Context(), l.dial); !errors.Is(err, errDoor) || s.Ready() {
		t.Fatalf("got %v, want %v and nothing delivered", err, errDoor)
	}
	l.refuse = false
	associate(t, s, l)
	associate(t, s, l)
	associate(t, Restore(*stored, func(Saved) error { return nil }, rand.Reader), l)
	s.Forget()
	associate(t, s, l)
	named, err := hex.DecodeString("a108a101a2010402483d027833fc6267ce") // RFC 9202 §3.3.2
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{aToken, aToken, named, named, aToken}
	if !slices.EqualFunc(l.identities, want, bytes.Equal) {
		t.Errorf("shown %x, want %x", l.identities, want)
	}
	for _, key := range l.keys {
		if !bytes.Equal(key, psk) {
			t.Errorf("a handshake under key %x", key)
		}
	}
}

// TestDialOfADeliveredToken: there is only its key id, and Forget has nothing to go back to.
func TestDialOfADeliveredToken(t *testing.T) {
	s, _ := keyed(func(v *Saved) { v.Token, v.Uploaded = nil, true })
	l := &lock{}
	associate(t, s, l)
	s.Forget()
	associate(t, s, l)
	if !s.Ready() || len(l.identities) != 2 || !bytes.Contains(l.identities[1], kid) || bytes.Equal(l.identities[1], kid) {
		t.Errorf("shown %x", l.identities)
	}
}

func TestDialRefuses(t *testing.T) {
	for name, change := range map[string]func(*Saved){
		"coap_oscore":           func(v *Saved) { v.Profile = pop.ProfileCoAPOSCORE },
		"a session from before": func(v *Saved) { v.Profile = 0 },
		"no token":              func(v *Saved) { v.Token = nil },
		"a token that is none":  func(v *Saved) { v.Token = []byte("token") },
		"a key id that is none": func(v *Saved) { v.KeyID, v.Uploaded = nil, true },
	} {
		s, _ := keyed(change)
		l := &lock{}
		if _, err := s.Dial(t.Context(), l.dial); err == nil || len(l.identities) != 0 {
			t.Errorf("%s: got %v after %d handshakes, want none", name, err, len(l.identities))
		}
	}
}

// TestDialStoresBeforeItIsUsed: a session that cannot be stored would show the token for ever.
func TestDialStoresBeforeItIsUsed(t *testing.T) {
	s := Restore(Saved{Profile: pop.ProfileCoAPDTLS, Token: aToken, KeyID: kid, Secret: psk}, func(Saved) error { return errNoInk }, rand.Reader)
	l := &lock{}
	if _, err := s.Dial(t.Context(), l.dial); !errors.Is(err, errNoInk) || l.closed != 1 {
		t.Errorf("got %v, %d closed; want %v and the association closed", err, l.closed, errNoInk)
	}
}

// TestAssociationRepeatsWithTheEcho: the newest one and no other, and not for ever (D15).
func TestAssociationRepeatsWithTheEcho(t *testing.T) {
	s, _ := keyed(nil)
	challenges := 0
	l := &lock{answer: func(message.Message) message.Message {
		challenges++
		return message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: coapsec.OptionEcho, Value: []byte{byte(challenges)}}}}
	}}
	a := associate(t, s, l)
	before := len(get.Options)
	refused := new(AnswerError)
	if _, err := s.Do(t.Context(), a, get); !errors.As(err, &refused) || refused.Code != codes.Unauthorized || !refused.Protected {
		t.Errorf("got %v, want a protected 4.01", err)
	}
	if want := 1 + coapsec.MaxEchoRepeats; len(l.requests) != want {
		t.Fatalf("%d requests, want %d", len(l.requests), want)
	}
	for i, m := range l.requests {
		var echoes [][]byte
		for _, o := range m.Options {
			if o.ID == coapsec.OptionEcho {
				echoes = append(echoes, o.Value)
			}
		}
		want := [][]byte{{byte(i)}}
		if i == 0 {
			want = nil
		}
		if path, err := m.Options.Path(); !slices.EqualFunc(echoes, want, bytes.Equal) || err != nil || path != "/door" {
			t.Errorf("request %d for %q with Echo %x, want %x", i, path, echoes, want)
		}
	}
	if len(get.Options) != before || get.Options.HasOption(coapsec.OptionEcho) {
		t.Error("the caller's request was changed")
	}
}

// TestAnswersThatAreNotRepeated: what asks for nothing new, and what nobody waits for any more.
func TestAnswersThatAreNotRepeated(t *testing.T) {
	echo := message.Options{{ID: coapsec.OptionEcho, Value: []byte{1}}}
	for _, tt := range []struct {
		name   string
		answer message.Message
		want   codes.Code // of the refusal; 0: none
	}{
		{"4.01 without Echo", message.Message{Code: codes.Unauthorized}, codes.Unauthorized},
		{"4.03 with Echo", message.Message{Code: codes.Forbidden, Options: echo}, codes.Forbidden},
		{"2.05 with Echo", message.Message{Code: codes.Content, Options: echo}, 0},
	} {
		s, _ := keyed(nil)
		l := &lock{answer: always(tt.answer)}
		_, err := s.Do(t.Context(), associate(t, s, l), get)
		refused := new(AnswerError)
		if errors.As(err, &refused) != (tt.want != 0) || refused.Code != tt.want || len(l.requests) != 1 {
			t.Errorf("%s: got %v after %d requests", tt.name, err, len(l.requests))
		}
	}
	s, _ := keyed(nil)
	ctx, cancel := context.WithCancel(t.Context())
	l := &lock{answer: func(message.Message) message.Message {
		cancel()
		return message.Message{Code: codes.Unauthorized, Options: echo}
	}}
	a := associate(t, s, l)
	if _, err := s.Do(ctx, a, get); err == nil || len(l.requests) != 1 {
		t.Errorf("after the end of ctx: %v, %d requests", err, len(l.requests))
	}
	if err := a.Close(); err != nil || l.closed != 1 {
		t.Errorf("close: %v, %d closed", err, l.closed)
	}
}

// TestRequestNeedsItsOwnAssociation: another's key would speak for somebody else, and a bare way for nobody.
func TestRequestNeedsItsOwnAssociation(t *testing.T) {
	s, _ := keyed(nil)
	other, _ := keyed(nil)
	l := &lock{answer: always(message.Message{Code: codes.Content})}
	for name, x := range map[string]coapsec.Exchanger{"a bare way": l, "an association of another session": associate(t, other, l)} {
		if _, err := s.Do(t.Context(), x, get); err == nil || len(l.requests) != 0 {
			t.Errorf("%s: got %v, %d requests sent", name, err, len(l.requests))
		}
	}
	if _, err := s.Do(t.Context(), associate(t, s, l), get); err != nil {
		t.Error(err)
	}
}

// TestBareDelivery is the upload of RFC 9202 §3.3.1: the token alone.
func TestBareDelivery(t *testing.T) {
	s, stored := keyed(nil)
	l := &lock{answer: always(message.Message{Code: codes.Forbidden})}
	refused := new(AnswerError)
	if err := s.Deliver(t.Context(), l); !errors.As(err, &refused) || refused.Protected || s.Ready() {
		t.Errorf("got %v, ready %v; want an unproven refusal", err, s.Ready())
	}
	l.answer = always(message.Message{Code: codes.Created})
	if err := s.Deliver(t.Context(), l); err != nil || !s.Ready() || !stored.Delivered {
		t.Errorf("got %v, ready %v, stored %v", err, s.Ready(), stored.Delivered)
	}
	m := l.requests[1]
	path, _ := m.Options.Path()
	format, err := m.Options.ContentFormat()
	if m.Code != codes.POST || path != ace.PathAuthzInfo || err != nil || format != ace.FormatCWT || !bytes.Equal(m.Payload, aToken) {
		t.Errorf("posted %v to %s, format %v, %x", m.Code, path, format, m.Payload)
	}
	s, _ = keyed(func(v *Saved) { v.Token = nil })
	if err := s.Deliver(t.Context(), l); err == nil || len(l.requests) != 2 {
		t.Errorf("without a token: got %v", err)
	}
}
