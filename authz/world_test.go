package authz_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
)

const (
	issuer = "https://as.example"
	back   = "http://127.0.0.1/callback"

	// The pair of RFC 7636 appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

var (
	evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

	view      = aif.Entry{Path: "/door", Methods: aif.GET}
	unlock    = aif.Entry{Path: "/door/unlock", Methods: aif.POST}
	disarm    = aif.Entry{Path: "/alarm/disarm", Methods: aif.POST}
	configure = aif.Entry{Path: "/config", Methods: aif.GET | aif.PUT}
)

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// journal is a log that may be read while it is written.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

// courier is a Deliverer that keeps what it got.
type courier struct {
	mu      sync.Mutex
	uploads []delivered
	told    []news.News
	answer  func(ctx context.Context) ([]byte, error) // to an upload; nil: agreed
	receipt func(n news.News) (news.Receipt, error)   // to news; nil: applied
}

// delivered is one upload.
type delivered struct {
	device  provision.DeviceID
	payload []byte
}

func (c *courier) Upload(ctx context.Context, d authz.Device, payload []byte) ([]byte, error) {
	c.mu.Lock()
	c.uploads = append(c.uploads, delivered{d.ID, payload})
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		return answer(ctx)
	}
	return agreed, nil
}

func (c *courier) Tell(_ context.Context, _ authz.Device, n news.News) (news.Receipt, error) {
	c.mu.Lock()
	c.told = append(c.told, n)
	receipt := c.receipt
	c.mu.Unlock()
	if receipt != nil {
		return receipt(n)
	}
	return news.Receipt{Sequence: n.Sequence, Applied: true}, nil
}

func (c *courier) got() []delivered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.uploads)
}

// agreed is the device's half of a context (RFC 9203 §4.2).
var agreed = func() []byte {
	answer, err := ace.AuthzInfoAnswer{Nonce2: []byte("nonce2!!"), ServerRecipientID: []byte{7}}.Encode()
	if err != nil {
		panic(err)
	}
	return answer
}()

// world is a server on a real store, with Alice's door, her mother's phone and a house gateway.
type world struct {
	t       testing.TB
	store   authz.Store
	server  *authz.Server
	clock   *clock
	courier *courier
	log     *journal
	phone   authz.Client // public
	gateway authz.Client // confidential, acts for nobody
	secret  string       // the gateway's
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, "sqlite:"+filepath.Join(t.TempDir(), "as.db"))
}

// newWorldOn is the same on a store of the test's choice.
func newWorldOn(t testing.TB, url string) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: evening}, courier: &courier{}, log: &journal{}}
	store, err := storage.Open(t.Context(), url, storage.Options{Key: storage.StoreKey{1}, Now: w.clock.now})
	w.must(err)
	w.store = store
	t.Cleanup(func() { w.must(store.Close()) })
	for _, name := range []string{"alice", "mother"} {
		w.must(store.AddUser(t.Context(), authz.User{Name: name, CreatedAt: evening}))
	}
	w.serve(authz.Options{})
	w.phone = w.client(authz.Client{ID: "phone", AuthMethod: authz.AuthNone, RedirectURIs: []string{back}, GrantTypes: []string{authz.AuthorizationCode}, ClientMadeKeys: true})
	var hash []byte
	w.secret, hash, err = authz.Secret(rand.Reader)
	w.must(err)
	w.gateway = w.client(authz.Client{ID: "gateway", AuthMethod: authz.AuthSecretBasic, SecretHash: hash, GrantTypes: []string{authz.ClientCredentials}, ClientMadeKeys: true})
	w.device(1, nil)
	return w
}

// serve starts the server (again) with these options, on the world's clock.
func (w *world) serve(o authz.Options) {
	w.t.Helper()
	o.Now, o.Log = w.clock.now, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.Deliverer == nil {
		o.Deliverer = w.courier
	}
	server, err := authz.New(w.t.Context(), issuer, w.store, grant.New(rand.Reader), o)
	w.must(err)
	w.server = server
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) client(c authz.Client) authz.Client {
	w.t.Helper()
	w.must(w.store.AddClient(w.t.Context(), c))
	return c
}

func deviceID(n byte) provision.DeviceID { return provision.DeviceID{0xD0, n, 7: n} }

// audience is that of device n.
func audience(n byte) string { return provision.Audience(deviceID(n)) }

func rootKey(n byte) []byte {
	sum := sha256.Sum256([]byte{n})
	return sum[:]
}

// privateKey is the one key pair of all devices in these tests.
var privateKey = func() *ecdh.PrivateKey {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}()

