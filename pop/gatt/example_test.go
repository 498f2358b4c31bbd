package gatt_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/gatt"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// A phone asks a device over a link that stands for Bluetooth. Nothing is protected yet: that is OSCORE's part.
func Example() {
	folder, _ := os.MkdirTemp("", "gatt")
	defer os.RemoveAll(folder)
	radio, err := net.Listen("unix", filepath.Join(folder, "radio"))
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		conn, _ := radio.Accept()
		_ = gatt.ServeLink(context.Background(), conn, func(context.Context, message.Message) message.Message {
			return coapsec.Content(codes.Content, coapsec.NoFormat, []byte("61 bpm"))
		}, gatt.Options{})
	}()
	phone, err := gatt.Dial(context.Background(), radio.Addr().String(), gatt.Options{MTU: 185})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer phone.Close()
	answer, err := phone.Exchange(context.Background(), coapsec.NewRequest(codes.GET, "/pulse", coapsec.NoFormat, nil))
	fmt.Println(answer.Code, string(answer.Payload), err)
	// Output: Content 61 bpm <nil>
}
