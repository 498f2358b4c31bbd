package jose_test

import (
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"pgregory.net/rapid"
)

// TestAnyTokenComesBack draws claims, signs them with each kind of key and reads them again.
func TestAnyTokenComesBack(t *testing.T) {
	keys := signers(t)
	text := rapid.StringN(0, 20, 80).Filter(utf8.ValidString)
	instant := rapid.Int64Range(0, 253402300799)
	date := func(t *rapid.T, name string) time.Time {
		if rapid.Bool().Draw(t, name+" is there") {
			return time.Unix(instant.Draw(t, name), 0)
		}
		return time.Time{}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := jose.Registered{
			Issuer: text.Draw(t, "iss"), Subject: text.Draw(t, "sub"), ID: text.Draw(t, "jti"),
			Expires: date(t, "exp"), NotBefore: date(t, "nbf"), IssuedAt: date(t, "iat"),
		}
		audiences := rapid.SliceOfNDistinct(text.Filter(func(s string) bool { return s != "" }), 0, 8, rapid.ID).Draw(t, "aud")
		if len(audiences) > 0 {
			want.Audience = audiences
		}
		if rapid.Bool().Draw(t, "cnf is there") {
			want.Confirmation = &jose.Confirmation{KeyID: text.Filter(func(s string) bool { return s != "" }).Draw(t, "cnf")}
		}
		challenge := text.Draw(t, "challenge")
		alg := rapid.SampledFrom([]jose.Algorithm{jose.ES256, jose.ES384, jose.EdDSA}).Draw(t, "alg")
		token, err := jose.Make(jose.TypeAttestationPoP, want, map[jose.Claim]any{jose.ClaimChallenge: challenge}, jose.Signer{Key: keys[alg], ID: "k"})
		if err != nil {
			t.Fatal(err)
		}
		key, err := jose.NewKey(keys[alg].Public(), "k")
		if err != nil {
			t.Fatal(err)
		}
		got, err := jose.Verify(token, jose.Expect{Type: jose.TypeAttestationPoP, Keys: jose.Only(key)})
		if err != nil || !reflect.DeepEqual(got.Registered, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
		if back, err := got.Text(jose.ClaimChallenge, 80); challenge != "" && (err != nil || back != challenge) {
			t.Errorf("got %q, %v, want %q", back, err, challenge)
		}
	})
}

// TestAnyScheduleOfRotations: whatever the times of rotations and withdrawals, at most one key signs, it is published, and a
// key that signed stays published for as long as what it signed may live, unless it was withdrawn.
func TestAnyScheduleOfRotations(t *testing.T) {
	var keys []jose.Signer
	for i := range 12 {
		keys = append(keys, jose.Signer{Key: newKey(), ID: string(rune('a' + i))})
	}
	rapid.Check(t, func(t *rapid.T) {
		pace := jose.Pace{Lead: time.Duration(rapid.IntRange(0, 50).Draw(t, "lead")) * time.Hour, Keep: time.Duration(rapid.IntRange(0, 50).Draw(t, "keep")) * time.Hour}
		r, err := jose.NewRing(pace)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1_800_000_000, 0)
		signed := map[string]time.Time{} // when each key last signed
		fresh := 0
		for range 60 {
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "hours")) * time.Hour)
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1:
				if next, err := r.Rotate(keys[fresh%len(keys)], now); err == nil {
					r, fresh = next, fresh+1
				}
			case 2:
				if slots := r.Slots(); len(slots) > 0 {
					id := rapid.SampledFrom(slots).Draw(t, "withdrawn").Signer.ID
					if r, err = r.Withdraw(id, now); err != nil {
						t.Fatal(err)
					}
					delete(signed, id)
				}
			}
			set, err := r.Set(now)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := r.Signer(now); err == nil {
				signed[s.ID] = now
			}
			for id, at := range signed {
				if _, err := set.Find(id); err != nil && now.Before(at.Add(pace.Keep)) {
					t.Fatalf("%s signed %v ago and is not published", id, now.Sub(at))
				}
			}
		}
	})
}
