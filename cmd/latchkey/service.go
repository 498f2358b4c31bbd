package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest/trust"
	"github.com/latchkey-ace/latchkey/authz/coapapi"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/housekeeping"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/cmd/latchkey/metrics"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/storage"
	"golang.org/x/sync/errgroup"
)

// service is a server's folder being served. Its doors open before its store does, so that whoever watches it is answered
// while a database is waited for.
type service struct {
	dir          string
	config       config
	log          *slog.Logger
	certificates *certificates  // nil: plain HTTP
	clientRoots  *x509.CertPool // nil: nobody issues certificates of apps
	trusted      *trust.Trusted // who may vouch for app instances
	metrics      *metrics.Metrics
	ready        func() error // says so to whoever started it; nil for nobody

	listeners
	phase atomic.Int32
	house atomic.Pointer[house]        // nil before its store is open
	front atomic.Pointer[http.Handler] // what is served over HTTP
}

// The phases of a service, in order.
const (
	starting int32 = iota
	serving
	draining
)

// listeners are the server's doors: people and apps, devices, this machine's operator, and those who watch.
type listeners struct {
	http    net.Listener
	coap    net.PacketConn
	coaps   net.PacketConn // nil: no DTLS
	socket  net.Listener
	watched net.Listener // nil: the socket alone
}

// newService refuses files that cannot be used; no door is open yet.
func newService(dir string, c config, log *slog.Logger) (*service, error) {
	s := &service{dir: dir, config: c, log: log}
	_, err := storage.LoadOrCreateKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	if s.certificates, err = newCertificates(dir, c, log); err != nil {
		return nil, err
	}
	if s.clientRoots, err = c.clientRoots(dir); err != nil {
		return nil, err
	}
	if s.trusted, err = c.attesters(dir); err != nil {
		return nil, err
	}
	s.warnOfDevelopment()
	sources := metrics.Sources{Ready: func() bool { return s.unready(context.Background()) == "" }}
	if s.certificates != nil {
		sources.CertificateExpiry = s.certificates.Expiry
	}
	if c.DB == "" {
		sources.StoreBytes = func() int64 { return storeBytes(dir) }
	}
	s.metrics = metrics.New(sources)
	notYet := http.Handler(http.HandlerFunc(waiting))
	s.front.Store(&notYet)
	return s, nil
}

// waiting answers while the store is not open yet.
func waiting(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "5")
	http.Error(w, "the server is starting", http.StatusServiceUnavailable)
}

func (s *service) listen() (err error) {
	if s.http, err = net.Listen("tcp", s.config.HTTP); err != nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	if s.coap, err = net.ListenPacket("udp", s.config.CoAP); err != nil {
		return fmt.Errorf("serve CoAP: %w", err)
	}
	if s.config.CoAPS != "" {
		if s.coaps, err = net.ListenPacket("udp", s.config.CoAPS); err != nil {
			return fmt.Errorf("serve CoAP over DTLS: %w", err)
		}
	}
	if s.config.Admin != "" {
		if s.watched, err = net.Listen("tcp", s.config.Admin); err != nil {
			return fmt.Errorf("serve admin: %w", err)
		}
	}
	if s.socket, err = listenAdmin(filepath.Join(s.dir, socketFile)); err != nil {
		return fmt.Errorf("serve the operator's socket: %w", err)
	}
	return nil
}

