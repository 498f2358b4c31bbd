package sqlite

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage/internal/seal"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// scansAllowed are statements that may read a whole table, with the reason.
var scansAllowed = map[string]string{
	`SELECT id FROM tokens WHERE revoked_at = 0 AND expires_at > $1 AND client_id = $2`: "rare, and on a reader: an index would cost each mint 5 %",
	`SELECT id FROM tokens WHERE revoked_at = 0 AND expires_at > $1 AND user_name = $2`: "as by client",
	`SELECT id FROM tokens WHERE revoked_at = 0 AND expires_at > $1 AND signed_by = $2`: "when a signing key is compromised",
	`FROM families WHERE ($1 = '' OR user_name = $1)`:                                   "a list for people, on a reader",
	`FROM clients ORDER BY id`:                             "the list of all",
	`FROM devices ORDER BY name`:                           "the list of all",
	`FROM grants ORDER BY created_at DESC`:                 "the list of all",
	`FROM audit ORDER BY id DESC LIMIT $1`:                 "the newest, from the end",
	`SELECT 1 WHERE EXISTS (SELECT 1 FROM audit)`:          "one row, at opening",
	`FROM audit WHERE chain = 0`:                           "once, when the first chain is opened",
	`FROM signing_keys`:                                    "a handful",
	`FROM tokens WHERE revoked_at <> 0 AND TRUE`:           "an administrator's whole list, by the index of revoked tokens",
	`FROM tokens WHERE revoked_at <> 0 AND client_id = $1`: "by the index of revoked tokens",
}

var fullScan = regexp.MustCompile(`\bSCAN (\w+)`)

