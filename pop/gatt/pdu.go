package gatt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Opcodes (Core Vol 3, Part F §3.4.8). Those of discovery and of short reads are left out: handles are fixed, and the
// beginning of a value arrives in its indication.
const (
	opError            = 0x01
	opMTURequest       = 0x02
	opMTUResponse      = 0x03
	opReadBlobRequest  = 0x0c
	opReadBlobResponse = 0x0d
	opWriteRequest     = 0x12
	opWriteResponse    = 0x13
	opPrepareRequest   = 0x16
	opPrepareResponse  = 0x17
	opExecuteRequest   = 0x18
	opExecuteResponse  = 0x19
	opNotification     = 0x1b
	opIndication       = 0x1d
	opConfirmation     = 0x1e
	opWriteCommand     = 0x52

	commandFlag = 0x40 // in an opcode: nothing is ever answered
)

// Handles of the attributes a central uses.
const (
	handleDownstream = 0x0003 // value of UCD
	handleUpstream   = 0x0005 // value of UCU
	handleConfigure  = 0x0006 // client characteristic configuration of UCU
)

const indicationsOn = 0x0002 // value of the client characteristic configuration

// errorCode is an attribute protocol error (Core Vol 3, Part F §3.4.1.1).
type errorCode byte

const (
	codeNone            errorCode = 0x00 // never on the wire
	codeInvalidHandle   errorCode = 0x01
	codeReadForbidden   errorCode = 0x02
	codeWriteForbidden  errorCode = 0x03
	codeInvalidPDU      errorCode = 0x04
	codeNotSupported    errorCode = 0x06
	codeInvalidOffset   errorCode = 0x07
	codeAttributeShort  errorCode = 0x0b // "attribute not long"
	codeInvalidValueLen errorCode = 0x0d
)

// Error gives the number; the specification has the words.
func (c errorCode) Error() string { return fmt.Sprintf("attribute error 0x%02x", byte(c)) }

var errPDUSize = errors.New("attribute pdu empty or longer than the mtu")

// radio moves whole PDUs of one link and knows when the link has ended. read belongs to one goroutine; the rest is safe
// for concurrent use.
type radio struct {
	conn    net.Conn
	in      *bufio.Reader
	mtu     atomic.Int32
	timeout time.Duration
	writing sync.Mutex

	once  sync.Once
	done  chan struct{}
	cause error // read it only after done is closed
}

func newRadio(conn net.Conn, timeout time.Duration) *radio {
	r := &radio{conn: conn, in: bufio.NewReaderSize(conn, 2*MaxMTU), timeout: timeout, done: make(chan struct{})}
	r.mtu.Store(DefaultMTU)
	return r
}

// end closes the link; the first cause stays.
func (r *radio) end(cause error) {
	r.once.Do(func() {
		r.cause = cause
		r.conn.Close()
		close(r.done)
	})
}

// closed is what is reported of a link that has ended.
func (r *radio) closed() error {
	<-r.done
	return fmt.Errorf("%w: %w", ErrClosed, r.cause)
}

// room is how many bytes of value fit a PDU with the given header.
func (r *radio) room(header int) int { return int(r.mtu.Load()) - header }

// agree sets the MTU both ends have named; less than the default cannot be agreed on.
func (r *radio) agree(ours, theirs int) { r.mtu.Store(int32(max(DefaultMTU, min(ours, theirs)))) }

// read waits without limit for the beginning of a PDU, but not for its rest. io.EOF means that the peer closed the link
// between two PDUs.
func (r *radio) read() ([]byte, error) {
	if _, err := r.in.Peek(1); err != nil {
		return nil, err
	}
	if err := r.conn.SetReadDeadline(time.Now().Add(r.timeout)); err != nil {
		return nil, err
	}
	var prefix [2]byte
	if _, err := io.ReadFull(r.in, prefix[:]); err != nil {
		return nil, fmt.Errorf("read pdu length: %w", err)
	}
	size := int(binary.LittleEndian.Uint16(prefix[:]))
	if size == 0 || size > int(r.mtu.Load()) {
		return nil, fmt.Errorf("%w: %d", errPDUSize, size)
	}
	pdu := make([]byte, size)
	if _, err := io.ReadFull(r.in, pdu); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read pdu: %w", err)
	}
	return pdu, r.conn.SetReadDeadline(time.Time{})
}

// write sends one PDU. A peer that does not take it in time is gone.
func (r *radio) write(pdu []byte) error {
	if len(pdu) == 0 || len(pdu) > int(r.mtu.Load()) {
		return fmt.Errorf("%w: %d", errPDUSize, len(pdu))
	}
	packet := binary.LittleEndian.AppendUint16(make([]byte, 0, 2+len(pdu)), uint16(len(pdu)))
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.conn.SetWriteDeadline(time.Now().Add(r.timeout)); err != nil {
		return err
	}
	_, err := r.conn.Write(append(packet, pdu...))
	return err
}

// header begins a PDU: opcode, then 16-bit fields.
func header(opcode byte, fields ...int) []byte {
	pdu := make([]byte, 1, DefaultMTU)
	pdu[0] = opcode
	for _, f := range fields {
		pdu = binary.LittleEndian.AppendUint16(pdu, uint16(f))
	}
	return pdu
}

// field reads the 16-bit field at offset, which must lie within pdu.
func field(pdu []byte, offset int) int { return int(binary.LittleEndian.Uint16(pdu[offset:])) }

func errorResponse(request byte, handle int, code errorCode) []byte {
	return []byte{opError, request, byte(handle), byte(handle >> 8), byte(code)}
}

// answerable says whether an opcode this end does not serve is owed an Error Response: commands, responses, indications
// and confirmations never are, so that two ends cannot answer each other for ever.
func answerable(opcode byte) bool {
	return opcode&commandFlag == 0 && opcode&1 == 0 && opcode != opConfirmation
}
