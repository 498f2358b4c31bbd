package pop

// MasterSalt builds the OSCORE Master Salt of RFC 9203 §4.3: the CBOR byte strings of salt, N1 and N2, one after the
// other. An absent salt counts as the empty byte string. Each part has at most 255 bytes.
func MasterSalt(salt, nonce1, nonce2 []byte) []byte {
	var out []byte
	for _, part := range [][]byte{salt, nonce1, nonce2} {
		if len(part) < 24 {
			out = append(out, 0x40|byte(len(part)))
		} else {
			out = append(out, 0x58, byte(len(part)))
		}
		out = append(out, part...)
	}
	return out
}
