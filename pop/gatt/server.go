package gatt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

var errNotSubscribed = errors.New("central has not enabled indications")

// ServeLink is the peripheral's end of conn: it hands every request to handle until the central leaves, ctx ends or the
// link breaks, then closes conn and waits for running handlers.
//
// It returns nil when the central left between two PDUs, ctx.Err() when ctx ended, ErrTimeout when the central did not
// confirm in time, and another error when the central broke the protocol.
func ServeLink(ctx context.Context, conn net.Conn, handle Handle, o Options) error {
	o, err := o.withDefaults(MaxMTU)
	if err != nil {
		conn.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := newServer(newRadio(conn, o.Timeout), o.MTU)
	session := newSession(s.radio, s, handle, func(value []byte) { o.Tap(Upstream, value) })
	s.deliver = func(value []byte) error {
		o.Tap(Downstream, value)
		return session.receive(ctx, value)
	}
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	var sender sync.WaitGroup
	sender.Go(session.run)
	s.end(s.readPDUs())
	stop()
	cancel()
	sender.Wait()
	session.handlers.Wait()
	if left(s.cause) {
		return nil
	}
	return s.cause
}

// left tells a central that went away from one that broke something.
func left(cause error) bool {
	return cause == io.EOF || errors.Is(cause, syscall.ECONNRESET) || errors.Is(cause, syscall.EPIPE)
}

// server is the peripheral's side of the attribute protocol.
type server struct {
	*radio
	offer     int // largest MTU this end takes
	deliver   func(value []byte) error
	confirmed chan struct{}

	// Long write under way; only the reading goroutine uses it.
	staged    []byte
	stagedErr errorCode

	mu          sync.Mutex
	subscribed  bool
	outstanding bool   // an indication is not confirmed yet
	long        []byte // what Read Blob reads: the last value that filled its indication
}

func newServer(r *radio, offer int) *server {
	return &server{radio: r, offer: offer, confirmed: make(chan struct{}, 1)}
}

// send indicates value, cut to what fits, and waits for the confirmation; the central reads the remainder meanwhile.
//
// Empty messages, which fit always, leave the readable value alone: central stacks that confirm before the application
// has read the remainder still find it. The next message waits for the sublayer's acknowledgement anyway.
func (s *server) send(value []byte) error {
	part := value[:min(len(value), s.room(valueHeader))]
	s.mu.Lock()
	if !s.subscribed {
		s.mu.Unlock()
		return errNotSubscribed
	}
	if len(part) == s.room(valueHeader) {
		s.long = value
	}
	s.outstanding = true
	s.mu.Unlock()
	if err := s.write(append(header(opIndication, handleUpstream), part...)); err != nil {
		return err
	}
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	select {
	case <-s.confirmed:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: indication without confirmation", ErrTimeout)
	case <-s.done:
		return s.cause
	}
}

// readPDUs serves the central until the link ends and says why it did.
func (s *server) readPDUs() error {
	for {
		pdu, err := s.read()
		if err != nil {
			return err
		}
		if err := s.serve(pdu); err != nil {
			return err
		}
	}
}

// serve acts on one PDU. What is merely wrong is answered by an Error Response; an error ends the link.
func (s *server) serve(pdu []byte) error {
	switch pdu[0] {
	case opMTURequest:
		return s.exchangeMTU(pdu)
	case opWriteRequest:
		return s.writeRequest(pdu)
	case opWriteCommand: // the draft's unreliable messages; never answered
		if len(pdu) >= valueHeader && field(pdu, 1) == handleDownstream {
			return s.deliver(pdu[valueHeader:])
		}
		return nil
	case opPrepareRequest:
		return s.prepare(pdu)
	case opExecuteRequest:
		return s.execute(pdu)
	case opReadBlobRequest:
		return s.readBlob(pdu)
	case opConfirmation:
		s.confirm()
		return nil
	}
	if answerable(pdu[0]) {
		return s.write(errorResponse(pdu[0], 0, codeNotSupported))
	}
	return nil
}

func (s *server) refuse(pdu []byte, code errorCode) error {
	handle := 0
	if len(pdu) >= valueHeader {
		handle = field(pdu, 1)
	}
	return s.write(errorResponse(pdu[0], handle, code))
}

func (s *server) exchangeMTU(pdu []byte) error {
	if len(pdu) != 3 {
		return s.refuse(pdu, codeInvalidPDU)
	}
	if err := s.write(header(opMTUResponse, s.offer)); err != nil {
		return err
	}
	s.agree(s.offer, field(pdu, 1)) // after the response, which still has the old size
	return nil
}

func (s *server) writeRequest(pdu []byte) error {
	if len(pdu) < valueHeader {
		return s.refuse(pdu, codeInvalidPDU)
	}
	value := pdu[valueHeader:]
	switch field(pdu, 1) {
	case handleDownstream:
		if err := s.write([]byte{opWriteResponse}); err != nil {
			return err
		}
		return s.deliver(value)
	case handleConfigure:
		if len(value) != 2 {
			return s.refuse(pdu, codeInvalidValueLen)
		}
		s.mu.Lock()
		s.subscribed = field(value, 0)&indicationsOn != 0
		s.mu.Unlock()
		return s.write([]byte{opWriteResponse})
	case handleUpstream:
		return s.refuse(pdu, codeWriteForbidden)
	}
	return s.refuse(pdu, codeInvalidHandle)
}

// prepare stages one part of a long write. What is wrong with the parts is said at the execute, as Part F §3.4.6.3 has it.
func (s *server) prepare(pdu []byte) error {
	if len(pdu) < prepareHeader {
		return s.refuse(pdu, codeInvalidPDU)
	}
	if field(pdu, 1) != handleDownstream {
		return s.refuse(pdu, codeInvalidHandle)
	}
	offset, part := field(pdu, 3), pdu[prepareHeader:]
	switch {
	case s.stagedErr != codeNone:
	case offset > len(s.staged):
		s.stagedErr = codeInvalidOffset
	case offset+len(part) > MaxValue:
		s.stagedErr = codeInvalidValueLen
	default:
		// A part that was repeated on the way overwrites itself.
		n := copy(s.staged[offset:], part)
		s.staged = append(s.staged, part[n:]...)
	}
	echo := bytes.Clone(pdu)
	echo[0] = opPrepareResponse
	return s.write(echo)
}

func (s *server) execute(pdu []byte) error {
	if len(pdu) != 2 || pdu[1] > 1 {
		return s.refuse(pdu, codeInvalidPDU)
	}
	value, code := s.staged, s.stagedErr
	s.staged, s.stagedErr = nil, codeNone
	if pdu[1] == 1 && code != codeNone {
		return s.write(errorResponse(opExecuteRequest, handleDownstream, code))
	}
	if err := s.write([]byte{opExecuteResponse}); err != nil {
		return err
	}
	if pdu[1] == 0 || value == nil {
		return nil
	}
	return s.deliver(value)
}

func (s *server) readBlob(pdu []byte) error {
	if len(pdu) != 5 {
		return s.refuse(pdu, codeInvalidPDU)
	}
	switch field(pdu, 1) {
	case handleUpstream:
	case handleDownstream:
		return s.refuse(pdu, codeReadForbidden)
	default:
		return s.refuse(pdu, codeInvalidHandle)
	}
	s.mu.Lock()
	long := s.long
	s.mu.Unlock()
	offset := field(pdu, 3)
	if offset > len(long) {
		return s.refuse(pdu, codeInvalidOffset)
	}
	part := long[offset:min(len(long), offset+s.room(blobHeader))]
	return s.write(append(header(opReadBlobResponse), part...))
}

// confirm ends the wait for the outstanding indication; a confirmation too many means nothing.
func (s *server) confirm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outstanding {
		s.outstanding = false
		s.confirmed <- struct{}{}
	}
}
