package oscore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/coapwire"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rfc8613 returns the values of appendix C by section.
func rfc8613(t testing.TB) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/rfc8613-c1-c8.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			ID     string
			Values map[string]string
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	sections := map[string]map[string]string{}
	for _, v := range file.Vectors {
		sections[v.ID] = v.Values
	}
	return sections
}

func paramsOf(t testing.TB, v map[string]string) Params {
	t.Helper()
	p := Params{
		MasterSecret: unhex(t, v["Master Secret"]),
		MasterSalt:   unhex(t, v["Master Salt"]),
		SenderID:     unhex(t, v["Sender ID"]),
		RecipientID:  unhex(t, v["Recipient ID"]),
	}
	if id, ok := v["ID Context"]; ok {
		p.IDContext = unhex(t, id)
	}
	return p
}

func newContext(t testing.TB, p Params, o Options) *Context {
	t.Helper()
	c, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decodeUDP and encodeUDP are RFC 7252 §3 for vectors; go-coap's decoder would drop option 9.
func decodeUDP(t testing.TB, s string) message.Message {
	t.Helper()
	data := unhex(t, s)
	tokenEnd := 4 + int(data[0]&0x0f)
	options, payload, err := coapwire.Decode(data[tokenEnd:])
	if err != nil {
		t.Fatal(err)
	}
	return message.Message{
		Type: message.Type(data[0] >> 4 & 3), Code: codes.Code(data[1]), Token: data[4:tokenEnd],
		MessageID: int32(data[2])<<8 | int32(data[3]), Options: options, Payload: payload,
	}
}

func encodeUDP(t testing.TB, m message.Message) string {
	t.Helper()
	header := []byte{1<<6 | byte(m.Type)<<4 | byte(len(m.Token)), byte(m.Code), byte(m.MessageID >> 8), byte(m.MessageID)}
	data, err := coapwire.Append(append(header, m.Token...), m.Options, m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(data)
}

func TestDerivationC1ToC3(t *testing.T) {
	for _, id := range []string{"C.1.1", "C.1.2", "C.2.1", "C.2.2", "C.3.1", "C.3.2"} {
		t.Run(id, func(t *testing.T) {
			v := rfc8613(t)[id]
			p := paramsOf(t, v)
			c := newContext(t, p, Options{})
			for name, key := range map[string][maxKey]byte{"Sender Key": c.sendKey, "Recipient Key": c.receiveKey} {
				if got := hex.EncodeToString(key[:16]); got != v[name] {
					t.Errorf("%s: got %s, want %s", name, got, v[name])
				}
			}
			if got := hex.EncodeToString(c.commonIV[:]); got != v["Common IV"] {
				t.Errorf("Common IV: got %s, want %s", got, v["Common IV"])
			}
			for name, id := range map[string][]byte{"sender nonce": p.SenderID, "recipient nonce": p.RecipientID} {
				x := newExchange(c, id, []byte{0})
				if got := hex.EncodeToString(x.nonce[:]); got != v[name] {
					t.Errorf("%s: got %s, want %s", name, got, v[name])
				}
			}
		})
	}
}

func TestRequestsC4ToC6(t *testing.T) {
	sections := rfc8613(t)
	for id, context := range map[string]string{"C.4": "C.1", "C.5": "C.2", "C.6": "C.3"} {
		t.Run(id, func(t *testing.T) {
			v := sections[id]
			client := newContext(t, paramsOf(t, sections[context+".1"]), Options{Next: 20})
			server := newContext(t, paramsOf(t, sections[context+".2"]), Options{})
			plain := decodeUDP(t, v["Unprotected CoAP request"])
			sealed, x, err := client.ProtectRequest(plain)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(x.aad[:x.aadSize]); got != v["AAD"] {
				t.Errorf("AAD: got %s, want %s", got, v["AAD"])
			}
			if got := encodeUDP(t, sealed); got != v["Protected CoAP request (OSCORE message)"] {
				t.Errorf("got %s, want %s", got, v["Protected CoAP request (OSCORE message)"])
			}
			opened, _, err := server.UnprotectRequest(decodeUDP(t, v["Protected CoAP request (OSCORE message)"]))
			if err != nil {
				t.Fatal(err)
			}
			if got := encodeUDP(t, opened); got != v["Unprotected CoAP request"] {
				t.Errorf("got %s, want %s", got, v["Unprotected CoAP request"])
			}
		})
	}
}

func TestResponsesC7AndC8(t *testing.T) {
	sections := rfc8613(t)
	for id, ownPIV := range map[string]bool{"C.7": false, "C.8": true} {
		t.Run(id, func(t *testing.T) {
			v := sections[id]
			client := newContext(t, paramsOf(t, sections["C.1.1"]), Options{Next: 20})
			server := newContext(t, paramsOf(t, sections["C.1.2"]), Options{})
			request, asked, err := client.ProtectRequest(decodeUDP(t, sections["C.4"]["Unprotected CoAP request"]))
			if err != nil {
				t.Fatal(err)
			}
			_, answering, err := server.UnprotectRequest(request)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := server.ProtectResponse(answering, decodeUDP(t, v["Unprotected CoAP response"]), ownPIV)
			if err != nil {
				t.Fatal(err)
			}
			want := v["Protected CoAP response (OSCORE message)"]
			if got := encodeUDP(t, sealed); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			opened, err := client.UnprotectResponse(asked, decodeUDP(t, want))
			if err != nil {
				t.Fatal(err)
			}
			if got := encodeUDP(t, opened); got != v["Unprotected CoAP response"] {
				t.Errorf("got %s, want %s", got, v["Unprotected CoAP response"])
			}
		})
	}
}

func TestAlgorithm30(t *testing.T) {
	client, server := pair(t, func(p *Params) { p.Algorithm = algorithmCCM128 })
	request, x := mustRequest(t, client, get("a"))
	// RFC 8613 §5.4 with alg_aead 30, request_kid 0x01 and request_piv 0x00.
	const want = "8368456e63727970743040" + "4a" + "850181181e4101410040"
	if got := hex.EncodeToString(x.aad[:x.aadSize]); got != want {
		t.Errorf("AAD: got %s, want %s", got, want)
	}
	if got, want := len(request.Payload), 1+2+16; got != want {
		t.Errorf("ciphertext of %d bytes, want %d", got, want)
	}
	mustUnprotect(t, server, request)
	other := newContext(t, Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}, Options{Next: 1})
	request, _ = mustRequest(t, other, get("a"))
	if _, _, err := server.UnprotectRequest(request); !errors.Is(err, ErrDecrypt) {
		t.Errorf("a request under algorithm 10: got %v, want %v", err, ErrDecrypt)
	}
}
