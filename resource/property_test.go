package resource_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

// life is a device with everything that may happen to it, and what must never.
type life struct {
	*world
	rt       *rapid.T
	tokens   [][]byte
	grants   []pop.GrantID // of the tokens
	revoked  map[int]bool
	sessions []*resource.Session
	owner    []int // token of each session
	opened   map[pop.GrantID]int
	numbers  map[string]bool // key and own sender number, ever used
	news     uint64
	epoch    uint64
}

// TestWhateverHappens: uploads by anyone and in any order, requests, restarts that lose what was not stored, power cuts,
// revocations. A use of a once-grant is one, a sender number is used once, and a revoked token stays dead.
func TestWhateverHappens(t *testing.T) {
	for _, clock := range []provision.Clock{provision.ClockSynced, provision.ClockNone} {
		t.Run(clock.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				l := &life{
					world: newWorld(t, provision.ShapeEncrypt0, clock), rt: rt, epoch: 1,
					revoked: map[int]bool{}, opened: map[pop.GrantID]int{}, numbers: map[string]bool{},
				}
				l.unlock = func(_ context.Context, c resource.Call) (resource.Answer, error) {
					l.opened[c.Grant]++
					return resource.Answer{}, nil
				}
				rt.Repeat(map[string]func(*rapid.T){
					"token": l.mint, "upload": l.show, "unlock": l.push, "number": l.number, "revoke": l.revoke, "epoch": l.raise,
					"restart": func(*rapid.T) { l.again() }, "power cut": func(*rapid.T) { l.seldom(); l.clock.powerCut(); l.again(); l.tell() },
					"time": func(*rapid.T) { l.seldom(); l.pass(7 * time.Minute) }, "": l.check,
				})
			})
		})
	}
}

func (l *life) again() {
	l.start()
	// Sessions that survived are known by their kid alone.
	var sessions []*resource.Session
	var owner []int
	for i, s := range l.sessions {
		if found, ok := l.server.Session(s.Context().RecipientID()); ok && sameKeys(found.Context(), s.Context()) {
			sessions, owner = append(sessions, found), append(owner, l.owner[i])
		}
	}
	l.sessions, l.owner = sessions, owner
}

// sameKeys reports whether b opens what a protects for its peer: both have the same ids here.
func sameKeys(a, b *oscore.Context) bool { return bytes.Equal(a.SenderID(), b.SenderID()) }

func (l *life) tell() {
	if l.device.Clock == provision.ClockSynced {
		l.learn()
	}
}

func (l *life) mint(*rapid.T) {
	c := l.once(pop.GrantID{byte(rapid.IntRange(1, 3).Draw(l.rt, "grant"))})
	c.Grant.Epoch = l.epoch
	l.tokens, l.grants = append(l.tokens, l.seal(c)), append(l.grants, c.Grant.Grant)
}

// pick is one of the newest three of n, where things meet.
func (l *life) pick(n int) int {
	if n == 0 {
		l.rt.Skip()
	}
	return rapid.IntRange(max(0, n-3), n-1).Draw(l.rt, "which")
}

// seldom leaves out most of what would end everything before it gets interesting.
func (l *life) seldom() {
	if rapid.IntRange(0, 5).Draw(l.rt, "seldom") > 0 {
		l.rt.Skip()
	}
}

func (l *life) show(*rapid.T) {
	n := l.pick(len(l.tokens))
	in := upload(l.tokens[n])
	in.ClientRecipientID = []byte(fmt.Sprintf("%05x", len(l.sessions))) // tells contexts apart
	answer, err := l.server.Accept(context.Background(), in, resource.Origin{Server: rapid.Bool().Draw(l.rt, "server")})
	if err != nil {
		return
	}
	if l.revoked[n] {
		l.rt.Fatal("a revoked token was taken")
	}
	l.sessions, l.owner = append(l.sessions, l.find(answer)), append(l.owner, n)
}

func (l *life) push(*rapid.T) {
	n := l.pick(len(l.sessions))
	d, _ := l.press(l.sessions[n])
	if d.Allowed() && l.revoked[l.owner[n]] {
		l.rt.Fatal("a revoked token opened")
	}
}

// number lets the device use a sender number of its own, as a challenge does.
func (l *life) number(*rapid.T) {
	s := l.sessions[l.pick(len(l.sessions))]
	request, _, err := s.Context().ProtectRequest(message.Message{Code: codes.GET, Payload: []byte("the same")})
	if err != nil {
		l.rt.Fatal(err)
	}
	// Equal plaintexts under one key and nonce give equal ciphertexts.
	if l.numbers[string(request.Payload)] {
		l.rt.Fatal("a sender number was used twice under one key")
	}
	l.numbers[string(request.Payload)] = true
}

func (l *life) revoke(*rapid.T) {
	l.seldom()
	n := l.pick(len(l.tokens))
	hash := cwt.Hash(l.tokens[n])
	l.news++
	l.revoked[n] = l.hear(channel, l.news, news.HashesItem(hash[:])).Applied || l.revoked[n]
}

func (l *life) raise(*rapid.T) {
	l.seldom()
	l.epoch++
	if err := l.server.LearnEpoch(l.epoch); err != nil {
		l.rt.Fatal(err)
	}
	for i := range l.tokens {
		l.revoked[i] = true // an earlier epoch is as good as revoked
	}
}

func (l *life) check(*rapid.T) {
	for grant, n := range l.opened {
		if n > 1 {
			l.rt.Fatalf("grant %x opened %d times", grant, n)
		}
	}
	state, err := l.store.Load()
	if err != nil {
		l.rt.Fatal(err)
	}
	if len(state.Sessions) > resource.MaxSessions || len(state.Counts) > resource.MaxCounts || len(state.Log) > resource.MaxLog {
		l.rt.Fatal("a table has outgrown its bound")
	}
}
