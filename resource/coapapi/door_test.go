package coapapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// wallClock is the device's clock during one boot.
type wallClock struct{ start time.Time }

func (c wallClock) Uptime() (time.Duration, string) { return time.Since(c.start), "boot" }

// door is a lock without a socket: requests are handed to its Security.
type door struct {
	t        testing.TB
	device   *provision.Device
	dir      string
	clock    resource.Clock
	options  resource.Options
	store    *device.Store
	server   *resource.Server
	channel  *coapsec.Channel
	api      *coapapi.API
	security *coapsec.Security
	opened   atomic.Int32
	sequence uint64
}

func newDoor(t testing.TB) *door {
	t.Helper()
	d := &door{t: t, dir: filepath.Join(t.TempDir(), "state"), clock: wallClock{time.Now().Add(-time.Hour)}}
	d.device = &provision.Device{
		Version: provision.Version, Issuer: "https://as.example", Kind: provision.KindLock, Clock: provision.ClockSynced,
		Token: provision.ShapeEncrypt0, SenderID: []byte{1, 2, 3, 4}, RecipientID: provision.ServerSenderID,
		Actions: []provision.Action{
			{Name: "unlock", Path: "/door/unlock", Methods: aif.POST},
			{Name: "view", Path: "/door", Methods: aif.GET},
		},
	}
	_, _ = rand.Read(d.device.ID[:])
	_, _ = rand.Read(d.device.RootKey[:])
	t.Cleanup(func() { _ = d.store.Close() })
	d.start()
	d.learn()
	return d
}

// start is a new run of the lock's program.
func (d *door) start() {
	d.t.Helper()
	if d.store != nil {
		_ = d.store.Close()
	}
	var err error
	if d.store, err = device.Open(d.dir); err != nil {
		d.t.Fatal(err)
	}
	if d.server, err = resource.New(resource.Config{Device: d.device, Store: d.store, Clock: d.clock}, d.options); err != nil {
		d.t.Fatal(err)
	}
	d.handle("unlock", func(context.Context, resource.Call) (resource.Answer, error) {
		d.opened.Add(1)
		return resource.Answer{}, nil
	})
	d.handle("view", func(context.Context, resource.Call) (resource.Answer, error) {
		return resource.Answer{Format: message.TextPlain, Payload: []byte("locked")}, nil
	})
	params, err := d.device.ChannelParams()
	if err != nil {
		d.t.Fatal(err)
	}
	d.channel = coapsec.NewChannel(params, coapsec.ChannelOptions{Device: true})
	d.api = coapapi.New(d.server, coapapi.Options{Channel: d.channel, ChannelID: d.device.RecipientID})
	d.security = d.api.Security(coapsec.SecurityOptions{})
}

func (d *door) handle(name string, do resource.Action) {
	d.t.Helper()
	if err := d.server.Handle(name, do); err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) learn() {
	d.t.Helper()
	if err := d.server.LearnTime(time.Now()); err != nil {
		d.t.Fatal(err)
	}
}

// claims let the bearer of a new key unlock and look, for an hour.
func (d *door) claims() *pop.Claims {
	d.sequence++
	material := &pop.InputMaterial{ID: binary.BigEndian.AppendUint16(nil, uint16(d.sequence)), MasterSecret: make([]byte, 16)}
	_, _ = rand.Read(material.MasterSecret)
	return &pop.Claims{
		Audience: d.device.Audience(), Expires: time.Now().Add(time.Hour), IssuedAt: time.Now(),
		ID:           binary.BigEndian.AppendUint64(bytes.Clone(d.device.ID[:]), d.sequence),
		Scope:        d.device.Rights(),
		Profile:      pop.ProfileCoAPOSCORE,
		Confirmation: pop.Confirmation{OSCORE: material},
		Grant:        &pop.GrantRef{Epoch: 1, Grant: pop.GrantID{byte(d.sequence)}},
	}
}

func (d *door) seal(c *pop.Claims) []byte {
	d.t.Helper()
	key, err := d.device.SymmetricKey(provision.PurposeToken, provision.FirstKeyID)
	if err != nil {
		d.t.Fatal(err)
	}
	token, err := cwt.Seal(c, cwt.Encrypt0{Key: key}, rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// Exchange hands a request to the lock as the network would, from one phone's address.
func (d *door) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	return d.security.ServeCoAP(ctx, &coapsec.Request{Message: m, Peer: coapsec.Peer{Address: "192.0.2.9:40000"}}), nil
}

func (d *door) plain(m message.Message) message.Message {
	answer, _ := d.Exchange(context.Background(), m)
	return answer
}

func upload(token []byte) ace.AuthzInfo {
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce)
	return ace.AuthzInfo{Token: token, Nonce1: nonce, ClientRecipientID: []byte{7}}
}

func uploadRequest(t testing.TB, in ace.AuthzInfo) message.Message {
	t.Helper()
	payload, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, payload)
}

// enter uploads a token through x and gives the phone's context.
func enter(t testing.TB, x coapsec.Exchanger, c *pop.Claims, token []byte) *oscore.Context {
	t.Helper()
	in := upload(token)
	response, err := x.Exchange(context.Background(), uploadRequest(t, in))
	if err != nil || response.Code != codes.Created {
		t.Fatalf("upload: got %v, %v", response.Code, err)
	}
	return contextOf(t, c, in, response.Payload)
}

func contextOf(t testing.TB, c *pop.Claims, in ace.AuthzInfo, payload []byte) *oscore.Context {
	t.Helper()
	answer, err := ace.ParseAuthzInfoAnswer(payload)
	if err != nil {
		t.Fatal(err)
	}
	context, err := oscore.New(oscore.Params{
		MasterSecret: c.Confirmation.OSCORE.MasterSecret,
		MasterSalt:   pop.MasterSalt(nil, in.Nonce1, answer.Nonce2),
		SenderID:     answer.ServerRecipientID,
		RecipientID:  in.ClientRecipientID,
	}, oscore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return context
}

var unlock = coapsec.NewRequest(codes.POST, "/door/unlock", coapsec.NoFormat, nil)

// wants checks the code of an answer.
func wants(t testing.TB, x coapsec.Exchanger, request message.Message, want codes.Code) message.Message {
	t.Helper()
	response, err := x.Exchange(context.Background(), request)
	if err != nil || response.Code != want {
		t.Fatalf("got %v, %v, want %v", response.Code, err, want)
	}
	return response
}

func (d *door) wantOpened(n int32) {
	d.t.Helper()
	if got := d.opened.Load(); got != n {
		d.t.Fatalf("the bolt moved %d times, want %d", got, n)
	}
}

// socket starts an endpoint on loopback.
func socket(t testing.TB, handler coapsec.Handler) *coapsec.Endpoint {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	e := coapsec.NewEndpoint(conn, handler, coapsec.EndpointOptions{})
	done := make(chan error, 1)
	go func() { done <- e.Serve(context.Background()) }()
	t.Cleanup(func() {
		_ = e.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}
