// Package deliverytest is the other end of a delivery.Engine in tests: a device with the keys of its record, on a socket of
// its own on loopback, and a tape of what goes over a socket. It decides nothing: what a device answers is a Handler's.
// Start from Record and Start.
package deliverytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Record makes the record of a new lock, owned by alice, that takes pushed tokens of the first shape.
func Record(name string) authz.Device {
	d := authz.Device{
		Name: name, Owner: "alice", Kind: provision.KindLock, Delivery: authz.DeliveryPush, Profile: pop.ProfileCoAPOSCORE,
		Clock: provision.ClockSynced, Shape: provision.ShapeEncrypt0, RootKey: make([]byte, 32),
		SenderID: make([]byte, provision.SenderIDSize), Epoch: 1, CreatedAt: time.Now(),
		Actions: []provision.Action{
			{Name: "unlock", Path: "/door/unlock", Methods: aif.POST},
			{Name: "view", Path: "/door", Methods: aif.GET},
			{Name: "disarm", Path: "/alarm/disarm", Methods: aif.POST},
		},
	}
	for _, b := range [][]byte{d.ID[:], d.RootKey, d.SenderID} {
		_, _ = rand.Read(b) // never fails
	}
	return d
}

// Device is a lock's end of its channel. It is safe for concurrent use.
type Device struct {
	t       testing.TB
	record  authz.Device
	handler coapsec.Handler

	mu       sync.Mutex
	channel  *coapsec.Channel
	endpoint *coapsec.Endpoint
}

// Start puts a device on a socket until the test ends. handler answers what comes over the channel.
func Start(t testing.TB, record authz.Device, handler coapsec.Handler) *Device {
	t.Helper()
	d := &Device{t: t, record: record, handler: handler}
	d.Restart()
	d.Move()
	return d
}

// Restart forgets every context, as a power cut does.
func (d *Device) Restart() {
	d.t.Helper()
	params, err := provision.ServerChannelParams(d.record.RootKey, d.record.ID, d.record.SenderID, provision.ServerSenderID)
	if err != nil {
		d.t.Fatal(err)
	}
	params.SenderID, params.RecipientID = params.RecipientID, params.SenderID
	d.mu.Lock()
	defer d.mu.Unlock()
	d.channel = coapsec.NewChannel(params, coapsec.ChannelOptions{Device: true})
}

// Move gives the device a new address and returns the socket of the old one, nil at first, which goes on serving.
func (d *Device) Move() (old *coapsec.Endpoint) {
	d.t.Helper()
	endpoint := Socket(d.t, coapsec.NewSecurity(d, coapsec.HandlerFunc(stranger), d.handler, coapsec.SecurityOptions{}), "", coapsec.EndpointOptions{})
	d.mu.Lock()
	defer d.mu.Unlock()
	old, d.endpoint = d.endpoint, endpoint
	return old
}

func stranger(context.Context, *coapsec.Request) message.Message {
	return message.Message{Code: codes.Unauthorized}
}

// Find implements coapsec.Contexts.
func (d *Device) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	return d.Channel(), bytes.Equal(kid, provision.ServerSenderID)
}

// Channel is the device's end of the channel now.
func (d *Device) Channel() *coapsec.Channel {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel
}

// Endpoint is the device's socket now.
func (d *Device) Endpoint() *coapsec.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.endpoint
}

// Address is where the device is now.
func (d *Device) Address() netip.AddrPort { return d.Endpoint().LocalAddr() }

// Ask sends a request over the channel to server.
func (d *Device) Ask(ctx context.Context, server netip.AddrPort, request message.Message) (message.Message, error) {
	return d.Channel().Exchange(ctx, d.Endpoint().To(server), request)
}

// RegisterRequest is POST /register for a lifetime.
func RegisterRequest(t testing.TB, lifetime time.Duration) message.Message {
	t.Helper()
	payload, err := ace.Register{Lifetime: lifetime, LocalURIs: []string{"coap://192.0.2.20:5683"}, Epoch: 1}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, payload)
}

// Peer is the end of a client's channel.
func Peer(c authz.Channel) *coapsec.Channel {
	return coapsec.NewChannel(oscore.Params{
		MasterSecret: c.MasterSecret, MasterSalt: c.MasterSalt, SenderID: c.PeerID, RecipientID: c.ServerID,
	}, coapsec.ChannelOptions{Device: true})
}

// Socket serves handler on a loopback socket until the test ends; address "" stands for a free port.
func Socket(t testing.TB, handler coapsec.Handler, address string, o coapsec.EndpointOptions) *coapsec.Endpoint {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	conn, err := net.ListenPacket("udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := coapsec.NewEndpoint(ordered{conn}, handler, o)
	done := make(chan error, 1)
	go func() { done <- e.Serve(context.Background()) }()
	t.Cleanup(func() {
		_ = e.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

// ordered tells the race detector what a datagram proves: what its sender did before comes before what its receiver does
// after. It cannot see that through the kernel.
type ordered struct{ net.PacketConn }

var order atomic.Int64

func (c ordered) WriteTo(p []byte, to net.Addr) (int, error) {
	order.Add(1)
	return c.PacketConn.WriteTo(p, to)
}

func (c ordered) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(p)
	order.Load()
	return n, from, err
}

// Datagram is one that went over a socket.
type Datagram struct {
	Direction string // "in" or "out"
	Peer      netip.AddrPort
	Bytes     []byte
}

// Tape keeps the datagrams of a socket in order.
type Tape struct {
	mu   sync.Mutex
	kept []Datagram
}

// Tap goes into coapsec.EndpointOptions.
func (t *Tape) Tap(direction string, peer netip.AddrPort, datagram []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, Datagram{direction, peer, bytes.Clone(datagram)})
}

// Rewind forgets what was kept.
func (t *Tape) Rewind() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = nil
}

// Between lists what went in one direction from or to peer; the zero peer stands for all.
func (t *Tape) Between(direction string, peer netip.AddrPort) (out []Datagram) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.kept), func(d Datagram) bool {
		return d.Direction != direction || peer.IsValid() && d.Peer != peer
	})
}
