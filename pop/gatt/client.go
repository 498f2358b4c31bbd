package gatt

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errIndications = errors.New("indication before the last one was confirmed")
	errLongValue   = fmt.Errorf("upstream value longer than %d bytes", MaxValue)
)

// client is the central's side of the attribute protocol.
type client struct {
	*radio
	offer       int // largest MTU this end takes
	deliver     func(value []byte) error
	indications chan []byte

	turn   sync.Mutex // one transaction at a time (Core Vol 3, Part F §3.3.2)
	mu     sync.Mutex
	wanted func(pdu []byte) bool
	answer chan []byte
}

func newClient(r *radio, offer int) *client {
	return &client{radio: r, offer: offer, indications: make(chan []byte, maxIndications)}
}

// start agrees on the MTU and turns indications on.
func (c *client) start() error {
	if _, err := c.request(header(opMTURequest, c.offer), func(pdu []byte) bool {
		if len(pdu) != 3 || pdu[0] != opMTUResponse {
			return false
		}
		c.agree(c.offer, field(pdu, 1)) // before the next PDU, which may already be longer, is read
		return true
	}); err != nil {
		return fmt.Errorf("exchange mtu: %w", err)
	}
	if err := c.writeValue(handleConfigure, []byte{indicationsOn, 0}); err != nil {
		return fmt.Errorf("enable indications: %w", err)
	}
	return nil
}

// send writes value to the downstream characteristic: at once if it fits, else as a long write (Part G §4.9.4).
func (c *client) send(value []byte) error {
	if len(value) <= c.room(valueHeader) {
		return c.writeValue(handleDownstream, value)
	}
	for offset := 0; offset < len(value); {
		part := value[offset:min(len(value), offset+c.room(prepareHeader))]
		pdu := append(header(opPrepareRequest, handleDownstream, offset), part...)
		echo := append([]byte{opPrepareResponse}, pdu[1:]...)
		if _, err := c.request(pdu, func(got []byte) bool { return bytes.Equal(got, echo) }); err != nil {
			return fmt.Errorf("prepare write: %w", err)
		}
		offset += len(part)
	}
	if _, err := c.request([]byte{opExecuteRequest, 1}, isOpcode(opExecuteResponse)); err != nil {
		return fmt.Errorf("execute write: %w", err)
	}
	return nil
}

func (c *client) writeValue(handle int, value []byte) error {
	_, err := c.request(append(header(opWriteRequest, handle), value...), isOpcode(opWriteResponse))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func isOpcode(opcode byte) func([]byte) bool {
	return func(pdu []byte) bool { return pdu[0] == opcode }
}

// request performs one transaction. Anything but the wanted response or an Error Response to this opcode is passed over: it
// answers a request that was repeated on the way.
func (c *client) request(pdu []byte, wanted func([]byte) bool) ([]byte, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	answer := c.want(func(got []byte) bool {
		return wanted(got) || len(got) == 5 && got[0] == opError && got[1] == pdu[0]
	})
	if err := c.write(pdu); err != nil {
		c.end(err)
		return nil, c.closed()
	}
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	select {
	case got := <-answer:
		if got[0] == opError {
			return nil, errorCode(got[4])
		}
		return got, nil
	case <-timer.C:
		c.end(ErrTimeout) // no other PDU may follow (Part F §3.3.3)
		return nil, c.closed()
	case <-c.done:
		return nil, c.closed()
	}
}

func (c *client) want(wanted func([]byte) bool) <-chan []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted, c.answer = wanted, make(chan []byte, 1)
	return c.answer
}

// readPDUs dispatches what arrives until the link ends.
func (c *client) readPDUs() {
	for {
		pdu, err := c.read()
		if err != nil {
			c.end(err)
			return
		}
		if err := c.dispatch(pdu); err != nil {
			c.end(err)
			return
		}
	}
}

func (c *client) dispatch(pdu []byte) error {
	switch pdu[0] {
	case opIndication:
		select {
		case c.indications <- pdu:
			return nil
		default:
			return errIndications
		}
	case opNotification: // unreliable: one too many may be lost
		select {
		case c.indications <- pdu:
		default:
		}
		return nil
	}
	c.mu.Lock()
	if c.wanted != nil && c.wanted(pdu) {
		c.answer <- pdu
		c.wanted = nil
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	if answerable(pdu[0]) {
		return c.write(errorResponse(pdu[0], 0, codeNotSupported))
	}
	return nil
}

// takeIndications completes, confirms and delivers upstream values until the link ends. It is not the reading goroutine,
// because completing a value takes transactions of its own.
func (c *client) takeIndications() {
	for {
		select {
		case pdu := <-c.indications:
			if err := c.take(pdu); err != nil {
				c.end(err)
				return
			}
		case <-c.done:
			return
		}
	}
}

func (c *client) take(pdu []byte) error {
	if len(pdu) < valueHeader {
		return fmt.Errorf("indication: %w", codeInvalidPDU)
	}
	ours := field(pdu, 1) == handleUpstream
	value := pdu[valueHeader:]
	if ours && len(value) == c.room(valueHeader) {
		var err error
		if value, err = c.readRemainder(value); err != nil {
			return fmt.Errorf("read blob: %w", err)
		}
	}
	// Confirmed only now, so that the value cannot change while its remainder is read.
	if pdu[0] == opIndication {
		if err := c.write([]byte{opConfirmation}); err != nil {
			return err
		}
	}
	if !ours {
		return nil
	}
	return c.deliver(value)
}

// readRemainder reads on where an indication was cut (Part G §4.8.3); a part that does not fill its PDU is the last.
func (c *client) readRemainder(value []byte) ([]byte, error) {
	for {
		request := header(opReadBlobRequest, handleUpstream, len(value))
		pdu, err := c.request(request, isOpcode(opReadBlobResponse))
		if errors.Is(err, codeAttributeShort) {
			return value, nil
		}
		if err != nil {
			return nil, err
		}
		part := pdu[blobHeader:]
		value = append(value, part...)
		if len(value) > MaxValue {
			return nil, errLongValue
		}
		if len(part) < c.room(blobHeader) {
			return value, nil
		}
	}
}