// device adds Alice's door n: pushed, with a clock, registered now.
func (w *world) device(n byte, change func(*authz.Device)) authz.Device {
	w.t.Helper()
	d := authz.Device{
		ID: deviceID(n), Name: "door-" + string('0'+rune(n)), Owner: "alice", Kind: provision.KindLock, Delivery: authz.DeliveryPush,
		Profile: pop.ProfileCoAPOSCORE, Clock: provision.ClockSynced, Shape: provision.ShapeEncrypt0,
		Actions: []provision.Action{
			{Name: "unlock", Path: unlock.Path, Methods: unlock.Methods}, {Name: "view", Path: view.Path, Methods: view.Methods},
			{Name: "disarm", Path: disarm.Path, Methods: disarm.Methods}, {Name: "configure", Path: configure.Path, Methods: configure.Methods},
		},
		RootKey: rootKey(n), PublicKey: privateKey.PublicKey().Bytes(), SenderID: []byte{0x51, n}, Epoch: 1_763_838_000,
		Registration: authz.Registration{Address: "192.0.2.20:5683", LocalURIs: []string{"coap://192.0.2.20"}, ExpiresAt: evening.Add(1000 * time.Hour)},
	}
	if change != nil {
		change(&d)
	}
	w.must(w.store.AddDevice(w.t.Context(), d))
	return d
}

// give gives entries on door 1 to mother; change may make it another grant.
func (w *world) give(change func(*authz.Grant), entries ...aif.Entry) authz.Grant {
	w.t.Helper()
	g := authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: deviceID(1), Rights: aif.New(entries...)}
	if change != nil {
		change(&g)
	}
	g, err := w.server.Give(w.t.Context(), g)
	w.must(err)
	return g
}

func toGateway(g *authz.Grant) { g.To = authz.Subject{Client: "gateway"} }

// question is mother's phone asking for door 1.
func question() authz.AuthorizeRequest {
	return authz.AuthorizeRequest{
		ResponseType: "code", ClientID: "phone", RedirectURI: back, State: "st", Audience: audience(1),
		CodeChallenge: challenge, CodeChallengeMethod: "S256",
	}
}

// ask lets person agree and returns what came back to the app.
func (w *world) ask(person string, r authz.AuthorizeRequest) url.Values {
	w.t.Helper()
	a, err := w.server.Authorize(w.t.Context(), r)
	w.must(err)
	to, err := w.server.Approve(w.t.Context(), a, person)
	w.must(err)
	return answerOf(w.t, r.RedirectURI, to)
}

func answerOf(t testing.TB, redirect, to string) url.Values {
	t.Helper()
	query, ok := strings.CutPrefix(to, redirect+"?")
	if !ok {
		t.Fatalf("sent to %s, want %s", to, redirect)
	}
	v, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// code is a code for everything mother may do on door 1.
func (w *world) code() string {
	w.t.Helper()
	v := w.ask("mother", question())
	if v.Get("code") == "" {
		w.t.Fatalf("no code but %v", v)
	}
	return v.Get("code")
}

func redemption(code string) *ace.TokenRequest {
	return &ace.TokenRequest{GrantType: authz.AuthorizationCode, ClientID: "phone", Code: code, RedirectURI: back, CodeVerifier: verifier}
}

// own is a client's request for its own rights on door n.
func own(n byte) *ace.TokenRequest {
	return &ace.TokenRequest{GrantType: authz.ClientCredentials, Audience: audience(n)}
}

func (w *world) token(c authz.Client, in *ace.TokenRequest) (*ace.TokenResponse, error) {
	return w.server.Token(w.t.Context(), authz.Caller{Client: c}, in)
}

// granted wants a token.
func (w *world) granted(c authz.Client, in *ace.TokenRequest) *ace.TokenResponse {
	w.t.Helper()
	out, err := w.token(c, in)
	w.must(err)
	return out
}

// refused wants an *ace.Error with this code, and this reason as the newest of the audit log.
func (w *world) refused(err error, code ace.ErrorCode, reason string) {
	w.t.Helper()
	var wire *ace.Error
	if !errors.As(err, &wire) || wire.Code != code {
		w.t.Errorf("got error %v, want %v", err, code)
	}
	last := w.audit()
	if len(last) == 0 {
		w.t.Fatal("nothing is on record")
	}
	if e := last[len(last)-1]; e.Result != "refused" || e.Reason != reason {
		w.t.Errorf("audit says %s %q, want refused %q", e.Result, e.Reason, reason)
	}
}

func (w *world) audit() []authz.AuditEntry {
	w.t.Helper()
	all, err := w.store.AuditTail(w.t.Context(), 10_000)
	w.must(err)
	return all
}

func (w *world) tokens(n byte) []authz.TokenRecord {
	w.t.Helper()
	all, err := w.store.TokensOf(w.t.Context(), deviceID(n), w.clock.now())
	w.must(err)
	return all
}

func hashOf(code string) []byte {
	sum := sha256.Sum256([]byte(code))
	return sum[:]
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func ptr[T any](v T) *T { return &v }
