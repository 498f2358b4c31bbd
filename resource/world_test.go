package resource_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const issuer = "https://as.example"

var start = time.Date(2026, 7, 1, 18, 0, 0, 0, time.UTC)

// fakeClock is a device's clock in the hands of a test.
type fakeClock struct {
	mu     sync.Mutex
	uptime time.Duration
	boot   string
}

func (c *fakeClock) Uptime() (time.Duration, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uptime, c.boot
}

func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uptime += d
}

// powerCut starts another boot; how long the device was off it cannot know.
func (c *fakeClock) powerCut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uptime, c.boot = 0, c.boot+"'"
}

// world is a device and its authorization server.
type world struct {
	t        testing.TB
	device   *provision.Device
	signer   *ecdsa.PrivateKey
	clock    *fakeClock
	dir      string
	store    *device.Store
	server   *resource.Server
	options  resource.Options
	now      time.Time // the authorization server's time
	sequence uint64
	log      []resource.Entry
	opened   int // times the unlock action ran
	unlock   resource.Action
}

func newWorld(t testing.TB, shape provision.Shape, clock provision.Clock) *world {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, signer: signer, clock: &fakeClock{boot: "first", uptime: time.Hour}, now: start,
		device: newDevice(t, shape, signer), dir: filepath.Join(t.TempDir(), "state"),
	}
	w.device.Clock = clock
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) {
		w.opened++
		return resource.Answer{}, nil
	}
	t.Cleanup(func() {
		if w.store != nil {
			_ = w.store.Close()
		}
	})
	w.start()
	if clock == provision.ClockSynced {
		w.learn()
	}
	return w
}

