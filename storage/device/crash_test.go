package device_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// The victim is this test binary, started again with these variables set.
const (
	victimDir = "LATCHKEY_TEST_VICTIM_DIR"
	victimRun = "LATCHKEY_TEST_VICTIM_RUN"
)

const (
	crashRuns   = 12
	crashKeys   = 4  // possession keys, each with ever newer tokens
	crashSpends = 20 // per run, so that all runs stay below resource.MaxSpent
)

// fixedClock stands still in one boot.
type fixedClock struct{}

func (fixedClock) Uptime() (time.Duration, string) { return time.Hour, "boot" }

func crashDevice() *provision.Device {
	return &provision.Device{
		Version: provision.Version, ID: provision.DeviceID{1}, RootKey: [32]byte{1}, Issuer: "https://as.example",
		Kind: provision.KindLock, Clock: provision.ClockNone, Token: provision.ShapeEncrypt0,
		SenderID: []byte{1, 2, 3, 4}, RecipientID: []byte{0},
		Actions: []provision.Action{{Name: "unlock", Path: "/door/unlock", Methods: aif.POST}, {Name: "view", Path: "/door", Methods: aif.GET}},
	}
}

// TestVictim accepts, spends and reserves until it is killed, and says each thing when it is done. It is TestKilledAtAnyMoment's
// other half and does nothing by itself.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		return
	}
	run, err := strconv.ParseUint(os.Getenv(victimRun), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	store, err := device.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := resource.New(resource.Config{Device: crashDevice(), Store: store, Clock: fixedClock{}}, resource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock := func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil }
	if err := server.Handle("unlock", unlock); err != nil {
		t.Fatal(err)
	}
	state, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range state.Sessions { // numbers after a restart are where reuse would show
		if s, ok := server.Session(r.ServerID); ok {
			draw(t, s, r.Nonce2)
		}
	}
	v := victim{t: t, server: server}
	for n := run * 1e6; ; n++ {
		v.step(n, n-run*1e6 < crashSpends)
	}
}

type victim struct {
	t      *testing.T
	server *resource.Server
}

func (v victim) step(n uint64, spend bool) {
	answer, err := v.server.Accept(context.Background(), crashUpload(v.t, n), resource.Origin{Server: true})
	if err != nil {
		v.t.Fatal(err)
	}
	fmt.Printf("accepted %d %d\n", n%crashKeys, n)
	s, ok := v.server.Session(answer.ServerRecipientID)
	if !ok {
		v.t.Fatal("no session")
	}
	draw(v.t, s, answer.Nonce2)
	if !spend {
		return
	}
	d := v.server.Decide(context.Background(), resource.Request{Session: s, Code: codes.POST, Path: "/door/unlock", Fresh: true})
	if !d.Allowed() {
		v.t.Fatal(d.Reason)
	}
	fmt.Printf("spent %d\n", n)
	v.server.Act(context.Background(), d, resource.Call{})
}

// draw uses sender sequence numbers across a reservation's end.
func draw(t *testing.T, s *resource.Session, nonce2 []byte) {
	for range oscore.ReserveBatch/2 + 1 {
		m, _, err := s.Context().ProtectRequest(message.Message{Code: codes.GET})
		if err != nil {
			t.Fatal(err)
		}
		option, _, err := oscore.FindOption(m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("number %x %x\n", nonce2, option.PartialIV)
	}
}

func crashUpload(t *testing.T, n uint64) ace.AuthzInfo {
	d := crashDevice()
	key, err := d.SymmetricKey(provision.PurposeToken, provision.FirstKeyID)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 18, 0, 0, 0, time.UTC)
	token, err := cwt.Seal(&pop.Claims{
		Audience: d.Audience(), IssuedAt: now, Expires: now.Add(24 * time.Hour), ExpiresIn: time.Hour,
		ID: binary.BigEndian.AppendUint64(d.ID[:], n), Scope: d.Rights(), Profile: pop.ProfileCoAPOSCORE,
		Confirmation: pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{byte(n % crashKeys)}, MasterSecret: []byte("0123456789abcdef")}},
		Grant:        &pop.GrantRef{Epoch: 1, Grant: grantOf(n), Once: []uint{1}},
	}, cwt.Encrypt0{Key: key}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 8)
	if _, err := rand.Read(nonce); err != nil {
		t.Fatal(err)
	}
	return ace.AuthzInfo{Token: token, Nonce1: nonce, ClientRecipientID: []byte{7}}
}

func grantOf(n uint64) (g pop.GrantID) {
	binary.BigEndian.PutUint64(g[:], n)
	return g
}

// told is what victims said before they died.
type told struct {
	accepted map[uint64]uint64 // newest token by key
	spent    []uint64
	numbers  map[string]bool
}

// TestKilledAtAnyMoment kills the program with SIGKILL at random moments, again and again on one store. Whatever it said it
// had done is still so, and no sender sequence number is ever given out twice.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	all := told{accepted: map[uint64]uint64{}, numbers: map[string]bool{}}
	for run := uint64(1); run <= crashRuns; run++ {
		kill(t, dir, run, time.Duration(random.IntN(40_000))*time.Microsecond, &all)
		check(t, dir, &all)
	}
	t.Logf("%d uses spent, %d numbers given out", len(all.spent), len(all.numbers))
	if len(all.spent) == 0 || len(all.numbers) == 0 {
		t.Errorf("the victims did nothing: %d spent, %d numbers", len(all.spent), len(all.numbers))
	}
}

func kill(t *testing.T, dir string, run uint64, after time.Duration, all *told) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimRun+"="+strconv.FormatUint(run, 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for started := false; ; started = true {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what was cut off in the middle was not said
		}
		if !started {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		all.hear(t, strings.Fields(line))
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the victim ended by itself: %v", err)
	}
}

func (a *told) hear(t *testing.T, words []string) {
	t.Helper()
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(words[i], 10, 64)
		if err != nil {
			t.Fatalf("victim says %q", words)
		}
		return n
	}
	switch words[0] {
	case "accepted":
		a.accepted[number(1)] = number(2)
	case "spent":
		a.spent = append(a.spent, number(1))
	case "number":
		key := words[1] + " " + words[2]
		if a.numbers[key] {
			t.Errorf("sequence number given out twice: %s", key)
		}
		a.numbers[key] = true
	default:
		t.Fatalf("victim says %q", words)
	}
}

func check(t *testing.T, dir string, all *told) {
	t.Helper()
	store, err := device.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	state, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	spent := map[string]bool{}
	for _, s := range state.Spent {
		spent[hex.EncodeToString(s.Grant[:])] = true
	}
	for _, n := range all.spent {
		if g := grantOf(n); !spent[hex.EncodeToString(g[:])] {
			t.Errorf("grant %d was spent and is not", n)
		}
	}
	newest := map[uint64]uint64{}
	for _, r := range state.Sessions {
		newest[r.Sequence%crashKeys] = max(newest[r.Sequence%crashKeys], r.Sequence)
	}
	for key, n := range all.accepted {
		if newest[key] < n {
			t.Errorf("token %d was accepted, stored is %d", n, newest[key])
		}
	}
}
