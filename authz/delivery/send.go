package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ErrOffline says that a device has no proven address now.
var ErrOffline = errors.New("the device is not registered now")

// RefusedError is a device's own answer that is not a success.
type RefusedError struct{ Code codes.Code }

func (e *RefusedError) Error() string { return fmt.Sprintf("the device answered %v", e.Code) }

// Upload implements authz.Deliverer. It ends within 5 s (D18). Errors: ErrOffline, before anything was sent;
// *RefusedError; those of coapsec.Channel.Exchange, after which the device may have the token.
func (e *Engine) Upload(ctx context.Context, d authz.Device, payload []byte) ([]byte, error) {
	format := ace.FormatACE
	if d.Profile == pop.ProfileCoAPDTLS {
		format = ace.FormatCWT // the token alone (RFC 9202 §3.3.1)
	}
	return e.post(ctx, &d, "/authz-info", format, payload)
}

// Tell implements authz.Deliverer. It ends within 5 s. Errors are those of Upload, and those of news.OpenReceipt.
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

// way is a device's channel towards one of its addresses.
type way struct {
	channel *coapsec.Channel
	to      coapsec.Exchanger
}

// Exchange implements coapsec.Exchanger.
func (w way) Exchange(ctx context.Context, request message.Message) (message.Message, error) {
	return w.channel.Exchange(ctx, w.to, request)
}

// within exchanges in an equal share of the time left: another request to an address where nobody is may have the turn there
// (NSTART) for longer than we can wait.
func (w way) within(ctx context.Context, shares int, request message.Message) (message.Message, error) {
	until, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(until)/time.Duration(shares))
	defer cancel()
	return coapsec.UploadBlocks(w, blockSize).Exchange(ctx, request)
}

// exchange asks the device at its address and, where that brings no verified answer, at the one before (D5). All that is
// sent over the channel may be acted upon twice: uploads by D18, news by its sequence, reading the log by nature.
func (e *Engine) exchange(ctx context.Context, d *authz.Device, request message.Message) (message.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	ways, err := e.ways(d)
	if err != nil {
		return message.Message{}, err
	}
	var response message.Message
	for i, w := range ways {
		response, err = w.within(ctx, len(ways)-i, request)
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return message.Message{}, fmt.Errorf("channel to %s: %w", d.Audience(), err)
	}
	if response.Code>>5 != 2 {
		return message.Message{}, &RefusedError{Code: response.Code}
	}
	return response, nil
}

// ways are over the addresses where the device may be now, the newest first. They share the transmissions.
func (e *Engine) ways(d *authz.Device) ([]way, error) {
	endpoint, addresses, err := e.addresses(d)
	if err != nil {
		return nil, err
	}
	p, err := e.open(authz.Peer{Device: d})
	if err != nil {
		return nil, err
	}
	var ways []way
	for _, address := range addresses {
		o := coapsec.ExchangeOptions{MaxTransmissions: transmissions / len(addresses)}
		ways = append(ways, way{p.Channel, endpoint.ToWith(address, o)})
	}
	return ways, nil
}

// addresses are the one that the device has proven last and, while its registration would still hold, the one before.
func (e *Engine) addresses(d *authz.Device) (*coapsec.Endpoint, []netip.AddrPort, error) {
	e.mu.Lock()
	endpoint, previous := e.endpoint, e.previous[d.ID]
	e.mu.Unlock()
	now := e.now()
	if endpoint == nil || !d.Registration.ExpiresAt.After(now) {
		return nil, nil, ErrOffline
	}
	known := []string{d.Registration.Address}
	if previous.ExpiresAt.After(now) && previous.Address != d.Registration.Address {
		known = append(known, previous.Address)
	}
	var addresses []netip.AddrPort
	for _, text := range known {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, nil, fmt.Errorf("address of %s: %w", d.Audience(), err)
		}
		addresses = append(addresses, address)
	}
	return endpoint, addresses, nil
}

// Moved notes where a device was before it proved another address. While that registration would still have held, what
// stays unanswered at the new address is tried at the old one (D5): someone on the way may have relayed the proof from an
// address of his own, only to drop what goes there. The note does not outlive the process.
func (e *Engine) Moved(id provision.DeviceID, from authz.Registration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.previous[id] = from
}
