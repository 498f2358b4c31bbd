package coapapi

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/trl"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// register notes where a device is (D22). A new address counts only once the device has answered from it (D5); until then
// the old registration stands as it was.
func (f *face) register(ctx context.Context, r *coapsec.Request, peer *delivery.Peer) message.Message {
	in, err := ace.ParseRegister(r.Payload)
	if err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	device, err := f.server.Store().Device(ctx, peer.Device)
	if err != nil {
		return f.fault("register", err)
	}
	moved := r.Peer.Address != device.Registration.Address
	if moved && !r.Peer.Fresh {
		return r.Peer.Security.Challenge(r.Peer)
	}
	if _, err := netip.ParseAddrPort(r.Peer.Address); err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	now := f.server.Now()
	// Rounded up: a lock that is a fraction of a second ahead ends a token early, one that is behind would end it late.
	soon := now.Add(time.Second - 1).Truncate(time.Second)
	answer := ace.RegisterAnswer{
		Lifetime: min(max(in.Lifetime, minLifetime), maxLifetime), Time: soon, Epoch: device.Epoch,
		TRLPath: ace.PathTRL, MaxN: trl.MaxUpdates,
	}
	payload, err := answer.Encode()
	if err != nil {
		return f.fault("register", err)
	}
	err = f.server.Store().Register(ctx, device.ID, authz.Registration{
		Address: r.Peer.Address, LocalURIs: in.LocalURIs, SeenAt: now, ExpiresAt: now.Add(answer.Lifetime),
	})
	if err != nil {
		return f.fault("register", err)
	}
	if moved {
		f.noteMove(ctx, &device, r.Peer.Address)
		f.engine.Moved(device.ID, device.Registration)
	}
	go f.engine.Arrived(context.WithoutCancel(ctx), device.ID)
	return coapsec.Content(codes.Changed, ace.FormatCBOR, payload)
}

// fault is a failure of ours: the peer learns that it is one, the log learns which.
func (f *face) fault(what string, err error) message.Message {
	if errors.Is(err, authz.ErrUnavailable) {
		f.log.Warn(what, "err", err)
		return message.Message{Code: codes.ServiceUnavailable, Options: message.Options{{ID: message.MaxAge, Value: []byte{retryAfter}}}}
	}
	f.log.Error(what, "err", err)
	return message.Message{Code: codes.InternalServerError}
}
