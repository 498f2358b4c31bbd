package authz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// toRS is the client's half of a context (RFC 9203 §4.1).
var toRS = func() []byte {
	content, err := ace.AuthzInfo{Nonce1: []byte("nonce1!!"), ClientRecipientID: []byte{1}}.Encode()
	if err != nil {
		panic(err)
	}
	return content
}()

// uploading asks for an upload to door n; want nil leaves token_upload out.
func uploading(n byte, want *uint) *ace.TokenRequest {
	in := own(n)
	in.TokenUpload = want
	if want != nil {
		in.ToRS = toRS
	}
	return in
}

// presence is which parameters an answer has.
type presence struct {
	token, hash, from bool
	upload            *uint
}

func presenceOf(r *ace.TokenResponse) string {
	return presence{r.AccessToken != nil, r.TokenHash != nil, r.FromRS != nil, r.TokenUpload}.String()
}

func (p presence) String() string {
	s := fmt.Sprintf("access_token %v, token_hash %v, from_rs %v, token_upload ", p.token, p.hash, p.from)
	if p.upload == nil {
		return s + "absent"
	}
	return s + fmt.Sprint(*p.upload)
}

func newPush(t testing.TB) *world {
	w := newWorld(t)
	w.give(toGateway, view)
	return w
}

// TestUploadMatrix is the table of workflow-08 §3.1: request value × what became of the upload.
func TestUploadMatrix(t *testing.T) {
	done, failed := ptr(ace.UploadDone), ptr(ace.UploadFailed)
	refusal := func(context.Context) ([]byte, error) { return nil, errors.New("4.01") }
	requests := []*uint{nil, ptr(ace.UploadWantNothing), ptr(ace.UploadWantHash), ptr(ace.UploadWantToken)}
	outcomes := []struct {
		name    string
		arrange func(w *world)
		want    []presence // for each of requests
	}{
		{"uploaded", func(*world) {}, []presence{{token: true}, {from: true, upload: done}, {hash: true, from: true, upload: done}, {token: true, from: true, upload: done}}},
		{"refused by the device", func(w *world) { w.courier.answer = refusal }, []presence{{token: true}, {token: true, upload: failed}, {token: true, upload: failed}, {token: true, upload: failed}}},
		{"no deliverer", func(w *world) {
			w.server.SetDeliverer(nil)
		}, []presence{{token: true}, {token: true}, {token: true}, {token: true}}},
	}
	for _, o := range outcomes {
		for i, request := range requests {
			t.Run(fmt.Sprintf("%s, asked %d", o.name, i-1), func(t *testing.T) {
				w := newPush(t)
				o.arrange(w)
				out := w.granted(w.gateway, uploading(1, request))
				if got, want := presenceOf(out), o.want[i].String(); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				if n := len(w.courier.got()); request == nil && n != 0 {
					t.Errorf("%d uploads nobody asked for", n)
				}
				checkAnswer(t, out)
			})
		}
	}
}

// checkAnswer: every answer can be written in both encodings and read again.
func checkAnswer(t *testing.T, out *ace.TokenResponse) {
	t.Helper()
	data, err := out.CBOR()
	if err == nil {
		_, err = ace.ParseTokenResponseCBOR(data)
	}
	if err != nil {
		t.Errorf("as CBOR: %v", err)
	}
	if data, err = out.JSON(); err == nil {
		_, err = ace.ParseTokenResponseJSON(data)
	}
	if err != nil {
		t.Errorf("as JSON: %v", err)
	}
}

