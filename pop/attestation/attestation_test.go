package attestation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t testing.TB, key *ecdsa.PrivateKey, id string) *jose.Key {
	t.Helper()
	k, err := jose.NewKey(key.Public(), id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// made is a good attestation of an instance.
func made(t testing.TB, attester, instance *ecdsa.PrivateKey) string {
	t.Helper()
	token, err := attestation.Make(&attestation.Attestation{
		Attester: "https://attester.example", Client: "app", Key: public(t, instance, ""), IssuedAt: evening, Expires: evening.Add(5 * time.Minute),
		Verdict: json.RawMessage(`{"kind":"service"}`),
	}, jose.Signer{Key: attester, ID: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestVerify(t *testing.T) {
	attester, instance := newKey(t), newKey(t)
	token := made(t, attester, instance)
	expect := attestation.Expect{Keys: jose.Only(public(t, attester, "k1")), Now: evening}
	a, err := attestation.Verify(token, expect)
	if err != nil {
		t.Fatal(err)
	}
	if a.Client != "app" || a.Attester != "https://attester.example" || !a.Key.Equal(public(t, instance, "")) || !a.IssuedAt.Equal(evening) ||
		!a.Expires.Equal(evening.Add(5*time.Minute)) || string(a.Verdict) != `{"kind":"service"}` {
		t.Errorf("%+v", a)
	}
	for n := range token {
		if _, err := attestation.Verify(token[:n], expect); !errors.Is(err, attestation.ErrAttestation) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	for name, tt := range map[string]struct {
		at   time.Duration
		want error
	}{
		"at its end":         {5 * time.Minute, attestation.ErrStale},
		"a second before":    {5*time.Minute - time.Second, nil},
		"long after":         {time.Hour, attestation.ErrStale},
		"before it was made": {-11 * time.Second, attestation.ErrAttestation},
		"clocks that differ": {-10 * time.Second, nil},
		"an hour too early":  {-56 * time.Minute, attestation.ErrAttestation},
	} {
		expect.Now = evening.Add(tt.at)
		if _, err := attestation.Verify(token, expect); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func TestProof(t *testing.T) {
	key := newKey(t)
	token, err := attestation.Prove(attestation.ProofFor{Audience: "https://as.example", Challenge: "c1"}, key, evening, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	expect := attestation.ExpectProof{Key: public(t, key, ""), Audience: "https://as.example", Now: evening, Challenge: func(c string) bool { return c == "c1" }}
	p, err := attestation.VerifyProof(token, expect)
	if err != nil || p.Challenge != "c1" || p.Keep < attestation.ProofAge {
		t.Fatalf("%+v, %v", p, err)
	}
	another, err := attestation.Prove(attestation.ProofFor{Audience: "https://as.example"}, key, evening, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attestation.VerifyProof(another, expect); !errors.Is(err, attestation.ErrChallenge) {
		t.Errorf("without a challenge: %v", err)
	}
	expect.Challenge = nil
	q, err := attestation.VerifyProof(another, expect)
	if err != nil || q.Replay == p.Replay {
		t.Errorf("another proof: %v, the same replay value: %v", err, q != nil && q.Replay == p.Replay)
	}
	for n := range token {
		if _, err := attestation.VerifyProof(token[:n], expect); !errors.Is(err, attestation.ErrProof) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	for name, change := range map[string]func(*attestation.ExpectProof){
		"another key":      func(e *attestation.ExpectProof) { e.Key = public(t, newKey(t), "") },
		"another audience": func(e *attestation.ExpectProof) { e.Audience = "https://rs.example" },
		"61 s old":         func(e *attestation.ExpectProof) { e.Now = evening.Add(61 * time.Second) },
		"11 s ahead":       func(e *attestation.ExpectProof) { e.Now = evening.Add(-11 * time.Second) },
	} {
		e := expect
		change(&e)
		if _, err := attestation.VerifyProof(token, e); !errors.Is(err, attestation.ErrProof) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// An app shows itself: what the attester said, and a proof for this server with its challenge.
func Example() {
	attester, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	instance, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, _ := jose.NewKey(instance.Public(), "")
	now := time.Now()
	token, _ := attestation.Make(&attestation.Attestation{Client: "app", Key: key, IssuedAt: now, Expires: now.Add(5 * time.Minute)}, jose.Signer{Key: attester, ID: "k1"})
	proof, _ := attestation.Prove(attestation.ProofFor{Audience: "https://as.example", Challenge: "c1"}, instance, now, rand.Reader)

	trusted, _ := jose.NewKey(attester.Public(), "k1")
	a, err := attestation.Verify(token, attestation.Expect{Keys: jose.Only(trusted), Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = attestation.VerifyProof(proof, attestation.ExpectProof{Key: a.Key, Audience: "https://as.example", Now: now, Challenge: func(c string) bool { return c == "c1" }})
	fmt.Println(a.Client, err)
	// Output: app <nil>
}

func FuzzVerify(f *testing.F) {
	attester, instance := newKey(f), newKey(f)
	good := made(f, attester, instance)
	expect := attestation.Expect{Keys: jose.Only(public(f, attester, "k1")), Now: evening}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if a, err := attestation.Verify(token, expect); err == nil && (a.Key == nil || a.Client == "") {
			t.Errorf("%q: %+v", token, a)
		}
	})
}

func FuzzVerifyProof(f *testing.F) {
	key := newKey(f)
	good, err := attestation.Prove(attestation.ProofFor{Audience: "https://as.example", Challenge: "c1"}, key, evening, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	expect := attestation.ExpectProof{Key: public(f, key, ""), Audience: "https://as.example", Now: evening}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := attestation.VerifyProof(token, expect); err == nil && token[:strings.LastIndexByte(token, '.')] != good[:strings.LastIndexByte(good, '.')] {
			t.Errorf("%q was taken", token)
		}
	})
}
