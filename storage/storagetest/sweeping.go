package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

const day = 24 * time.Hour

// rows counts a table.
func rows(t *testing.T, db Database, table string) (n int) {
	t.Helper()
	must(t, db.Raw.QueryRow("SELECT COUNT(*) FROM "+table).Scan(&n))
	return n
}

// Each table lets a row go at its end and not a millisecond before.
func sweepRemovesWhatHasEnded(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("login"), User: "mother", ExpiresAt: evening.Add(time.Hour)}))
	must(t, store.AddRequest(ctx, pushed("request")))
	must(t, store.AddDeviceCode(ctx, deviceCode("device")))
	must(t, store.UseOnce(ctx, evening, proof("use", 2*time.Minute)))
	waiting := instance("instance")
	waiting.ExpiresAt = evening.Add(2 * time.Hour)
	must(t, store.AddInstance(ctx, waiting))
	must(t, store.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: hash("invitation"), ExpiresAt: evening.Add(3 * time.Hour)}))
	must(t, store.AddRegistrationToken(ctx, authz.RegistrationToken{Hash: hash("endless")}))
	get(store.Lease(ctx, "lease", "holder", evening, evening.Add(3*time.Minute)))(t)
	endless := permission(2)
	endless.Until = time.Time{}
	must(t, store.AddGrant(ctx, endless))
	f := family("family")
	found(t, store, f, token("family"))
	s := spec("code")
	s.ClientKey = hash("client-made key")
	s.Grant = endless.ID
	spare := code("spare")
	must(t, store.AddCode(ctx, spare, nil))
	revoked := token("revoked")
	revoked.Expires, revoked.Kept = evening.Add(90*time.Minute), evening.Add(5*time.Hour)
	must(t, store.Mint(ctx, s, issue(revoked)))
	get(store.End(ctx, authz.EndSpec{Token: revoked.ID}, evening.Add(time.Minute)))(t)

	for _, tt := range []struct {
		table string
		at    time.Duration
		left  int
	}{
		{"requests", time.Minute, 0},
		{"uses", 2 * time.Minute, 0},
		{"leases", 3 * time.Minute, 0},
		{"logins", time.Hour, 0},
		{"instances", 2 * time.Hour, 0},
		{"families", 3 * time.Hour, 0},
		{"invitations_to_register", 3 * time.Hour, 1},
		{"tokens", 4 * time.Hour, 1}, // of the family: the other may be taken for live for another hour
		{"outbox", 5 * time.Hour, 0},
		{"tokens", 5 * time.Hour, 0},
		{"codes", day + time.Minute, 1}, // the other was redeemed
		{"device_codes", day + 10*time.Minute, 0},
		{"codes", 2*day + time.Second, 0},
		{"trl_updates", 30*day + time.Minute, 1}, // that it left the list is younger
		{"trl_updates", 30*day + 5*time.Hour, 0},
		{"grants", 90*day + 4*time.Hour, 1}, // the other has no end
		{"client_keys", 400*day + time.Second, 0},
	} {
		before := rows(t, db, tt.table)
		get(store.Sweep(ctx, evening.Add(tt.at-time.Millisecond), 100))(t)
		equal(t, tt.table+" before the end", rows(t, db, tt.table), before)
		get(store.Sweep(ctx, evening.Add(tt.at), 100))(t)
		equal(t, fmt.Sprint(tt.table, " after ", tt.at), rows(t, db, tt.table), tt.left)
	}
	equal(t, "nothing is left to remove", get(store.Sweep(ctx, evening.Add(1000*day), 100))(t), 0)
	for table, want := range map[string]int{"clients": 1, "users": 2, "devices": 1, "peers": 2, "grants": 1} {
		equal(t, table, rows(t, db, table), want)
	}
}

