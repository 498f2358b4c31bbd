// Package delivery carries tokens and news from the authorization server to resource servers over their provisioned
// channels: OSCORE over UDP whose contexts are made fresh by each server process (D1), towards addresses that devices
// have proven (D5). It also finds who speaks when a peer calls in.
//
// It is not an outbox: what could not be delivered is the caller's to keep. Start from New.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	transmissions = 2               // D18: a lock that does not answer two datagrams is not online
	lookupTime    = 2 * time.Second // for the store to say who a kid is
)

// ErrOffline says that a device has no proven address now.
var ErrOffline = errors.New("the device is not registered now")

// RefusedError is a device's own answer that is not a success.
type RefusedError struct{ Code codes.Code }

func (e *RefusedError) Error() string { return fmt.Sprintf("the device answered %v", e.Code) }

// Peer is who holds the other end of a channel: exactly one of Device and Client.
type Peer struct {
	Device  provision.DeviceID
	Client  string
	Channel *coapsec.Channel
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

	collecting map[provision.DeviceID]bool
	cursors    map[provision.DeviceID]uint64 // last log entry seen by this process
}

// Options of an Engine.
type Options struct {
	Rand io.Reader
	Now  func() time.Time
	Log  *slog.Logger
}

// New makes an Engine without contexts: each is made by the first exchange of this process (D1).
func New(store authz.Store, o Options) *Engine {
	return &Engine{store: store, rand: o.Rand, log: o.Log, now: o.Now, peers: map[string]*Peer{},
		collecting: map[provision.DeviceID]bool{}, cursors: map[provision.DeviceID]uint64{}}
}

// Use sets the socket that serves and calls devices, once, before the first delivery: a device behind a NAT is
// reachable only from the socket it registered with.
func (e *Engine) Use(endpoint *coapsec.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endpoint = endpoint
}

// Find finds the peer with this Sender ID (coapsec.Contexts).
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
	p.Channel = coapsec.NewChannel(params, coapsec.ChannelOptions{Rand: e.rand})
	e.peers[string(params.RecipientID)] = p
	return p, nil
}

func channelOf(r authz.Peer) (oscore.Params, *Peer, error) {
	if d := r.Device; d != nil {
		params, err := provision.ServerChannelParams(d.RootKey, d.ID, d.SenderID, provision.ServerSenderID)
		return params, &Peer{Device: d.ID}, err
	}
	c := r.Client
	return oscore.Params{
		MasterSecret: c.Channel.MasterSecret, MasterSalt: c.Channel.MasterSalt,
		SenderID: c.Channel.ServerID, RecipientID: c.Channel.PeerID,
	}, &Peer{Client: c.ID}, nil
}

// Upload implements authz.Deliverer.
func (e *Engine) Upload(ctx context.Context, d authz.Device, payload []byte) ([]byte, error) {
	return e.post(ctx, &d, "/authz-info", ace.FormatACE, payload)
}

// Tell implements authz.Deliverer.
func (e *Engine) Tell(ctx context.Context, d authz.Device, n news.News) (news.Receipt, error) {
	down, err := provision.SymmetricKey(d.RootKey, provision.PurposeNewsDown, d.ID, provision.FirstKeyID)
	if err != nil {
		return news.Receipt{}, err
	}
	up, err := provision.SymmetricKey(d.RootKey, provision.PurposeNewsUp, d.ID, provision.FirstKeyID)
	if err != nil {
		return news.Receipt{}, err
	}
	sealed, err := news.Seal(n, down, e.rand)
	if err != nil {
		return news.Receipt{}, fmt.Errorf("seal news: %w", err)
	}
	answer, err := e.post(ctx, &d, "/lk/news", ace.FormatOctets, sealed)
	if err != nil {
		return news.Receipt{}, err
	}
	receipt, err := news.OpenReceipt(answer, up)
	if err != nil {
		return news.Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	if receipt.Sequence != n.Sequence {
		return news.Receipt{}, fmt.Errorf("receipt is for news %d, not %d", receipt.Sequence, n.Sequence)
	}
	return receipt, nil
}

// post sends one protected request over the device's channel.
func (e *Engine) post(ctx context.Context, d *authz.Device, path string, format message.MediaType, payload []byte) ([]byte, error) {
	response, err := e.exchange(ctx, d, coapsec.NewRequest(codes.POST, path, format, payload))
	if err != nil {
		return nil, err
	}
	return response.Payload, nil
}

func (e *Engine) exchange(ctx context.Context, d *authz.Device, request message.Message) (message.Message, error) {
	x, err := e.towards(d)
	if err != nil {
		return message.Message{}, err
	}
	p, err := e.open(authz.Peer{Device: d})
	if err != nil {
		return message.Message{}, err
	}
	response, err := p.Channel.Exchange(ctx, x, request)
	if err != nil {
		return message.Message{}, fmt.Errorf("channel to %s: %w", d.Audience(), err)
	}
	if response.Code>>5 != 2 {
		return message.Message{}, &RefusedError{Code: response.Code}
	}
	return response, nil
}

// towards is the device's last proven address.
func (e *Engine) towards(d *authz.Device) (coapsec.Exchanger, error) {
	e.mu.Lock()
	endpoint := e.endpoint
	e.mu.Unlock()
	if endpoint == nil || !d.Registration.ExpiresAt.After(e.now()) {
		return nil, ErrOffline
	}
	address, err := netip.ParseAddrPort(d.Registration.Address)
	if err != nil {
		return nil, fmt.Errorf("address of %s: %w", d.Audience(), err)
	}
	return endpoint.ToWith(address, coapsec.ExchangeOptions{MaxTransmissions: transmissions}), nil
}
