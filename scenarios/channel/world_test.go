// Package channel_test plays both ends of the channel between server and lock in one process: authz on one side, resource
// on the other, sockets of loopback between them. Stories of whole programs are in scenarios/doorlock.
package channel_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	serverface "github.com/latchkey-ace/latchkey/authz/coapapi"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	lockface "github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const issuer = "http://localhost:8080"

// house is a server with a client, and a front door.
type house struct {
	t      *testing.T
	dir    string
	record authz.Device
	client authz.Client

	store    authz.Store
	server   *authz.Server
	engine   *delivery.Engine
	endpoint *coapsec.Endpoint

	lock     *lock
	phone    *coapsec.Channel // the client's end of its own channel with the server
	phoneEnd *coapsec.Endpoint
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOf(t, func(*authz.Device) {})
}

// newHouseOf is one with another lock.
func newHouseOf(t *testing.T, change func(*authz.Device)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), record: deliverytest.Record("front-door")}
	change(&h.record)
	t.Cleanup(func() { _ = h.store.Close() }) // after the sockets
	h.startServer("")
	h.client = authz.Client{
		ID: "gateway", AuthMethod: authz.AuthOSCORE, GrantTypes: []string{authz.ClientCredentials},
		Channel: &authz.Channel{MasterSecret: make([]byte, 16), PeerID: []byte{7}, ServerID: []byte{1}},
	}
	_, _ = rand.Read(h.client.Channel.MasterSecret)
	if err := h.store.AddClient(t.Context(), h.client); err != nil {
		t.Fatal(err)
	}
	if err := h.store.AddUser(t.Context(), authz.User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := h.store.AddDevice(t.Context(), h.record); err != nil {
		t.Fatal(err)
	}
	h.phone, h.phoneEnd = deliverytest.Peer(*h.client.Channel), deliverytest.Socket(t, nil, "", coapsec.EndpointOptions{})
	h.lock = newLock(h)
	return h
}

