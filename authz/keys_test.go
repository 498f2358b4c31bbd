package authz_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// key makes a possession key of n bytes that starts with first.
func key(first byte, n int) []byte {
	k := bytes.Repeat([]byte{first}, n)
	k[n-1]++
	return k
}

func bringing(n byte, k []byte) *ace.TokenRequest {
	in := own(n)
	in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(k, nil)}
	return in
}

func publicKey(t *testing.T) *cose.Key {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := cose.PublicKey(&pair.PublicKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestClientMadeKeys holds the rules of D9 and D10.
func TestClientMadeKeys(t *testing.T) {
	const notThis = "req_cnf: the key must be 16 or 32 random bytes"
	tests := []struct {
		name   string
		cnf    pop.Confirmation
		want   ace.ErrorCode // 0: granted
		reason string
	}{
		{"128 bits", pop.Confirmation{Key: cose.NewSymmetric(key(1, 16), nil)}, 0, ""},
		{"256 bits", pop.Confirmation{Key: cose.NewSymmetric(key(2, 32), nil)}, 0, ""},
		{"15 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 15), nil)}, ace.InvalidRequest, notThis},
		{"17 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 17), nil)}, ace.InvalidRequest, notThis},
		{"24 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 24), nil)}, ace.InvalidRequest, notThis},
		{"31 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 31), nil)}, ace.InvalidRequest, notThis},
		{"33 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 33), nil)}, ace.InvalidRequest, notThis},
		{"64 bytes", pop.Confirmation{Key: cose.NewSymmetric(key(3, 64), nil)}, ace.InvalidRequest, notThis},
		{"zeros", pop.Confirmation{Key: cose.NewSymmetric(make([]byte, 16), nil)}, ace.InvalidRequest, "req_cnf: the key is not random"},
		{"one byte again and again", pop.Confirmation{Key: cose.NewSymmetric(bytes.Repeat([]byte{0xa5}, 32), nil)}, ace.InvalidRequest, "req_cnf: the key is not random"},
		{"a kid of its own", pop.Confirmation{Key: cose.NewSymmetric(key(4, 16), cose.KeyID{1})}, ace.InvalidRequest, "req_cnf: the key must have no kid; the server assigns it"},
		{"a kid alone", pop.Confirmation{KeyID: cose.KeyID{1}}, ace.InvalidRequest, "req_cnf: not a key id of this server"},
		{"a public key", pop.Confirmation{Key: publicKey(t)}, ace.UnsupportedPoPKey, "this device takes symmetric possession keys only"},
		{"an encrypted key", pop.Confirmation{Encrypted: []byte{0x83, 0x40, 0xa0, 0x40}}, ace.InvalidRequest, "req_cnf: must hold a COSE_Key or jwk"},
		{"OSCORE input material", pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: key(5, 16)}}, ace.InvalidRequest, "req_cnf: must hold a COSE_Key or jwk"},
		{"nothing", pop.Confirmation{}, ace.InvalidRequest, "req_cnf: must hold a COSE_Key or jwk"},
	}
	w := newWorld(t)
	w.give(toGateway, view)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := own(1)
			in.ReqCnf = &tt.cnf
			out, err := w.token(w.gateway, in)
			if tt.want != 0 {
				w.refused(err, tt.want, tt.reason)
				return
			}
			w.must(err)
			if m := out.Cnf.OSCORE; !bytes.Equal(m.MasterSecret, tt.cnf.Key.Secret()) || len(m.ID) != 8 {
				t.Errorf("the answer has a key of %d bytes with an id of %d, want the client's with one of 8", len(m.MasterSecret), len(m.ID))
			}
		})
	}
}

func TestOnlyClientsRegisteredSoMakeKeys(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	plain := w.gateway
	plain.ClientMadeKeys = false
	_, err := w.token(plain, bringing(1, key(1, 16)))
	w.refused(err, ace.InvalidRequest, "req_cnf: this client may not choose the key; ask without req_cnf")
	w.granted(w.gateway, bringing(1, key(1, 16))) // the refusal did not use the key up
}

// TestKeysAreNeverUsedTwice: not by the same client, not by another, not for another device (D9, RFC 9203 §3.2).
func TestKeysAreNeverUsedTwice(t *testing.T) {
	w := newWorld(t)
	w.device(2, nil)
	other := w.client(authz.Client{ID: "other", AuthMethod: authz.AuthSecretBasic, GrantTypes: []string{authz.ClientCredentials}, ClientMadeKeys: true})
	for _, n := range []byte{1, 2} {
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		w.give(func(g *authz.Grant) { g.To, g.Device = authz.Subject{Client: "other"}, deviceID(n) }, view)
	}
	k := key(1, 16)
	_, err := w.token(w.gateway, bringing(9, k))
	w.refused(err, ace.InvalidRequest, "unknown audience") // nothing was used up
	w.granted(w.gateway, bringing(1, k))
	for _, c := range []authz.Client{w.gateway, other} {
		for _, n := range []byte{1, 2} {
			_, err := w.token(c, bringing(n, k))
			w.refused(err, ace.InvalidRequest, "req_cnf: this key was used before; make a new one")
		}
	}
	w.granted(other, bringing(2, key(2, 16)))
}

// TestSeenKeyLeavesTheCode: a code is not lost because its client brought an old key.
func TestSeenKeyLeavesTheCode(t *testing.T) {
	w := newWorld(t)
	w.give(nil, unlock)
	w.give(toGateway, view)
	w.granted(w.gateway, bringing(1, key(1, 16)))
	code := w.code()
	in := redemption(code)
	in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(key(1, 16), nil)}
	_, err := w.token(w.phone, in)
	w.refused(err, ace.InvalidRequest, "req_cnf: this key was used before; make a new one")
	in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(key(2, 16), nil)}
	w.granted(w.phone, in)
}

