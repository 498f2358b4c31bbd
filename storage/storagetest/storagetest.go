// Package storagetest is the contract of authz.Store as tests. Every backend runs it; a new rule goes here first.
//
// Start from Run.
package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
)

// Database is an empty database of a backend.
type Database struct {
	URL string // for storage.Open; each call of it stands for another process
	Raw *sql.DB
	// Tables is a query for the names of all tables.
	Tables string
}

// Run checks the whole contract; fresh makes an empty database.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	tests := []struct {
		name string
		test func(t *testing.T, db Database)
	}{
		{"records come back whole", recordsComeBackWhole},
		{"empty and absent values stay apart", emptyAndAbsentStayApart},
		{"names that are taken are refused", takenNamesAreRefused},
		{"what is not there is not found", absentIsNotFound},
		{"values that break a rule are refused", badValuesAreRefused},
		{"text that no table holds is not found and not lost", oddText},
		{"lists are complete and in order", listsAreInOrder},
		{"logins end", loginsEnd},
		{"audit tail is the newest, oldest first", auditTail},
		{"registration is replaced", registrationIsReplaced},
		{"spent rights add up", spentRightsAddUp},
		{"a revocation is kept and confirmed once", revocationIsKept},
		{"what has expired is removed at opening", expiredIsRemoved},
		{"a mint stores code, token and audit together", mintStoresTogether},
		{"a refused mint has changed nothing", refusedMintChangesNothing},
		{"grants bound a mint in time", grantsBoundMint},
		{"a code expires in the millisecond it says", codeExpires},
		{"a mint that panics has not happened", panickingMint},
		{"a caller who has left gets nothing", cancelledCaller},
		{"a code is redeemed once by 1,000 at a time", parallelRedemption},
		{"a revoked grant never mints", revokeAgainstMint},
		{"key material belongs to one peer", materialBelongsToOne},
		{"a withdrawn key signs nothing", withdrawnKeySignsNothing},
		{"what is recalled is never older than its context", recallIsCurrent},
		{"what is recalled is of one moment", recallHolds},
		{"what a replayed code gave ends, and the list's index grows", replayedCode},
		{"sequences never go back", sequencesNeverGoBack},
		{"sequences are unique in parallel", parallelSequences},
		{"a clock that went back stops minting", steppedClock},
		{"a client-made key is used once", clientKeys},
		{"client-made keys are forgotten in time", clientKeysForgotten},
		{"no secret lies in clear", noSecretInClear},
		{"sealed values are bound to their rows", sealedValuesAreBound},
		{"another store key is refused", otherKeyIsRefused},
		{"two processes share a database", twoProcesses},
		{"many processes open a new database at once", parallelOpening},
		{"what is closed lets no mint through", closingsAgainstMints},
		{"every party of a token is checked", partiesAreChecked},
		{"parties that are missing or another's stop a mint", missingParties},
		{"a device leaves its earlier owner's grants behind", transferredDevice},
		{"a decommissioned device never comes back", decommissionedDevice},
		{"a suspension needs a time", suspensionNeedsATime},
		{"clients change and go", clientsChangeAndGo},
		{"signing keys change together", signingKeysChange},
		{"families come back whole", familiesComeBackWhole},
		{"refresh secrets belong to one generation", refreshSecrets},
		{"refresh tokens rotate", rotation},
		{"a refused refresh has changed nothing", refreshUndone},
		{"a refresh token is used once by 1,000 at a time", parallelRefresh},
		{"pushed requests are consumed by a code", pushedRequests},
		{"a pushed request is used once by 1,000 at a time", parallelRequests},
		{"device codes wait for their answer", deviceCodes},
		{"polling has a pace", pollingPace},
		{"a device code is used once by 1,000 at a time", parallelDeviceCodes},
		{"proofs are spent", usesAreSpent},
		{"what a device demands is replaced", demandsAreReplaced},
		{"app instances count upwards", instances},
		{"a count is used once by 1,000 at a time", parallelCounts},
		{"invitations to register come back whole and end", invitationsEnd},
		{"registration tokens are counted", registrationTokens},
		{"an invitation is used once by 1,000 at a time", parallelRegistrations},
		{"a client changes only as long as it may", registeredClientChanges},
		{"a client that leaves gets nothing more", registeredClientLeaves},
		{"a lease has one holder", leases},
		{"tokens end by each selection", endSelects},
		{"very many tokens end", veryManyEnd},
		{"the outbox holds what devices do not know", outboxWorks},
		{"the last of two confirmations confirms", outboxInParallel},
		{"expired messages hold up nothing", expiredMessages},
		{"a requester sees its part of the revocation list", revokedIsPartOfTheList},
		{"the newest updates are kept", revokedKeepsTheNewest},
		{"a sweep takes tokens off the revocation list", revokedAfterSweep},
		{"the revocation list is of one moment", revokedIsOneState},
		{"a sweep removes what has ended", sweepRemovesWhatHasEnded},
		{"a sweep goes in batches", sweepInBatches},
		{"a sweep keeps what is needed", sweepKeepsWhatIsNeeded},
		{"a sweep removes what is damaged", sweepOfDamage},
		{"a sweep erases claims", sweepErasesClaims},
		{"a tampered log is found", tamperedLogIsFound},
		{"a truncated log is found", truncatedLogIsFound},
		{"a log is pruned", logIsPruned},
		{"a store is closed while others write", closedWhileWriting},
		{"entries of before are in the chain", logOfBefore},
		{"audit entries are found by their parts", auditSelection},
		{"what is in memory ends with a change", changesAreSeen},
		{"every column of the parties is seen to change", everyColumnIsSeen},
		{"mints at a time fail alone", neighboursFailAlone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, fresh(t))
		})
	}
}

