package gatt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func TestPeripheralAnswersWrongPDUs(t *testing.T) {
	tests := []struct {
		name string
		pdus [][]byte // all but the last are answered somehow
		want []byte
	}{
		{"unknown request", [][]byte{{0x20}}, errorResponse(0x20, 0, codeNotSupported)},
		{"read of a short value", [][]byte{{0x0a, 5, 0}}, errorResponse(0x0a, 0, codeNotSupported)},
		{"mtu request cut", [][]byte{{opMTURequest, 23}}, errorResponse(opMTURequest, 0, codeInvalidPDU)},
		{"mtu request too long", [][]byte{{opMTURequest, 23, 0, 0}}, errorResponse(opMTURequest, 23, codeInvalidPDU)},
		{"mtu below the default", [][]byte{{opMTURequest, 5, 0}}, header(opMTUResponse, MaxMTU)},
		{"write cut in its handle", [][]byte{{opWriteRequest, 3}}, errorResponse(opWriteRequest, 0, codeInvalidPDU)},
		{"write to no attribute", [][]byte{{opWriteRequest, 9, 0, 1}}, errorResponse(opWriteRequest, 9, codeInvalidHandle)},
		{"write to the upstream characteristic", [][]byte{{opWriteRequest, 5, 0, 1}}, errorResponse(opWriteRequest, 5, codeWriteForbidden)},
		{"configuration of one byte", [][]byte{{opWriteRequest, 6, 0, 2}}, errorResponse(opWriteRequest, 6, codeInvalidValueLen)},
		{"prepare cut in its offset", [][]byte{{opPrepareRequest, 3, 0, 0}}, errorResponse(opPrepareRequest, 3, codeInvalidPDU)},
		{"prepare of another attribute", [][]byte{{opPrepareRequest, 5, 0, 0, 0, 1}}, errorResponse(opPrepareRequest, 5, codeInvalidHandle)},
		{"prepare is echoed", [][]byte{{opPrepareRequest, 3, 0, 0, 0, 1}}, []byte{opPrepareResponse, 3, 0, 0, 0, 1}},
		{"execute cut", [][]byte{{opExecuteRequest}}, errorResponse(opExecuteRequest, 0, codeInvalidPDU)},
		{"execute with another flag", [][]byte{{opExecuteRequest, 2}}, errorResponse(opExecuteRequest, 0, codeInvalidPDU)},
		{"execute of nothing", [][]byte{{opExecuteRequest, 1}}, []byte{opExecuteResponse}},
		{"execute after a gap", [][]byte{{opPrepareRequest, 3, 0, 1, 0, 1}, {opExecuteRequest, 1}}, errorResponse(opExecuteRequest, 3, codeInvalidOffset)},
		{"execute beyond 512 bytes", append(longWrite(513), []byte{opExecuteRequest, 1}), errorResponse(opExecuteRequest, 3, codeInvalidValueLen)},
		{"cancelled long write", [][]byte{{opPrepareRequest, 3, 0, 1, 0, 1}, {opExecuteRequest, 0}}, []byte{opExecuteResponse}},
		{"a cancelled long write is forgotten", [][]byte{
			{opPrepareRequest, 3, 0, 1, 0, 1}, {opExecuteRequest, 0}, {opExecuteRequest, 1}}, []byte{opExecuteResponse}},
		{"blob request cut", [][]byte{{opReadBlobRequest, 5, 0, 0}}, errorResponse(opReadBlobRequest, 5, codeInvalidPDU)},
		{"blob of the downstream characteristic", [][]byte{{opReadBlobRequest, 3, 0, 0, 0}}, errorResponse(opReadBlobRequest, 3, codeReadForbidden)},
		{"blob of no attribute", [][]byte{{opReadBlobRequest, 9, 0, 0, 0}}, errorResponse(opReadBlobRequest, 9, codeInvalidHandle)},
		{"blob before any value", [][]byte{{opReadBlobRequest, 5, 0, 0, 0}}, []byte{opReadBlobResponse}},
		{"blob beyond the value", [][]byte{{opReadBlobRequest, 5, 0, 1, 0}}, errorResponse(opReadBlobRequest, 5, codeInvalidOffset)},
		{"responses, commands and confirmations are passed over", [][]byte{{opExecuteRequest, 0}, {opError}, {opWriteResponse},
			{opIndication, 5, 0, 0}, {opConfirmation}, {opConfirmation}, {0x52}, {0xd2}, {opExecuteRequest, 0}}, []byte{opExecuteResponse}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := startScript(t, echo)
				var got []byte
				for _, pdu := range test.pdus {
					s.write(pdu...)
					if answerable(pdu[0]) {
						got = s.read()
					}
				}
				if !bytes.Equal(got, test.want) {
					t.Errorf("got %x, want %x", got, test.want)
				}
				s.conn.Close()
				if err := <-s.end; err != nil {
					t.Errorf("the link ended with %v", err)
				}
			})
		})
	}
}

