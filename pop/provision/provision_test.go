package provision_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// publicKey is a fixed key, so that the files of these tests are the same on every run.
func publicKey(t testing.TB, seed byte, kid string) *cose.Key {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	key, err := cose.PublicKey(&private.PublicKey, cose.KeyID(kid))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func privateKey(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.P256().NewPrivateKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func lock() *provision.Device {
	return &provision.Device{
		Version: provision.Version,
		ID:      provision.DeviceID{1, 2, 3, 4, 5, 6, 7, 8},
		RootKey: [32]byte(bytes.Repeat([]byte{0xa5}, 32)),
		ASURIs:  []string{"coap://as.example:5683"},
		Issuer:  "https://as.example",
		Kind:    provision.KindLock,
		Clock:   provision.ClockRelative,
		Token:   provision.ShapeEncrypt0,
		Actions: []provision.Action{
			{Name: "unlock", Path: "/door/unlock", Methods: aif.POST},
			{Name: "view", Path: "/door", Methods: aif.GET},
		},
		SenderID:    []byte{1, 2, 3, 4},
		RecipientID: provision.ServerSenderID,
	}
}

func monitor(t testing.TB) *provision.Device {
	d := lock()
	d.Kind, d.Clock, d.Token = provision.KindMedical, provision.ClockNone, provision.ShapeSign1ECDH
	d.ASURIs, d.Actions, d.RequireCNonce = nil, nil, true
	d.ASKeys = []*cose.Key{publicKey(t, 1, "a"), publicKey(t, 2, "b")}
	d.RecoveryKey = publicKey(t, 3, "r")
	d.PrivateKey = privateKey(t)
	return d
}

func mustEncode(t testing.TB, d *provision.Device) []byte {
	t.Helper()
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFilesAreReadAsWritten(t *testing.T) {
	secured := lock()
	secured.Profile = pop.ProfileCoAPDTLS
	for name, want := range map[string]*provision.Device{"lock": lock(), "monitor": monitor(t), "lock on DTLS": secured} {
		data := mustEncode(t, want)
		got, err := provision.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again := mustEncode(t, got)
		if !bytes.Equal(again, data) {
			t.Errorf("%s: got %x, want %x", name, again, data)
		}
		if got.Audience() != want.Audience() || !got.Rights().Equal(want.Rights()) || got.RootKey != want.RootKey ||
			got.RequireCNonce != want.RequireCNonce || got.Profile != want.Profile || len(got.ASKeys) != len(want.ASKeys) || (got.PrivateKey == nil) != (want.PrivateKey == nil) {
			t.Errorf("%s: not what was written", name)
		}
		for i, key := range got.ASKeys {
			if !key.Equal(want.ASKeys[i]) {
				t.Errorf("%s: verification key %d is another", name, i)
			}
		}
	}
	if got, err := provision.Parse(mustEncode(t, monitor(t))); err != nil || !got.PrivateKey.Equal(privateKey(t)) || !got.RecoveryKey.Equal(publicKey(t, 3, "r")) {
		t.Errorf("%v, or another private or recovery key", err)
	}
}

// The file of a device that is already installed must stay readable, and the same device must give the same file.
func TestFileIsFrozen(t *testing.T) {
	want, err := os.ReadFile("testdata/lock.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x\n", mustEncode(t, lock())); got != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	for name, d := range map[string]*provision.Device{"lock": lock(), "monitor": monitor(t)} {
		data := mustEncode(t, d)
		for i := range data {
			for bit := range 8 {
				damaged := bytes.Clone(data)
				damaged[i] ^= 1 << bit
				wantDamaged(t, fmt.Sprintf("%s: bit %d of byte %d", name, bit, i), damaged)
			}
		}
		for n := range data {
			wantDamaged(t, fmt.Sprintf("%s: %d bytes", name, n), data[:n])
		}
		wantDamaged(t, name+": a byte more", append(bytes.Clone(data), 0))
	}
}

func wantDamaged(t *testing.T, what string, data []byte) {
	t.Helper()
	_, err := provision.Parse(data)
	if damaged := new(provision.DamagedError); !errors.As(err, &damaged) {
		t.Errorf("%s: got %v, want a *DamagedError", what, err)
	} else if !strings.HasSuffix(err.Error(), "write a new one with latchkey device add") {
		t.Errorf("%s: %v does not say what to do", what, err)
	}
}

func TestDevicesThatCannotBeProvisioned(t *testing.T) {
	tests := []struct {
		name   string
		change func(*provision.Device)
		want   string
	}{
		{"another version", func(d *provision.Device) { d.Version = 2 }, "version"},
		{"no root key", func(d *provision.Device) { d.RootKey = [32]byte{} }, "root key"},
		{"no issuer", func(d *provision.Device) { d.Issuer = "" }, "issuer"},
		{"an issuer with a space", func(d *provision.Device) { d.Issuer = "https://a b" }, "URI"},
		{"a relative server URI", func(d *provision.Device) { d.ASURIs = []string{"as.example"} }, "URI"},
		{"nine server URIs", func(d *provision.Device) { d.ASURIs = make([]string, 9) }, "at most 8"},
		{"equal ids", func(d *provision.Device) { d.SenderID = d.RecipientID }, "equal"},
		{"two empty ids", func(d *provision.Device) { d.SenderID, d.RecipientID = nil, []byte{} }, "equal"},
		{"an id of eight bytes", func(d *provision.Device) { d.SenderID = make([]byte, 8) }, "7 bytes"},
		{"no kind", func(d *provision.Device) { d.Kind = 0 }, "kind"},
		{"an unknown clock", func(d *provision.Device) { d.Clock = 4 }, "clock"},
		{"an unknown shape", func(d *provision.Device) { d.Token = -1 }, "shape"},
		{"signed tokens without a key", func(d *provision.Device) { d.Token = provision.ShapeSign1 }, "verification key"},
		{"tokens to a key that is not there", func(d *provision.Device) {
			d.Token, d.ASKeys = provision.ShapeJWT, []*cose.Key{publicKey(t, 1, "a")}
		}, "private key"},
		{"a secret as a verification key", func(d *provision.Device) {
			d.ASKeys = []*cose.Key{cose.NewSymmetric(make([]byte, 16), nil)}
		}, "public key"},
		{"a secret as a recovery key", func(d *provision.Device) { d.RecoveryKey = cose.NewSymmetric(make([]byte, 16), nil) }, "public key"},
		{"a private key on another curve", func(d *provision.Device) {
			key, err := ecdh.X25519().NewPrivateKey(make([]byte, 32))
			if err != nil {
				t.Fatal(err)
			}
			d.PrivateKey = key
		}, "P-256"},
		{"an action twice", func(d *provision.Device) { d.Actions[1].Name = "unlock" }, "twice"},
		{"an action that looks like a path", func(d *provision.Device) { d.Actions[0].Name = "/door:get" }, "name"},
		{"an action with a space", func(d *provision.Device) { d.Actions[0].Name = "un lock" }, "name"},
		{"an action without a name", func(d *provision.Device) { d.Actions[0].Name = "" }, "name"},
		{"an action without methods", func(d *provision.Device) { d.Actions[0].Methods = 0 }, "methods"},
		{"an action with an unknown method", func(d *provision.Device) { d.Actions[0].Methods = 1 << 7 }, "methods"},
		{"an action on a relative path", func(d *provision.Device) { d.Actions[0].Path = "door" }, "unlock"},
		{"seventeen actions", func(d *provision.Device) { d.Actions = make([]provision.Action, 17) }, "at most 16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := lock()
			tt.change(d)
			if _, err := d.Encode(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %s", err, tt.want)
			}
		})
	}
}

func TestAudience(t *testing.T) {
	for id, want := range map[provision.DeviceID]string{
		{}:                                       "daaaaaaaaaaaaa",
		{1, 2, 3, 4, 5, 6, 7, 8}:                 "daebagbafaydqq",
		{255, 255, 255, 255, 255, 255, 255, 255}: "d777777777777" + "6",
	} {
		got := provision.Audience(id)
		if got != want || len(got) != 14 {
			t.Errorf("got %s, want %s", got, want)
		}
		if again, err := provision.ParseAudience(got); err != nil || again != id {
			t.Errorf("%s: got %x, %v, want %x", got, again, err, id)
		}
	}
	for _, s := range []string{"", "d", "daebagbafaydq", "daebagbafaydqqq", "daebagbafaydqr", "DAEBAGBAFAYDQQ", "dAEBAGBAFAYDQQ",
		"xaebagbafaydqq", "daebagbafaydq=", "daebagbafayd1q", "aebagbafaydqqa", "daebagba\nfaydqq"} {
		if id, err := provision.ParseAudience(s); err == nil {
			t.Errorf("%q: got %x, want an error", s, id)
		}
	}
}

func TestNamesOnTheCommandLine(t *testing.T) {
	for _, name := range []string{"lock", "medical", "generic"} {
		if k, err := provision.ParseKind(name); err != nil || k.String() != name {
			t.Errorf("kind %s: got %v, %v", name, k, err)
		}
	}
	for _, name := range []string{"synced", "relative", "none"} {
		if c, err := provision.ParseClock(name); err != nil || c.String() != name {
			t.Errorf("clock %s: got %v, %v", name, c, err)
		}
	}
	for _, name := range []string{"encrypt0", "sign1", "sign1-ecdh", "jwt"} {
		if s, err := provision.ParseShape(name); err != nil || s.String() != name {
			t.Errorf("shape %s: got %v, %v", name, s, err)
		}
	}
	for _, name := range []string{"", "Lock", "unknown"} {
		if k, err := provision.ParseKind(name); err == nil || !strings.Contains(err.Error(), "lock, medical, generic") {
			t.Errorf("kind %q: got %v, %v", name, k, err)
		}
	}
}

func TestActionsOnTheCommandLine(t *testing.T) {
	got, err := provision.ParseAction("unlock=/door/unlock:POST,PUT")
	want := provision.Action{Name: "unlock", Path: "/door/unlock", Methods: aif.POST | aif.PUT}
	if err != nil || !reflect.DeepEqual(got, want) || got.String() != "unlock=/door/unlock:POST,PUT" {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, s := range []string{"", "unlock", "unlock=", "unlock=/door", "=/door:GET", "Unlock=/door:GET", "unlock=door:GET", "unlock=/door:OPEN"} {
		if got, err := provision.ParseAction(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	d := monitor(t)
	for _, v := range []any{d, *d} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			if got := fmt.Sprintf(verb, v); got != "[redacted]" {
				t.Errorf("%s: got %s", verb, got)
			}
		}
		if got, err := json.Marshal(v); err != nil || string(got) != `"[redacted]"` {
			t.Errorf("json: got %s, %v", got, err)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "device", d)
	if !strings.Contains(log.String(), `"device":"[redacted]"`) {
		t.Errorf("log: got %s", log.String())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(mustEncode(f, lock()))
	f.Add(mustEncode(f, monitor(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := provision.Parse(data)
		if err != nil {
			return
		}
		if again, err := d.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("got %x, %v, want %x", again, err, data)
		}
	})
}

// TestChannelOfBefore: a channel that the device had already stands in the file and takes the place of the derived one.
func TestChannelOfBefore(t *testing.T) {
	d := provision.Device{
		Version: provision.Version, ID: provision.DeviceID{1}, RootKey: [32]byte{1}, Issuer: "https://as.example", Kind: provision.KindLock,
		Clock: provision.ClockSynced, Token: provision.ShapeEncrypt0, SenderID: []byte{0xa1}, RecipientID: []byte{1},
		MasterSecret: []byte("0123456789abcdef"), MasterSalt: []byte{9},
	}
	file, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := provision.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := read.ChannelParams()
	if err != nil || string(p.MasterSecret) != "0123456789abcdef" || string(p.MasterSalt) != "\x09" || string(p.SenderID) != "\xa1" || string(p.RecipientID) != "\x01" {
		t.Errorf("got another channel, %v", err)
	}
	for name, change := range map[string]func(*provision.Device){
		"short secret":          func(d *provision.Device) { d.MasterSecret = d.MasterSecret[:15] },
		"long secret":           func(d *provision.Device) { d.MasterSecret = make([]byte, 65) },
		"long salt":             func(d *provision.Device) { d.MasterSalt = make([]byte, 65) },
		"salt without a secret": func(d *provision.Device) { d.MasterSecret = nil },
	} {
		bad := d
		change(&bad)
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}
