package oscore

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"pgregory.net/rapid"
)

// crew makes n pairs; the servers' key schedules have room in s.
func crew(t testing.TB, n int, s *Schedules) (clients, servers []*Context) {
	t.Helper()
	for i := range n {
		p := Params{MasterSecret: testSecret, SenderID: kidOf(i), RecipientID: []byte("as")}
		q := p
		q.SenderID, q.RecipientID = p.RecipientID, p.SenderID
		clients = append(clients, newContext(t, p, Options{}))
		servers = append(servers, newContext(t, q, Options{Schedules: s}))
	}
	return clients, servers
}

func hot(contexts []*Context) (n int) {
	for _, c := range contexts {
		if c.hot.Load() != nil {
			n++
		}
	}
	return n
}

func TestSchedulesAreBounded(t *testing.T) {
	s := NewSchedules(4)
	clients, servers := crew(t, 20, s)
	if s.Len() != 0 || hot(servers) != 0 {
		t.Error("a context that has done nothing is hot")
	}
	for range 3 {
		for i := range clients {
			request, asked := mustRequest(t, clients[i], get("a"))
			_, x := mustUnprotect(t, servers[i], request)
			if _, err := clients[i].UnprotectResponse(asked, mustRespond(t, servers[i], x, false)); err != nil {
				t.Fatal(err)
			}
			if servers[i].hot.Load() == nil {
				t.Error("a context that has just worked is not hot")
			}
			if got, want := s.Len(), hot(servers); got != want || got > 4 {
				t.Fatalf("%d places and %d hot contexts, want at most 4", got, want)
			}
		}
	}
}

func TestBusyContextsStay(t *testing.T) {
	s := NewSchedules(4)
	_, servers := crew(t, 20, s)
	for _, c := range servers {
		for range 2 {
			mustRequest(t, servers[0], get("a"))
			mustRequest(t, servers[1], get("a"))
		}
		kept := servers[0].hot.Load()
		mustRequest(t, c, get("a"))
		if c != servers[0] && servers[0].hot.Load() != kept {
			t.Fatal("a busy context was displaced by one that sends once")
		}
	}
}

func TestStrangersDisplaceNobody(t *testing.T) {
	s := NewSchedules(2)
	clients, servers := crew(t, 10, s)
	mustRequest(t, servers[0], get("a"))
	mustRequest(t, servers[1], get("a"))
	for i := range servers {
		forged, _ := mustRequest(t, clients[i], get("a"))
		forged.Payload = make([]byte, len(forged.Payload))
		if _, _, err := servers[i].UnprotectRequest(forged); !errors.Is(err, ErrDecrypt) {
			t.Fatal(err)
		}
	}
	if servers[0].hot.Load() == nil || servers[1].hot.Load() == nil || hot(servers) != 2 {
		t.Error("forged requests have moved the key schedules")
	}
}

func TestSchedulesAgreeWithTheirContexts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := NewSchedules(rapid.IntRange(1, 5).Draw(r, "room"))
		_, servers := crew(t, 8, s)
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			c := servers[rapid.IntRange(0, 7).Draw(r, "context")]
			if rapid.IntRange(0, 3).Draw(r, "rest") == 0 {
				c.Rest()
			} else {
				c.keys()
			}
			for slot, kept := range s.slots {
				if kept.slot != slot || kept.owner.hot.Load() != kept {
					r.Fatalf("slot %d holds what its context does not", slot)
				}
			}
			if len(s.slots) != hot(servers) || len(s.slots) > s.most {
				r.Fatalf("%d slots of %d, %d hot contexts", len(s.slots), s.most, hot(servers))
			}
		}
	})
}

func TestSchedulesUnderConcurrency(t *testing.T) {
	s := NewSchedules(3)
	clients, servers := crew(t, 8, s)
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for range 100 {
				request, _, err := clients[i].ProtectRequest(get("a"))
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := servers[i].UnprotectRequest(request); err != nil {
					t.Error(err)
				}
				servers[(i+1)%len(servers)].Rest()
			}
		})
	}
	group.Wait()
	if got, want := s.Len(), hot(servers); got != want {
		t.Errorf("%d places, %d hot contexts", got, want)
	}
}

// The goal is 512 bytes of heap for a context that has worked and rests.
func TestIdleContextIsSmall(t *testing.T) {
	const most, n = 512, 20_000
	s := NewSchedules(1)
	idle := make([]*Context, n)
	request := message.Message{Code: codeFETCH}
	var b Buffer
	var x Exchange
	before := heap()
	for i := range idle {
		idle[i] = newContext(t, Params{
			MasterSecret: testSecret, SenderID: []byte("as"), RecipientID: kidOf(i), IDContext: []byte("8 bytes."),
		}, Options{Schedules: s})
		if _, err := idle[i].ProtectRequestIn(&b, &x, request); err != nil {
			t.Fatal(err)
		}
	}
	perContext := float64(heap()-before) / n
	runtime.KeepAlive(idle)
	t.Logf("%.0f bytes a context", perContext)
	if perContext > most {
		t.Errorf("%.0f bytes a context, want at most %d", perContext, most)
	}
}
