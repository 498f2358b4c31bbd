package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"

	"github.com/latchkey-ace/latchkey/cmd/internal/event"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// door is the bolt and the alarm, which here only print.
type door struct {
	mu     sync.Mutex
	bolt   string
	alarm  string
	events *event.Printer
}

func newDoor(events *event.Printer) *door {
	return &door{bolt: "closed", alarm: "armed", events: events}
}

// furnish gives each named action its part of the door. A name we do not know is a mistake in the device's record.
func furnish(server *resource.Server, d *provision.Device, of *door) error {
	parts := map[string]resource.Action{
		"view":   of.view,
		"unlock": of.move(&of.bolt, "bolt", "open"),
		"lock":   of.move(&of.bolt, "bolt", "closed"),
		"disarm": of.move(&of.alarm, "alarm", "disarmed"),
	}
	for _, a := range d.Actions {
		do, ok := parts[a.Name]
		if !ok {
			return fmt.Errorf("this lock cannot %s; it can view, unlock, lock and disarm", a.Name)
		}
		if err := server.Handle(a.Name, do); err != nil {
			return err
		}
	}
	return nil
}

func (d *door) view(context.Context, resource.Call) (resource.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return text("bolt %s, alarm %s", d.bolt, d.alarm), nil
}

// move sets one part of the door.
func (d *door) move(part *string, name, to string) resource.Action {
	return func(context.Context, resource.Call) (resource.Answer, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		*part = to
		d.events.Print(event.Event{Event: name, State: to})
		return text("%s %s", name, to), nil
	}
}

func text(format string, args ...any) resource.Answer {
	return resource.Answer{Format: message.TextPlain, Payload: fmt.Appendf(nil, format, args...)}
}

// strangers prints who asks for something without showing a key.
func strangers(events *event.Printer, next coapsec.Handler) coapsec.Handler {
	return coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		response := next.ServeCoAP(ctx, r)
		if path, ok := r.Path(); response.Code == codes.Unauthorized && (!ok || path != "/authz-info") {
			events.Stranger(event.Event{Event: "access", Address: r.Peer.Address, Action: r.Code.String(), Result: resource.Refused.String(), Reason: "no possession shown"})
		}
		return response
	})
}

// uplink reaches the server by its name, which is looked up when it is needed and again when nobody answers: a door must
// open for those who hold tokens while no name service is there, and a server that moved must be found.
type uplink struct {
	endpoint   *coapsec.Endpoint
	host, port string

	mu    sync.Mutex
	known netip.AddrPort // where the server answered last
}

var _ coapsec.Exchanger = (*uplink)(nil)

// newUplink reads coap://HOST[:PORT].
func newUplink(endpoint *coapsec.Endpoint, uri string) (*uplink, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	return &uplink{endpoint: endpoint, host: u.Hostname(), port: cmp.Or(u.Port(), "5683")}, nil
}

// Exchange implements coapsec.Exchanger.
func (u *uplink) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	address, err := u.find(ctx)
	if err != nil {
		return message.Message{}, err
	}
	response, err := u.endpoint.To(address).Exchange(ctx, request)
	if err != nil {
		address = netip.AddrPort{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = address
	return response, err
}

func (u *uplink) find(ctx context.Context) (netip.AddrPort, error) {
	u.mu.Lock()
	known := u.known
	u.mu.Unlock()
	if known.IsValid() {
		return known, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(net.JoinHostPort(ips[0].Unmap().String(), u.port))
}

// shown prints what comes over the server's channel and what goes back. Tokens and nonces are no secrets; keys never stand
// in these messages.
func shown(events *event.Printer, channel *coapsec.Channel, next coapsec.Handler) coapsec.Handler {
	return coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		if r.Peer.Association != coapsec.Association(channel) {
			return next.ServeCoAP(ctx, r)
		}
		path, _ := r.Path()
		events.Print(event.Event{Event: "message", State: "server → lock", Action: r.Code.String() + " " + path, Reason: coapsec.Describe(r.Message)})
		response := next.ServeCoAP(ctx, r)
		events.Print(event.Event{Event: "message", State: "lock → server", Action: response.Code.String(), Reason: coapsec.Describe(response)})
		return response
	})
}

// Schemes of a lock's addresses (RFC 7252 §6).
const (
	schemeCoAP  = "coap://"
	schemeCoAPS = "coaps://"
)

// phoneDoor is a socket that phones may talk to, and how.
type phoneDoor struct {
	scheme string
	under  string // what protects the transport, for people; "": nothing
	at     netip.AddrPort
}

// localURIs are where phones nearby reach the lock, the way they are to try first before the others. Each gets an equal part
// of what a registration holds.
func localURIs(doors []phoneDoor) (all []string) {
	for _, d := range doors {
		uris := d.uris()
		all = append(all, uris[:min(len(uris), ace.MaxURIs/len(doors))]...)
	}
	return all
}

// uris are the address of the socket, or, if that is any address, each of this machine's.
func (d phoneDoor) uris() []string {
	if !d.at.Addr().IsUnspecified() {
		return []string{d.scheme + d.at.String()}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var uris []string
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast() {
			uris = append(uris, d.scheme+netip.AddrPortFrom(prefix.Addr(), d.at.Port()).String())
		}
	}
	return uris
}