// A sweep removes at most so many rows of a table, and says how many, until none is left.
func sweepInBatches(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	for i := range 25 {
		must(t, store.UseOnce(ctx, evening, proof(fmt.Sprint(i), time.Minute)))
		must(t, store.AddLogin(ctx, authz.Login{Hash: hash(fmt.Sprint(i)), ExpiresAt: evening.Add(time.Duration(i) * time.Second)}))
	}
	must(t, store.AddLogin(ctx, authz.Login{Hash: hash("live"), User: "mother", ExpiresAt: evening.Add(time.Hour)}))
	for i, want := range []int{20, 20, 10, 0} {
		equal(t, fmt.Sprint("batch ", i), get(store.Sweep(ctx, evening.Add(time.Minute), 10))(t), want)
		if i == 0 { // the oldest first
			_, err := store.Login(ctx, hash("9"), evening)
			refused(t, "the tenth", err, authz.ErrNotFound)
			get(store.Login(ctx, hash("10"), evening))(t)
		}
	}
	get(store.Login(ctx, hash("live"), evening))(t)
	if _, err := store.Sweep(ctx, time.Time{}, 10); err == nil {
		t.Error("swept at no time")
	}
}

// What a live token or refresh token came from stays as long as it: the first token of its series, the code whose replay ends
// it, the key that nobody may use again, the grant by which its owner ends it.
func sweepKeepsWhatIsNeeded(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	long := family("long")
	long.ExpiresAt, long.Code = evening.Add(100*day), hash("code")
	first := token("first")
	first.Code, first.Family = hash("code"), long.ID
	s := spec("code")
	s.ClientKey = hash("client-made key")
	must(t, store.Mint(ctx, s, func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: first, Family: &long}, nil }))
	second := token("second")
	second.Series, second.Family, second.Code = first.ID, long.ID, first.Code
	second.Expires, second.Kept = evening.Add(5*time.Hour), evening.Add(800*day)
	must(t, store.Mint(ctx, spec(""), issue(second)))

	get(store.Sweep(ctx, evening.Add(99*day), 100))(t)
	get(store.Family(ctx, long.ID))(t)
	get(store.Code(ctx, hash("code")))(t)
	get(store.Sweep(ctx, evening.Add(799*day), 100))(t)
	get(store.Token(ctx, first.ID))(t)
	get(store.Token(ctx, second.ID))(t)
	tokens := get(store.Revoke(ctx, permission(1).ID, evening.Add(799*day)))(t)
	equal(t, "its owner can still end it", len(tokens), 2)
	get(store.Sweep(ctx, evening.Add(800*day), 100))(t)
	_, err := store.Token(ctx, second.ID)
	refused(t, "token after its end", err, authz.ErrNotFound)
}

// A row whose sealed claims no longer open goes like any other, and does not keep others from going.
func sweepOfDamage(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	r := token("one")
	r.Claims = []byte("claims")
	must(t, store.Mint(ctx, spec(""), issue(r)))
	get(db.Raw.Exec(`UPDATE tokens SET claims = hash`))(t)
	if _, err := store.Token(ctx, r.ID); err == nil {
		t.Error("claims that were changed were opened")
	}
	ended := get(store.End(ctx, authz.EndSpec{Token: r.ID}, evening))(t)
	equal(t, "ended", len(ended), 1)
	get(db.Raw.Exec(`UPDATE tokens SET claims = hash`))(t)
	get(store.Sweep(ctx, evening.Add(day), 100))(t)
	equal(t, "tokens", rows(t, db, "tokens"), 0)
}

// Claims go at the end of their token though its row stays, and count until none is left.
func sweepErasesClaims(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	for i := range 3 {
		r := token(fmt.Sprint(i))
		r.Claims, r.Kept = []byte("claims"), evening.Add(9*time.Hour)
		must(t, store.Mint(ctx, spec(""), issue(r)))
	}
	for i, want := range []int{2, 1, 0} {
		equal(t, fmt.Sprint("batch ", i), get(store.Sweep(ctx, token("").Expires, 2))(t), want)
	}
	equal(t, "tokens", rows(t, db, "tokens"), 3)
	equal(t, "claims", get(store.Token(ctx, token("1").ID))(t).Claims, nil)
}
