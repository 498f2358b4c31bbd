package keyattest

import (
	"bytes"
	"errors"
	"math/big"
	"testing"
)

func TestParseRevocation(t *testing.T) {
	tests := []struct {
		name, list string
		want       error
	}{
		{name: "no entries", list: `{"entries":{}}`},
		{name: "every documented member", list: `{"entries":{"a1":{"status":"REVOKED","expires":"2030-01-01","reason":"SOFTWARE_FLAW","comment":"x"}}}`},
		{"nothing", ``, ErrStatusList},
		{"null", `null`, ErrStatusList},
		{"array", `[]`, ErrStatusList},
		{"no member", `{}`, ErrStatusList},
		{"another member", `{"entry":{}}`, ErrStatusList},
		{"a member more", `{"entries":{},"more":1}`, ErrStatusList},
		{"entries null", `{"entries":null}`, ErrStatusList},
		{"entry null", `{"entries":{"a1":null}}`, ErrStatusList},
		{"entry without status", `{"entries":{"a1":{}}}`, ErrStatusList},
		{"unknown status", `{"entries":{"a1":{"status":"VALID"}}}`, ErrStatusList},
		{"unknown member of an entry", `{"entries":{"a1":{"status":"REVOKED","x":1}}}`, ErrStatusList},
		{"serial in upper case", `{"entries":{"A1":{"status":"REVOKED"}}}`, ErrStatusList},
		{"serial with a leading zero", `{"entries":{"0a":{"status":"REVOKED"}}}`, ErrStatusList},
		{"empty serial", `{"entries":{"":{"status":"REVOKED"}}}`, ErrStatusList},
		{"serial of 21 octets", `{"entries":{"` + string(bytes.Repeat([]byte("a"), 41)) + `":{"status":"REVOKED"}}}`, ErrStatusList},
		{"serial with a prefix", `{"entries":{"0xa1":{"status":"REVOKED"}}}`, ErrStatusList},
		{"serial twice", `{"entries":{"a1":{"status":"REVOKED"},"a1":{"status":"SUSPENDED"}}}`, ErrStatusList},
		{"trailing bytes", `{"entries":{}}{}`, ErrStatusList},
		{"cut", `{"entries":{"a1":{"status":"REVOKED"}}`, ErrStatusList},
		{"too long", string(bytes.Repeat([]byte(" "), maxStatusBytes)) + `{"entries":{}}`, ErrStatusList},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseRevocation([]byte(tt.list)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestSerialOfDigitsIsReadBothWays(t *testing.T) {
	r, err := ParseRevocation([]byte(`{"entries":{"1234":{"status":"REVOKED"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for serial, want := range map[int64]bool{1234: true, 0x1234: true, 1235: false} {
		if got := r.has(big.NewInt(serial)); got != want {
			t.Errorf("serial %d: got %v, want %v", serial, got, want)
		}
	}
}
