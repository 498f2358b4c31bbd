package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

var errKilled = errors.New("killed")

// medium is a file as a power cut leaves it: what was written since the last Sync may be there, or not, or in part, in any
// order of its bytes. It kills its user at a chosen call, before or after the call has done what it does.
type medium struct {
	durable []byte
	pending []write
	random  *rand.Rand
	calls   int
	kill    int // at this call; 0: never
	failing int // this call fails without a power cut; 0: none
}

type write struct {
	at   int64
	data []byte
}

// step counts a call; done is whether it still takes effect.
func (m *medium) step() (done bool, err error) {
	m.calls++
	if m.calls == m.kill {
		return m.random.IntN(2) == 0, errKilled
	}
	if m.kill > 0 && m.calls > m.kill {
		return false, errKilled
	}
	if m.calls == m.failing {
		return m.random.IntN(2) == 0, errors.New("input/output error")
	}
	return true, nil
}

func (m *medium) ReadAt(p []byte, at int64) (int, error) {
	if _, err := m.step(); err != nil {
		return 0, err
	}
	image := bytes.Clone(m.durable)
	for _, w := range m.pending {
		image = w.onto(image)
	}
	if at >= int64(len(image)) {
		return 0, io.EOF
	}
	n := copy(p, image[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *medium) WriteAt(p []byte, at int64) (int, error) {
	done, err := m.step()
	if done {
		m.pending = append(m.pending, write{at, bytes.Clone(p)})
	}
	return len(p), err
}

func (m *medium) Sync() error {
	done, err := m.step()
	if done {
		m.settle(func() bool { return true })
	}
	return err
}

// cut is the power cut: each byte since the last Sync is there or not. Half of the time bytes get there in runs.
func (m *medium) cut() {
	torn := m.random.IntN(2) == 0
	there := m.random.IntN(2) == 0
	m.settle(func() bool {
		if torn && m.random.IntN(20) == 0 {
			there = !there
		}
		return there
	})
	m.kill, m.calls, m.failing = 0, 0, 0
}

func (m *medium) settle(there func() bool) {
	for _, w := range m.pending {
		whole := w.onto(bytes.Clone(m.durable))
		for i := range w.data {
			at := w.at + int64(i)
			for int64(len(m.durable)) <= at {
				m.durable = append(m.durable, 0)
			}
			if there() {
				m.durable[at] = whole[at]
			}
		}
	}
	m.pending = nil
}

func (w write) onto(image []byte) []byte {
	if grow := int(w.at) + len(w.data) - len(image); grow > 0 {
		image = append(image, make([]byte, grow)...)
	}
	copy(image[w.at:], w.data)
	return image
}

var journalParams = Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}

// ledger records what was ever sent under one key.
type ledger struct{ used map[uint64]bool }

// life is one run of a program with this context, until it is killed: it sends messages messages. It says whether it was
// killed.
func (l *ledger) life(t testing.TB, m *medium, messages int) (killed bool) {
	j, err := OpenJournal(m)
	if errors.Is(err, errKilled) {
		return true
	}
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	c := newContext(t, journalParams, Options{Sequence: j, Next: j.Next()})
	for range messages {
		_, x, err := c.ProtectRequest(get("a"))
		if err != nil {
			return true
		}
		if l.used[x.number()] {
			t.Fatalf("number %d is used twice", x.number())
		}
		l.used[x.number()] = true
	}
	return false
}

// created is a medium with a new journal; without a word of its creation there is no context to speak of.
func created(t testing.TB, random *rand.Rand) *medium {
	t.Helper()
	m := &medium{random: random}
	if _, err := CreateJournal(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// F30: the program is killed at every call it makes, before and after that call takes effect, and again and again while it
// recovers. No nonce is used twice, and the journal never becomes unusable.
func TestKilledAtEveryCall(t *testing.T) {
	const callsOfALife = 8
	for first := 1; first <= callsOfALife; first++ {
		for second := range callsOfALife + 1 {
			for seed := range uint64(20) {
				m := created(t, rand.New(rand.NewPCG(seed, uint64(first))))
				l := &ledger{map[uint64]bool{}}
				for _, kill := range []int{first, second, first, 0, second, first} {
					m.calls, m.kill = 0, kill
					l.life(t, m, 3*ReserveBatch)
					m.cut()
				}
				if l.life(t, m, 1) {
					t.Fatal("no message after the last power cut")
				}
			}
		}
	}
}

func TestKilledAtAnyCall(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		seed := rapid.Uint64().Draw(r, "seed")
		m := created(t, rand.New(rand.NewPCG(seed, 1)))
		l := &ledger{map[uint64]bool{}}
		for range 10 {
			m.kill = rapid.IntRange(0, 12).Draw(r, "killed at call")
			m.calls = 0
			l.life(t, m, rapid.IntRange(0, 4*ReserveBatch).Draw(r, "messages"))
			m.cut()
		}
	})
}

// F31: the very first use is kept safe, too. A journal whose creation was interrupted is none.
func TestKilledWhileCreating(t *testing.T) {
	for kill := 1; kill <= 4; kill++ {
		for seed := range uint64(50) {
			m := &medium{random: rand.New(rand.NewPCG(seed, 0)), kill: kill}
			if _, err := CreateJournal(m); err == nil {
				t.Fatalf("created although killed at call %d", kill)
			}
			m.cut()
			if _, err := OpenJournal(m); err != nil && !errors.Is(err, ErrJournal) {
				t.Errorf("got %v, want %v", err, ErrJournal)
			}
		}
	}
	for name, image := range map[string][]byte{"no journal": nil, "a file of zeros": make([]byte, 8192), "a short file": make([]byte, 7)} {
		if _, err := OpenJournal(&medium{durable: image}); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: got %v, want %v", name, err, ErrJournal)
		}
	}
}