// longWrite is the prepare requests for size bytes.
func longWrite(size int) [][]byte {
	var pdus [][]byte
	for offset := 0; offset < size; offset += 18 {
		pdus = append(pdus, append(header(opPrepareRequest, handleDownstream, offset), make([]byte, min(18, size-offset))...))
	}
	return pdus
}

func TestPeripheralDropsBrokenCentrals(t *testing.T) {
	get := []byte{opWriteRequest, handleDownstream, 0, 0x60, 0x01}
	tests := []struct {
		name   string
		packet []byte
		want   error // nil: any
	}{
		{"pdu of no byte", []byte{0, 0}, errPDUSize},
		{"pdu longer than the mtu", append([]byte{24, 0}, make([]byte, 24)...), errPDUSize},
		{"length in the other byte order", []byte{0, 5, 0, 0, 0, 0, 0}, errPDUSize},
		{"pdu of 65535 bytes", []byte{0xff, 0xff}, errPDUSize},
		{"empty value", []byte{3, 0, opWriteRequest, handleDownstream, 0}, errEmptyFrame},
		{"value that is no frame", []byte{5, 0, opWriteRequest, handleDownstream, 0, 0x0f, 0x01}, errTokenLength},
		{"value that is no frame, as a command", []byte{5, 0, opWriteCommand, handleDownstream, 0, 0x0f, 0x01}, errTokenLength},
		{"cut in the length", []byte{5}, io.ErrUnexpectedEOF},
	}
	for n := range get {
		if n == 0 {
			continue // "cut in the length" stands for it
		}
		packet := append([]byte{byte(len(get)), 0}, get[:n]...)
		tests = append(tests, struct {
			name   string
			packet []byte
			want   error
		}{fmt.Sprintf("cut after byte %d", n), packet, io.ErrUnexpectedEOF})
	}
	p := startPeripheral(t, echo, Options{})
	good := dial(t, p.path, Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("unix", p.path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Write(test.packet)
			conn.(*net.UnixConn).CloseWrite()
			if err := p.wait(t); err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			mustEcho(t, good, numbered(100)) // the other link does not notice
		})
	}
}

// TestPDUsCutShort sends every PDU of an exchange cut at each byte, in frames of the right length.
func TestPDUsCutShort(t *testing.T) {
	var pdus [][]byte
	p := startPeripheral(t, echo, Options{})
	a := startAir(t, p.path, func(_ int, direction string, pdu []byte) fate {
		if direction == Downstream {
			pdus = append(pdus, bytes.Clone(pdu))
		}
		return pass
	})
	c := dial(t, a.path, Options{})
	mustEcho(t, c, numbered(60))
	c.Close()
	p.wait(t)
	for i, pdu := range pdus {
		for n := 1; n < len(pdu); n++ {
			conn, err := net.Dial("unix", p.path)
			if err != nil {
				t.Fatal(err)
			}
			for _, whole := range append(pdus[:i:i], pdu[:n]) {
				conn.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(whole))))
				conn.Write(whole)
			}
			conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, conn)
			conn.Close()
			p.wait(t) // whatever it says: it ends
		}
	}
	mustEcho(t, dial(t, p.path, Options{}), numbered(60))
}

func TestLongValueOutlivesEmptyMessages(t *testing.T) {
	// As on stacks that confirm at once: the remainder is read after an empty message has been indicated.
	synctest.Test(t, func(t *testing.T) {
		s := startScript(t, func(context.Context, message.Message) message.Message {
			return message.Message{Code: codes.Content, Payload: numbered(30)}
		})
		s.subscribe()
		s.write(opWriteRequest, handleDownstream, 0, 0x60, 0x01)
		s.expect(opWriteResponse)
		value := s.read()[valueHeader:]
		for s.write(opConfirmation); len(value) == 1; s.write(opConfirmation) { // acknowledged before it was answered
			value = s.read()[valueHeader:]
		}
		s.write(opWriteRequest, handleDownstream, 0, 0x30) // empty, M=0 C=1 A=1
		s.expect(opWriteResponse)
		s.expect(opIndication, handleUpstream, 0, 0x00) // empty, A=0
		s.write(opConfirmation)
		s.write(opReadBlobRequest, handleUpstream, 0, 20, 0)
		value = append(value, s.read()[blobHeader:]...)
		if got, err := decodeFrame(value); err != nil || !bytes.Equal(got.message.Payload, numbered(30)) {
			t.Errorf("got %x, %v", value, err)
		}
		s.conn.Close()
		<-s.end
	})
}

