package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// estate is everything that can be derived from mother's grant on Alice's door and from the gateway's.
type estate struct {
	t       *testing.T
	console *Console
	store   authz.Store
	cookie  *http.Cookie
	tokens  int
}

var (
	front   = provision.DeviceID{1}
	rights  = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	mothers = pop.GrantID{1}
	gateway = pop.GrantID{2}
)

func newEstate(t *testing.T, url string) *estate {
	t.Helper()
	ctx, clock := t.Context(), func() time.Time { return evening }
	store, err := storage.Open(ctx, url, storage.Options{Key: storage.StoreKey{1}, Now: clock})
	e := &estate{t: t, store: store}
	e.must(err)
	t.Cleanup(func() { e.must(store.Close()) })
	server, err := authz.New(ctx, "https://as.example", store, grant.New(rand.Reader), authz.Options{Now: clock})
	e.must(err)
	e.console, err = New(server, slog.New(slog.DiscardHandler))
	e.must(err)
	hash, err := HashPassword(password)
	family := authz.Family{ID: authz.FamilyID{1}, Client: "phone", User: "mother", Device: front, Grant: mothers, Rights: rights, ExpiresAt: evening.Add(time.Hour)}
	e.must(err,
		store.AddUser(ctx, authz.User{Name: "alice"}), store.AddUser(ctx, authz.User{Name: "mother", PasswordHash: hash}), store.AddUser(ctx, authz.User{Name: "bob"}),
		store.AddClient(ctx, authz.Client{ID: "phone"}), store.AddClient(ctx, authz.Client{ID: "gateway"}),
		store.AddDevice(ctx, authz.Device{ID: front, Name: "front", Owner: "alice", RootKey: make([]byte, 32)}),
		store.AddGrant(ctx, authz.Grant{ID: mothers, Owner: "alice", To: authz.Subject{User: "mother"}, Device: front, Rights: rights}),
		store.AddGrant(ctx, authz.Grant{ID: gateway, Owner: "alice", To: authz.Subject{Client: "gateway"}, Device: front, Rights: rights}),
		store.AddCode(ctx, authz.CodeGrant{Hash: digest("code"), Client: "phone", User: "mother", Device: front, Grant: mothers, IssuedAt: evening, ExpiresAt: evening.Add(time.Minute)}, nil),
		store.AddDeviceCode(ctx, authz.DeviceCode{Hash: digest("device code"), UserCode: "WDJBMJHT", Client: "phone", Device: front, ExpiresAt: evening.Add(time.Minute)}),
		store.AnswerDeviceCode(ctx, authz.DeviceCode{Hash: digest("device code"), Answer: authz.AnswerYes, User: "mother", Rights: rights, Grant: mothers}, evening),
		e.mint(authz.MintSpec{Parties: byMother}, &family),
	)
	w := httptest.NewRecorder()
	if ok, err := e.console.SignIn(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/login", nil), "mother", password); !ok || err != nil {
		t.Fatalf("sign in: %v, %v", ok, err)
	}
	e.cookie = w.Result().Cookies()[0]
	return e
}

var (
	byMother  = authz.Parties{Client: "phone", User: "mother", Grant: mothers, Device: front}
	byGateway = authz.Parties{Client: "gateway", Grant: gateway, Device: front}
)

func (e *estate) must(errs ...error) {
	e.t.Helper()
	if err := errors.Join(errs...); err != nil {
		e.t.Fatal(err)
	}
}

func digest(what string) []byte {
	sum := sha256.Sum256([]byte(what))
	return sum[:]
}

func (e *estate) mint(spec authz.MintSpec, f *authz.Family) error {
	spec.Now = evening
	e.tokens++
	return e.store.Mint(e.t.Context(), spec, func(m authz.Minting) (authz.Issued, error) {
		return authz.Issued{Family: f, Token: authz.TokenRecord{
			ID: binary.BigEndian.AppendUint64(front[:], m.Sequence), Hash: append([]byte{1}, digest(fmt.Sprint("token ", e.tokens))...), Device: front, Expires: evening.Add(time.Hour),
		}}, nil
	})
}

// objects are what can end, and credentials what is derived from them.
var objects = []struct {
	name string
	end  func(ctx context.Context, s authz.Store) error
}{
	{"user disabled", func(ctx context.Context, s authz.Store) error { return s.SuspendUser(ctx, "mother", evening) }},
	{"grants revoked", func(ctx context.Context, s authz.Store) error {
		_, first := s.Revoke(ctx, mothers, evening)
		_, second := s.Revoke(ctx, gateway, evening)
		return errors.Join(first, second)
	}},
	{"clients disabled", func(ctx context.Context, s authz.Store) error {
		return errors.Join(s.SuspendClient(ctx, "phone", evening), s.SuspendClient(ctx, "gateway", evening))
	}},
	{"device removed", func(ctx context.Context, s authz.Store) error {
		return s.TransferDevice(ctx, front, authz.DeviceDecommissioned, "alice", 2)
	}},
	{"device handed over", func(ctx context.Context, s authz.Store) error {
		return s.TransferDevice(ctx, front, authz.DeviceActive, "bob", 2)
	}},
	{"owner suspended", func(ctx context.Context, s authz.Store) error { return s.SuspendUser(ctx, "alice", evening) }},
}

var credentials = []struct {
	name   string
	person bool // derived from mother alone, not from clients, grants or the device
	none   bool // not derived from mother
	use    func(e *estate) error
}{
	{name: "code", use: func(e *estate) error { return e.mint(authz.MintSpec{Parties: byMother, Code: digest("code")}, nil) }},
	{name: "refresh token", use: func(e *estate) error {
		return e.mint(authz.MintSpec{Parties: byMother, Refresh: &authz.RefreshUse{Family: authz.FamilyID{1}, Rotate: true}}, nil)
	}},
	{name: "client credentials", none: true, use: func(e *estate) error { return e.mint(authz.MintSpec{Parties: byGateway}, nil) }},
	{name: "device code", use: func(e *estate) error {
		return e.mint(authz.MintSpec{Parties: byMother, DeviceCode: digest("device code")}, nil)
	}},
	{name: "live token", use: func(e *estate) error { return e.store.Live(e.t.Context(), byMother, evening) }},
	{name: "session", person: true, use: func(e *estate) error {
		r := httptest.NewRequestWithContext(e.t.Context(), http.MethodGet, "/authorize", nil)
		r.AddCookie(e.cookie)
		if p, ok := e.console.Person(r); !ok || p.Name != "mother" {
			return errors.New("not signed in")
		}
		return nil
	}},
}

// TestEverythingDerivedDies is F91: six things that end, and six credentials that die with them. What is not derived from
// the thing goes on, which shows that the credential was good.
func TestEverythingDerivedDies(t *testing.T) {
	for engine, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "as.db") },
		"postgres": pgtest.Start,
	} {
		t.Run(engine, func(t *testing.T) {
			whole := newEstate(t, url(t))
			for _, c := range credentials {
				if err := c.use(whole); err != nil {
					t.Errorf("%s, nothing having ended: %v", c.name, err)
				}
			}
			for _, o := range objects {
				e := newEstate(t, url(t))
				e.must(o.end(t.Context(), e.store))
				for _, c := range credentials {
					of := o.name == "user disabled"
					survives := c.person && !of || c.none && of
					if err := c.use(e); (err == nil) != survives {
						t.Errorf("%s, %s: got %v, to survive: %v", o.name, c.name, err, survives)
					}
				}
			}
		})
	}
}
