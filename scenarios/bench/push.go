package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/latchkey-ace/latchkey/storage/device"
)

// pushRound is how many tokens one run of a lock is sent beside the first: it keeps no more of one grant.
const pushRound = resource.MaxOfGrant - 1

// push measures from the server's decision to push until the lock's answer is verified: what the phone waits for beside
// the token itself.
func (b *bench) push(ctx context.Context) error {
	h, err := b.newHouse(ctx, "push", provision.ClockSynced)
	if err != nil {
		return err
	}
	defer h.store.Close()
	floor, err := b.echo()
	if err != nil {
		return err
	}
	const part = "Push of token and key to a lock, round trip on loopback under OSCORE; the floor is a bare UDP echo"
	for _, durable := range []bool{false, true} {
		where, rounds := "in memory", max(b.samples/pushRound, 1)
		if durable {
			where, rounds = "durable", max(b.samples/pushRound/4, 1)
		}
		var took spread
		for range rounds {
			some, err := b.pushAll(ctx, h, durable)
			if err != nil {
				return fmt.Errorf("push: %w", err)
			}
			took = append(took, some...)
		}
		for _, q := range []float64{0.5, 0.99} {
			b.table.add(row{Part: part, What: fmt.Sprintf("the lock's state %s, p%.0f", where, 100*q), Figure: took.at(q), Unit: "µs", Floor: floor.at(q), Bare: "echo"})
		}
	}
	return nil
}

// pushAll starts a lock and sends it fresh tokens. The first one makes the channel and does not count.
func (b *bench) pushAll(ctx context.Context, h *house, durable bool) (took spread, err error) {
	tokens, err := h.tokens(ctx, provision.ShapeEncrypt0, pushRound+1)
	if err != nil {
		return nil, err
	}
	lock, err := b.startLock(ctx, h.devices[provision.ShapeEncrypt0], durable)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	engine := delivery.New(h.store, delivery.Options{Rand: rand.Reader, Now: time.Now})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	endpoint := coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{})
	defer endpoint.Close()
	go func() { _ = endpoint.Serve(ctx) }() // ends with Close
	engine.Use(endpoint)
	record := h.records[provision.ShapeEncrypt0]
	record.Registration.Address, record.Registration.ExpiresAt = lock.LocalAddr().String(), time.Now().Add(time.Hour)
	for _, token := range tokens {
		toRS, err := ace.AuthzInfo{Nonce1: random(8), ClientRecipientID: []byte{7}}.Encode()
		if err != nil {
			return nil, err
		}
		payload, err := ace.UploadPayload(toRS, token)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := engine.Upload(ctx, record, payload); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took[1:], nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// lock is a running resource server on a socket of its own.
type lock struct {
	*coapsec.Endpoint
	end func() error
}

// Close ends it.
func (l *lock) Close() { _ = errors.Join(l.Endpoint.Close(), l.end()) }

func (b *bench) startLock(ctx context.Context, d *provision.Device, durable bool) (*lock, error) {
	var store resource.Store = &memory{}
	end := func() error { return nil }
	if durable {
		disk, err := device.Open(filepath.Join(b.dir, fmt.Sprintf("lock-%d", time.Now().UnixNano())))
		if err != nil {
			return nil, err
		}
		store, end = disk, disk.Close
	}
	server, err := newResource(d, store)
	if err != nil {
		return nil, err
	}
	if err := server.LearnTime(time.Now()); err != nil {
		return nil, err
	}
	params, err := d.ChannelParams()
	if err != nil {
		return nil, err
	}
	channel := coapsec.NewChannel(params, coapsec.ChannelOptions{Device: true})
	api := coapapi.New(server, coapapi.Options{Channel: channel, ChannelID: params.RecipientID})
	bounds := coapsec.BlockwiseOptions{}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	security := coapsec.NewSecurity(api, coapsec.Blockwise(api.Plain(), bounds), coapsec.Blockwise(api.Protected(), bounds), coapsec.SecurityOptions{})
	l := &lock{Endpoint: coapsec.NewEndpoint(conn, security, coapsec.EndpointOptions{}), end: end}
	go func() { _ = l.Serve(ctx) }() // ends with Close
	return l, nil
}

// echo is a datagram of the same size there and back.
func (b *bench) echo() (spread, error) {
	there, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := there.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return // closed
			}
			_, _ = there.WriteToUDPAddrPort(buffer[:n], from)
		}
	}()
	here, err := net.DialUDP("udp", nil, there.LocalAddr().(*net.UDPAddr))
	if err != nil {
		return nil, err
	}
	defer here.Close()
	took := make(spread, 0, b.samples)
	datagram := make([]byte, 260)
	for range b.samples {
		began := time.Now()
		if _, err := here.Write(datagram); err != nil {
			return nil, err
		}
		if err := here.SetReadDeadline(began.Add(time.Second)); err != nil {
			return nil, err
		}
		if _, err := here.Read(datagram); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