// badPeripheral answers the central's requests as it should, then sends upstream, and answers blobs as told.
func badPeripheral(t *testing.T, upstream []byte, blob func(offset int) []byte) *Central {
	t.Helper()
	near, far := net.Pipe()
	reply := func(pdu []byte) {
		far.Write(append(binary.LittleEndian.AppendUint16(nil, uint16(len(pdu))), pdu...))
	}
	go func() {
		r := newRadio(far, DefaultTimeout)
		for {
			pdu, err := r.read()
			if err != nil {
				return
			}
			switch pdu[0] {
			case opMTURequest:
				reply(header(opMTUResponse, DefaultMTU))
			case opWriteRequest:
				reply([]byte{opWriteResponse})
				if field(pdu, 1) == handleDownstream {
					reply(upstream)
				}
			case opPrepareRequest:
				pdu[0] = opPrepareResponse
				pdu[len(pdu)-1] ^= 1
				reply(pdu)
			case opExecuteRequest:
				t.Error("a long write was executed although its echo was wrong")
				reply([]byte{opExecuteResponse})
			case opReadBlobRequest:
				reply(blob(field(pdu, 3)))
			}
		}
	}()
	o, _ := Options{}.withDefaults(DefaultMTU)
	c := newCentral(near, o)
	if err := c.client.start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCentralDropsBrokenPeripherals(t *testing.T) {
	full := append(header(opIndication, handleUpstream), append([]byte{0x20, 0x45, 0xff}, make([]byte, 17)...)...)
	endless := func(int) []byte { return append([]byte{opReadBlobResponse}, make([]byte, 22)...) }
	tests := []struct {
		name     string
		upstream []byte
		blob     func(offset int) []byte
		want     error
	}{
		{"value that is no frame", []byte{opIndication, handleUpstream, 0, 0x0f}, nil, errTokenLength},
		{"empty value", []byte{opIndication, handleUpstream, 0}, nil, errEmptyFrame},
		{"indication cut", []byte{opIndication, handleUpstream}, nil, codeInvalidPDU},
		{"pdu longer than the mtu", make([]byte, DefaultMTU+1), nil, errPDUSize},
		{"pdu of no byte", nil, nil, errPDUSize},
		{"value without end", full, endless, errLongValue},
		{"blob refused", full, func(int) []byte { return errorResponse(opReadBlobRequest, handleUpstream, codeInvalidOffset) }, codeInvalidOffset},
		{"blob never answered", full, func(int) []byte { return []byte{opExecuteResponse} }, ErrTimeout},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := badPeripheral(t, test.upstream, test.blob)
				defer c.Close()
				_, err := c.Exchange(t.Context(), message.Message{Code: codes.GET})
				if !errors.Is(err, ErrClosed) || !errors.Is(err, test.want) {
					t.Errorf("got %v, want ErrClosed because of %v", err, test.want)
				}
			})
		})
	}
}

func TestCentralPassesOver(t *testing.T) {
	tests := []struct {
		name     string
		upstream []byte
		blob     func(offset int) []byte
	}{
		{"response that nobody waits for", []byte{opIndication, handleUpstream, 0, 0x21, 0x45, 0xaa}, nil},
		{"indication of another attribute", []byte{opIndication, 0x77, 0, 0x0f}, nil},
		{"request of the peripheral", []byte{opIndication, handleUpstream, 0, 0x21, 0x01, 0xaa}, nil},
		{"notification", []byte{opNotification, handleUpstream, 0, 0x21, 0x45, 0xaa}, nil},
		{"attribute request", []byte{opMTURequest, 23, 0}, nil},
		{"confirmation", []byte{opConfirmation}, nil},
		{"value that just fills its indication", append(header(opIndication, handleUpstream), append([]byte{0x20, 0x45, 0xff}, make([]byte, 17)...)...),
			func(int) []byte { return errorResponse(opReadBlobRequest, handleUpstream, codeAttributeShort) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := badPeripheral(t, test.upstream, test.blob)
				defer c.Close()
				ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout-time.Second)
				defer cancel()
				if _, err := c.Exchange(ctx, message.Message{Code: codes.GET}); err != context.DeadlineExceeded {
					t.Errorf("got %v, want only the context's end", err)
				}
			})
		})
	}
}

func TestCentralEndsWithoutAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := badPeripheral(t, []byte{opConfirmation}, nil)
		defer c.Close()
		start := time.Now()
		_, err := c.Exchange(t.Context(), message.Message{Code: codes.GET, Options: message.Options{{ID: message.URIPath, Value: []byte("a")}}})
		if !errors.Is(err, ErrTimeout) || time.Since(start) != DefaultTimeout {
			t.Errorf("got %v after %v, want ErrTimeout after %v", err, time.Since(start), DefaultTimeout)
		}
	})
}

func TestCentralExecutesOnlyWhatWasEchoed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := badPeripheral(t, nil, nil)
		defer c.Close()
		start := time.Now()
		_, err := c.Exchange(t.Context(), post(numbered(40)))
		if !errors.Is(err, ErrTimeout) || time.Since(start) != DefaultTimeout {
			t.Errorf("got %v after %v, want ErrTimeout after %v", err, time.Since(start), DefaultTimeout)
		}
	})
}

// packets cuts fuzz input into PDUs: a byte of length, then as many bytes.
func packets(data []byte) [][]byte {
	var pdus [][]byte
	for len(data) > 1 {
		n := min(int(data[0]), len(data)-1)
		if n > 0 {
			pdus = append(pdus, data[1:1+n])
		}
		data = data[1+n:]
	}
	return pdus
}

// sink is a link that takes everything and checks the size of what is written.
type sink struct {
	net.Conn
	t *testing.T
	r *radio
}

func (s *sink) Write(packet []byte) (int, error) {
	if size := int(binary.LittleEndian.Uint16(packet)); size != len(packet)-2 || size > int(s.r.mtu.Load()) {
		s.t.Errorf("pdu %x, mtu %d", packet, s.r.mtu.Load())
	}
	return len(packet), nil
}
func (*sink) Close() error                     { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }

func FuzzPeripheral(f *testing.F) {
	f.Add([]byte{3, opMTURequest, 185, 0, 5, opWriteRequest, 6, 0, 2, 0, 6, opWriteRequest, 3, 0, 0x60, 1})
	f.Add([]byte{7, opPrepareRequest, 3, 0, 0, 0, 0x60, 1, 2, opExecuteRequest, 1, 5, opReadBlobRequest, 5, 0, 0, 0, 1, opConfirmation})
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := &sink{t: t}
		s := newServer(newRadio(conn, DefaultTimeout), MaxMTU)
		conn.r = s.radio
		session := newSession(s.radio, s, nil, nil) // no handler, so that every run is the same
		s.deliver = func(value []byte) error { return session.receive(context.Background(), value) }
		for _, pdu := range packets(data) {
			if err := s.serve(pdu); err != nil {
				break
			}
			if len(s.staged) > MaxValue {
				t.Fatalf("%d bytes staged", len(s.staged))
			}
		}
		if len(session.queue) > maxRefusals {
			t.Fatalf("%d messages queued", len(session.queue))
		}
	})
}

func FuzzCentral(f *testing.F) {
	f.Add([]byte{7, opIndication, 5, 0, 0x61, 0x45, 1, 0xff})
	f.Add([]byte{4, opNotification, 5, 0, 0x10, 3, opMTURequest, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := &sink{t: t}
		c := newClient(newRadio(conn, DefaultTimeout), DefaultMTU)
		conn.r = c.radio
		session := newSession(c.radio, c, nil, nil)
		c.deliver = func(value []byte) error { return session.receive(context.Background(), value) }
		for _, pdu := range packets(data) {
			if len(pdu) >= DefaultMTU {
				continue // its remainder would be waited for, and nobody answers here
			}
			if err := c.dispatch(pdu); err != nil {
				break
			}
			select {
			case pdu := <-c.indications:
				if c.take(pdu) != nil {
					return
				}
			default:
			}
		}
		if len(session.queue) > maxRefusals {
			t.Fatalf("%d messages queued", len(session.queue))
		}
	})
}
