package authz_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// secrets collects what may stand nowhere but in the one answer that carries it.
type secrets map[string][]byte

func (s secrets) add(name string, value []byte) { s[fmt.Sprintf("%s %d", name, len(s))] = value }

// findIn names the secrets that stand in text, in any spelling.
func (s secrets) findIn(text string) (found []string) {
	for name, value := range s {
		for _, spelling := range []string{
			string(value), hex.EncodeToString(value), strings.ToUpper(hex.EncodeToString(value)),
			base64.StdEncoding.EncodeToString(value), base64.RawURLEncoding.EncodeToString(value), fmt.Sprint(value),
		} {
			if strings.Contains(text, spelling) {
				found = append(found, name)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// live plays an evening with everything that goes right and wrong, and returns its secrets.
func live(w *world) secrets {
	s := secrets{"gateway's secret": []byte(w.secret), "root key": rootKey(1), "verifier": []byte(verifier), "private key": privateKey.Bytes()}
	collect := func(out *ace.TokenResponse, err error) {
		if err != nil {
			return
		}
		s.add("possession key", out.Cnf.OSCORE.MasterSecret)
		if out.AccessToken != nil {
			s.add("token", out.AccessToken)
		}
	}
	ctx := w.t.Context()
	for i, f := range append(slices.Clone(flaws), single...) {
		code := w.code()
		s.add("code", []byte(code))
		a := attempt{caller: w.phone, in: redemption(code)}
		a.in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(key(byte(i), 32), nil)}
		s.add("client's key", key(byte(i), 32))
		f.make(w, &a)
		collect(w.token(a.caller, a.in))
		right := redemption(code)
		right.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(key(byte(i), 32), nil)}
		collect(w.token(w.phone, right))
		collect(w.token(w.phone, right)) // the key was seen, the code is spent
		w.clock.move(2 * time.Minute)
		collect(w.token(w.phone, right)) // a late replay
		w.server.ClientRefused(ctx, "gateway", "")
	}
	w.courier.answer = func(context.Context) ([]byte, error) { return nil, errors.New("4.01") }
	for i := range allShapes {
		collect(w.token(w.gateway, uploading(byte(3+i), ptr(ace.UploadWantHash))))
	}
	return s
}

func newEvening(t *testing.T) *world {
	w := newDoors(t)
	for i, shape := range allShapes {
		n := byte(3 + i)
		w.device(n, func(d *authz.Device) {
			d.Shape, d.Private, d.Clock, d.ExpiresIn = shape.shape, shape.private, provision.ClockNone, time.Hour
		})
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
	}
	return w
}

// TestNoSecretOnRecord scans every audit row and every log line after an evening of successes and failures.
func TestNoSecretOnRecord(t *testing.T) {
	w := newEvening(t)
	s := live(w)
	if len(s) < 100 {
		t.Fatalf("only %d secrets: the evening did not happen", len(s))
	}
	rows, err := json.Marshal(w.audit())
	w.must(err)
	for where, text := range map[string]string{"audit": string(rows), "audit as printed": fmt.Sprintf("%+v", w.audit()), "log": w.log.String()} {
		if found := s.findIn(text); len(found) > 0 {
			t.Errorf("%s holds %q", where, found)
		}
	}
	if !strings.Contains(w.log.String(), "upload") {
		t.Error("the log says nothing of the failed uploads: it is not the server's")
	}
	if found := s.findIn("x" + base64url(key(0, 32)) + "y"); len(found) == 0 {
		t.Errorf("the scan itself finds nothing")
	}
}

// TestEveryDecisionIsOnRecord: each refusal has a reason, each grant one row, and who is named is who it was.
func TestEveryDecisionIsOnRecord(t *testing.T) {
	w := newEvening(t)
	live(w)
	granted := 0
	for _, e := range w.audit() {
		switch {
		case e.At.IsZero() || e.Event == "":
			t.Errorf("entry without time or event: %+v", e)
		case e.Result == "refused" && e.Reason == "":
			t.Errorf("refusal without a reason: %+v", e)
		case e.Result == "granted" && e.Reason != "":
			t.Errorf("a grant with a reason against it: %+v", e)
		case e.Result != "granted" && e.Result != "refused":
			t.Errorf("neither granted nor refused: %+v", e)
		}
		if e.Event == "token" && e.Result == "granted" {
			granted++
			if e.Client == "" || e.Device == "" || (e.Client == "phone") != (e.User == "mother") {
				t.Errorf("a token without a name: %+v", e)
			}
		}
	}
	// Tokens of the whole evening, whether they have ended or not.
	minted := 0
	for n := range byte(10) {
		all, err := w.store.TokensOf(t.Context(), deviceID(n), time.Unix(1, 0))
		w.must(err)
		minted += len(all)
	}
	ended, err := w.store.Revoked(t.Context(), authz.Requester{All: true}) // by the late replays
	w.must(err)
	minted += len(ended.Full)
	if granted != minted || minted < 10 {
		t.Errorf("%d tokens, %d of them on record", minted, granted)
	}
}

// silent refuses without a word; the audit log must not repeat the silence.
type silent struct{ authz.Granter }

func (silent) Judge(context.Context, authz.Judgement) error {
	return &ace.Error{Code: ace.UnauthorizedClient}
}

// TestRefusalWithoutWords: the code itself is the reason then, and the mint has not happened.
func TestRefusalWithoutWords(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	server, err := authz.New(t.Context(), issuer, w.store, silent{}, authz.Options{Now: w.clock.now})
	w.must(err)
	_, err = server.Token(t.Context(), authz.Caller{Client: w.gateway}, own(1))
	w.refused(err, ace.UnauthorizedClient, "unauthorized_client")
	if len(w.tokens(1)) != 0 {
		t.Error("a token the Granter refused")
	}
}

// TestErrorsTellNoClaims is T-9200-7: what a client is told names no right, grant, person or key but its own words.
func TestErrorsTellNoClaims(t *testing.T) {
	w := newDoors(t)
	g := w.give(toGateway, disarm)
	for _, f := range append(slices.Clone(flaws), single...) {
		a := attempt{caller: w.phone, in: redemption(w.code())}
		f.make(w, &a)
		w.clock.move(a.late)
		_, err := w.token(a.caller, a.in)
		if err == nil {
			t.Fatalf("%s: granted", f.name)
		}
		for _, claim := range []string{"mother", "alice", "door-1", "/door", "/alarm", audience(1), hex.EncodeToString(g.ID[:])} {
			if strings.Contains(err.Error(), claim) {
				t.Errorf("%s: %q tells %q", f.name, err, claim)
			}
		}
		w.clock.move(-a.late)
	}
}

// TestRecordThatCannotBeWritten: a refusal stands, and the log says that its entry is lost.
func TestRecordThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	whole := w.store
	w.store = forgetful{whole}
	w.serve(authz.Options{})
	w.store = whole
	_, err := w.token(w.phone, &ace.TokenRequest{GrantType: "password"})
	if !errors.Is(err, &ace.Error{Code: ace.UnsupportedGrantType}) || !strings.Contains(w.log.String(), "audit entry lost") {
		t.Errorf("got %v; the log says %q", err, w.log)
	}
}

type forgetful struct{ authz.Store }

func (forgetful) Record(context.Context, authz.AuditEntry) error { return errDiskFull }
