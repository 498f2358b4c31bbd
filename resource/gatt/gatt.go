// Package gatt is the peripheral's service: it offers CoAP over GATT to phones and hands their requests to a
// coapsec.Handler (draft-ietf-core-coap-over-gatt-00).
//
// The protocol is pop/gatt's; here links are accepted, counted and numbered. Nothing is secured or decided: anyone in
// radio range reaches the handler, and nearness is not proven. Start from Listen and Serve.
package gatt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/gatt"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Options of the service. The zero value is fit for use.
type Options struct {
	MTU     int           // largest attribute PDU taken; 0: gatt.MaxMTU
	Links   int           // centrals at once; 0: DefaultLinks
	Timeout time.Duration // of an attribute transaction; 0: gatt.DefaultTimeout
	Log     *slog.Logger  // of panics in the handler; nil: slog.Default()

	// Tap sees every attribute value of every link; see gatt.Options.
	Tap func(direction string, value []byte)

	// Closed hears of every link that ended, with nil when the central simply left. It may be called concurrently.
	Closed func(address string, cause error)
}

// Serve accepts centrals on l and hands their requests to h, concurrently. It owns l, and returns nil when ctx has ended
// or l's error, in both cases after every link and handler has finished.
//
// Peer.Address is "gatt:<n>", never used twice within one call. A central that breaks the protocol, stalls or floods loses
// its own link and nothing else. When all links are taken a newcomer gets the one whose central has asked nothing for
// longest, if that is IdleLink or more; otherwise it is turned away.
func Serve(ctx context.Context, l net.Listener, h coapsec.Handler, o Options) error {
	if o.Links <= 0 {
		o.Links = DefaultLinks
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Closed == nil {
		o.Closed = func(string, error) {}
	}
	s := &service{handler: h, options: o, links: make(map[*link]struct{})}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer func() {
		cancel()
		stop()
		l.Close()
		s.running.Wait()
	}()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		s.admit(ctx, conn)
	}
}

// errIdle is why a link was given to another central.
var errIdle = errors.New("idle link given to another central")

type service struct {
	handler coapsec.Handler
	options Options
	running sync.WaitGroup
	count   uint64 // links accepted so far; only the accepting goroutine uses it

	mu    sync.Mutex
	links map[*link]struct{}
}

type link struct {
	address string
	asked   atomic.Int64 // Unix nanoseconds of the last request, or of the connection
	serving atomic.Int32 // requests in the handler
	cancel  context.CancelCauseFunc
}

// admit gives conn a link or closes it.
func (s *service) admit(ctx context.Context, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) >= s.options.Links {
		idlest := s.idlest()
		if idlest == nil {
			conn.Close()
			return
		}
		delete(s.links, idlest)
		idlest.cancel(errIdle)
	}
	s.count++
	ctx, cancel := context.WithCancelCause(ctx)
	next := &link{address: "gatt:" + strconv.FormatUint(s.count, 10), cancel: cancel}
	next.asked.Store(time.Now().UnixNano())
	s.links[next] = struct{}{}
	s.running.Go(func() { s.serve(ctx, conn, next) })
}

// idlest is the link to give away, nil if none has been idle for IdleLink.
func (s *service) idlest() *link {
	var found *link
	for l := range s.links {
		if l.serving.Load() > 0 {
			continue
		}
		if found == nil || l.asked.Load() < found.asked.Load() {
			found = l
		}
	}
	if found == nil || time.Since(time.Unix(0, found.asked.Load())) < IdleLink {
		return nil
	}
	return found
}

func (s *service) serve(ctx context.Context, conn net.Conn, l *link) {
	handle := func(ctx context.Context, request message.Message) message.Message { return s.handle(ctx, l, request) }
	err := gatt.ServeLink(ctx, conn, handle, gatt.Options{
		MTU: s.options.MTU, Timeout: s.options.Timeout, Tap: s.options.Tap,
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	l.cancel(nil)
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
	s.options.Closed(l.address, err)
}

// handle asks the handler. A panic concerns only the request that caused it.
func (s *service) handle(ctx context.Context, l *link, request message.Message) (response message.Message) {
	l.asked.Store(time.Now().UnixNano())
	l.serving.Add(1)
	defer l.serving.Add(-1)
	defer func() {
		if cause := recover(); cause != nil {
			s.options.Log.Error("handler panicked", "peer", l.address, "cause", cause, "stack", string(debug.Stack()))
			response = message.Message{Code: codes.InternalServerError}
		}
	}()
	return s.handler.ServeCoAP(ctx, &coapsec.Request{Message: request, Peer: coapsec.Peer{Address: l.address}})
}
