package playintegrity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// TestVerify: each form that Google documents is accepted, and graded.
func TestVerify(t *testing.T) {
	g := newGoogle(t)
	v := g.verifier()
	good := Result{App: packageName, Release: 42, System: attest.SystemVerified, At: now}
	type all = map[string]map[string]any
	for name, tt := range map[string]struct {
		change func(all)
		want   func(*Result)
	}{
		"a standard request": {func(all) {}, func(*Result) {}},
		"a classic request": {func(c all) {
			delete(c["requestDetails"], "requestHash")
			c["requestDetails"]["nonce"] = bound
		}, func(*Result) {}},
		"a nonce that Google padded": {func(c all) {
			delete(c["requestDetails"], "requestHash")
			c["requestDetails"]["nonce"] = bound + "="
		}, func(*Result) {}},
		"numbers without quotes": {func(c all) {
			c["requestDetails"]["timestampMillis"], c["appIntegrity"]["versionCode"] = now.UnixMilli(), 42
		}, func(*Result) {}},
		"MEETS_DEVICE_INTEGRITY alone": {func(c all) { c["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_DEVICE_INTEGRITY"} }, func(*Result) {}},
		"MEETS_STRONG_INTEGRITY alone": {func(c all) { c["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_STRONG_INTEGRITY"} }, func(*Result) {}},
		"MEETS_BASIC_INTEGRITY alone": {func(c all) { c["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_BASIC_INTEGRITY"} },
			func(r *Result) { r.System = attest.SystemDegraded }},
		"a label that is new": {func(c all) {
			c["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_BASIC_INTEGRITY", "MEETS_MARVELLOUS_INTEGRITY"}
		}, func(r *Result) { r.System = attest.SystemDegraded }},
		"members that are new": {func(c all) {
			c["weatherDetails"] = map[string]any{"sun": []any{1.5, nil, map[string]any{"a": true}}}
			c["appIntegrity"]["colour"], c["requestDetails"]["Nonce"] = "red", "x"
		}, func(*Result) {}},
		"no version code":            {func(c all) { delete(c["appIntegrity"], "versionCode") }, func(r *Result) { r.Release = 0 }},
		"details of no test":         {func(c all) { c["testingDetails"] = map[string]any{"isTestingResponse": false} }, func(*Result) {}},
		"as old as may be":           {func(c all) { c["requestDetails"]["timestampMillis"] = millis(now.Add(-DefaultMaxAge)) }, func(r *Result) { r.At = now.Add(-DefaultMaxAge) }},
		"of a clock ten seconds off": {func(c all) { c["requestDetails"]["timestampMillis"] = millis(now.Add(MaxAhead)) }, func(*Result) {}},
	} {
		c, want := claims(), good
		tt.change(c)
		tt.want(&want)
		got, err := v.Verify(g.verdict(t, c), bound, now)
		if err != nil || got.App != want.App || got.Release != want.Release || got.System != want.System || got.Testing || !got.At.Equal(want.At) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
	got, err := v.Verify(g.verdict(t, claims()), bound, now.Add(1500*time.Millisecond))
	if want := (attest.Verdict{Kind: attest.PlayIntegrity, App: packageName, System: attest.SystemVerified, At: now}); err != nil || !got.At.Equal(now) || got.Verdict().String() != want.String() {
		t.Errorf("got %v, %v, want %v", got.Verdict(), err, want)
	}
}

// TestRefuse: what Google says is refused by name, whoever signed it.
func TestRefuse(t *testing.T) {
	g := newGoogle(t)
	type all = map[string]map[string]any
	set := func(section, name string, value any) func(all) {
		return func(c all) { c[section][name] = value }
	}
	drop := func(section, name string) func(all) { return func(c all) { delete(c[section], name) } }
	labels := func(labels ...string) func(all) {
		return set("deviceIntegrity", "deviceRecognitionVerdict", labels)
	}
	other := encode64(hash("another certificate"))
	for name, tt := range map[string]struct {
		change func(all)
		want   error
	}{
		"the request of another app":        {set("requestDetails", "requestPackageName", "com.example.clone"), ErrApp},
		"no app that asked":                 {drop("requestDetails", "requestPackageName"), ErrApp},
		"the installation of another app":   {set("appIntegrity", "packageName", "com.example.clone"), ErrApp},
		"no installed app":                  {drop("appIntegrity", "packageName"), ErrApp},
		"an app that is called alike":       {set("requestDetails", "requestPackageName", "com.Example.door"), ErrApp},
		"another signing certificate":       {set("appIntegrity", "certificateSha256Digest", []string{other}), ErrApp},
		"another certificate too":           {set("appIntegrity", "certificateSha256Digest", []string{encode64(cert), other}), ErrApp},
		"no certificate":                    {drop("appIntegrity", "certificateSha256Digest"), ErrApp},
		"an empty list of certificates":     {set("appIntegrity", "certificateSha256Digest", []string{}), ErrApp},
		"a version that Play does not know": {set("appIntegrity", "appRecognitionVerdict", "UNRECOGNIZED_VERSION"), ErrUnrecognized},
		"an app that was not judged":        {func(c all) { c["appIntegrity"] = map[string]any{"appRecognitionVerdict": "UNEVALUATED"} }, ErrUnevaluated},
		"no word on the app":                {drop("appIntegrity", "appRecognitionVerdict"), ErrUnevaluated},
		"a new word on the app":             {set("appIntegrity", "appRecognitionVerdict", "PLAY_RECOGNIZED_ALMOST"), ErrUnevaluated},
		"another hash":                      {set("requestDetails", "requestHash", encode64(hash("another"))), ErrBinding},
		"a hash with more":                  {set("requestDetails", "requestHash", bound+"A"), ErrBinding},
		"a padded hash":                     {set("requestDetails", "requestHash", bound+"="), ErrBinding},
		"another nonce": {func(c all) {
			delete(c["requestDetails"], "requestHash")
			c["requestDetails"]["nonce"] = encode64(hash("another"))
		}, ErrBinding},
		"both nonce and hash":                    {set("requestDetails", "nonce", bound), ErrMalformed},
		"neither nonce nor hash":                 {drop("requestDetails", "requestHash"), ErrMalformed},
		"an empty hash":                          {set("requestDetails", "requestHash", ""), ErrMalformed},
		"a nonce of padding":                     {func(c all) { delete(c["requestDetails"], "requestHash"); c["requestDetails"]["nonce"] = "==" }, ErrBinding},
		"too old by a second":                    {set("requestDetails", "timestampMillis", millis(now.Add(-DefaultMaxAge-time.Second))), ErrStale},
		"in the future by eleven seconds":        {set("requestDetails", "timestampMillis", millis(now.Add(MaxAhead+time.Second))), ErrFuture},
		"no time":                                {drop("requestDetails", "timestampMillis"), ErrMalformed},
		"a time with a fraction":                 {set("requestDetails", "timestampMillis", 1.5), ErrMalformed},
		"a time with an exponent":                {set("requestDetails", "timestampMillis", json.RawMessage("1e12")), ErrMalformed},
		"a time before its kind":                 {set("requestDetails", "timestampMillis", "-1"), ErrMalformed},
		"a time in another spelling":             {set("requestDetails", "timestampMillis", "0"+millis(now)), ErrMalformed},
		"a time beyond the years":                {set("requestDetails", "timestampMillis", "253402300800000"), ErrMalformed},
		"a time beyond its type":                 {set("requestDetails", "timestampMillis", "99999999999999999999"), ErrMalformed},
		"an answer for testing":                  {func(c all) { c["testingDetails"] = map[string]any{"isTestingResponse": true} }, ErrTesting},
		"testing that is no boolean":             {func(c all) { c["testingDetails"] = map[string]any{"isTestingResponse": "true"} }, ErrMalformed},
		"no labels":                              {drop("deviceIntegrity", "deviceRecognitionVerdict"), ErrDevice},
		"an empty list of labels":                {labels([]string{}...), ErrDevice},
		"a label in another spelling":            {labels("meets_device_integrity"), ErrDevice},
		"an emulator":                            {labels("MEETS_VIRTUAL_INTEGRITY"), ErrVirtual},
		"an emulator that says more":             {labels("MEETS_DEVICE_INTEGRITY", "MEETS_VIRTUAL_INTEGRITY"), ErrVirtual},
		"more labels than there are":             {labels(make([]string, maxLabels+1)...), ErrMalformed},
		"a label that is too long":               {labels(strings.Repeat("A", maxWord+1)), ErrMalformed},
		"labels that are no list":                {set("deviceIntegrity", "deviceRecognitionVerdict", "MEETS_DEVICE_INTEGRITY"), ErrMalformed},
		"a label that is null":                   {set("deviceIntegrity", "deviceRecognitionVerdict", []any{nil}), ErrMalformed},
		"labels that are null":                   {set("deviceIntegrity", "deviceRecognitionVerdict", nil), ErrMalformed},
		"a name that is a list":                  {set("requestDetails", "requestPackageName", []string{packageName}), ErrMalformed},
		"a name that is null":                    {set("appIntegrity", "packageName", nil), ErrMalformed},
		"a version code that is no number":       {set("appIntegrity", "versionCode", "4a"), ErrMalformed},
		"a version code in an object":            {set("appIntegrity", "versionCode", map[string]any{}), ErrMalformed},
		"no details of the request":              {func(c all) { delete(c, "requestDetails") }, ErrMalformed},
		"no integrity of the app":                {func(c all) { delete(c, "appIntegrity") }, ErrMalformed},
		"no integrity of the phone":              {func(c all) { delete(c, "deviceIntegrity") }, ErrMalformed},
		"an integrity of the phone that is null": {func(c all) { c["deviceIntegrity"] = nil }, ErrMalformed},
		"an empty label":                         {labels("MEETS_DEVICE_INTEGRITY", ""), ErrMalformed},
		"details of the request that are null":   {func(c all) { c["requestDetails"] = nil }, ErrMalformed},
	} {
		c := claims()
		tt.change(c)
		if got, err := g.verifier().Verify(g.verdict(t, c), bound, now); got != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %+v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// TestRefuseText: JSON that two readers could read in two ways.
func TestRefuseText(t *testing.T) {
	g := newGoogle(t)
	text, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	for name, payload := range map[string]string{
		"a section twice":                 strings.Replace(good, `"accountDetails":`, `"deviceIntegrity":{},"accountDetails":`, 1),
		"a member twice":                  strings.Replace(good, `"requestHash":`, `"requestHash":"x","requestHash":`, 1),
		"a member that is not read twice": strings.Replace(good, `"appLicensingVerdict":`, `"appLicensingVerdict":"x","appLicensingVerdict":`, 1),
		"a member twice, escaped":         strings.Replace(good, `"requestHash":`, `"reques\u0074Hash":"x","requestHash":`, 1),
		"something after":                 good + "{}",
		"a list":                          "[" + good + "]",
		"no JSON":                         good[:len(good)-1],
		"nothing":                         "",
		"half a character":                strings.Replace(good, `"LICENSED"`, `"\ud800"`, 1),
		"no UTF-8":                        strings.Replace(good, `"LICENSED"`, "\"\xff\"", 1),
		"a section that is a list":        strings.Replace(good, `"deviceIntegrity":{`, `"deviceIntegrity":[{`, 1)[:len(good)] + "]}",
		"deeper than anybody means":       strings.Replace(good, `"LICENSED"`, strings.Repeat("[", 20)+strings.Repeat("]", 20), 1),
	} {
		if got, err := g.verifier().Verify(g.token(t, []byte(payload)), bound, now); got != nil || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestRefuseEnvelopes: other keys, other algorithms, and other orders of signing and encrypting.
func TestRefuseEnvelopes(t *testing.T) {
	g, stranger := newGoogle(t), newGoogle(t)
	text, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	signed := g.sign(t, headerJWS, text)
	mac := hmac.New(sha256.New, g.wrap)
	input := encode64([]byte(`{"alg":"HS256"}`)) + "." + encode64(text)
	mac.Write([]byte(input))
	signer, sealer := &google{stranger.signing, g.wrap}, &google{g.signing, stranger.wrap}
	for name, tt := range map[string]struct {
		token string
		want  error
	}{
		"signed by another key":             {signer.token(t, text), ErrSignature},
		"encrypted with another key":        {sealer.token(t, text), ErrEncryption},
		"signed and not encrypted":          {signed, ErrMalformed},
		"encrypted and not signed":          {g.encrypt(t, headerJWE, string(text)), ErrMalformed},
		"encrypted twice":                   {g.encrypt(t, headerJWE, g.encrypt(t, headerJWE, signed)), ErrMalformed},
		"alg none":                          {g.encrypt(t, headerJWE, encode64([]byte(`{"alg":"none"}`))+"."+encode64(text)+"."), ErrSignature},
		"alg none with a signature":         {g.encrypt(t, headerJWE, g.sign(t, `{"alg":"none"}`, text)), ErrSignature},
		"HS256 with the key that decrypts":  {g.encrypt(t, headerJWE, input+"."+encode64(mac.Sum(nil))), ErrSignature},
		"no alg":                            {g.encrypt(t, headerJWE, g.sign(t, `{}`, text)), ErrSignature},
		"two algs":                          {g.encrypt(t, headerJWE, g.sign(t, `{"alg":"ES256","alg":"ES256"}`, text)), ErrMalformed},
		"a token of another type":           {g.encrypt(t, headerJWE, g.sign(t, `{"alg":"ES256","typ":"dpop+jwt"}`, text)), ErrSignature},
		"a signature with conditions":       {g.encrypt(t, headerJWE, g.sign(t, `{"alg":"ES256","crit":["b64"],"b64":false}`, text)), ErrSignature},
		"a key of its own":                  {g.encrypt(t, headerJWE, g.sign(t, `{"alg":"ES256","jwk":{}}`, text)), ErrSignature},
		"dir":                               {g.encrypt(t, `{"alg":"dir","enc":"A256GCM"}`, signed), ErrEncryption},
		"A128KW":                            {g.encrypt(t, `{"alg":"A128KW","enc":"A256GCM"}`, signed), ErrEncryption},
		"A128GCM":                           {g.encrypt(t, `{"alg":"A256KW","enc":"A128GCM"}`, signed), ErrEncryption},
		"compressed":                        {g.encrypt(t, `{"alg":"A256KW","enc":"A256GCM","zip":"DEF"}`, signed), ErrEncryption},
		"nothing":                           {"", ErrMalformed},
		"something else":                    {"a.b.c.d.e", ErrMalformed},
		"too long":                          {g.encrypt(t, headerJWE, strings.Repeat("x", jose.MaxWrapped)), ErrMalformed},
		"too long within":                   {g.encrypt(t, headerJWE, g.sign(t, headerJWS, bytes.Repeat([]byte{'{'}, 6200))), ErrMalformed},
		"the payload of another, cut apart": {graft(g.token(t, text), sealer.token(t, text)), ErrEncryption},
	} {
		got, err := g.verifier().Verify(tt.token, bound, now)
		if got != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %+v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// graft gives a token the wrapped key of another.
func graft(token, other string) string {
	parts, foreign := strings.Split(token, "."), strings.Split(other, ".")
	parts[1] = foreign[1]
	return strings.Join(parts, ".")
}

// TestTrustNobody: a verifier without one of its parts takes nothing.
func TestTrustNobody(t *testing.T) {
	g := newGoogle(t)
	token := g.verdict(t, claims())
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Verifier)
		want   error
	}{
		"nothing":                      {func(v *Verifier) { *v = Verifier{} }, ErrKeys},
		"no decryption key":            {func(v *Verifier) { v.Decryption = nil }, ErrKeys},
		"no verification key":          {func(v *Verifier) { v.Verification = nil }, ErrKeys},
		"a key on another curve":       {func(v *Verifier) { v.Verification = &p384.PublicKey }, ErrKeys},
		"a decryption key that is cut": {func(v *Verifier) { v.Decryption = v.Decryption[:16] }, ErrEncryption},
		"no apps":                      {func(v *Verifier) { v.Apps = nil }, ErrApp},
		"an app without certificates":  {func(v *Verifier) { v.Apps[0].Digests = nil }, ErrApp},
		"an app without a name":        {func(v *Verifier) { v.Apps[0].Package = "" }, ErrApp},
		"a shorter age":                {func(v *Verifier) { v.MaxAge = time.Nanosecond }, ErrStale},
	} {
		v := g.verifier()
		tt.change(v)
		if got, err := v.Verify(token, bound, now.Add(time.Second)); got != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %+v, %v, want %v", name, got, err, tt.want)
		}
	}
	c := claims()
	delete(c["requestDetails"], "requestHash")
	c["requestDetails"]["nonce"] = "=="
	for name, token := range map[string]string{"a hash": token, "padding": g.verdict(t, c)} {
		if got, err := g.verifier().Verify(token, "", now); got != nil || !errors.Is(err, ErrBinding) {
			t.Errorf("%s, bound to nothing: got %+v, %v", name, got, err)
		}
	}
	v, c := g.verifier(), claims()
	v.Apps[0].Package = ""
	delete(c["requestDetails"], "requestPackageName")
	delete(c["appIntegrity"], "packageName")
	if got, err := v.Verify(g.verdict(t, c), bound, now); got != nil || !errors.Is(err, ErrApp) {
		t.Errorf("an app without a name at either end: got %+v, %v", got, err)
	}
}

// TestTesting: where answers for testing count, they are degraded, whatever they say.
func TestTesting(t *testing.T) {
	g := newGoogle(t)
	v, c := g.verifier(), claims()
	v.Testing = true
	c["testingDetails"] = map[string]any{"isTestingResponse": true}
	if got, err := v.Verify(g.verdict(t, c), bound, now); err != nil || !got.Testing || got.System != attest.SystemDegraded {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTruncated: no byte of a token can be left out or changed.
func TestTruncated(t *testing.T) {
	g := newGoogle(t)
	v, token := g.verifier(), g.verdict(t, claims())
	for n := range len(token) {
		if got, err := v.Verify(token[:n], bound, now); got != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrEncryption) {
			t.Fatalf("%d bytes: got %+v, %v", n, got, err)
		}
		for _, bit := range []byte{1, 4, 32} {
			flipped := []byte(token)
			flipped[n] ^= bit
			if got, err := v.Verify(string(flipped), bound, now); got != nil || err == nil {
				t.Fatalf("byte %d, bit %d: got %+v, %v", n, bit, got, err)
			}
		}
	}
	text, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	signed := g.sign(t, headerJWS, text)
	for n := range len(signed) {
		if got, err := v.Verify(g.encrypt(t, headerJWE, signed[:n]), bound, now); got != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSignature) {
			t.Fatalf("%d bytes within: got %+v, %v", n, got, err)
		}
	}
}

// TestSecretsStay: a verifier that is printed shows no key, and no error holds what was sent.
func TestSecretsStay(t *testing.T) {
	g := newGoogle(t)
	v, c := g.verifier(), claims()
	if text := fmt.Sprintf("%v %+v %x %s", v, *v, v.Decryption, v.Decryption); strings.Contains(text, fmt.Sprintf("%x", g.wrap)) || !strings.Contains(text, "[redacted]") {
		t.Errorf("printed: %s", text)
	}
	if text, err := json.Marshal(v.Decryption); err != nil || string(text) != `"[redacted]"` {
		t.Errorf("written: %s, %v", text, err)
	}
	c["requestDetails"]["timestampMillis"] = "tell-tale"
	if _, err := v.Verify(g.verdict(t, c), bound, now); err == nil || strings.Contains(err.Error(), "tell-tale") {
		t.Errorf("got %v", err)
	}
}
