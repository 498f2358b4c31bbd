package jose_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// listKey is a public key of the attester's JWK Set, with its kid.
func listKey(kid string) string {
	return strings.TrimSuffix(instanceKey, "}") + `,"use":"sig","alg":"ES256","kid":"` + kid + `"}`
}

const ed25519Key = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}`

func TestParseSet(t *testing.T) {
	rsa := `{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}`
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	many := func(n int) string {
		var keys []string
		for i := range n {
			keys = append(keys, listKey(fmt.Sprint(i)))
		}
		return set(keys...)
	}
	tests := []struct {
		name, data string
		want       string // ids of the keys that are kept, in brackets; empty: refused
	}{
		{"one key", set(listKey("a")), "[a]"},
		{"two kinds", set(listKey("a"), ed25519Key), "[a ed]"},
		{"no keys", set(), "[]"},
		{"other members", `{"keys":[` + listKey("a") + `],"issuer":"x"}`, "[a]"},
		{"an RSA key, left out, under the same kid", set(rsa, listKey("a")), "[a]"},
		{"a key for encryption, left out", set(strings.Replace(listKey("b"), `"sig"`, `"enc"`, 1), listKey("a")), "[a]"},
		{"a curve that is not known, left out", set(strings.Replace(listKey("b"), "P-256", "P-999", 1), listKey("a")), "[a]"},
		{"a kind that is not known, left out", set(`{"kty":"AKP","kid":"q","pub":"AA"}`, listKey("a")), "[a]"},
		{"a key without kid", set(instanceKey), "[]"},
		{"as many keys as fit", many(jose.MaxSetKeys), fmt.Sprint(numbers(jose.MaxSetKeys))},
		{"a key too many", many(jose.MaxSetKeys + 1), ""},
		{"a key too many, all of them left out", set(strings.Split(strings.Repeat(rsa+";", jose.MaxSetKeys)+rsa, ";")...), ""},
		{"two keys with one kid", set(listKey("a"), strings.Replace(ed25519Key, `"ed"`, `"a"`, 1)), ""},
		{"the same key twice", set(listKey("a"), listKey("a")), ""},
		{"a symmetric key", set(listKey("a"), `{"kty":"oct","k":"AAAA"}`), ""},
		{"a private key", set(strings.Replace(listKey("a"), `{`, `{"d":"AAAA",`, 1)), ""},
		{"a private RSA key", set(strings.Replace(rsa, `{`, `{"p":"AAAA",`, 1)), ""},
		{"a key off the curve", set(strings.Replace(listKey("a"), "18wH", "AAAA", 1)), ""},
		{"a key that is a string", set(`"a"`), ""},
		{"a key that is null", set(`null`), ""},
		{"a key without kty", set(`{}`), ""},
		{"keys twice", `{"keys":[],"keys":[]}`, ""},
		{"keys null", `{"keys":null}`, ""},
		{"keys as an object", `{"keys":{}}`, ""},
		{"no keys at all", `{}`, ""},
		{"a single key", listKey("a"), ""},
		{"a list", `[]`, ""},
		{"bytes after it", set() + "x", ""},
		{"nothing", "", ""},
		{"longer than its bound", set(listKey("a")) + strings.Repeat(" ", jose.MaxSet), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := jose.ParseSet([]byte(tt.data))
			if tt.want == "" {
				if err == nil {
					t.Errorf("got %v", s.Keys())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, k := range s.Keys() {
				ids = append(ids, k.ID())
			}
			if got := fmt.Sprint(ids); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func numbers(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func TestSetFindsByKid(t *testing.T) {
	s, err := jose.ParseSet([]byte(`{"keys":[` + listKey("a") + `,` + ed25519Key + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for kid, want := range map[string]jose.Algorithm{"a": jose.ES256, "ed": jose.EdDSA} {
		if k, err := s.Find(kid); err != nil || k.Algorithm() != want || k.ID() != kid {
			t.Errorf("%s: got %v, %v", kid, k, err)
		}
	}
	for _, kid := range []string{"", "A", "a ", "b"} {
		if k, err := s.Find(kid); !errors.Is(err, jose.ErrUnknownKey) {
			t.Errorf("%q: got %v, %v", kid, k, err)
		}
	}
	alone, err := jose.ParseSet([]byte(`{"keys":[` + instanceKey + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.Find(""); err != nil {
		t.Errorf("the only key: %v", err)
	}
	if k, err := alone.Find("x"); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("a kid that the only key does not have: got %v, %v", k, err)
	}
	if k, err := new(jose.Set).Find(""); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("no keys: got %v, %v", k, err)
	}
}

func TestSetComesBackAsItWas(t *testing.T) {
	var keys []*jose.Key
	for alg, signer := range signers(t) {
		k, err := jose.NewKey(signer.Public(), alg.String())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	s, err := jose.NewSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := jose.ParseSet(data)
	if err != nil || len(back.Keys()) != len(keys) {
		t.Fatalf("got %v, %v", back, err)
	}
	for i, k := range back.Keys() {
		if !k.Equal(keys[i]) || k.ID() != keys[i].ID() || k.Algorithm() != keys[i].Algorithm() {
			t.Errorf("got %v, want %v", k, keys[i])
		}
	}
	secret, err := jose.NewSecretKey([]byte(strings.Repeat("s", 32)), "s")
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]*jose.Key{
		"a shared secret": {secret}, "no id": {issuerKey(t, "")}, "an id with a space": {issuerKey(t, "a b")}, "none": {nil}, "one id twice": {issuerKey(t, "a"), keys[0], issuerKey(t, "a")},
	} {
		if got, err := jose.NewSet(bad...); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

const (
	lead = 24 * time.Hour // verifiers fetch the set daily
	keep = 2 * time.Hour  // longest token, and skew
)

// ringAt fails unless the ring signs with the named key and publishes the named keys.
func ringAt(t *testing.T, r *jose.Ring, now time.Time, signer string, published ...string) {
	t.Helper()
	s, err := r.Signer(now)
	if signer == "" && !errors.Is(err, jose.ErrNoSigner) || signer != "" && (err != nil || s.ID != signer) {
		t.Errorf("signs with %q, %v, want %q", s.ID, err, signer)
	}
	set, err := r.Set(now)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys() {
		ids = append(ids, k.ID())
	}
	if fmt.Sprint(ids) != fmt.Sprint(published) {
		t.Errorf("publishes %v, want %v", ids, published)
	}
}

func TestRotation(t *testing.T) {
	pace := jose.Pace{Lead: lead, Keep: keep}
	key := func(id string) jose.Signer { return jose.Signer{Key: newKey(), ID: id} }
	must := func(r *jose.Ring, err error) *jose.Ring {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	start := time.Unix(1_800_000_000, 0)
	empty := must(jose.NewRing(pace))
	ringAt(t, empty, start, "")
	first := must(empty.Rotate(key("a"), start))
	ringAt(t, first, start, "a", "a")
	ringAt(t, first, start.Add(-time.Second), "")

	second := must(first.Rotate(key("b"), start.Add(time.Hour)))
	change := start.Add(time.Hour + lead)
	ringAt(t, second, start.Add(time.Hour), "a", "a", "b") // published before it is used
	ringAt(t, second, change.Add(-time.Second), "a", "a", "b")
	ringAt(t, second, change, "b", "a", "b") // the old one stays for what it signed
	ringAt(t, second, change.Add(keep-time.Second), "b", "a", "b")
	ringAt(t, second, change.Add(keep), "b", "b")
	ringAt(t, first, change, "a", "a") // the old ring is as it was

	if _, err := second.Rotate(key("c"), change.Add(-time.Second)); err == nil {
		t.Error("a key was added while another waits")
	}
	if _, err := second.Rotate(key("b"), change); err == nil {
		t.Error("one kid twice")
	}
	third := must(second.Rotate(key("c"), change.Add(keep)))
	if len(third.Slots()) != 2 {
		t.Errorf("got %d slots, want those of b and c", len(third.Slots()))
	}

	restored := must(jose.NewRing(pace, second.Slots()...))
	ringAt(t, restored, change, "b", "a", "b")

	// A key that is no longer secret goes at once.
	ringAt(t, must(second.Withdraw("b", start.Add(2*time.Hour))), change.Add(lead), "a", "a")       // the waiting one
	ringAt(t, must(second.Withdraw("a", start.Add(2*time.Hour))), start.Add(2*time.Hour), "b", "b") // the signing one: b takes over
	ringAt(t, must(second.Withdraw("a", change)), change, "b", "b")                                 // the retired one
	alone := must(first.Withdraw("a", start))
	ringAt(t, alone, start, "")
	ringAt(t, must(alone.Rotate(key("d"), start)), start, "d", "d")
	if _, err := first.Withdraw("x", start); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("got %v, want %v", err, jose.ErrUnknownKey)
	}
}

// A key that is lost goes, though the next one is not published yet: by plan, or because a clock went back.
func TestWithdrawBeforeTheNextIsPublished(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := jose.Slot{Signer: jose.Signer{Key: newKey(), ID: "a"}, Publish: now, From: now, Until: now.Add(2 * lead)}
	b := jose.Slot{Signer: jose.Signer{Key: newKey(), ID: "b"}, Publish: now.Add(lead), From: now.Add(2 * lead)}
	r, err := jose.NewRing(jose.Pace{Lead: lead, Keep: keep}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.Withdraw("a", now); err != nil {
		t.Fatal(err)
	}
	ringAt(t, r, now, "b", "b")
}

// TestNobodyMeetsAnUnknownKey walks a year of rotations: a verifier that fetches the set once a day knows the key of every
// token that is alive.
func TestNobodyMeetsAnUnknownKey(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r, err := jose.NewRing(jose.Pace{Lead: lead, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	var fetched *jose.Set
	var tokens []string // kids of the tokens of the last hour
	for hour := range 24 * 90 {
		if hour%(24*30) == 0 {
			if r, err = r.Rotate(jose.Signer{Key: newKey(), ID: fmt.Sprint("k", hour)}, now); err != nil {
				t.Fatal(err)
			}
		}
		if hour%24 == 0 {
			if fetched, err = r.Set(now); err != nil {
				t.Fatal(err)
			}
		}
		s, err := r.Signer(now)
		if err != nil {
			t.Fatal(err)
		}
		for _, kid := range append(tokens, s.ID) {
			if _, err := fetched.Find(kid); err != nil {
				t.Fatalf("hour %d: %s: %v", hour, kid, err)
			}
		}
		tokens = []string{s.ID}
		now = now.Add(time.Hour)
	}
}

func TestRingRefuses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good := jose.Slot{Signer: jose.Signer{Key: newKey(), ID: "a"}, Publish: now, From: now}
	for name, change := range map[string]func(*jose.Slot){
		"no time":                     func(s *jose.Slot) { s.Publish = time.Time{} },
		"signing before publication":  func(s *jose.Slot) { s.From = now.Add(-1) },
		"an end before the beginning": func(s *jose.Slot) { s.Until = now.Add(-1) },
		"no key":                      func(s *jose.Slot) { s.Signer.Key = nil },
		"no id":                       func(s *jose.Slot) { s.Signer.ID = "" },
	} {
		slot := good
		change(&slot)
		if r, err := jose.NewRing(jose.Pace{}, slot); err == nil {
			t.Errorf("%s: got %v", name, r.Slots())
		}
	}
	if _, err := jose.NewRing(jose.Pace{Keep: -1}); err == nil {
		t.Error("a negative phase")
	}
}