// TestUploadTakesTooLong: the phone waits five seconds for the lock, not longer, and gets the token (D18).
func TestUploadTakesTooLong(t *testing.T) {
	for asked := range uint(3) {
		t.Run(fmt.Sprint("asked ", asked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newPush(t)
				w.courier.answer = func(ctx context.Context) ([]byte, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				begun := time.Now()
				out := w.granted(w.gateway, uploading(1, &asked))
				if waited := time.Since(begun); waited != authz.UploadTime {
					t.Errorf("waited %v, want %v", waited, authz.UploadTime)
				}
				if got, want := presenceOf(out), (presence{token: true, upload: ptr(ace.UploadFailed)}).String(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}

// TestUploadNotTried: where nothing is sent, token_upload stays out of the answer and the limits are not touched.
func TestUploadNotTried(t *testing.T) {
	tests := []struct {
		name   string
		device func(*authz.Device)
		change func(*ace.TokenRequest)
	}{
		{"the device is not registered", func(d *authz.Device) { d.Registration = authz.Registration{} }, nil},
		{"its registration has just ended", func(d *authz.Device) { d.Registration.ExpiresAt = evening }, nil},
		{"it takes tokens from phones", func(d *authz.Device) { d.Delivery = authz.DeliveryEmbed }, nil},
		{"to_rs is missing", nil, func(in *ace.TokenRequest) { in.ToRS = nil }},
		{"to_rs is no map", nil, func(in *ace.TokenRequest) { in.ToRS = []byte{0x01} }},
		{"to_rs ends early", nil, func(in *ace.TokenRequest) { in.ToRS = toRS[:len(toRS)-1] }},
		{"to_rs brings a token", nil, func(in *ace.TokenRequest) {
			in.ToRS, _ = ace.AuthzInfo{Token: []byte("forged"), Nonce1: []byte("nonce1!!"), ClientRecipientID: []byte{1}}.Encode()
		}},
		{"token_upload is missing", nil, func(in *ace.TokenRequest) { in.TokenUpload = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newPush(t)
			w.device(2, tt.device)
			w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
			for range authz.UploadsGrant + 1 {
				in := uploading(2, ptr(ace.UploadWantHash))
				if tt.change != nil {
					tt.change(in)
				}
				out := w.granted(w.gateway, in)
				if got, want := presenceOf(out), (presence{token: true}).String(); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
			if n := len(w.courier.got()); n != 0 {
				t.Errorf("%d uploads", n)
			}
			w.must(w.store.Register(t.Context(), deviceID(2), authz.Registration{Address: "192.0.2.2:5683", ExpiresAt: evening.Add(time.Hour)}))
			if d, _ := w.store.Device(t.Context(), deviceID(2)); d.Delivery == authz.DeliveryPush {
				if out := w.granted(w.gateway, uploading(2, ptr(ace.UploadWantHash))); out.TokenUpload == nil {
					t.Error("what was never tried counts against the limit")
				}
			}
		})
	}
}

// TestUselessAnswers: a device's answer that no client could use leaves the client with its token.
func TestUselessAnswers(t *testing.T) {
	for name, answer := range map[string][]byte{
		"none": nil, "empty": {}, "no map": {0x01}, "half of it": agreed[:len(agreed)-1], "a map of nothing": {0xa0},
		"far too long": bytes.Repeat([]byte{0x40}, 300),
	} {
		t.Run(name, func(t *testing.T) {
			w := newPush(t)
			w.courier.answer = func(context.Context) ([]byte, error) { return answer, nil }
			out := w.granted(w.gateway, uploading(1, ptr(ace.UploadWantHash)))
			if got, want := presenceOf(out), (presence{token: true, upload: ptr(ace.UploadFailed)}).String(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			checkAnswer(t, out)
		})
	}
}

// TestUploadPayload: what reaches the device is the client's half with the token put in, and the hash is that token's.
func TestUploadPayload(t *testing.T) {
	w := newPush(t)
	out := w.granted(w.gateway, uploading(1, ptr(ace.UploadWantHash)))
	got := w.courier.got()
	if len(got) != 1 || got[0].device != deviceID(1) {
		t.Fatalf("uploads %v", got)
	}
	in, err := ace.ParseAuthzInfo(got[0].payload)
	w.must(err)
	hash := cwt.Hash(in.Token)
	if !bytes.Equal(in.Nonce1, []byte("nonce1!!")) || !bytes.Equal(in.ClientRecipientID, []byte{1}) || !bytes.Equal(out.TokenHash, hash[:]) {
		t.Errorf("uploaded %x, %x with hash %x, answered %x", in.Nonce1, in.ClientRecipientID, hash, out.TokenHash)
	}
	if !bytes.Equal(out.FromRS, agreed) {
		t.Errorf("from_rs %x, want %x", out.FromRS, agreed)
	}
}

// TestFailedUploadIsOnRecord: the token stands as granted, the upload as refused, both with who and for what.
func TestFailedUploadIsOnRecord(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	w.courier.answer = func(context.Context) ([]byte, error) { return nil, errors.New("4.01") }
	in := redemption(w.code())
	in.TokenUpload, in.ToRS = ptr(ace.UploadWantHash), toRS
	w.granted(w.phone, in)
	all := w.audit()
	want := authz.AuditEntry{At: evening, Event: "upload", Result: "refused", Reason: "the device did not confirm", Client: "phone", User: "mother", Device: audience(1), Grant: g.ID}
	if got := all[len(all)-1]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.Event, want.Result, want.Reason = "token", "granted", ""
	if got := all[len(all)-2]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestUploadLimits is D18: six per grant and hour, sixty per device and hour; beyond, a normal answer.
func TestUploadLimits(t *testing.T) {
	w := newWorld(t)
	var clients []authz.Client
	for i := range authz.UploadsDevice/authz.UploadsGrant + 1 {
		c := w.client(authz.Client{ID: fmt.Sprint("client-", i), AuthMethod: authz.AuthSecretBasic, GrantTypes: []string{authz.ClientCredentials}})
		w.give(func(g *authz.Grant) { g.To = authz.Subject{Client: c.ID} }, view)
		clients = append(clients, c)
	}
	uploads := func(c authz.Client) (n int) {
		for range authz.UploadsGrant + 2 {
			out := w.granted(c, uploading(1, ptr(ace.UploadWantHash)))
			switch {
			case out.TokenUpload != nil:
				n++
			case out.AccessToken == nil:
				t.Fatal("neither a token nor an upload")
			}
		}
		return n
	}
	for i, c := range clients {
		want := authz.UploadsGrant
		if i == authz.UploadsDevice/authz.UploadsGrant {
			want = 0 // the device has had its sixty
		}
		if got := uploads(c); got != want {
			t.Errorf("client %d: %d uploads, want %d", i, got, want)
		}
	}
	w.device(2, nil)
	w.give(func(g *authz.Grant) { g.To, g.Device = authz.Subject{Client: clients[0].ID}, deviceID(2) }, view)
	if out := w.granted(clients[0], uploading(2, ptr(ace.UploadWantHash))); out.TokenUpload == nil {
		t.Error("one device's limit stops another's upload")
	}
	w.clock.move(time.Hour)
	if got := uploads(clients[0]); got != authz.UploadsGrant {
		t.Errorf("an hour later %d uploads, want %d", got, authz.UploadsGrant)
	}
}

// TestWhereabouts is D13: hints from a live registration, the radio's service for devices that are never online.
func TestWhereabouts(t *testing.T) {
	w := newPush(t)
	w.device(2, func(d *authz.Device) { d.Delivery, d.Registration = authz.DeliveryEmbed, authz.Registration{} })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	if got := w.granted(w.gateway, own(1)).RSURI; len(got) != 1 || got[0] != "coap://192.0.2.20" {
		t.Errorf("got %q", got)
	}
	if got := w.granted(w.gateway, own(2)).RSURI; len(got) != 1 || got[0][:10] != "coap+gatt:" {
		t.Errorf("got %q", got)
	}
	w.clock.move(1000 * time.Hour)
	if got := w.granted(w.gateway, own(1)).RSURI; got != nil {
		t.Errorf("an ended registration still says %q", got)
	}
}

// TestUnservedDevices: a device whose tokens this server could not make or bring is refused before anything is spent.
func TestUnservedDevices(t *testing.T) {
	tests := []struct {
		name   string
		device func(*authz.Device)
		want   ace.ErrorCode
		reason string
	}{
		{"an unknown profile", func(d *authz.Device) { d.Profile = 3 }, ace.IncompatibleProfiles, "this device speaks unknown"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			n := byte(2 + i)
			w.device(n, tt.device)
			w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
			_, err := w.token(w.gateway, own(n))
			w.refused(err, tt.want, tt.reason)
		})
	}
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Shape = provision.Shape(9) })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	if _, err := w.token(w.gateway, own(2)); err == nil || errors.As(err, new(*ace.Error)) {
		t.Errorf("an unknown token shape: got %v, want a fault of the server", err)
	}
	if len(w.tokens(2)) != 0 {
		t.Error("it left a token")
	}
}

// TestLongScopeAnswers: many rights without a name are answered as AIF, since words would not fit.
func TestLongScopeAnswers(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) {
		d.Actions = nil
		for i := range 16 {
			d.Actions = append(d.Actions, provision.Action{Name: fmt.Sprint("a", i), Path: fmt.Sprintf("/%s%x", bytes.Repeat([]byte{'p'}, 60), i), Methods: aif.GET | aif.POST | aif.PUT | aif.DELETE})
		}
	})
	var entries []aif.Entry
	for i := range 16 {
		entries = append(entries, aif.Entry{Path: fmt.Sprintf("/%s%x", bytes.Repeat([]byte{'p'}, 60), i), Methods: aif.GET})
	}
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, entries...)
	out := w.granted(w.gateway, own(2))
	if !out.Scope.Rights.Equal(aif.New(entries...)) {
		t.Errorf("got %v", out.Scope)
	}
	checkAnswer(t, out)
}
