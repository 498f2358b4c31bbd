package cose_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
	"golang.org/x/crypto/chacha20poly1305"
)

// What the table test has measured; another number means that an algorithm or a file was lost or found.
const (
	wantResults     = 142
	wantUnsupported = 157
)

// misprints are the published examples that contradict the specification, and how. With the mistake made again they give
// their plaintext; testdata/corrected holds them without it, computed here.
var misprints = map[string]misprint{
	"chacha-poly-examples/chacha-poly-01.json": {
		"the cipher took four zero bytes for the first four of the nonce (RFC 8439 §2.8 takes all twelve)", "Encrypt",
	},
	"chacha-poly-examples/chacha-poly-enc-01.json": {
		"the same nonce, and the context of an early draft instead of Encrypt0 (RFC 9052 §5.3)", "Encrypt1",
	},
}

type misprint struct{ reason, context string }

// example is a file of the COSE working group's examples.
type example struct {
	Title string
	Fail  bool
	Input struct {
		Plaintext    string
		PlaintextHex string `json:"plaintext_hex"`
		Encrypted    *exampleLayer
		Enveloped    *exampleLayer
		Mac          *exampleLayer
		Mac0         *exampleLayer
		Sign         *exampleLayer
		Sign0        *exampleLayer
		Failures     map[string]any
	}
	Intermediates struct {
		CEK string `json:"CEK_hex"`
	}
	Output struct{ CBOR string }
}

// exampleLayer is a message, a signature or a recipient.
type exampleLayer struct {
	Protected   exampleHeader
	Unprotected exampleHeader
	Unsent      struct {
		IV           string `json:"IV_hex"`
		PublicOther  string `json:"pub_other"`
		PrivateOther string `json:"priv_other"`
		PartyU       string `json:"apu_id"`
		PartyV       string `json:"apv_id"`
	}
	Key        exampleKey
	External   string
	Signers    []exampleLayer
	Recipients []exampleLayer
	Failures   map[string]any
}

type exampleHeader struct {
	Alg       string
	PartialIV string `json:"partialIV_hex"`
	Crit      []string
}

type exampleKey struct {
	Kty, Crv, Kid, K, X, Y, D string

	KHex string `json:"k_hex"`
	XHex string `json:"x_hex"`
	YHex string `json:"y_hex"`
	DHex string `json:"d_hex"`
}

// ours are the examples' names for what this package can use.
var ours = []string{
	"ES256", "ES384", "EdDSA", "HS256", "HS256/64", "A128GCM", "A256GCM", "ChaCha-Poly1305", "AES-CCM-16-128/64", "AES-CCM-16-128/128",
	"AES-CCM-16-256/64", "AES-CCM-16-256/128", "direct", "HKDF-HMAC-SHA-256", "A128KW", "ECDH-ES", "ECDH-ES-A128KW", "ECDH-ES+A128KW",
	"P-256", "P-384", "X25519", "Ed25519", "",
}

// registered gives the name that an error must say for what the examples call otherwise.
var registered = map[string]string{
	"AES-CCM-64-128/64": "AES-CCM-64-64-128", "AES-CCM-64-128/128": "AES-CCM-64-128-128", "AES-CCM-64-256/64": "AES-CCM-64-64-256",
	"AES-CCM-64-256/128": "AES-CCM-64-128-256", "AES-MAC-128/64": "AES-MAC 128/64", "AES-MAC-256/64": "AES-MAC 256/64",
	"AES-MAC-128/128": "AES-MAC 128/128", "AES-MAC-256/128": "AES-MAC 256/128", "HS384": "HMAC 384/384", "HS512": "HMAC 512/512",
	"HKDF-HMAC-SHA-512": "direct+HKDF-SHA-512", "HKDF-AES-128": "direct+HKDF-AES-128", "HKDF-AES-256": "direct+HKDF-AES-256",
	"ECDH-ES-512": "ECDH-ES + HKDF-512", "ECDH-SS": "ECDH-SS + HKDF-256", "ECDH-SS-256": "ECDH-SS + HKDF-256", "ECDH-SS-512": "ECDH-SS + HKDF-512",
	"ECDH-ES-A192KW": "ECDH-ES + A192KW", "ECDH-ES-A256KW": "ECDH-ES + A256KW", "ECDH-SS-A128KW": "ECDH-SS + A128KW",
	"ECDH-SS+A128KW": "ECDH-SS + A128KW", "ECDH-SS-A192KW": "ECDH-SS + A192KW", "ECDH-SS-A256KW": "ECDH-SS + A256KW",
	"RSA-PSS-256": "PS256", "RSA-PSS-384": "PS384", "RSA-PSS-512": "PS512", "RSA-OAEP": "RSAES-OAEP w/ RFC 8017 default parameters",
	"RSA-OAEP-256": "RSAES-OAEP w/ SHA-256", "RSA-OAEP-512": "RSAES-OAEP w/ SHA-512",
}