func newDevice(t testing.TB, shape provision.Shape, signer *ecdsa.PrivateKey) *provision.Device {
	t.Helper()
	d := &provision.Device{
		Version: provision.Version, Issuer: issuer, Kind: provision.KindLock, Clock: provision.ClockSynced, Token: shape,
		SenderID: []byte{1, 2, 3, 4}, RecipientID: provision.ServerSenderID,
		Actions: []provision.Action{
			{Name: "unlock", Path: "/door/unlock", Methods: aif.POST},
			{Name: "view", Path: "/door", Methods: aif.GET},
			{Name: "disarm", Path: "/alarm/disarm", Methods: aif.POST},
		},
	}
	for _, b := range [][]byte{d.ID[:], d.RootKey[:]} {
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	key, err := cose.PublicKey(&signer.PublicKey, cose.KeyID("as1"))
	if err != nil {
		t.Fatal(err)
	}
	d.ASKeys = []*cose.Key{key}
	return d
}

// start makes a new run of the device's program on the same store.
func (w *world) start() {
	w.t.Helper()
	w.stop()
	store, err := device.Open(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = store
	w.options.OnLog = func(e resource.Entry) { w.log = append(w.log, e) }
	w.server, err = resource.New(resource.Config{Device: w.device, Store: store, Clock: w.clock}, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.handle("unlock", func(ctx context.Context, c resource.Call) (resource.Answer, error) { return w.unlock(ctx, c) })
	w.handle("disarm", func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil })
	w.handle("view", func(context.Context, resource.Call) (resource.Answer, error) {
		return resource.Answer{Payload: []byte("locked")}, nil
	})
}

func (w *world) stop() {
	if w.store != nil {
		if err := w.store.Close(); err != nil {
			w.t.Fatal(err)
		}
		w.store = nil
	}
}

// edit changes the stored state while the device is off.
func (w *world) edit(change func(*resource.State)) {
	w.t.Helper()
	state, err := w.store.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	change(&state)
	if err := w.store.Save(state); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func (w *world) handle(name string, do resource.Action) {
	w.t.Helper()
	if err := w.server.Handle(name, do); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets time go by for everyone.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.clock.pass(d)
}

// learn is a registration's answer.
func (w *world) learn() {
	w.t.Helper()
	if err := w.server.LearnTime(w.now); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) id(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(w.device.ID[:]), sequence)
}

// claims are what the server would say now: unlock and view for an hour.
func (w *world) claims() *pop.Claims {
	w.sequence++
	material := &pop.InputMaterial{ID: binary.BigEndian.AppendUint16(nil, uint16(w.sequence)), MasterSecret: make([]byte, 16)}
	if _, err := rand.Read(material.MasterSecret); err != nil {
		w.t.Fatal(err)
	}
	c := &pop.Claims{
		Audience: w.device.Audience(), Expires: w.now.Add(time.Hour), IssuedAt: w.now, ID: w.id(w.sequence),
		Scope: aif.New(
			aif.Entry{Path: "/door", Methods: aif.GET},
			aif.Entry{Path: "/door/unlock", Methods: aif.POST},
		),
		Profile:      pop.ProfileCoAPOSCORE,
		Confirmation: pop.Confirmation{OSCORE: material},
		Grant:        &pop.GrantRef{Epoch: 1, Grant: pop.GrantID{byte(w.sequence), 9}},
	}
	if w.device.Clock != provision.ClockSynced {
		c.ExpiresIn = time.Hour
		c.Expires = w.now.Add(24 * time.Hour)
	}
	return c
}

// unlockIndex is the place of /door/unlock in the scope of claims.
const unlockIndex = 1

// seal makes the token in the device's shape. For signed shapes the possession key is encrypted first.
func (w *world) seal(c *pop.Claims) []byte {
	w.t.Helper()
	sealed := *c
	var protection cwt.Protection
	switch w.device.Token {
	case provision.ShapeEncrypt0:
		protection = cwt.Encrypt0{Key: w.key(provision.PurposeToken)}
	case provision.ShapeSign1:
		protection = cwt.Sign1{Signer: w.signer, ID: cose.KeyID("as1")}
		sealed.Confirmation = w.encrypted(c.Confirmation)
	}
	token, err := cwt.Seal(&sealed, protection, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) key(p provision.Purpose) cose.SymmetricKey {
	w.t.Helper()
	key, err := w.device.SymmetricKey(p, provision.FirstKeyID)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) encrypted(c pop.Confirmation) pop.Confirmation {
	w.t.Helper()
	if c.OSCORE == nil {
		return c
	}
	key := cose.NewSymmetric(c.OSCORE.MasterSecret, c.OSCORE.ID)
	encrypted, err := cwt.EncryptKey(key, w.key(provision.PurposeCnf), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return pop.Confirmation{Encrypted: encrypted}
}

func upload(token []byte) ace.AuthzInfo {
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce)
	return ace.AuthzInfo{Token: token, Nonce1: nonce, ClientRecipientID: []byte{7}}
}

func (w *world) accept(in ace.AuthzInfo) (ace.AuthzInfoAnswer, error) {
	return w.server.Accept(context.Background(), in, resource.Origin{Address: "192.0.2.9:5683"})
}

// enter uploads a token and gives its session.
func (w *world) enter(c *pop.Claims) *resource.Session {
	w.t.Helper()
	return w.session(upload(w.seal(c)), resource.Origin{})
}

func (w *world) session(in ace.AuthzInfo, origin resource.Origin) *resource.Session {
	w.t.Helper()
	answer, err := w.server.Accept(context.Background(), in, origin)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.find(answer)
}

func (w *world) find(answer ace.AuthzInfoAnswer) *resource.Session {
	w.t.Helper()
	s, ok := w.server.Session(answer.ServerRecipientID)
	if !ok {
		w.t.Fatal("the session is not found")
	}
	return s
}

func (w *world) ask(s *resource.Session, code codes.Code, path string) resource.Decision {
	return w.server.Decide(context.Background(), resource.Request{Session: s, Code: code, Path: path})
}

// press is a fresh unlock, carried out if it is allowed.
func (w *world) press(s *resource.Session) (resource.Decision, resource.Answer) {
	d := w.server.Decide(context.Background(),
		resource.Request{Session: s, Code: codes.POST, Path: "/door/unlock", Fresh: true})
	return d, w.server.Act(context.Background(), d, resource.Call{Code: codes.POST, Path: "/door/unlock"})
}

// refused checks code and reason of a refused upload.
func refused(t *testing.T, err error, code codes.Code, reason error) {
	t.Helper()
	var r *resource.RefusedError
	switch {
	case !errors.As(err, &r):
		t.Errorf("got %v, want a refusal: %v", err, reason)
	case r.Code != code || !errors.Is(err, reason):
		t.Errorf("got %v %q, want %v %q", r.Code, err, code, reason)
	}
}

// decided checks a decision; reason nil means allowed.
func decided(t *testing.T, d resource.Decision, code codes.Code, reason error) {
	t.Helper()
	if d.Code != code || !errors.Is(d.Reason, reason) {
		t.Errorf("got %v %v, want %v %v", d.Code, d.Reason, code, reason)
	}
}

// ownNumber makes the device's end of a session use a sender sequence number of its own.
func ownNumber(t testing.TB, s *resource.Session) string {
	t.Helper()
	request, _, err := s.Context().ProtectRequest(message.Message{Code: codes.GET})
	if err != nil {
		t.Fatal(err)
	}
	option, _, err := oscore.FindOption(request)
	if err != nil {
		t.Fatal(err)
	}
	return string(option.PartialIV)
}
