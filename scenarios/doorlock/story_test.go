package doorlock_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(stage.WithPrograms(func(dir string) int {
		bin = dir
		return pgtest.Main(m)
	}))
}

func newStory(t *testing.T, profile pop.Profile) *doorlock.Story { return newStoryOn(t, profile, "") }

func newStoryOn(t *testing.T, profile pop.Profile, db string) *doorlock.Story {
	t.Helper()
	s, err := stage.New(t.Context(), stage.Options{Bin: bin, Dir: t.TempDir(), Out: t.Output(), DB: db})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	story, err := doorlock.New(s, profile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(story.Close)
	return story
}

var profiles = []pop.Profile{pop.ProfileCoAPOSCORE, pop.ProfileCoAPDTLS}

func TestStory(t *testing.T) {
	for _, profile := range profiles {
		t.Run(profile.String(), func(t *testing.T) {
			s := newStory(t, profile)
			play(t, s)
			nothingInClear(t, s)
		})
	}
}

func TestStoryOnPostgreSQL(t *testing.T) {
	play(t, newStoryOn(t, pop.ProfileCoAPOSCORE, pgtest.Start(t)))
}

func play(t *testing.T, s *doorlock.Story) {
	t.Helper()
	for i, step := range doorlock.Steps {
		if err := step.Do(t.Context(), s); err != nil {
			t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
		}
	}
}

// nothingInClear looks into everything that crossed the air between phone and lock.
func nothingInClear(t *testing.T, s *doorlock.Story) {
	t.Helper()
	file, err := os.ReadFile(s.Path("phone-mum", "default.json"))
	if err != nil {
		t.Fatal(err)
	}
	var saved struct{ Session struct{ Secret []byte } }
	if err := json.Unmarshal(file, &saved); err != nil || len(saved.Session.Secret) != 16 {
		t.Fatalf("no possession key in the phone's file: %v", err)
	}
	key := saved.Session.Secret
	forms := [][]byte{key, []byte(hex.EncodeToString(key)), []byte(base64.RawURLEncoding.EncodeToString(key)), []byte(base64.StdEncoding.EncodeToString(key))}
	for _, word := range []string{"door", "unlock", "alarm", "disarm", "bolt", "open", "closed", "view"} {
		forms = append(forms, []byte(word))
	}
	seen := s.Air.Seen()
	if len(seen) < 6 {
		t.Fatalf("only %d datagrams crossed the relay", len(seen))
	}
	for _, d := range seen {
		for _, form := range forms {
			if bytes.Contains(d.Bytes, form) {
				t.Errorf("datagram %x shows %q", d.Bytes, form)
			}
		}
	}
}

var victims = []stage.Victim[*doorlock.Story]{
	{Name: "server", Process: func(s *doorlock.Story) *stage.Process { return s.Server() }, Restart: func(s *doorlock.Story) error { return s.NeedServer() }},
	{Name: "lock", Process: (*doorlock.Story).Lock, Restart: (*doorlock.Story).NeedLock},
}

// firstApart is the first step in which the profiles differ; those before are played on one of them.
const firstApart = 4

// TestKillDuringEachStep kills each process during each step, restarts it, does the step again and finishes the story.
func TestKillDuringEachStep(t *testing.T) {
	for _, profile := range profiles {
		for i, step := range doorlock.Steps {
			if profile == pop.ProfileCoAPDTLS && i < firstApart {
				continue
			}
			for _, v := range victims {
				t.Run(fmt.Sprintf("%v step %d %s", profile, i+1, v.Name), func(t *testing.T) {
					result := killDuring(t, newStory(t, profile), i, v)
					t.Logf("%v step %2d  %-6s  %s  (%s)", profile, i+1, v.Name, result, step.Says)
				})
			}
		}
	}
}

func killDuring(t *testing.T, s *doorlock.Story, at int, v stage.Victim[*doorlock.Story]) string {
	t.Helper()
	result := "went on"
	for i, step := range doorlock.Steps {
		var err error
		if i == at {
			result, err = stage.Cut(t.Context(), s, step, v)
		} else {
			err = step.Do(t.Context(), s)
		}
		switch {
		case errors.Is(err, doorlock.ErrUsed) && i == at:
			result = "spent before the power went; not again"
		case err != nil:
			t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
		}
	}
	return result
}

// TestKillLockAgainAndAgain proves that no nonce is used twice across restarts: the same context sends before and after.
func TestKillLockAgainAndAgain(t *testing.T) {
	s := newStory(t, pop.ProfileCoAPOSCORE)
	for _, step := range doorlock.Steps[:5] {
		if err := step.Do(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", step.Says, err)
		}
	}
	look := doorlock.Steps[5]
	for range 4 {
		s.Lock().Kill()
		if err := s.NeedLock(); err != nil {
			t.Fatal(err)
		}
		if err := look.Do(t.Context(), s); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
	}
	// Every Partial IV the lock has sent of its own (challenges) must be a new one.
	var ivs []string
	for _, d := range s.Air.Seen() {
		if iv, ok := ownPartialIV(d); ok {
			if slices.Contains(ivs, iv) {
				t.Errorf("the lock used Partial IV %s twice", iv)
			}
			ivs = append(ivs, iv)
		}
	}
	if len(ivs) < 4 {
		t.Errorf("the lock sent %d answers with a Partial IV of its own, want a challenge after each of 4 restarts", len(ivs))
	}
}

// ownPartialIV reads the Partial IV of a response's OSCORE option (RFC 8613 §6.1).
func ownPartialIV(d stage.Datagram) (string, bool) {
	b := d.Bytes
	if d.ToLock || len(b) < 5 || b[1] != 0x44 {
		return "", false
	}
	option := b[4+int(b[0]&0xf):]
	if len(option) < 3 || option[0]>>4 != 9 {
		return "", false
	}
	value := option[1 : 1+int(option[0]&0xf)]
	if len(value) < 2 {
		return "", false
	}
	return hex.EncodeToString(value[1 : 1+value[0]&7]), true
}