func readExamples(tb testing.TB, pattern string) map[string]*example {
	tb.Helper()
	files, err := filepath.Glob("testdata/cose-wg-Examples/" + pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("no examples in %s: %v", pattern, err)
	}
	out := make(map[string]*example)
	for _, file := range files {
		out[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = readExample(tb, file)
	}
	return out
}

func readExample(tb testing.TB, file string) *example {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	e := &example{}
	if err := json.Unmarshal(data, e); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return e
}

// TestExamples holds every published example to its stated result, or to a refusal that names what is not ours. One file's
// title says HKDF-512 while its header and its derivation have HKDF-256: ecdh-direct-examples/p256-ss-hkdf-512-02.json.
func TestExamples(t *testing.T) {
	results, refused, misprinted := 0, 0, 0
	examples := readExamples(t, "*/*.json")
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			e := examples[name]
			foreign := e.foreign()
			got, err := e.open(t)
			mistake, wrong := misprints[name]
			switch {
			case wrong:
				t.Log("misprinted: " + mistake.reason)
				e.checkMisprint(t, mistake, err)
				misprinted++
			case e.Fail:
				e.checkRefusal(t, err)
				results++
			case len(foreign) > 0:
				named := func(name string) bool { return err != nil && strings.Contains(err.Error(), name) }
				if !errors.Is(err, cose.ErrUnsupported) || !slices.ContainsFunc(foreign, named) {
					t.Errorf("got %v, want %v naming one of %q", err, cose.ErrUnsupported, foreign)
				}
				refused++
			default:
				if want := e.plaintext(t); err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
				results++
			}
		})
	}
	t.Logf("%d vectors give their result, %d refused as unsupported, %d misprinted", results, refused, misprinted)
	if results != wantResults || refused != wantUnsupported || misprinted != len(misprints) {
		t.Errorf("got %d and %d, want %d and %d", results, refused, wantResults, wantUnsupported)
	}
}

func TestCorrectedExamples(t *testing.T) {
	for name := range misprints {
		t.Run(name, func(t *testing.T) {
			e := readExample(t, filepath.Join("testdata/corrected", filepath.Base(name)))
			if got, err := e.open(t); err != nil || !bytes.Equal(got, e.plaintext(t)) {
				t.Errorf("got %q, %v, want %q", got, err, e.plaintext(t))
			}
		})
	}
}

// checkMisprint demands that the message is refused, and that it is the mistake that is refused.
func (e *example) checkMisprint(t *testing.T, mistake misprint, err error) {
	t.Helper()
	if !errors.Is(err, cose.ErrVerification) {
		t.Errorf("got %v, want %v", err, cose.ErrVerification)
	}
	_, item := e.item(t)
	var fields []wire.RawMessage
	var protected, ciphertext []byte
	var open struct {
		IV []byte `cbor:"5,keyasint"`
	}
	decode := errors.Join(wire.Unmarshal(item, &fields), wire.Unmarshal(fields[0], &protected),
		wire.Unmarshal(fields[1], &open), wire.Unmarshal(fields[2], &ciphertext))
	aad, encode := wire.Marshal([]any{mistake.context, protected, []byte{}})
	aead, create := chacha20poly1305.New(unhex(t, e.Intermediates.CEK))
	if err := errors.Join(decode, encode, create); err != nil {
		t.Fatal(err)
	}
	clear(open.IV[:4])
	if got, err := aead.Open(nil, open.IV, ciphertext, aad); err != nil || !bytes.Equal(got, e.plaintext(t)) {
		t.Errorf("with the mistake made again: got %q, %v", got, err)
	}
}

