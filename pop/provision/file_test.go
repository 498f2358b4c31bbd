package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// labelsOf gives the labels of a good file.
func labelsOf(t *testing.T) map[int64]any {
	t.Helper()
	golden, err := os.ReadFile("testdata/lock.hex")
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.TrimSpace(string(golden)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(data); err != nil {
		t.Fatalf("a file written by an earlier program: %v", err)
	}
	var labels map[int64]any
	if err := wire.Unmarshal(data, &labels); err != nil {
		t.Fatal(err)
	}
	return labels
}

// sealed writes labels with the digest they need, as a careless tool would.
func sealed(t *testing.T, labels map[int64]any) []byte {
	t.Helper()
	delete(labels, labelDigest)
	plain, err := wire.Marshal(labels)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(plain)
	labels[labelDigest] = sum[:]
	data, err := wire.Marshal(labels)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGoodDigestsDoNotExcuseBadContent(t *testing.T) {
	if _, err := Parse(sealed(t, labelsOf(t))); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	tests := []struct {
		name   string
		change func(map[int64]any)
	}{
		{"an unknown label", func(m map[int64]any) { m[16] = true }},
		{"the usual profile spelled out", func(m map[int64]any) { m[15] = 2 }},
		{"another profile", func(m map[int64]any) { m[15] = 4 }},
		{"DTLS with readable tokens", func(m map[int64]any) { m[10], m[15] = 2, 1 }},
		{"RequireCNonce spelled out as false", func(m map[int64]any) { m[labelRequireCNonce] = false }},
		{"RequireCNonce null", func(m map[int64]any) { m[labelRequireCNonce] = nil }},
		{"no issuer", func(m map[int64]any) { delete(m, 4) }},
		{"no recovery key label", func(m map[int64]any) { delete(m, 6) }},
		{"no actions", func(m map[int64]any) { delete(m, 11) }},
		{"actions null", func(m map[int64]any) { m[11] = nil }},
		{"root key of 31 bytes", func(m map[int64]any) { m[2] = make([]byte, 31) }},
		{"root key of 33 bytes", func(m map[int64]any) { m[2] = append(make([]byte, 32), 1) }},
		{"root key of zeros", func(m map[int64]any) { m[2] = make([]byte, 32) }},
		{"device id of 7 bytes", func(m map[int64]any) { m[1] = make([]byte, 7) }},
		{"private key empty", func(m map[int64]any) { m[7] = []byte{} }},
		{"private key zero", func(m map[int64]any) { m[7] = make([]byte, 32) }},
		{"private key null", func(m map[int64]any) { m[7] = nil }},
		{"kind in text", func(m map[int64]any) { m[8] = "lock" }},
		{"an action of four", func(m map[int64]any) { m[11] = []any{[]any{"a", "/a", 1, 2}} }},
		{"ids of three", func(m map[int64]any) { m[12] = []any{[]byte{1}, []byte{2}, []byte{3}} }},
		{"equal ids", func(m map[int64]any) { m[12] = []any{[]byte{1}, []byte{1}} }},
		{"a verification key that is none", func(m map[int64]any) { m[5] = []any{map[int]any{1: 2}} }},
		{"no version", func(m map[int64]any) { delete(m, 0) }},
		{"version in text", func(m map[int64]any) { m[0] = "1" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labels := labelsOf(t)
			tt.change(labels)
			_, err := Parse(sealed(t, labels))
			if damaged := new(DamagedError); !errors.As(err, &damaged) {
				t.Errorf("got %v, want a *DamagedError", err)
			}
		})
	}
}

func TestAnotherVersionIsNotCalledDamage(t *testing.T) {
	labels := labelsOf(t)
	labels[labelVersion] = 2
	_, err := Parse(sealed(t, labels))
	if err == nil || errors.As(err, new(*DamagedError)) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v, want an error about version 2", err)
	}
}

func TestDamageQuotesNothingOfTheFile(t *testing.T) {
	labels := labelsOf(t)
	labels[1] = "the-secret-value"
	_, err := Parse(sealed(t, labels))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
