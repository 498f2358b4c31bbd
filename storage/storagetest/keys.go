package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// importedLock is lock n with a channel that it brought along.
func importedLock(n byte) authz.Device {
	d := lock(n)
	d.Channel = &authz.Channel{MasterSecret: hash(fmt.Sprint("brought along ", n)), MasterSalt: []byte{9}, PeerID: d.SenderID, ServerID: []byte{1}}
	return d
}

// Key material that peers bring along belongs to one of them, whoever it is and for whatever it is used (T-9200-11).
func materialBelongsToOne(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	with := func(secret []byte, id byte) *authz.Channel {
		return &authz.Channel{MasterSecret: secret, MasterSalt: []byte{9}, PeerID: []byte{0xEE, id}, ServerID: []byte{1}}
	}
	imported := importedLock(2)
	must(t, store.AddDevice(ctx, imported))
	equal(t, "device with a channel", get(store.Device(ctx, imported.ID))(t), imported)
	equal(t, "as peer", get(store.Peer(ctx, imported.SenderID))(t), authz.Peer{Device: &imported})

	client := func(id string, c *authz.Channel) authz.Client {
		return authz.Client{ID: id, AuthMethod: authz.AuthDTLS, Channel: c}
	}
	refused(t, "material of a device", store.AddClient(ctx, client("a", with(imported.Channel.MasterSecret, 3))), authz.ErrExists)
	refused(t, "material of a client", store.AddClient(ctx, client("b", with(phone("phone").Channel.MasterSecret, 4))), authz.ErrExists)
	other := lock(3)
	other.SenderID, other.Channel = []byte{0xEE, 5}, with(phone("phone").Channel.MasterSecret, 5)
	refused(t, "material of a client for a device", store.AddDevice(ctx, other), authz.ErrExists)
	for _, gone := range []string{"a", "b"} {
		_, err := store.Client(ctx, gone)
		refused(t, "client "+gone, err, authz.ErrNotFound)
	}
	_, err := store.Peer(ctx, []byte{0xEE, 5})
	refused(t, "peer that was refused", err, authz.ErrNotFound)

	must(t, store.DeleteClient(ctx, "phone")) // and its material is free
	must(t, store.AddClient(ctx, client("c", with(phone("phone").Channel.MasterSecret, 6))))
}

// A token is signed by a key that counts, or it is not: whatever a withdrawal finds is all there is.
func withdrawnKeySignsNothing(t *testing.T, db Database) {
	ctx, store := t.Context(), house(t, db)
	first := authz.SigningKey{ID: "1", Private: []byte{1}, CreatedAt: evening, From: evening}
	must(t, store.AddSigningKey(ctx, first))
	must(t, store.AddSigningKey(ctx, authz.SigningKey{ID: "2", Private: []byte{2}, CreatedAt: evening, From: evening.Add(time.Hour)}))
	var signed []authz.TokenRecord
	for _, by := range []string{"", "1", "2"} {
		r := token("by " + by)
		r.Code, r.SignedBy = nil, by
		must(t, store.Mint(ctx, spec(""), issue(r)))
		equal(t, "signed by", get(store.Token(ctx, r.ID))(t), r)
		signed = append(signed, r)
	}
	first.Withdrawn = evening.Add(time.Second)
	must(t, store.UpdateSigningKeys(ctx, first))
	late := token("late")
	late.SignedBy = "1"
	s := spec("code")
	refused(t, "withdrawn", store.Mint(ctx, s, issue(late)), authz.ErrKeyWithdrawn)
	late.SignedBy = "9"
	refused(t, "no such key", store.Mint(ctx, s, issue(late)), authz.ErrKeyWithdrawn)
	equal(t, "code is unspent", get(store.Code(ctx, hash("code")))(t), code("code"))

	ended := get(store.End(ctx, authz.EndSpec{SignedBy: "1", Audit: decision("compromised")}, evening.Add(2*time.Second)))(t)
	if len(ended) != 1 || ended[0].SignedBy != "1" {
		t.Errorf("ended %d tokens", len(ended))
	}
	for _, r := range signed {
		got := get(store.Token(ctx, r.ID))(t)
		equal(t, "revoked, by "+r.SignedBy, !got.Revoked.IsZero(), r.SignedBy == "1")
	}
	equal(t, "again", len(get(store.End(ctx, authz.EndSpec{SignedBy: "1", Audit: decision("compromised")}, evening.Add(3*time.Second)))(t)), 0)

	// Who rotates at the same time does not bring it back.
	first.Withdrawn, first.From = time.Time{}, evening.Add(time.Minute)
	must(t, store.UpdateSigningKeys(ctx, first))
	for _, k := range get(store.SigningKeys(ctx))(t) {
		equal(t, "withdrawn "+k.ID, !k.Withdrawn.IsZero(), k.ID == "1")
	}
}
