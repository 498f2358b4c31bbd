package dtls

import "encoding/binary"

// Record types (RFC 6347 §4.1, RFC 9146 §4).
const (
	kindChangeCipherSpec byte = 20
	kindAlert            byte = 21
	kindHandshake        byte = 22
	kindApplicationData  byte = 23
	kindConnectionID     byte = 25
)

// Handshake message types (RFC 5246 §7.4).
const (
	clientHello byte = 1
	serverHello byte = 2
)

// illegalParameter is the alert RFC 9202 §3.3.2 asks for when an identity does not lead to a key.
const illegalParameter byte = 47

const (
	recordHeader    = 13
	handshakeHeader = 12
	cidLength       = 8
	// minSealed is what AES-CCM-8 adds to a fragment: the explicit nonce and the tag (RFC 6655 §3).
	minSealed = 8 + 8
)

// record is one DTLS 1.2 record. Its slices refer to the datagram.
type record struct {
	kind  byte
	epoch uint16
	cid   []byte
	body  []byte
	size  int // of the whole record
}

// firstRecord reads the record that data begins with. Records to us carry a connection ID of cid bytes; 0: none.
func firstRecord(data []byte, cid int) (record, bool) {
	if len(data) < recordHeader || data[1] != 0xfe {
		return record{}, false
	}
	r := record{kind: data[0], epoch: binary.BigEndian.Uint16(data[3:])}
	header := recordHeader
	if r.kind == kindConnectionID {
		header += cid
		if cid == 0 || len(data) < header {
			return record{}, false
		}
		r.cid = data[11 : 11+cid]
	}
	r.size = header + int(binary.BigEndian.Uint16(data[header-2:]))
	if r.size > len(data) {
		return record{}, false
	}
	r.body = data[header:r.size]
	return r, true
}

// opens says whether r is the first message of a handshake, whole: a ClientHello without a cookie, message_seq 0.
func (r record) opens() bool {
	return r.isClientHello() && r.body[4] == 0 && r.body[5] == 0
}

// isClientHello accepts only unfragmented ones: a stranger is given no memory for parts (RFC 6347 §4.2.1).
func (r record) isClientHello() bool {
	if r.kind != kindHandshake || r.epoch != 0 || len(r.body) <= handshakeHeader || r.body[0] != clientHello {
		return false
	}
	offset, length := uint24(r.body[6:]), uint24(r.body[9:])
	return offset == 0 && length == uint24(r.body[1:]) && handshakeHeader+length <= len(r.body)
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// lawful says whether r may reach the DTLS engine. Records in clear are for handshakes only: application data among them
// is an injection (CVE-2019-20786), and the engine would answer what is malformed with a fatal alert that its true peer
// believes. An alert in clear may come from anyone: a client whose handshake is refused has to believe it, a server does
// not. Once the peer has shown that it is done with the handshake (settled) nothing in clear is left to be said, and
// nothing may start another one.
func (r record) lawful(client, settled bool) bool {
	switch {
	case r.epoch == 0 && settled, r.epoch > 1:
		return false
	case r.epoch == 0:
		return r.kind == kindHandshake && len(r.body) >= handshakeHeader ||
			r.kind == kindChangeCipherSpec && len(r.body) == 1 && r.body[0] == 1 || r.kind == kindAlert && len(r.body) == 2 && client
	case len(r.body) < minSealed:
		return false
	}
	return r.kind == kindConnectionID || r.kind == kindApplicationData || r.kind == kindAlert || r.kind == kindHandshake && !settled
}

// sift returns the lawful records of a datagram to a server, which has connection IDs of cid bytes, or to a client, which
// has none. What follows a broken record is lost with it. The result is datagram itself, or nil if nothing is left, or a
// copy.
func sift(datagram []byte, cid int, settled bool) []byte {
	kept := 0
	for rest := datagram; len(rest) > 0; {
		r, ok := firstRecord(rest, cid)
		if !ok || !r.lawful(cid == 0, settled) {
			return siftRest(datagram[:kept:kept], rest, cid, settled)
		}
		kept += r.size
		rest = rest[r.size:]
	}
	return datagram
}

func siftRest(kept, rest []byte, cid int, settled bool) []byte {
	for len(rest) > 0 {
		r, ok := firstRecord(rest, cid)
		if !ok {
			break
		}
		if r.lawful(cid == 0, settled) {
			kept = append(kept, rest[:r.size]...)
		}
		rest = rest[r.size:]
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}
