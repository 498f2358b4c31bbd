package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"pgregory.net/rapid"
)

// client and server of kid and ID Context; every pair has keys of its own.
func named(t testing.TB, kid, idContext []byte) (client, server *Context) {
	return pair(t, func(p *Params) { p.SenderID, p.RecipientID, p.IDContext = kid, []byte("as"), idContext })
}

func mustAdd(t testing.TB, table *Contexts, contexts ...*Context) {
	t.Helper()
	for _, c := range contexts {
		if err := table.Add(c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	table := &Contexts{}
	kids := [][]byte{{}, {0}, {0, 0}, {1}, []byte("sevenby")}
	found := map[string]*Context{}
	for _, kid := range kids {
		for _, idContext := range [][]byte{nil, {}, []byte("a")} {
			_, c := named(t, kid, idContext)
			mustAdd(t, table, c)
			found[fmt.Sprintf("%x %v %x", kid, idContext != nil, idContext)] = c
		}
	}
	if table.Len() != len(found) {
		t.Errorf("%d contexts, want %d", table.Len(), len(found))
	}
	for _, kid := range kids {
		for _, idContext := range [][]byte{nil, {}, []byte("a")} {
			want := found[fmt.Sprintf("%x %v %x", kid, idContext != nil, idContext)]
			if got, ok := table.Find(kid, idContext, idContext != nil); !ok || got != want {
				t.Errorf("kid %x, kid context %v: got %v, %v", kid, idContext, got, ok)
			}
		}
		if _, ok := table.Find(kid, []byte("b"), true); ok {
			t.Errorf("kid %x is found under another kid context", kid)
		}
		if got := table.Candidates(nil, kid, nil, false); len(got) != 3 {
			t.Errorf("kid %x: %d candidates, want 3", kid, len(got))
		}
	}
	for _, kid := range [][]byte{{2}, {0, 0, 0}, []byte("eight by")} {
		if _, ok := table.Find(kid, nil, false); ok || len(table.Candidates(nil, kid, nil, false)) != 0 {
			t.Errorf("kid %x is found", kid)
		}
	}
}

// A kid context, were it empty, must not find the context that has none: the keys differ (RFC 8613 §3.2.1).
func TestEmptyKIDContextIsNotNone(t *testing.T) {
	table := &Contexts{}
	_, plain := named(t, []byte{1}, nil)
	mustAdd(t, table, plain)
	if _, ok := table.Find([]byte{1}, []byte{}, true); ok {
		t.Error("an empty kid context finds the context without one")
	}
	_, empty := named(t, []byte{1}, []byte{})
	mustAdd(t, table, empty)
	if got, _ := table.Find([]byte{1}, []byte{}, true); got != empty {
		t.Errorf("got %v", got)
	}
	if got, _ := table.Find([]byte{1}, nil, false); got != plain {
		t.Errorf("got %v", got)
	}
}

func TestAddRefusesTheSameName(t *testing.T) {
	for _, idContext := range [][]byte{nil, {}, []byte("a")} {
		table := &Contexts{}
		_, first := named(t, []byte{1}, idContext)
		_, second := named(t, []byte{1}, idContext)
		mustAdd(t, table, first)
		for _, c := range []*Context{first, second} {
			if err := table.Add(c); !errors.Is(err, ErrTaken) {
				t.Errorf("id context %v: got %v, want %v", idContext, err, ErrTaken)
			}
		}
		if table.Remove(second) || !table.Remove(first) || table.Remove(first) || table.Len() != 0 {
			t.Error("removing one that is not there, or not removing one that is")
		}
		mustAdd(t, table, second)
	}
}

func TestContextsAgreeWithModel(t *testing.T) {
	var all []*Context
	for kid := range byte(3) {
		for i := range 2 * MaxCandidates {
			_, c := named(t, []byte{kid}, [][]byte{nil, {}, {1}, {2}, {3}, {4}, {5}, {6}}[i])
			all = append(all, c)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		table := &Contexts{}
		there := map[*Context]bool{}
		for range rapid.IntRange(1, 80).Draw(r, "steps") {
			c := all[rapid.IntRange(0, len(all)-1).Draw(r, "context")]
			if there[c] {
				if !table.Remove(c) {
					r.Fatalf("%v %x is not there", c, c.idContext)
				}
				delete(there, c)
			} else {
				mustAdd(t, table, c)
				there[c] = true
			}
			checkContexts(r, table, there, c.RecipientID())
		}
		if table.Len() != len(there) {
			r.Fatalf("%d contexts, want %d", table.Len(), len(there))
		}
	})
}

func checkContexts(r *rapid.T, table *Contexts, there map[*Context]bool, kid []byte) {
	namesakes := 0
	for c := range there {
		if !bytes.Equal(c.RecipientID(), kid) {
			continue
		}
		namesakes++
		if c.idContext != nil {
			if got, _ := table.Find(kid, c.idContext, true); got != c {
				r.Fatalf("%x is not found", c.idContext)
			}
		} else if got, _ := table.Find(kid, nil, false); got != c {
			r.Fatal("the one without id context is not the first")
		}
	}
	candidates := table.Candidates(nil, kid, nil, false)
	if len(candidates) != min(namesakes, MaxCandidates) {
		r.Fatalf("%d candidates of %d", len(candidates), namesakes)
	}
	seen := map[*Context]bool{}
	for _, c := range candidates {
		if seen[c] || !there[c] || !bytes.Equal(c.RecipientID(), kid) {
			r.Fatalf("candidate %v twice, gone, or of another kid", c)
		}
		seen[c] = true
	}
}

// withoutKIDContext is what a client sends that saves the bytes (RFC 8613 §5.1).
func withoutKIDContext(t testing.TB, m message.Message) message.Message {
	o := optionOf(t, m)
	o.KIDContext, o.HasKIDContext = nil, false
	m.Options = message.Options{{ID: OptionOSCORE, Value: o.Encode()}}
	return m
}

func TestRequestFindsItsContextAmongNamesakes(t *testing.T) {
	table := &Contexts{}
	var clients, servers []*Context
	for _, idContext := range [][]byte{nil, {}, []byte("a"), []byte("b")} {
		client, server := named(t, []byte{1}, idContext)
		mustAdd(t, table, server)
		clients, servers = append(clients, client), append(servers, server)
	}
	for i, client := range clients {
		for _, short := range []bool{false, true} {
			request, asked := mustRequest(t, client, get("a"))
			if short {
				request = withoutKIDContext(t, request)
			}
			_, x, err := table.UnprotectRequest(request)
			if err != nil || x.Context() != servers[i] {
				t.Fatalf("request %d, short %v: %v", i, short, err)
			}
			if _, err := client.UnprotectResponse(asked, mustRespond(t, x.Context(), x, false)); err != nil {
				t.Error(err)
			}
			if _, _, err := table.UnprotectRequest(request); err == nil {
				t.Errorf("request %d, short %v: a replay is accepted", i, short)
			}
		}
	}
	for _, c := range servers {
		if n := c.failures.Load(); n > uint32(len(servers)) { // replays fail under the others
			t.Errorf("%d forgeries counted", n)
		}
	}
}

func TestTriesAreBoundedAndHonestOnesForgiven(t *testing.T) {
	table := &Contexts{}
	var client *Context
	for i := range byte(3 * MaxCandidates) {
		c, server := named(t, []byte{1}, []byte{i})
		mustAdd(t, table, server)
		if i == MaxCandidates-1 {
			client = c
		}
	}
	failures := func() (n uint32) {
		for _, c := range table.Candidates(nil, []byte{1}, nil, false) {
			n += c.failures.Load()
		}
		return n
	}
	request, _ := mustRequest(t, client, get("a"))
	if _, _, err := table.UnprotectRequest(withoutKIDContext(t, request)); err != nil {
		t.Fatal(err)
	}
	if n := failures(); n != 0 {
		t.Errorf("%d forgeries counted for an honest request", n)
	}
	stranger, _ := named(t, []byte{1}, []byte("stranger"))
	request, _ = mustRequest(t, stranger, get("a"))
	if _, _, err := table.UnprotectRequest(request); !errors.Is(err, ErrNoContext) {
		t.Errorf("unknown kid context: got %v, want %v", err, ErrNoContext)
	}
	stranger.next = 40
	request, _ = mustRequest(t, stranger, get("a"))
	if _, _, err := table.UnprotectRequest(withoutKIDContext(t, request)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("forged: got %v, want %v", err, ErrDecrypt)
	}
	if n := failures(); n != MaxCandidates {
		t.Errorf("%d decryptions for a forged request, want %d", n, MaxCandidates)
	}
}

func TestContextsUnderConcurrency(t *testing.T) {
	table := &Contexts{}
	clients, servers := crew(t, 16, NewSchedules(4))
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for range 20 {
				if err := table.Add(servers[i]); err != nil {
					t.Error(err)
				}
				request, _, err := clients[i].ProtectRequest(get("a"))
				if err != nil {
					t.Error(err)
				}
				if _, x, err := table.UnprotectRequest(request); err != nil || x.Context() != servers[i] {
					t.Errorf("context %d: %v", i, err)
				}
				if !table.Remove(servers[i]) {
					t.Error("not removed")
				}
			}
		})
	}
	group.Wait()
	if table.Len() != 0 {
		t.Errorf("%d contexts left", table.Len())
	}
}
