package coapapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// serveDTLS opens the second door to the world's face.
func (w *world) serveDTLS() netip.AddrPort {
	w.t.Helper()
	keys, err := delivery.NewKeys(w.engine)
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := dtls.NewServer(conn, keys, w.face, dtls.Options{Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background()) }()
	w.t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return server.LocalAddr()
}

func (w *world) dial(at netip.AddrPort, identity, key []byte) *dtls.Conn {
	w.t.Helper()
	c, err := dtls.Dial(w.t.Context(), at, identity, key, dtls.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// addDTLSClient registers a client like addClient, which speaks DTLS, with the same grant.
func (w *world) addDTLSClient(id string) authz.Client {
	w.t.Helper()
	c := w.client
	c.ID, c.AuthMethod, c.SecretHash = id, authz.AuthDTLS, nil
	c.Channel = &authz.Channel{MasterSecret: make([]byte, 32), PeerID: make([]byte, 6), ServerID: []byte{1}}
	_, _ = rand.Read(c.Channel.MasterSecret)
	_, _ = rand.Read(c.Channel.PeerID)
	if err := w.store.AddClient(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	g := w.grant
	g.To = authz.Subject{Client: id}
	if _, err := w.server.Give(w.t.Context(), g); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, x coapsec.Exchanger, m message.Message) message.Message {
	t.Helper()
	answer, err := coapsec.Blocks(x, coapsec.BlocksOptions{}).Exchange(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestBindingsAgree: one table over OSCORE and over DTLS.
func TestBindingsAgree(t *testing.T) {
	f := newFaces(t)
	oscore, second := f.client, f.addDTLSClient("gateway over DTLS")
	conn := f.dial(f.serveDTLS(), second.Channel.PeerID, second.Channel.MasterSecret)
	first, err := ace.ParseTokenResponseCBOR(ask(t, conn, tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"}))).Payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range f.rows() {
		t.Run(test.name, func(t *testing.T) {
			f.t = t
			outcomes := map[string]outcome{}
			for name, client := range map[string]authz.Client{"OSCORE": oscore, "DTLS": second} {
				f.client = client
				in := test.in()
				if name == "DTLS" && in.ReqCnf != nil && len(in.ReqCnf.KeyID) == len(first.Cnf.OSCORE.ID) {
					in.ReqCnf = &pop.Confirmation{KeyID: first.Cnf.OSCORE.ID} // a key is one client's
				}
				payload := encoded(t, in)
				if name == "OSCORE" {
					outcomes[name] = f.overCoAP(payload)
				} else {
					outcomes[name] = f.read(ask(t, conn, tokenRequest(payload)))
				}
			}
			if outcomes["OSCORE"] != outcomes["DTLS"] || outcomes["DTLS"].Error != test.want {
				t.Errorf("got\nOSCORE %+v\nDTLS   %+v\nwant %v", outcomes["OSCORE"], outcomes["DTLS"], test.want)
			}
		})
	}
}

// devicePSK is a device's key towards its server.
func devicePSK(t *testing.T, d authz.Device) []byte {
	t.Helper()
	key, err := provision.DeriveKey(d.RootKey, "coaps", d.ID, provision.FirstKeyID, 16)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestDTLSPeers: who has which key, and what is for whom.
func TestDTLSPeers(t *testing.T) {
	w := newWorld(t)
	client := w.addDTLSClient("second")
	at := w.serveDTLS()
	c := w.dial(at, client.Channel.PeerID, client.Channel.MasterSecret)
	d := w.dial(at, w.record.SenderID, devicePSK(t, w.record))
	w.end(w.store, w.mint(1, w.record.ID, client.ID))
	w.end(w.store, w.mint(2, w.record.ID, "another"))
	if got := numbers(w.listed(c).Full); !slices.Equal(got, []uint64{1}) {
		t.Errorf("the client sees %v", got)
	}
	if got := numbers(w.listed(d).Full); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("the device sees %v", got)
	}
	register := deliverytest.RegisterRequest(t, time.Hour)
	token := tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"}))
	for _, tt := range []struct {
		name string
		by   coapsec.Exchanger
		ask  message.Message
		want codes.Code
	}{
		{"a client asks for a token", c, token, codes.Created},
		{"a device asks for a token", d, token, codes.Forbidden},
		{"a client registers", c, register, codes.Forbidden},
		{"a device registers, where it could not be called", d, register, codes.Forbidden},
		{"a client asks for what is not there", c, coapsec.NewRequest(codes.POST, "/other", ace.FormatACE, nil), codes.NotFound},
		{"a client gets /token", c, coapsec.NewRequest(codes.GET, "/token", coapsec.NoFormat, nil), codes.MethodNotAllowed},
	} {
		if got := ask(t, tt.by, tt.ask); got.Code != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got.Code, tt.want)
		}
	}
	if got := w.registration(); got.Address != "" {
		t.Errorf("registered at %s", got.Address)
	}
}

// TestObserveOverDTLS: the same list, notified over the other transport.
func TestObserveOverDTLS(t *testing.T) {
	w := newWorld(t)
	d := w.dial(w.serveDTLS(), w.record.SenderID, devicePSK(t, w.record))
	token := w.mint(1, w.record.ID, w.client.ID)
	o := w.watch(coapsec.Blocks(d, coapsec.BlocksOptions{}).(coapsec.Observer))
	o.until(t)
	w.end(w.server.Store(), token)
	o.until(t, 1)
}

// TestOneKeyOneProtocol: material for OSCORE makes no DTLS association, and a pre-shared key no OSCORE context (D2).
func TestOneKeyOneProtocol(t *testing.T) {
	w := newWorld(t)
	second := w.addDTLSClient("second")
	keys, err := delivery.NewKeys(w.engine)
	if err != nil {
		t.Fatal(err)
	}
	key, session, err := keys.Find(w.client.Channel.PeerID, netip.AddrPort{})
	if err != nil || bytes.Equal(key, w.client.Channel.MasterSecret) || session != (delivery.Session{}) {
		t.Errorf("a client's OSCORE secret is a pre-shared key: session %v, %v", session, err)
	}
	c := w.caller(w.client)
	c.channel = deliverytest.Peer(*second.Channel)
	_, err = c.line().Exchange(t.Context(), trlRequest())
	var refused *coapsec.UnprotectedError
	if !errors.As(err, &refused) || refused.Code != codes.Unauthorized {
		t.Errorf("a pre-shared key made an OSCORE context: %v", err)
	}
}

// TestStrangersAreAlike: an identity that nobody has is given a key that nobody knows, and its handshake ends like one with a
// wrong key: in silence.
func TestStrangersAreAlike(t *testing.T) {
	w := newWorld(t)
	second := w.addDTLSClient("second")
	keys, err := delivery.NewKeys(w.engine)
	if err != nil {
		t.Fatal(err)
	}
	var seen [][]byte
	for _, identity := range []string{"nobody", "nobody", "somebody"} {
		key, session, err := keys.Find([]byte(identity), netip.AddrPort{})
		if err != nil || len(key) < 16 || session != (delivery.Session{}) || session.(delivery.Session).Peer() != nil {
			t.Errorf("%s: a key of %d bytes, session %v, %v", identity, len(key), session, err)
		}
		seen = append(seen, key)
	}
	if !bytes.Equal(seen[0], seen[1]) || bytes.Equal(seen[1], seen[2]) {
		t.Error("keys of identities that nobody has change, or are alike")
	}
	at := w.serveDTLS()
	for name, identity := range map[string][]byte{"an unknown identity": []byte("nobody"), "a wrong key": second.Channel.PeerID} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := dtls.Dial(ctx, at, identity, make([]byte, 16), dtls.Options{Log: slog.New(slog.DiscardHandler)})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want silence", name, err)
		}
	}
}
