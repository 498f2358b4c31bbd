package delivery_test

import (
	"crypto/rand"
	"sync"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
)

// gate is an engine over a store with one device and the clients whose ids are given.
func gate(t *testing.T, ids ...string) (*delivery.Engine, *watched, authz.Device) {
	t.Helper()
	store := &watched{Store: openStore(t)}
	record := deliverytest.Record("front-door")
	if err := store.AddDevice(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		c := authz.Client{ID: "client " + id, AuthMethod: authz.AuthOSCORE, Channel: &authz.Channel{
			MasterSecret: []byte("0123456789abcdef of " + id), MasterSalt: []byte{1}, PeerID: []byte(id), ServerID: []byte("server"),
		}}
		if err := store.AddClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return delivery.New(store, delivery.Options{}), store, record
}

func TestUnknownKidsCostOneLookUpAndNoMemory(t *testing.T) {
	engine, store, _ := gate(t)
	const n = 10_000
	for range n {
		kid := make([]byte, 7)
		_, _ = rand.Read(kid)
		if a, ok := engine.Find(kid, nil, false); ok || a != nil {
			t.Fatalf("found %x", kid)
		}
	}
	if got := store.lookups.Load(); got != n {
		t.Errorf("%d look-ups for %d kids", got, n)
	}
	if engine.PeersKept() != 0 {
		t.Errorf("%d peers kept", engine.PeersKept())
	}
}

func TestKnownPeersAreLookedUpOnce(t *testing.T) {
	engine, store, record := gate(t, "a", "b", "")
	for kid, want := range map[string]delivery.Peer{
		string(record.SenderID): {Device: record.ID}, "a": {Client: "client a"}, "b": {Client: "client b"}, "": {Client: "client "},
	} {
		before := store.lookups.Load()
		first, ok := engine.Find([]byte(kid), nil, false)
		if !ok {
			t.Fatalf("%x not found", kid)
		}
		again, _ := engine.Find([]byte(kid), []byte("any"), true)
		peer, isPeer := first.(*delivery.Peer)
		if !isPeer || again != first || store.lookups.Load() != before+1 {
			t.Errorf("%x: got %T, the same again: %v, look-ups: %d", kid, first, again == first, store.lookups.Load()-before)
		}
		if peer.Device != want.Device || peer.Client != want.Client || peer.IsDevice() != (want.Client == "") || peer.Channel == nil {
			t.Errorf("%x: got %+v, want %+v", kid, peer, want)
		}
	}
	if engine.PeersKept() != 4 {
		t.Errorf("%d peers kept, want 4", engine.PeersKept())
	}
}

func TestFindsAtOnceShareOneChannel(t *testing.T) {
	engine, _, record := gate(t)
	var mu sync.Mutex
	seen := map[coapsec.Association]bool{}
	var wait sync.WaitGroup
	for range 64 {
		wait.Go(func() {
			a, ok := engine.Find(record.SenderID, nil, false)
			mu.Lock()
			defer mu.Unlock()
			seen[a] = ok
		})
	}
	wait.Wait()
	if len(seen) != 1 {
		t.Errorf("%d channels for one device", len(seen))
	}
}

func TestStoreThatFailsHidesNobodyForLong(t *testing.T) {
	engine, store, record := gate(t)
	store.broken.Store(true)
	if _, ok := engine.Find(record.SenderID, nil, false); ok {
		t.Error("found without a store")
	}
	store.broken.Store(false)
	if _, ok := engine.Find(record.SenderID, nil, false); !ok {
		t.Error("not found afterwards")
	}
}