// evening is the time at which the tests play.
var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

var storeKey = storage.StoreKey(sha256.Sum256([]byte("store key of the contract")))

func open(t *testing.T, db Database) authz.Store {
	t.Helper()
	store, err := openAt(db, storeKey, evening)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func openAt(db Database, key storage.StoreKey, now time.Time) (authz.Store, error) {
	return storage.Open(context.Background(), db.URL, storage.Options{Key: key, Now: func() time.Time { return now }})
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is must for a value.
func get[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return value
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func refused(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func hash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

var door = aif.New(aif.Entry{Path: "/door", Methods: aif.GET}, aif.Entry{Path: "/door/unlock", Methods: aif.POST})

// lock is a device; n tells one from another.
func lock(n byte) authz.Device {
	return authz.Device{
		ID: provision.DeviceID{0xD0, 7: n}, Name: fmt.Sprintf("door %d", n), Owner: "alice",
		Kind: provision.KindLock, Delivery: authz.DeliveryPush, Profile: pop.ProfileCoAPOSCORE,
		Clock: provision.ClockNone, Shape: provision.ShapeSign1ECDH,
		Actions: []provision.Action{
			{Name: "unlock", Path: "/door/unlock", Methods: aif.POST}, {Name: "view", Path: "/door", Methods: aif.GET},
		},
		Demands: map[string]attest.Demand{"unlock": {Key: attest.KeyHardware, MaxAge: time.Minute, Kinds: []attest.Kind{attest.AppAttest}}},
		RootKey: hash(fmt.Sprint("root key ", n)), PublicKey: hash("public"), SenderID: []byte{0x51, n}, State: authz.DeviceActive, Epoch: 1_763_838_000,
		ExpiresIn: 8 * time.Hour, Private: true, RequireCNonce: true, Remote: true, CreatedAt: evening, SigningKeys: []string{"1", "2"},
		Registration: authz.Registration{
			Address: "192.0.2.20:5683", LocalURIs: []string{"coap://192.0.2.20", "coap+gatt:18aa"},
			ExpiresAt: evening.Add(time.Hour), SeenAt: evening.Add(-time.Minute),
		},
	}
}

func phone(id string) authz.Client {
	return authz.Client{
		ID: id, AuthMethod: authz.AuthOSCORE, SecretHash: hash("secret"), RedirectURIs: []string{"app:/done", "http://localhost/ö"},
		GrantTypes: []string{authz.AuthorizationCode}, ClientMadeKeys: true, Ceiling: []string{"unlock"},
		Channel: &authz.Channel{
			MasterSecret: hash("master secret " + id), MasterSalt: []byte{1, 2}, PeerID: []byte("p" + id), ServerID: []byte{},
		},
		CreatedAt: evening,
	}
}

func permission(n byte) authz.Grant {
	return authz.Grant{
		ID: pop.GrantID{0x6A, 7: n}, Owner: "alice", To: authz.Subject{User: "mother"}, Device: lock(1).ID, Rights: door,
		From: evening.Add(-time.Hour), Until: evening.Add(4 * time.Hour), Once: true, CreatedAt: evening.Add(-2 * time.Hour),
	}
}

func code(name string) authz.CodeGrant {
	return authz.CodeGrant{
		Hash: hash(name), Client: "phone", User: "mother", RedirectURI: "app:/done", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
		Device: lock(1).ID, Rights: door, Grant: permission(1).ID, IssuedAt: evening, ExpiresAt: evening.Add(time.Minute),
	}
}

func token(name string) authz.TokenRecord {
	return authz.TokenRecord{
		Hash: tokenHash(name), AltHash: tokenHash("alt " + name), ID: tokenID(lock(1).ID, name), Device: lock(1).ID, Grant: permission(1).ID,
		Client: "phone", User: "mother", Code: hash("code of " + name), IssuedAt: evening, Expires: evening.Add(4 * time.Hour),
	}
}

// tokenHash has the form of RFC 9770 §4.
func tokenHash(name string) []byte { return append([]byte{1}, hash(name)...) }

// tokenID is a cti: device id and a number, here out of a name.
func tokenID(device provision.DeviceID, name string) []byte {
	return append(slices.Clone(device[:]), hash(name)[:8]...)
}

// byID sorts as the store does.
func byID(list ...authz.TokenRecord) []authz.TokenRecord {
	slices.SortFunc(list, func(a, b authz.TokenRecord) int { return bytes.Compare(a.ID, b.ID) })
	return list
}

func decision(reason string) authz.AuditEntry {
	return authz.AuditEntry{
		At: evening, Event: "token", Result: "granted", Reason: reason, Client: "phone", User: "mother", Device: "dAAAA",
		Grant: permission(1).ID,
	}
}

// house is a store with a door, a phone, a permission and a code for it.
func house(t *testing.T, db Database) authz.Store {
	t.Helper()
	store, ctx := open(t, db), t.Context()
	must(t, store.AddUser(ctx, authz.User{Name: "alice", CreatedAt: evening}))
	must(t, store.AddUser(ctx, authz.User{Name: "mother", CreatedAt: evening}))
	must(t, store.AddDevice(ctx, lock(1)))
	must(t, store.AddClient(ctx, phone("phone")))
	must(t, store.AddGrant(ctx, permission(1)))
	must(t, store.AddCode(ctx, code("code"), nil))
	return store
}

// spec mints for the code of that name; "" is none.
func spec(codeName string) authz.MintSpec {
	s := authz.MintSpec{
		Now: evening.Add(time.Second), Parties: authz.Parties{Grant: permission(1).ID, Device: lock(1).ID}, Audit: decision("as agreed"),
	}
	if codeName != "" {
		s.Code = hash(codeName)
	}
	return s
}

func issue(t authz.TokenRecord) func(authz.Minting) (authz.Issued, error) {
	return func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: t}, nil }
}
