package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	coapCommand = "coap" // with one of the modes below
	coapBare    = "bare" // sends every datagram back
	coapServer  = "server"

	coapPath      = "/door/state"
	coapAnswer    = "closed"
	oscoreClients = 16
	coapMessage   = 2048 // bytes, of the longest datagram read
)

// serveCoAP is the server of the CoAP figures, in a process of its own so that its CPU time can be told apart.
func serveCoAP(mode string) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return err
	}
	fmt.Println(conn.LocalAddr())
	go tellUsage()
	if mode == coapBare {
		return sendBack(conn)
	}
	e, err := coapEndpoint(conn)
	if err != nil {
		return err
	}
	return e.Serve(context.Background())
}

// tellUsage answers each line of its input with the CPU time this process has used so far, in nanoseconds.
func tellUsage() {
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(u.Utime.Nano() + u.Stime.Nano())
	}
}

// coapEndpoint answers GET of one resource, under OSCORE and without.
func coapEndpoint(conn net.PacketConn) (*coapsec.Endpoint, error) {
	clients, err := oscoreContexts(false)
	if err != nil {
		return nil, err
	}
	answer := message.Message{Code: codes.Content, Payload: []byte(coapAnswer)}
	state := coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		if path, ok := r.Path(); !ok || path != coapPath || r.Code != codes.GET {
			return message.Message{Code: codes.NotFound}
		}
		return answer
	})
	bounds := coapsec.BlockwiseOptions{}
	security := coapsec.NewSecurity(clients, coapsec.Blockwise(state, bounds), coapsec.Blockwise(state, bounds), coapsec.SecurityOptions{})
	return coapsec.NewEndpoint(conn, security, coapsec.EndpointOptions{}), nil
}

// sendBack is the floor: a socket and nothing else.
func sendBack(conn *net.UDPConn) error {
	buffer := make([]byte, coapMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort(buffer[:n], from); err != nil {
			return err
		}
	}
}

// contexts are those of the OSCORE clients, by kid.
type contexts map[string]*oscore.Context

// Find implements coapsec.Contexts.
func (c contexts) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	found, ok := c[string(kid)]
	return coapsec.Static(found), ok
}

// oscoreContexts are one end of the contexts that the server shares with each OSCORE client.
func oscoreContexts(client bool) (contexts, error) {
	all := contexts{}
	for i := range oscoreClients {
		id := strconv.Itoa(i)
		p := oscore.Params{MasterSecret: append(make([]byte, 15), byte(i)), SenderID: []byte("as"), RecipientID: []byte(id)}
		if client {
			p.SenderID, p.RecipientID = p.RecipientID, p.SenderID
		}
		c, err := oscore.New(p, oscore.Options{})
		if err != nil {
			return nil, err
		}
		all[id] = c
	}
	return all, nil
}