// TestHotStatementsUseIndexes asks SQLite for its plan of every statement that the store has run: none of them reads a table
// that grows from one end to the other.
func TestHotStatementsUseIndexes(t *testing.T) {
	e, err := openEngine(t.Context(), filepath.Join(t.TempDir(), "plan.db"), false)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New([32]byte{1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	store, err := sqlstore.New(t.Context(), e, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	everyMethod(t.Context(), store, now)

	var texts []string
	for _, c := range append(e.reads.all(), e.writer.conn) {
		for text := range c.known {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	if len(texts) < 70 {
		t.Errorf("only %d statements were run", len(texts))
	}
	for _, text := range texts {
		if allowed(text) || !strings.Contains(text, "$") && !strings.Contains(text, "SELECT") {
			continue
		}
		for _, table := range scanned(t, e, text) {
			t.Errorf("%s is read whole by\n%s", table, text)
		}
	}
	if got := scanned(t, e, "SELECT * FROM tokens WHERE user_name = $1"); len(got) != 1 || got[0] != "tokens" {
		t.Errorf("got %q: the test sees no scan", got)
	}
}

// all are the connections, while nobody reads.
func (p *pool) all() (list []*conn) {
	for range cap(p.free) {
		c := <-p.free
		list = append(list, c)
		p.free <- c
	}
	return list
}

func allowed(text string) bool {
	flat := strings.Join(strings.Fields(text), " ")
	for part := range scansAllowed {
		if strings.Contains(flat, part) {
			return true
		}
	}
	return false
}

// scanned are the tables that SQLite reads whole for a statement.
func scanned(t *testing.T, e *engine, text string) (list []string) {
	t.Helper()
	highest := 0
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		highest = max(highest, n)
	}
	args := make([]any, highest)
	for i := range args {
		args[i] = 1
	}
	rows, err := e.reading.Query("EXPLAIN QUERY PLAN "+translate(text), args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		if m := fullScan.FindStringSubmatch(detail); m != nil && grows[m[1]] {
			list = append(list, m[1])
		}
	}
	return list
}

var grows = map[string]bool{
	"tokens": true, "families": true, "codes": true, "audit": true, "grants": true, "uses": true, "client_keys": true, "requests": true,
	"device_codes": true, "logins": true, "outbox": true, "trl_updates": true, "sequences": true, "devices": true, "clients": true, "users": true,
	"d": true, "g": true, "c": true, "u": true, "o": true,
}

// everyMethod calls each method of the store for the sake of its statements; most find nothing.
func everyMethod(ctx context.Context, s authz.Store, now time.Time) {
	device, grant, family := provision.DeviceID{1}, pop.GrantID{1}, authz.FamilyID{1}
	_ = s.AddUser(ctx, authz.User{Name: "u"})
	_ = s.AddDevice(ctx, authz.Device{ID: device, Name: "d", Owner: "u", Delivery: authz.DeliveryPush, SenderID: []byte{1}})
	_ = s.AddClient(ctx, authz.Client{ID: "c", Channel: &authz.Channel{PeerID: []byte{2}}})
	_ = s.AddGrant(ctx, authz.Grant{ID: grant, Owner: "u", To: authz.Subject{User: "u"}, Device: device})
	_ = s.AddCode(ctx, authz.CodeGrant{Hash: []byte{1}, IssuedAt: now, ExpiresAt: now.Add(time.Minute)}, nil)
	_ = s.AddRequest(ctx, authz.PushedRequest{Hash: []byte{1}, ExpiresAt: now.Add(time.Hour)})
	_ = s.AddCode(ctx, authz.CodeGrant{Hash: []byte{2}, IssuedAt: now}, []byte{1})
	_ = s.AddDeviceCode(ctx, authz.DeviceCode{Hash: []byte{1}, ExpiresAt: now.Add(time.Hour)})
	_ = s.AddLogin(ctx, authz.Login{Hash: []byte{1}})
	_ = s.AddSigningKey(ctx, authz.SigningKey{ID: "1"})
	_ = s.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: []byte{1}})
	id := append(device[:], 1, 2, 3, 4, 5, 6, 7, 8)
	token := authz.TokenRecord{ID: id, Hash: make([]byte, 33), Device: device, Grant: grant, Client: "c", User: "u", Series: id, Family: family, Expires: now.Add(99 * time.Hour)}
	mint := func(spec authz.MintSpec, f *authz.Family) {
		spec.Now, spec.Parties = now, authz.Parties{Client: "c", User: "u", Device: device, Grant: grant}
		_ = s.Mint(ctx, spec, func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: token, Family: f}, nil })
	}
	mint(authz.MintSpec{Code: []byte{1}, ClientKey: []byte{1}, Proofs: []authz.Use{{Kind: "k", Until: now}}}, &authz.Family{ID: family, ExpiresAt: now.Add(time.Hour)})
	mint(authz.MintSpec{Code: []byte{1}}, nil)
	mint(authz.MintSpec{DeviceCode: []byte{1}}, nil)
	mint(authz.MintSpec{Refresh: &authz.RefreshUse{Family: family, Rotate: true}}, nil)
	mint(authz.MintSpec{Refresh: &authz.RefreshUse{Family: family}}, nil)
	_, _ = s.PollDeviceCode(ctx, []byte{1}, now)
	_, _ = s.DeviceCodeFor(ctx, "x", now)
	_ = s.AnswerDeviceCode(ctx, authz.DeviceCode{Answer: authz.AnswerYes}, now)
	for _, e := range []authz.EndSpec{{Token: []byte{9}}, {Code: []byte{9}}, {Family: authz.FamilyID{9}}, {Grant: pop.GrantID{9}}, {Client: "c"}, {User: "x"}, {Device: device}, {SignedBy: "1"}} {
		_, _ = s.End(ctx, e, now)
	}
	_, _ = s.Revoke(ctx, grant, now)
	_ = s.Confirm(ctx, grant, now)
	_ = s.Spend(ctx, grant, aif.Entry{Path: "/door", Methods: aif.GET})
	for _, by := range []authz.Requester{{All: true}, {Client: "c"}, {Device: device}} {
		_, _ = s.Revoked(ctx, by)
	}
	due, _ := s.Due(ctx, now, now, 9)
	_, _ = s.Waiting(ctx, device, now)
	for _, m := range due {
		_ = s.Retry(ctx, now, m.ID)
		_ = s.Told(ctx, now, m.ID)
	}
	_ = s.SuspendClient(ctx, "c", now)
	_ = s.SuspendUser(ctx, "u", now)
	_ = s.SuspendDevice(ctx, device, now)
	_ = s.SuspendGrant(ctx, grant, now)
	_ = s.TransferDevice(ctx, device, authz.DeviceActive, "v", 9)
	_ = s.UpdateClient(ctx, authz.Client{ID: "c"})
	_ = s.UpdateSigningKeys(ctx, authz.SigningKey{ID: "1"})
	_ = s.Register(ctx, device, authz.Registration{})
	self := authz.Client{ID: "self", Management: []byte{3}}
	_ = s.RegisterClient(ctx, []byte{1}, self, authz.AuditEntry{At: now})
	_ = s.AddClient(ctx, self)
	_ = s.ReplaceClient(ctx, self, authz.AuditEntry{At: now})
	_ = s.UnregisterClient(ctx, "self", []byte{3}, authz.AuditEntry{At: now})
	_, _ = s.RegistrationToken(ctx, []byte{1}, now)
	_, _ = s.RegistrationTokens(ctx, now)
	_ = s.EndRegistrationToken(ctx, []byte{1}, authz.AuditEntry{At: now})
	_, _ = s.Lease(ctx, "n", "h", now, now)
	_, _ = s.NextSequence(ctx, device, authz.SequenceNews, now)
	_, _ = s.Token(ctx, id)
	_, _ = s.TokensOf(ctx, device, now)
	_, _ = s.Code(ctx, []byte{1})
	_, _ = s.DeviceCode(ctx, []byte{1})
	_, _ = s.Request(ctx, []byte{1}, now)
	_, _ = s.Family(ctx, family)
	_, _ = s.Families(ctx, "", "", now)
	_, _ = s.Login(ctx, []byte{1}, now)
	_ = s.EndLogin(ctx, []byte{1})
	_, _ = s.Client(ctx, "c")
	_, _ = s.Clients(ctx)
	_, _ = s.User(ctx, "u")
	_, _ = s.Device(ctx, device)
	_, _ = s.DeviceByName(ctx, "d")
	_, _ = s.DeviceByResource(ctx, "x")
	_, _ = s.Devices(ctx)
	_, _ = s.Peer(ctx, []byte{1})
	_, _ = s.Grant(ctx, grant)
	_, _ = s.Grants(ctx, "")
	_, _ = s.Grants(ctx, "u")
	_, _ = s.GrantsOf(ctx, authz.Subject{User: "u"}, device, now)
	_, _ = s.SigningKeys(ctx)
	_, _ = s.AuditTail(ctx, 9)
	_, _ = s.Sweep(ctx, now.Add(1000*24*time.Hour), 9)
	_ = s.DeleteClient(ctx, "c")
}