func (h *house) startServer(address string) {
	h.t.Helper()
	var err error
	h.store, err = storage.Open(h.t.Context(), "sqlite:"+filepath.Join(h.dir, "server.db"), storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.engine = delivery.New(h.store, delivery.Options{})
	h.server, err = authz.New(h.t.Context(), issuer, h.store, grant.New(rand.Reader), authz.Options{Deliverer: h.engine})
	if err != nil {
		h.t.Fatal(err)
	}
	face := serverface.New(h.server, h.engine, slog.New(slog.DiscardHandler))
	h.endpoint = deliverytest.Socket(h.t, face, address, coapsec.EndpointOptions{})
	h.engine.Use(h.endpoint)
}

// restartServer ends the server's process and starts the next one on the same database.
func (h *house) restartServer() {
	h.t.Helper()
	address := h.endpoint.LocalAddr().String()
	_ = h.endpoint.Close()
	_ = h.store.Close()
	h.startServer(address)
}

// give lets the client do what words say.
func (h *house) give(once bool, words ...string) authz.Grant {
	h.t.Helper()
	rights, unknown := h.record.ParseRights(words)
	if unknown != "" {
		h.t.Fatalf("no action %q", unknown)
	}
	g, err := h.server.Give(h.t.Context(), authz.Grant{
		Owner: "alice", To: authz.Subject{Client: "gateway"}, Device: h.record.ID, Rights: rights, Once: once, Until: time.Now().Add(2 * time.Hour),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return g
}

// now is the device's record as the server has it.
func (h *house) now() authz.Device {
	h.t.Helper()
	d, err := h.store.Device(h.t.Context(), h.record.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// ask wants a token, uploaded to the lock.
func (h *house) ask(words string) (ace.AuthzInfo, *ace.TokenResponse, error) {
	h.t.Helper()
	in := ace.AuthzInfo{Nonce1: make([]byte, 8), ClientRecipientID: []byte{9}}
	_, _ = rand.Read(in.Nonce1)
	toRS, err := in.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	nothing := ace.UploadWantNothing
	request := ace.TokenRequest{
		GrantType: ace.GrantClientCredentials, Audience: "front-door", Scope: ace.Scope{Words: words}, TokenUpload: &nothing, ToRS: toRS,
	}
	payload, err := request.CBOR()
	if err != nil {
		h.t.Fatal(err)
	}
	answer, err := h.phone.Exchange(h.t.Context(), h.phoneEnd.To(h.endpoint.LocalAddr()), coapsec.NewRequest(codes.POST, ace.PathToken, ace.FormatACE, payload))
	if err != nil {
		h.t.Fatal(err)
	}
	if answer.Code != codes.Created {
		refused, err := ace.ParseErrorCBOR(answer.Payload)
		if err != nil {
			h.t.Fatal(err)
		}
		return in, nil, refused
	}
	out, err := ace.ParseTokenResponseCBOR(answer.Payload)
	return in, out, err
}

// key gets a token that the lock has already, and makes the context with it.
func (h *house) key(words string) coapsec.Exchanger {
	h.t.Helper()
	in, out, err := h.ask(words)
	if err != nil || out.TokenUpload == nil || *out.TokenUpload != ace.UploadDone || out.AccessToken != nil {
		h.t.Fatalf("token for %s: got %v, %v", words, out, err)
	}
	answer, err := ace.ParseAuthzInfoAnswer(out.FromRS)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := oscore.New(oscore.Params{
		MasterSecret: out.Cnf.OSCORE.MasterSecret, MasterSalt: pop.MasterSalt(nil, in.Nonce1, answer.Nonce2),
		SenderID: answer.ServerRecipientID, RecipientID: in.ClientRecipientID,
	}, oscore.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	return coapsec.Secure(h.phoneEnd.To(h.lock.endpoint.LocalAddr()), c)
}

// lock is the front door.
type lock struct {
	h         *house
	provision *provision.Device
	opened    atomic.Int32

	state     *device.Store
	server    *resource.Server
	endpoint  *coapsec.Endpoint
	registrar *lockface.Registrar
}

type wall struct{ start time.Time }

func (w wall) Uptime() (time.Duration, string) { return time.Since(w.start), "boot" }

func newLock(h *house) *lock {
	h.t.Helper()
	d := h.record
	l := &lock{h: h, provision: &provision.Device{
		Version: provision.Version, ID: d.ID, RootKey: [32]byte(d.RootKey), Issuer: issuer, Kind: d.Kind, Clock: d.Clock,
		Token: d.Shape, Actions: d.Actions, SenderID: d.SenderID, RecipientID: provision.ServerSenderID,
	}}
	for id, public := range h.server.PublicKeys() {
		key, err := cose.PublicKey(public, cose.KeyID(id))
		if err != nil {
			h.t.Fatal(err)
		}
		l.provision.ASKeys = append(l.provision.ASKeys, key)
	}
	h.t.Cleanup(func() { _ = l.state.Close() })
	l.start("")
	return l
}

// start is a new run of the lock's program.
func (l *lock) start(address string) {
	t := l.h.t
	t.Helper()
	var err error
	if l.state, err = device.Open(filepath.Join(l.h.dir, "lock")); err != nil {
		t.Fatal(err)
	}
	var asker lockface.Asker
	var options resource.Options
	if l.h.record.Delivery == authz.DeliveryIntrospect {
		options.Introspect = func(ctx context.Context, token []byte) (*pop.Claims, error) { return asker.Introspect(ctx, token) }
	}
	l.server, err = resource.New(resource.Config{Device: l.provision, Store: l.state, Clock: wall{time.Now()}}, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range l.provision.Actions {
		err := l.server.Handle(a.Name, func(context.Context, resource.Call) (resource.Answer, error) {
			if a.Name == "unlock" {
				l.opened.Add(1)
			}
			return resource.Answer{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	params, err := l.provision.ChannelParams()
	if err != nil {
		t.Fatal(err)
	}
	channel := coapsec.NewChannel(params, coapsec.ChannelOptions{Device: true})
	api := lockface.New(l.server, lockface.Options{Channel: channel, ChannelID: params.RecipientID})
	l.endpoint = deliverytest.Socket(t, api.Security(coapsec.SecurityOptions{}), address, coapsec.EndpointOptions{})
	l.registrar = &lockface.Registrar{
		Server: l.server, Channel: channel, Lifetime: time.Minute, Peers: []coapsec.Exchanger{l.endpoint.To(l.h.endpoint.LocalAddr())},
	}
	asker = lockface.Asker{Channel: channel, Peers: l.registrar.Peers}
}

func (l *lock) restart() {
	l.h.t.Helper()
	address := l.endpoint.LocalAddr().String()
	_ = l.endpoint.Close()
	_ = l.state.Close()
	l.start(address)
}

func (l *lock) register() {
	l.h.t.Helper()
	if _, err := l.registrar.Register(l.h.t.Context()); err != nil {
		l.h.t.Fatal(err)
	}
}
