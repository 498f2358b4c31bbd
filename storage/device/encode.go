package device

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/latchkey-ace/latchkey/resource"
)

// header begins the state file; the number is the version of what follows. SHA-256 in hex, a line end and the JSON come
// after it.
const header = "latchkey device state 1\n"

func encode(state resource.State) ([]byte, error) {
	body, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	out := make([]byte, 0, len(header)+2*len(sum)+1+len(body))
	out = append(out, header...)
	out = hex.AppendEncode(out, sum[:])
	out = append(out, '\n')
	return append(out, body...), nil
}

func decode(data []byte) (resource.State, error) {
	rest, ok := bytes.CutPrefix(data, []byte(header))
	if !ok {
		return resource.State{}, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, header[:len(header)-1])
	}
	sum, body, ok := bytes.Cut(rest, []byte{'\n'})
	want := sha256.Sum256(body)
	if !ok || string(sum) != hex.EncodeToString(want[:]) {
		return resource.State{}, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var state resource.State
	if err := decoder.Decode(&state); err != nil {
		return resource.State{}, fmt.Errorf("%w: written by another version", ErrDamaged)
	}
	return state, nil
}
