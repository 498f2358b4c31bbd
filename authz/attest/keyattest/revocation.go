package keyattest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// Revocation is a parsed status list. It is not changed once it is read; nil revokes nothing.
type Revocation struct {
	serials map[string]struct{} // lower-case hex without leading zeros
	entries int
}

// Len is how many entries the list has.
func (r *Revocation) Len() int {
	if r == nil {
		return 0
	}
	return r.entries
}

func (r *Revocation) has(serial *big.Int) bool {
	return r.names(serial.Text(16))
}

func (r *Revocation) names(serial string) bool {
	if r == nil {
		return false
	}
	_, revoked := r.serials[serial]
	return revoked
}

// ParseRevocation reads Google's status list, {"entries": {serial: {"status": …}}}, of at most 4 MiB, in the documented form: serials
// in lower-case hex without leading zeros, the status REVOKED or SUSPENDED (both refuse), no other members. The public list also
// has serials in decimal: one of digits only counts in both readings. Anything else refuses the list as a whole, ErrStatusList,
// because an entry that is misread would be a revoked key that opens.
func ParseRevocation(list []byte) (*Revocation, error) {
	if len(list) > maxStatusBytes {
		return nil, fmt.Errorf("more than %d bytes: %w", maxStatusBytes, ErrStatusList)
	}
	in := json.NewDecoder(bytes.NewReader(list))
	in.DisallowUnknownFields()
	r := &Revocation{serials: map[string]struct{}{}}
	if !delimiter(in, '{') || !name(in, "entries") || !delimiter(in, '{') {
		return nil, fmt.Errorf("an object with entries only is needed: %w", ErrStatusList)
	}
	seen := map[string]struct{}{}
	for in.More() {
		serial, err := entry(in)
		if _, twice := seen[serial]; err != nil || twice {
			return nil, fmt.Errorf("entry %d: %w", r.entries, ErrStatusList)
		}
		seen[serial] = struct{}{}
		r.add(serial)
	}
	for range 2 { // of entries, and of the whole
		if !delimiter(in, '}') {
			return nil, fmt.Errorf("entries only are needed: %w", ErrStatusList)
		}
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, fmt.Errorf("trailing bytes: %w", ErrStatusList)
	}
	return r, nil
}

func (r *Revocation) add(serial string) {
	r.entries++
	r.serials[serial] = struct{}{}
	if decimal, ok := new(big.Int).SetString(serial, 10); ok {
		r.serials[decimal.Text(16)] = struct{}{}
	}
}

// entry reads a serial and what is said about it.
func entry(in *json.Decoder) (serial string, err error) {
	token, err := in.Token()
	if err != nil {
		return "", err
	}
	serial, _ = token.(string)
	if serial == "" || len(serial) > maxSerialHex || serial[0] == '0' || strings.Trim(serial, "0123456789abcdef") != "" {
		return "", ErrStatusList
	}
	var said struct {
		Status  string  `json:"status"`
		Expires *string `json:"expires"`
		Reason  *string `json:"reason"`
		Comment *string `json:"comment"`
	}
	if err := in.Decode(&said); err != nil {
		return "", err
	}
	if said.Status != "REVOKED" && said.Status != "SUSPENDED" {
		return "", ErrStatusList
	}
	return serial, nil
}

func delimiter(in *json.Decoder, want json.Delim) bool {
	token, err := in.Token()
	return err == nil && token == want
}

func name(in *json.Decoder, want string) bool {
	token, err := in.Token()
	return err == nil && token == want
}