func TestJournalIsCreatedOnce(t *testing.T) {
	m := created(t, nil)
	if _, err := CreateJournal(m); !errors.Is(err, ErrJournalExists) {
		t.Errorf("got %v, want %v", err, ErrJournalExists)
	}
}

// What the medium loses later, byte by byte, of one record or the other, costs numbers but repeats none.
func TestDamagedRecord(t *testing.T) {
	for lives := range 5 {
		m := created(t, rand.New(rand.NewPCG(1, 1)))
		l := &ledger{map[uint64]bool{}}
		for range lives {
			l.life(t, m, ReserveBatch)
		}
		for at := range m.durable {
			damaged := &medium{durable: bytes.Clone(m.durable), random: m.random}
			damaged.durable[at] ^= 0x40
			if err := l.survives(damaged); err != nil {
				t.Errorf("after %d lives, byte %d: %v", lives, at, err)
			}
		}
	}
}

// survives checks that the journal goes on above all used numbers, and does so again when it is damaged in the same
// place.
func (l *ledger) survives(m *medium) error {
	j, err := OpenJournal(m)
	if errors.Is(err, ErrJournal) && len(l.used) == 0 {
		return nil // the only record
	}
	if err != nil {
		return err
	}
	for number := range l.used {
		if number >= j.Next() {
			return fmt.Errorf("next is %d, but %d is used", j.Next(), number)
		}
	}
	return nil
}

func TestBothRecordsDamaged(t *testing.T) {
	m := created(t, rand.New(rand.NewPCG(1, 1)))
	(&ledger{map[uint64]bool{}}).life(t, m, 2*ReserveBatch)
	m.durable[20] ^= 1
	m.durable[journalSpacing+20] ^= 1
	if _, err := OpenJournal(m); !errors.Is(err, ErrJournal) {
		t.Errorf("got %v, want %v", err, ErrJournal)
	}
}

func TestJournalIsBrokenByAFailedWrite(t *testing.T) {
	for call := 1; call <= 2; call++ {
		m := created(t, rand.New(rand.NewPCG(uint64(call), 1)))
		j, err := OpenJournal(m)
		if err != nil {
			t.Fatal(err)
		}
		c := newContext(t, journalParams, Options{Sequence: j, Next: j.Next()})
		m.calls, m.failing = 0, call
		for range 2 { // the second time the medium is well
			if _, _, err := c.ProtectRequest(get("a")); !errors.Is(err, ErrJournalBroken) {
				t.Errorf("got %v, want %v", err, ErrJournalBroken)
			}
		}
		if (&ledger{map[uint64]bool{}}).life(t, m, 1) {
			t.Error("it is not well after opening it again")
		}
	}
}

func TestReserveRefusesAJump(t *testing.T) {
	j, err := CreateJournal(&medium{random: rand.New(rand.NewPCG(1, 1))})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Reserve(ReserveBatch + 1); err == nil {
		t.Error("accepted")
	}
	if err := j.Reserve(ReserveBatch); err != nil || j.Next() != ReserveBatch {
		t.Errorf("next %d, %v", j.Next(), err)
	}
}

// A context that does not begin at Next would use the numbers of an earlier life again.
func TestJournalRefusesUsedNumbers(t *testing.T) {
	m := created(t, rand.New(rand.NewPCG(1, 1)))
	(&ledger{map[uint64]bool{}}).life(t, m, 2*ReserveBatch)
	j, err := OpenJournal(m)
	if err != nil {
		t.Fatal(err)
	}
	before := j.Next()
	c := newContext(t, journalParams, Options{Sequence: j})
	if request, _, err := c.ProtectRequest(get("a")); err == nil {
		t.Errorf("number %x is used again", optionOf(t, request).PartialIV)
	}
	if j.Next() != before {
		t.Errorf("next %d, want %d", j.Next(), before)
	}
	c = newContext(t, journalParams, Options{Sequence: j, Next: before})
	mustRequest(t, c, get("a"))
}

func TestJournalInAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sequence")
	for life := range 3 {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		open := OpenJournal
		if life == 0 {
			open = CreateJournal
		}
		j, err := open(f)
		if err != nil {
			t.Fatal(err)
		}
		c := newContext(t, journalParams, Options{Sequence: j, Next: j.Next()})
		if _, x := mustRequest(t, c, get("a")); x.number() < uint64(life)*ReserveBatch {
			t.Errorf("life %d begins at %d", life, x.number())
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzOpenJournal(f *testing.F) {
	m := created(f, rand.New(rand.NewPCG(1, 1)))
	f.Add(m.durable)
	(&ledger{map[uint64]bool{}}).life(f, m, 2*ReserveBatch)
	f.Add(m.durable)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, image []byte) {
		m := &medium{durable: image, random: rand.New(rand.NewPCG(1, 1))}
		j, err := OpenJournal(m)
		if err != nil {
			return
		}
		before := j.Next()
		if err := j.Reserve(before + 1); err != nil {
			return
		}
		if again, err := OpenJournal(m); err != nil || again.Next() < before+1 {
			t.Errorf("opened again: %v, next below %d", err, before+1)
		}
	})
}
