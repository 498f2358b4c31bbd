package coapapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	tokens "github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/integrity"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// genuineOnly lets the door want an attester's word for each unlock, and gives the attester.
func (d *door) genuineOnly() func(echo []byte) string {
	d.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	known, err := jose.NewKey(key.Public(), "1")
	if err != nil {
		d.t.Fatal(err)
	}
	set, err := jose.NewSet(known)
	if err != nil {
		d.t.Fatal(err)
	}
	apps, err := integrity.New(integrity.Options{Keys: set})
	if err != nil {
		d.t.Fatal(err)
	}
	d.options = resource.Options{Apps: apps, Vouched: []string{"unlock"}}
	d.start()
	d.learn()
	return func(echo []byte) string {
		d.t.Helper()
		token, err := tokens.Make(&tokens.Token{
			Expires: time.Now().Add(time.Minute), Challenge: base64.RawURLEncoding.EncodeToString(echo),
		}, jose.Signer{Key: key, ID: "1"})
		if err != nil {
			d.t.Fatal(err)
		}
		return token
	}
}

// wished is the Echo for which the door wants a token.
func wished(t *testing.T, x coapsec.Exchanger, request message.Message) []byte {
	t.Helper()
	echo := coapsec.Wish(wants(t, x, request, codes.Unauthorized))
	if echo == nil {
		t.Fatal("the door does not say that it wants a token")
	}
	return echo
}

// vouchedUnlock plays D21 with a door that has the phone behind x.
func (d *door) vouchedUnlock(t *testing.T, x coapsec.Exchanger, vouch func([]byte) string) {
	before := d.opened.Load()
	opened := func(n int32) {
		t.Helper()
		d.wantOpened(before + n)
	}
	echo := wished(t, x, unlock)
	token := vouch(echo)
	opened(0)
	wants(t, x, coapsec.WithIntegrity(unlock, echo, token), codes.Changed)
	opened(1)

	second := wished(t, x, coapsec.WithIntegrity(unlock, echo, token)) // shown again
	wished(t, x, coapsec.WithIntegrity(unlock, second, token))         // for another request
	opened(1)
	third := wished(t, x, coapsec.WithIntegrity(unlock, wished(t, x, unlock), "garbage"))
	twice := with(coapsec.WithIntegrity(unlock, third, "garbage"), coapsec.OptionIntegrity, vouch(third)) // the second does not count
	fourth := wished(t, x, twice)
	opened(1)
	wants(t, x, coapsec.WithIntegrity(unlock, fourth, vouch(fourth)), codes.Changed)
	opened(2)
}

// TestVouchedUnlock over OSCORE, on a socket of loopback: a token counts once, for the Echo it answers.
func TestVouchedUnlock(t *testing.T) {
	d := newDoor(t)
	vouch := d.genuineOnly()
	c := d.claims()
	wire := socket(t, nil).To(socket(t, d.security).LocalAddr())
	phone := coapsec.Secure(wire, enter(t, wire, c, d.seal(c)))
	d.vouchedUnlock(t, phone, vouch)
	wants(t, phone, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Content)

	other := d.claims()
	neighbour := coapsec.Secure(wire, enter(t, wire, other, d.seal(other)))
	echo := wished(t, phone, unlock)
	wished(t, neighbour, coapsec.WithIntegrity(unlock, echo, vouch(echo)))
	d.wantOpened(2)
}

// TestVouchedUnlockInAnAssociation is the same over DTLS.
func TestVouchedUnlockInAnAssociation(t *testing.T) {
	d := newDoor(t)
	vouch := d.genuineOnly()
	s := d.secured(t)
	d.vouchedUnlock(t, s.enterKeyed(s.keyed("guest")), vouch)
}

// TestUnprotectedTokensAreNotRead: the option counts inside a protected message only.
func TestUnprotectedTokensAreNotRead(t *testing.T) {
	d := newDoor(t)
	vouch := d.genuineOnly()
	c := d.claims()
	phone := enter(t, d, c, d.seal(c))
	echo := wished(t, coapsec.Secure(d, phone), unlock)
	bare, _, err := phone.ProtectRequest(with(unlock, coapsec.OptionEcho, string(echo)))
	if err != nil {
		t.Fatal(err)
	}
	d.plain(with(bare, coapsec.OptionIntegrity, vouch(echo)))
	d.wantOpened(0)
	again := wished(t, coapsec.Secure(d, phone), unlock)
	wants(t, coapsec.Secure(d, phone), coapsec.WithIntegrity(unlock, again, vouch(again)), codes.Changed)
	d.wantOpened(1)
}
