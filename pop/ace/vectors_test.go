package ace

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

type vector struct {
	ID      string
	CBOR    string
	Meaning map[string]string
	ToRS    string `json:"to_rs_value"`
	FromRS  string `json:"from_rs_value"`
	TagACE  uint64 `json:"tag_ace_cbor"`
}

func vectorNamed(t testing.TB, id string) vector {
	t.Helper()
	data, err := os.ReadFile("testdata/ace-examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []json.RawMessage }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, raw := range file.Vectors {
		var head struct{ ID string }
		if err := json.Unmarshal(raw, &head); err != nil || head.ID != id {
			continue
		}
		var v vector
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	t.Fatalf("no vector %s", id)
	return vector{}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC9200Figure3Hints(t *testing.T) {
	v := vectorNamed(t, "rfc9200-fig3-as-hints")
	got, err := ParseCreationHints(unhex(t, v.CBOR))
	if err != nil {
		t.Fatal(err)
	}
	want := CreationHints{
		AS:       v.Meaning["AS"],
		Audience: v.Meaning["audience"],
		Scope:    Scope{Words: v.Meaning["scope"]},
		CNonce:   unhex(t, v.Meaning["cnonce"]),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, unhex(t, v.CBOR)) {
		t.Errorf("got %x, %v, want %s", again, err, v.CBOR)
	}
}

func TestWorkflow08Upload(t *testing.T) {
	v := vectorNamed(t, "workflow-08-to_rs")
	to, err := ParseToRS(unhex(t, v.ToRS))
	if err != nil {
		t.Fatal(err)
	}
	wantTo := AuthzInfo{Nonce1: unhex(t, "018a278f7faab55a"), ClientRecipientID: unhex(t, "1645")}
	if !reflect.DeepEqual(to, wantTo) {
		t.Errorf("to_rs: got %+v, want %+v", to, wantTo)
	}
	if again, err := to.Encode(); err != nil || !bytes.Equal(again, unhex(t, v.ToRS)) {
		t.Errorf("to_rs: got %x, %v, want %s", again, err, v.ToRS)
	}
	answer, err := ParseAuthzInfoAnswer(unhex(t, v.FromRS))
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer := AuthzInfoAnswer{Nonce2: unhex(t, "25a8991cd700ac01"), ServerRecipientID: unhex(t, "0000")}
	if !reflect.DeepEqual(answer, wantAnswer) {
		t.Errorf("from_rs: got %+v, want %+v", answer, wantAnswer)
	}
	if again, err := answer.Encode(); err != nil || !bytes.Equal(again, unhex(t, v.FromRS)) {
		t.Errorf("from_rs: got %x, %v, want %s", again, err, v.FromRS)
	}
	if tagACE != v.TagACE {
		t.Errorf("tag: got %d, want %d", uint64(tagACE), v.TagACE)
	}
}

// The upload that an authorization server makes of to_rs is the one the client would have made (RFC 9203 §4.1).
func TestUploadOnBehalfOfTheClient(t *testing.T) {
	got, err := UploadPayload(unhex(t, vectorNamed(t, "workflow-08-to_rs").ToRS), []byte{0xd8, 0x3d})
	want := unhex(t, "a30142d83d182848018a278f7faab55a182b421645")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestTagOfContentFormat(t *testing.T) {
	content := unhex(t, vectorNamed(t, "workflow-08-to_rs").FromRS)
	item := append([]byte{0x40 | byte(len(content))}, content...)
	for name, raw := range map[string][]byte{
		"untagged": item,
		"tagged":   append(unhex(t, "da63740114"), item...),
	} {
		if got, err := uploadOf(raw); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, content)
		}
	}
	for name, raw := range map[string][]byte{
		"another format":    append(unhex(t, "da6374013e"), item...),
		"tag of tag":        append(unhex(t, "da63740114da63740114"), item...),
		"a map":             content,
		"a text":            unhex(t, "6161"),
		"null":              unhex(t, "f6"),
		"null under a tag":  unhex(t, "da63740114f6"),
		"bytes after":       append(bytes.Clone(item), 0),
		"half of the bytes": item[:len(item)-1],
	} {
		if got, err := uploadOf(raw); err == nil {
			t.Errorf("%s: got %x, want an error", name, got)
		}
	}
}
