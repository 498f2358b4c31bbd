//go:build !race

package oscore

import (
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
)

// Under the race detector sync.Pool forgets on purpose, so `make test` runs this once without it.
func TestNoAllocation(t *testing.T) {
	client, server := pair(t, nil)
	proxied := benchmarkRequest()
	proxied.Options = append(message.Options{
		{ID: message.URIHost, Value: []byte("lock")}, {ID: message.Observe}, {ID: message.URIPort, Value: []byte{1, 2}},
	}, proxied.Options...)
	state := notification(string(make([]byte, 64)), 1)
	var sent, received, answered, told Buffer
	var asked, x Exchange
	for name, m := range map[string]message.Message{"request": benchmarkRequest(), "observe request through a proxy": proxied} {
		exchange := func() {
			outer, err := client.ProtectRequestIn(&sent, &asked, m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = server.UnprotectRequestIn(&received, &x, outer); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if outer, err = server.ProtectResponseIn(&answered, &x, state, false); err != nil {
					t.Fatal(err)
				}
				if !asked.Observes() {
					_, err = client.UnprotectResponseIn(&told, &asked, outer)
				} else {
					_, err = client.UnprotectNotificationIn(&told, &asked, outer)
				}
				if err != nil {
					t.Fatal(err)
				}
				if !asked.Observes() {
					return
				}
			}
		}
		if n := testing.AllocsPerRun(100, exchange); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
