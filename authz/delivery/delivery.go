// Package delivery carries tokens and news from the authorization server to resource servers over their provisioned
// channels: OSCORE over UDP whose contexts are made fresh by each server process (D1), towards addresses that devices
// have proven (D5). It also finds who speaks when a peer calls in.
//
// Engine.Run empties the outbox of the store, in which ended tokens wait until their devices know. A token that could not be
// uploaded is the caller's to keep. Start from New.
package delivery

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
)

// Peer is who holds the other end of a channel: exactly one of Device and Client.
type Peer struct {
	Device  provision.DeviceID
	Client  string
	Channel *coapsec.Channel // nil: the peer speaks over DTLS
}

// IsDevice tells a resource server from a client.
func (p *Peer) IsDevice() bool { return p.Client == "" }

// Accept lets a Peer stand as a coapsec.Association, so that a handler finds who speaks in Request.Peer.
func (p *Peer) Accept(ctx context.Context, outer message.Message, option oscore.Option) (coapsec.Accepted, error) {
	return p.Channel.Accept(ctx, outer, option)
}

// Engine holds the channels. It is safe for concurrent use and implements authz.Deliverer and coapsec.Contexts.
type Engine struct {
	store authz.Store
	rand  io.Reader
	log   *slog.Logger
	now   func() time.Time

	mu       sync.Mutex
	peers    map[string]*Peer // by the peer's Sender ID; one for each peer that has spoken or was spoken to
	endpoint *coapsec.Endpoint

	previous   map[provision.DeviceID]authz.Registration // of devices that moved
	collecting map[provision.DeviceID]bool
	cursors    map[provision.DeviceID]uint64 // last log entry seen by this process
	tellers    map[provision.DeviceID]int    // tasks of Run that are telling it now

	wake chan struct{}
}

// Options of an Engine.
type Options struct {
	Rand io.Reader        // default crypto/rand; must be good and safe for concurrent use: repeated values repeat keys
	Now  func() time.Time // default time.Now
	Log  *slog.Logger     // default discards
}

// New makes an Engine without contexts: each is made by the first exchange of this process (D1).
func New(store authz.Store, o Options) *Engine {
	e := &Engine{
		store: store, rand: o.Rand, log: o.Log, now: o.Now, peers: map[string]*Peer{}, previous: map[provision.DeviceID]authz.Registration{},
		collecting: map[provision.DeviceID]bool{}, cursors: map[provision.DeviceID]uint64{},
		tellers: map[provision.DeviceID]int{}, wake: make(chan struct{}, 1),
	}
	if e.rand == nil {
		e.rand = rand.Reader
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	return e
}

// Use sets the socket that serves and calls devices, once, before the first delivery: a device behind a NAT is
// reachable only from the socket it registered with.
func (e *Engine) Use(endpoint *coapsec.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endpoint = endpoint
}

// Find finds the peer with this Sender ID (coapsec.Contexts). A kid that nobody has costs one look-up and no memory.
func (e *Engine) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	e.mu.Lock()
	p, ok := e.peers[string(kid)]
	e.mu.Unlock()
	if ok {
		return p, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := e.store.Peer(ctx, kid)
	if err == nil && found.Client != nil && found.Client.AuthMethod == authz.AuthDTLS {
		return nil, false // its key is for DTLS alone (D2)
	}
	if err != nil {
		if !errors.Is(err, authz.ErrNotFound) {
			e.log.Error("look up peer", "err", err)
		}
		return nil, false
	}
	p, err = e.open(found)
	if err != nil {
		e.log.Error("open channel", "err", err)
		return nil, false
	}
	return p, true
}

// open returns the one Peer of a record, making it on first use.
func (e *Engine) open(r authz.Peer) (*Peer, error) {
	params, p, err := channelOf(r)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if known, ok := e.peers[string(params.RecipientID)]; ok {
		return known, nil
	}
	p.Channel = coapsec.NewChannel(params, coapsec.ChannelOptions{Rand: e.rand, Now: e.now})
	e.peers[string(params.RecipientID)] = p
	return p, nil
}

func channelOf(r authz.Peer) (oscore.Params, *Peer, error) {
	if d := r.Device; d != nil && d.Channel != nil {
		return paramsOf(d.Channel), &Peer{Device: d.ID}, nil
	} else if d != nil {
		params, err := provision.ServerChannelParams(d.RootKey, d.ID, d.SenderID, provision.ServerSenderID)
		return params, &Peer{Device: d.ID}, err
	}
	return paramsOf(r.Client.Channel), &Peer{Client: r.Client.ID}, nil
}

// paramsOf are the inputs of appendix B.2 over material that a peer brought along.
func paramsOf(c *authz.Channel) oscore.Params {
	return oscore.Params{MasterSecret: c.MasterSecret, MasterSalt: c.MasterSalt, SenderID: c.ServerID, RecipientID: c.PeerID}
}