// run serves until ctx ends, then drains, or until a door breaks.
func (s *service) run(ctx context.Context) error {
	if err := s.listen(); err != nil {
		return err
	}
	// What runs outlives ctx: it is for the drain to end it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, alive := errgroup.WithContext(life)
	public, err := s.publicServer()
	if err != nil {
		return err
	}
	operator, watched := httpapi.Serve(s.operatorHandler()), httpapi.Serve(s.healthHandler())
	serveHTTP(group, public, s.http)
	serveHTTP(group, operator, s.socket)
	if s.watched != nil {
		serveHTTP(group, watched, s.watched)
	}
	h, err := s.openPatiently(ctx, alive)
	if err == nil && h != nil {
		defer h.Close()
		var doors []drainer
		if doors, err = s.open(group, alive, h); err == nil {
			select {
			case <-ctx.Done():
			case <-alive.Done():
			}
			s.drain(public, doors)
		}
	}
	s.phase.Store(draining)
	end()
	for _, server := range []*http.Server{public, watched, operator} {
		_ = server.Close() // what is left of it: the drain is over
	}
	broken := group.Wait()
	if err == nil {
		err = broken
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// openPatiently opens the store, waiting for a database that is down (F10); nil when told to stop before.
func (s *service) openPatiently(ctx, alive context.Context) (*house, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		h, err := openHouse(ctx, s.dir, s.config, houseOptions{log: s.log, watch: s.metrics.StoreWrite, observe: s.metrics.Observe, migrate: true})
		if err == nil {
			return h, nil
		}
		if !errors.Is(err, authz.ErrUnavailable) || errors.Is(err, authz.ErrRestored) {
			return nil, err
		}
		s.log.Warn("the store is not available; waiting for it", "again_in", pause, "err", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-alive.Done():
			return nil, nil
		case <-time.After(pause):
		}
	}
}

// drainer is a door that lets what has begun finish.
type drainer interface {
	Drain(ctx context.Context) error
}

// open starts everything that needs the store, and says that the server is there.
func (s *service) open(group *errgroup.Group, alive context.Context, h *house) ([]drainer, error) {
	if made, err := h.store.Restored(alive); err != nil {
		return nil, err
	} else if !made.IsZero() {
		s.log.Warn("the store was restored and is only read: run latchkey recover", "backup", made)
	}
	pages, err := console.New(h.server, s.log)
	if err != nil {
		return nil, err
	}
	engine := delivery.New(h.store, delivery.Options{Rand: rand.Reader, Now: time.Now, Log: s.log})
	h.server.SetDeliverer(s.metrics.Deliverer(engine))
	devices := coapapi.New(h.server, engine, s.log)
	endpoint := coapsec.NewEndpoint(s.coap, devices, coapsec.EndpointOptions{Log: s.log})
	engine.Use(endpoint)
	secured, err := overDTLS(s.coaps, devices, engine, s.log)
	if err != nil {
		return nil, err
	}
	doors := []drainer{endpoint}
	group.Go(func() error { return endpoint.Serve(alive) })
	if secured != nil {
		doors = append(doors, secured)
		group.Go(func() error { return secured.Serve(alive) })
	}
	for _, work := range s.workers(h, engine) {
		group.Go(func() error { return work(alive) })
	}
	face := s.metrics.HTTP(httpapi.New(h.server, pages, s.log, httpapi.Options{Roots: s.clientRoots, DPoPNonce: s.config.DPoPNonce, Invited: s.config.Registration == registrationInvited, Attesters: s.trusted.Attesters, Platforms: s.trusted.Platforms}), s.log)
	s.front.Store(&face)
	s.house.Store(h)
	s.phase.CompareAndSwap(starting, serving)
	if s.ready == nil {
		return doors, nil
	}
	return doors, s.ready()
}

// workers run beside the doors. They end with their context, which is after the drain and before the store closes; an
// error of one ends the server.
func (s *service) workers(h *house, engine *delivery.Engine) []func(context.Context) error {
	all := []func(context.Context) error{
		engine.Run, housekeeping.New(h.store, housekeeping.Options{Log: s.log, Removed: s.metrics.Removed}).Run,
	}
	if s.certificates != nil {
		all = append(all, func(ctx context.Context) error { return s.certificates.watch(ctx, s.log) })
	}
	return all
}

// publicServer is the door of people and apps.
func (s *service) publicServer() (*http.Server, error) {
	proxies, err := s.config.trusted()
	if err != nil {
		return nil, err
	}
	trust := origin.Trust{Proxies: proxies, Only: s.certificates == nil && len(proxies) > 0, CertHeader: s.config.ProxyCertField}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.front.Load()).ServeHTTP(w, r) })
	server := httpapi.Serve(origin.Handler(s.bounded(h), trust))
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug) // broken handshakes of strangers
	if s.certificates != nil {
		server.TLSConfig = s.certificates.tls
	}
	return server, nil
}

// bounded ends the work of a request before its answer could no longer be sent, and tells browsers to stay with https.
func (s *service) bounded(next http.Handler) http.Handler {
	secure := s.config.secure()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if secure {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func serveHTTP(group *errgroup.Group, server *http.Server, l net.Listener) {
	group.Go(func() error {
		serve := server.Serve
		if server.TLSConfig != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}

// drain tells the load balancer first, then closes the doors, and lets what has begun finish, for a while (F122). The
// endpoints close after all: an app's request that has begun may still upload to a device.
func (s *service) drain(public *http.Server, doors []drainer) {
	s.phase.Store(draining)
	s.log.Info("stopping", "delay", time.Duration(s.config.DrainDelay), "at_most", time.Duration(s.config.Drain))
	time.Sleep(time.Duration(s.config.DrainDelay))
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.config.Drain))
	defer cancel()
	var all errgroup.Group
	all.Go(func() error { return public.Shutdown(ctx) })
	for _, door := range doors {
		all.Go(func() error { return door.Drain(ctx) })
	}
	if err := all.Wait(); err != nil {
		s.log.Warn("requests were still running and are cut off", "err", err)
	}
}
