package jose_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// FuzzVerify: no bytes panic, and none but those that were signed are taken.
func FuzzVerify(f *testing.F) {
	good := forge(f, attestation, attestationClaims)
	f.Add(good)
	f.Add(good[1:])
	f.Add("..")
	f.Add(b64(`{"alg":"none"}`) + "..")
	e := expectAttestation(f)
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := jose.Verify(token, e); err == nil && token != good {
			t.Errorf("taken: %q", token)
		}
	})
}

// FuzzHeader puts any header before a good signature: what is taken names the right type and algorithm.
func FuzzHeader(f *testing.F) {
	f.Add(attestation)
	f.Add(`{"alg":"ES256","typ":"oauth-client-attestation+jwt","crit":["x"],"x":1}`)
	f.Add(`{"alg":"ES256","typ":"oauth-client-attestation+jwt","jwk":` + instanceKey + `}`)
	e := expectAttestation(f)
	f.Fuzz(func(t *testing.T, header string) {
		if _, err := jose.Verify(forge(t, header, attestationClaims), e); err == nil {
			for _, must := range []string{"ES256", "oauth-client-attestation"} {
				if !strings.Contains(header, must) && !strings.Contains(header, `\u`) {
					t.Errorf("taken: %s", header)
				}
			}
		}
	})
}

// FuzzPayload puts any payload behind a good signature: what is read can be written again, and reads as the same.
func FuzzPayload(f *testing.F) {
	f.Add(attestationClaims)
	for _, id := range []string{"rfc7800-3.2", "rfc7800-3.4", "rfc7800-3.5", "rfc8705-3.1", "rfc9068-3"} {
		f.Add(string(readRFC(f, id).Claims))
	}
	f.Add(`{"sub":"s","aud":"a","exp":1.5e9,"nbf":0,"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`)
	e := jose.Expect{Type: jose.TypeAttestation, Keys: jose.Only(issuerKey(f, serverKey))}
	f.Fuzz(func(t *testing.T, payload string) {
		got, err := jose.Verify(forge(t, attestation, payload), e)
		if err != nil {
			return
		}
		again, err := jose.Make(jose.TypeAttestation, got.Registered, nil, signer())
		if err != nil {
			t.Fatalf("read and not written: %+v: %v", got, err)
		}
		back, err := jose.Verify(again, e)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := got.Confirmation, back.Confirmation; a != nil && b != nil && a.Key != nil && a.Key.Equal(b.Key) {
			a.Key, b.Key = nil, nil // a kid inside jwk is not written again
		}
		if !reflect.DeepEqual(back.Registered, got.Registered) {
			t.Errorf("got %+v, want %+v", back.Registered, got.Registered)
		}
	})
}

// FuzzProof puts any header and payload under a good signature: what is taken is for this request and of bounded size.
func FuzzProof(f *testing.F) {
	for _, id := range []string{"rfc9449-4.1", "rfc9449-7.1"} {
		parts := strings.Split(readRFC(f, id).Proof, ".")
		f.Add(string(unb64(f, parts[0])), string(unb64(f, parts[1])))
	}
	parts := strings.Split(proof(f, nil), ".")
	f.Add(string(unb64(f, parts[0])), string(unb64(f, parts[1])))
	f.Fuzz(func(t *testing.T, header, payload string) {
		got, err := jose.VerifyProof(forge(t, header, payload), expectProof())
		if err != nil {
			return
		}
		if got.Thumbprint != issuerThumbprint(t) || len(got.ID) < 8 || len(got.ID) > 128 || got.Keep <= 0 || !strings.Contains(payload, "POST") && !strings.Contains(payload, `\u`) {
			t.Errorf("taken: %s %s: %+v", header, payload, got)
		}
		if age := proofTime.Sub(got.IssuedAt); age > time.Minute || age < -11*time.Second {
			t.Errorf("taken at the age of %v: %s", age, payload)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{instanceKey, ed25519Key, listKey("a"), string(readRFC(f, "rfc7638-3.1").JWK), `{"kty":"oct","k":"AA"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, jwk []byte) {
		key, err := jose.ParseKey(jwk)
		if err != nil {
			return
		}
		if print, err := jose.ThumbprintOf(jwk); err != nil || print != key.Thumbprint() {
			t.Errorf("%s: got %v, %v, want %v", jwk, print, err, key.Thumbprint())
		}
		public, err := key.JWK()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := jose.ParseKey(public); err != nil || !back.Equal(key) {
			t.Errorf("%s: got %v, %v", public, back, err)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + listKey("a") + `,` + ed25519Key + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA"},{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jose.ParseSet(data)
		if err != nil {
			return
		}
		if len(set.Keys()) > jose.MaxSetKeys {
			t.Errorf("%d keys", len(set.Keys()))
		}
		for _, k := range set.Keys() {
			if found, err := set.Find(k.ID()); k.ID() != "" && (err != nil || !found.Equal(k)) {
				t.Errorf("%s: got %v, %v", k.ID(), found, err)
			}
		}
		if _, err := set.Encode(); err != nil {
			t.Errorf("read and not written: %v", err)
		}
	})
}

func FuzzParseThumbprint(f *testing.F) {
	f.Add("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if print, err := jose.ParseThumbprint(s); err == nil && print.String() != s {
			t.Errorf("%q is %v", s, print)
		}
	})
}
