package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
	"golang.org/x/sync/errgroup"
)

const answerTime = 5 * time.Second // loopback loses nothing, so a later answer is a failure

// coapDriver are peers that each have one request under way at most.
type coapDriver struct {
	coapLoad
	server *process
	all    []*coapPeer
	next   [coapWindow]int // how far each of those who ask at the same time has come
}

// coapPeer is a socket with its Message-IDs. With a context its requests are protected.
type coapPeer struct {
	conn    *net.UDPConn
	context *oscore.Context
	plain   []byte // its unprotected request
	id      uint16
	buffer  [coapMessage]byte
}

// dial makes the peers, one for each of clients if there are any.
func (d *coapDriver) dial(address string) error {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	for i := range d.peers {
		conn, err := net.DialUDP("udp", nil, to)
		if err != nil {
			d.close()
			return err
		}
		p := &coapPeer{conn: conn, context: d.clients[strconv.Itoa(i)]}
		d.all = append(d.all, p)
		if p.plain, err = p.datagram(d.request()); err != nil {
			d.close()
			return err
		}
	}
	return nil
}

func (d *coapDriver) close() {
	for _, p := range d.all {
		_ = p.conn.Close()
	}
}

// round has the peers ask for span, coapWindow at a time, and waits until all have been answered.
func (d *coapDriver) round(ctx context.Context, span time.Duration) (r round, err error) {
	before, err := d.server.usage()
	if err != nil {
		return r, err
	}
	began := time.Now()
	var answered atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for first := range coapWindow {
		group.Go(func() error {
			n, err := d.drive(ctx, first, began.Add(span))
			answered.Add(n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return r, err
	}
	r.took, r.requests = time.Since(began), answered.Load()
	after, err := d.server.usage()
	if err != nil {
		return r, err
	}
	r.used = after - before
	r.resident, err = d.server.resident()
	return r, err
}

// drive sends requests for every coapWindow-th peer in turn, going on where it stopped in the last round.
func (d *coapDriver) drive(ctx context.Context, first int, until time.Time) (answered int64, err error) {
	own := (len(d.all) - first + coapWindow - 1) / coapWindow
	for ctx.Err() == nil && time.Now().Before(until) {
		if err := d.get(d.all[first+d.next[first]%own*coapWindow]); err != nil {
			return answered, err
		}
		d.next[first]++
		answered++
	}
	return answered, ctx.Err()
}

func (d *coapDriver) request() message.Message {
	return coapsec.NewRequest(codes.GET, d.path, coapsec.NoFormat, nil)
}

// datagram is a confirmable message with a token.
func (p *coapPeer) datagram(m message.Message) ([]byte, error) {
	m.Type, m.MessageID, m.Token = message.Confirmable, int32(p.id), message.Token{1, 2, 3, 4}
	size, err := coder.DefaultCoder.Size(m)
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = coder.DefaultCoder.Encode(m, data)
	return data, err
}

// get has p ask once and checks the answer.
func (d *coapDriver) get(p *coapPeer) error {
	p.id++
	data, exchange, err := d.make(p)
	if err != nil {
		return err
	}
	if _, err := p.conn.Write(data); err != nil {
		return err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	n, err := p.conn.Read(p.buffer[:])
	switch {
	case err != nil:
		return err
	case n < 4 || binary.BigEndian.Uint16(p.buffer[2:]) != p.id:
		return fmt.Errorf("unexpected datagram %x", p.buffer[:n])
	case d.want == 0:
		return nil
	}
	m := message.Message{Options: make(message.Options, 0, 8)}
	if _, err := coder.DefaultCoder.Decode(p.buffer[:n], &m); err != nil {
		return err
	}
	if exchange != nil {
		if m, err = p.context.UnprotectResponse(exchange, m); err != nil {
			return err
		}
	}
	if m.Code != d.want || m.Code == codes.Content && string(m.Payload) != coapAnswer {
		return errors.New("got another answer than the server gives: " + coapsec.Describe(m))
	}
	return nil
}

// make is the datagram of p's next request; exchange is nil for one that is not protected.
func (d *coapDriver) make(p *coapPeer) (data []byte, exchange *oscore.Exchange, err error) {
	if p.context == nil {
		binary.BigEndian.PutUint16(p.plain[2:], p.id)
		return p.plain, nil, nil
	}
	outer, exchange, err := p.context.ProtectRequest(d.request())
	if err != nil {
		return nil, nil, err
	}
	data, err = p.datagram(outer)
	return data, exchange, err
}