func TestOneKeyBy16AtOnce(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = w.token(w.gateway, bringing(1, key(1, 32))) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, &ace.Error{Code: ace.InvalidRequest}) {
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("one key made %d tokens", won)
	}
}

// TestNoRandomness: without it there is no key, no code and no grant, and nothing is a refusal.
func TestNoRandomness(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	empty := errors.New("the source is dry")
	w.serve(authz.Options{Rand: iotest.ErrReader(empty)})
	count := len(w.audit())
	if _, err := w.token(w.gateway, own(1)); !errors.Is(err, empty) || errors.As(err, new(*ace.Error)) {
		t.Errorf("token: got %v", err)
	}
	if _, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: deviceID(1), Rights: aif.New(view)}); !errors.Is(err, empty) {
		t.Errorf("grant: got %v", err)
	}
	if n := len(w.audit()); n != count || len(w.tokens(1)) != 0 {
		t.Errorf("%d audit entries, tokens %v", n-count, w.tokens(1))
	}
	// A source that gives little at a time is no reason to use half a grant's id.
	w.serve(authz.Options{Rand: iotest.OneByteReader(rand.Reader)})
	if g := w.give(toGateway, view); bytes.Equal(g.ID[1:], make([]byte, 7)) {
		t.Errorf("grant id %x has one random byte", g.ID)
	}
	if _, _, err := authz.Secret(io.LimitReader(rand.Reader, 31)); err == nil {
		t.Error("a secret of 31 random bytes")
	}
}

// TestRefusalOutlivesItsCaller: who hangs up before the answer stands in the audit log nevertheless.
func TestRefusalOutlivesItsCaller(t *testing.T) {
	w := newWorld(t)
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	// The grant type is refused before the store is asked, so only the entry needs it.
	_, err := w.server.Token(ctx, authz.Caller{Client: w.phone}, &ace.TokenRequest{GrantType: "password"})
	w.refused(err, ace.UnsupportedGrantType, "this server does not grant that")
}