// checkRefusal demands the refusal for what is wrong: only where the algorithm itself was changed is it unsupported.
func (e *example) checkRefusal(t *testing.T, err error) {
	t.Helper()
	kind, layer := e.layer()
	failures := e.Input.Failures
	if kind == cose.TagSign && failures == nil {
		failures = layer.Signers[0].Failures
	}
	if change, ok := failures["ChangeAttr"]; ok {
		if !errors.Is(err, cose.ErrUnsupported) || !strings.Contains(strings.ToLower(err.Error()), changedTo(change)) {
			t.Errorf("got %v, want %v naming %s", err, cose.ErrUnsupported, changedTo(change))
		}
		return
	}
	want := cose.ErrVerification
	if _, ok := failures["ChangeCBORTag"]; ok {
		want = cose.ErrMalformed
	}
	if !errors.Is(err, want) || errors.Is(err, cose.ErrUnsupported) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func changedTo(change any) string {
	if name, ok := change.(map[string]any)["alg"].(string); ok {
		return strings.ToLower(name)
	}
	return "-999"
}

// layer is the message and the structure it is in.
func (e *example) layer() (cose.Tag, *exampleLayer) {
	for tag, layer := range map[cose.Tag]*exampleLayer{
		cose.TagEncrypt0: e.Input.Encrypted, cose.TagEncrypt: e.Input.Enveloped, cose.TagMac: e.Input.Mac, cose.TagMac0: e.Input.Mac0,
		cose.TagSign: e.Input.Sign, cose.TagSign1: e.Input.Sign0,
	} {
		if layer != nil {
			return tag, layer
		}
	}
	panic("an example without a message: " + e.Title)
}

// foreign are the registered names of what the example uses and this package does not have. Countersignatures do not
// count: they stand beside the message.
func (e *example) foreign() []string {
	var out []string
	_, layer := e.layer()
	layer.walk(func(l *exampleLayer) {
		for _, name := range []string{l.Protected.Alg, l.Unprotected.Alg, l.Key.Crv} {
			if slices.Contains(ours, name) {
				continue
			}
			if full, ok := registered[name]; ok {
				name = full
			}
			out = append(out, name)
		}
	})
	return out
}

func (l *exampleLayer) walk(visit func(*exampleLayer)) {
	visit(l)
	for _, list := range [][]exampleLayer{l.Signers, l.Recipients} {
		for i := range list {
			list[i].walk(visit)
		}
	}
}

func (e *example) plaintext(tb testing.TB) []byte {
	if e.Input.PlaintextHex != "" {
		return unhex(tb, e.Input.PlaintextHex)
	}
	return []byte(e.Input.Plaintext)
}

// item is the untagged structure and its tag; where the example has none, the one of its kind.
func (e *example) item(tb testing.TB) (cose.Tag, []byte) {
	tb.Helper()
	data := unhex(tb, e.Output.CBOR)
	if data[0]>>5 == 4 {
		tag, _ := e.layer()
		return tag, data
	}
	tag, item, err := cose.Unwrap(data)
	if err != nil {
		tb.Fatal(err)
	}
	return tag, item
}

// options are what the readers of the examples are told beside the message.
func (e *example) options(tb testing.TB) cose.Options {
	tag, layer := e.layer()
	o := cose.Options{External: unhex(tb, layer.External), UnprotectedAlgorithm: layer.Unprotected.Alg != ""}
	for _, name := range layer.Protected.Crit {
		o.Critical = append(o.Critical, name)
	}
	if tag == cose.TagSign {
		o.External = unhex(tb, layer.Signers[0].External)
	}
	if len(layer.Recipients) > 0 {
		unsent := layer.Recipients[0].Unsent
		given := func(s string) []byte {
			if s == "" {
				return nil
			}
			return []byte(s)
		}
		o.PublicInfo, o.PrivateInfo = given(unsent.PublicOther), given(unsent.PrivateOther)
		o.PartyU.Identity, o.PartyV.Identity = given(unsent.PartyU), given(unsent.PartyV)
	}
	return o
}

// open reads the example as what its tag says it is.
func (e *example) open(tb testing.TB) ([]byte, error) {
	tag, item := e.item(tb)
	return openAs(tag, item, e.find(tb), e.options(tb))
}

func openAs(tag cose.Tag, item []byte, find cose.FindKey, o cose.Options) ([]byte, error) {
	read := func(verify func(cose.FindKey, cose.Options) ([]byte, error), err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return verify(find, o)
	}
	switch tag {
	case cose.TagEncrypt0:
		m, err := cose.ParseEncrypt0(item)
		return read(m.OpenWith, err)
	case cose.TagEncrypt:
		m, err := cose.ParseEncrypt(item)
		return read(m.OpenWith, err)
	case cose.TagMac0:
		m, err := cose.ParseMac0(item)
		return read(m.Verify, err)
	case cose.TagMac:
		m, err := cose.ParseMac(item)
		return read(m.Verify, err)
	case cose.TagSign1:
		m, err := cose.ParseSign1(item)
		return read(m.VerifyWith, err)
	case cose.TagSign:
		m, err := cose.ParseSign(item)
		return read(m.Verify, err)
	}
	return nil, errors.Join(cose.ErrMalformed, errors.New("no COSE structure has this tag"))
}

// find knows the keys of the example, by key id where there are several.
func (e *example) find(tb testing.TB) cose.FindKey {
	_, layer := e.layer()
	var keys []exampleKey
	layer.walk(func(l *exampleLayer) {
		if l.Key.Kty != "" {
			keys = append(keys, l.Key)
		}
	})
	return func(_ cose.Algorithm, kid cose.KeyID) (*cose.Key, error) {
		for _, k := range keys {
			if len(keys) == 1 || kid != nil && k.Kid == string(kid) {
				return k.key(tb, e.baseIV(tb))
			}
		}
		return nil, errors.New("the example has no such key")
	}
}

// baseIV gives the one that makes the whole IV of a partial one.
func (e *example) baseIV(tb testing.TB) []byte {
	_, layer := e.layer()
	if layer.Unsent.IV == "" {
		return nil
	}
	iv, partial := unhex(tb, layer.Unsent.IV), unhex(tb, layer.Unprotected.PartialIV)
	for i, b := range partial {
		iv[len(iv)-len(partial)+i] ^= b
	}
	return iv
}

var curveNumbers = map[string]int{"P-256": 1, "P-384": 2, "P-521": 3, "X25519": 4, "Ed25519": 6, "Ed448": 7}

// key goes the way of a received COSE_Key.
func (k exampleKey) key(tb testing.TB, baseIV []byte) (*cose.Key, error) {
	tb.Helper()
	m := map[int]any{2: []byte(k.Kid)}
	if baseIV != nil {
		m[5] = baseIV
	}
	switch k.Kty {
	case "oct":
		m[1], m[-1] = 4, either(tb, k.K, k.KHex)
	case "EC":
		m[1], m[-1], m[-2], m[-3], m[-4] = 2, curveNumbers[k.Crv], either(tb, k.X, k.XHex), either(tb, k.Y, k.YHex), either(tb, k.D, k.DHex)
	case "OKP":
		m[1], m[-1], m[-2], m[-4] = 1, curveNumbers[k.Crv], either(tb, k.X, k.XHex), either(tb, k.D, k.DHex)
	case "RSA":
		m[1] = 3
	case "HSS-LMS":
		m[1] = 5
	}
	data, err := wire.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return cose.ParsePrivateKey(data)
}

func either(tb testing.TB, inBase64, inHex string) []byte {
	tb.Helper()
	if inHex != "" {
		return unhex(tb, inHex)
	}
	b, err := base64.RawURLEncoding.DecodeString(inBase64)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
