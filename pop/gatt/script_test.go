package gatt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// script plays a central by hand over an in-memory link; time is synctest's.
type script struct {
	t    *testing.T
	conn net.Conn
	end  chan error
}

func startScript(t *testing.T, handle Handle) *script {
	near, far := net.Pipe()
	s := &script{t: t, conn: near, end: make(chan error, 1)}
	go func() { s.end <- ServeLink(t.Context(), far, handle, Options{}) }()
	return s
}

func (s *script) write(pdu ...byte) {
	s.t.Helper()
	packet := binary.LittleEndian.AppendUint16(nil, uint16(len(pdu)))
	if _, err := s.conn.Write(append(packet, pdu...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) read() []byte {
	s.t.Helper()
	buf := make([]byte, 2+MaxMTU)
	if _, err := s.conn.Read(buf); err != nil {
		s.t.Fatal(err)
	}
	// The peripheral writes each PDU at once, so one Read is one PDU.
	return buf[2 : 2+binary.LittleEndian.Uint16(buf)]
}

// expect reads one PDU and compares it.
func (s *script) expect(want ...byte) {
	s.t.Helper()
	if got := s.read(); !bytes.Equal(got, want) {
		s.t.Fatalf("got pdu %x, want %x", got, want)
	}
}

func (s *script) subscribe() {
	s.t.Helper()
	s.write(opWriteRequest, handleConfigure, 0, indicationsOn, 0)
	s.expect(opWriteResponse)
}

func TestCentralThatNeverConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		s.subscribe()
		s.write(opWriteRequest, handleDownstream, 0, 0x20, 0x01) // GET /
		s.expect(opWriteResponse)
		if got := s.read(); got[0] != opIndication {
			t.Fatalf("got %x, want an indication", got)
		}
		start := time.Now()
		if err := <-s.end; !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if took := time.Since(start); took != DefaultTimeout {
			t.Errorf("dropped after %v, want %v", took, DefaultTimeout)
		}
	})
}

func TestCentralThatNeverAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		s.subscribe()
		s.write(opWriteRequest, handleDownstream, 0, 0x60, 0x01) // M=1, so that A=1 is ours; C=1
		s.expect(opWriteResponse)
		start := time.Now()
		for { // confirms whatever comes, and sends A=1 where the response has M=0
			got := s.read()
			s.write(opConfirmation)
			if len(got) > valueHeader+1 {
				break
			}
		}
		s.write(opWriteRequest, handleDownstream, 0, 0x50)
		s.expect(opWriteResponse)
		if err := <-s.end; !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if took := time.Since(start); took != DefaultTimeout {
			t.Errorf("dropped after %v, want %v", took, DefaultTimeout)
		}
	})
}

func TestCentralThatStallsInAPDU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		time.Sleep(24 * time.Hour) // silence between PDUs is no fault
		start := time.Now()
		if _, err := s.conn.Write([]byte{5}); err != nil {
			t.Fatal(err)
		}
		if err := <-s.end; err == nil || time.Since(start) != DefaultTimeout {
			t.Errorf("got %v after %v, want an error after %v", err, time.Since(start), DefaultTimeout)
		}
	})
}

func TestCentralThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		s.write(opWriteRequest, handleConfigure, 0, indicationsOn, 0)
		start := time.Now()
		if err := <-s.end; err == nil || time.Since(start) != DefaultTimeout {
			t.Errorf("got %v after %v, want an error after %v", err, time.Since(start), DefaultTimeout)
		}
	})
}

func TestCentralThatDidNotSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		s.write(opWriteRequest, handleDownstream, 0, 0x20, 0x01)
		s.expect(opWriteResponse)
		if err := <-s.end; !errors.Is(err, errNotSubscribed) {
			t.Errorf("got %v, want %v", err, errNotSubscribed)
		}
	})
}

func TestNextMessageWaitsForTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, echo)
		s.subscribe()
		var seen [][]byte
		go func() { // confirms everything at once
			for {
				buf := make([]byte, 2+MaxMTU)
				n, err := s.conn.Read(buf)
				if err != nil {
					return
				}
				if buf[2] == opIndication {
					seen = append(seen, buf[2+valueHeader:n])
					s.write(opConfirmation)
				}
			}
		}()
		s.write(opWriteCommand, handleDownstream, 0, 0x11, 0x01, 0xaa) // C=0 A=1
		s.write(opWriteCommand, handleDownstream, 0, 0x11, 0x01, 0xbb)
		time.Sleep(DefaultTimeout / 2)
		synctest.Wait()
		if len(seen) != 1 || seen[0][0]&^maskTKL != bitConfirm {
			t.Fatalf("sent %x before an acknowledgement, want one message with M=0", seen)
		}
		s.write(opWriteCommand, handleDownstream, 0, 0x00) // A=0
		time.Sleep(DefaultTimeout / 2)
		synctest.Wait()
		if len(seen) != 2 || seen[1][0]&^maskTKL != bitID|bitConfirm {
			t.Fatalf("sent %x after it, want a second message with M=1", seen)
		}
		s.conn.Close()
		<-s.end
	})
}
