package device

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/latchkey-ace/latchkey/resource"
)

// sample is a state with every field set.
func sample() resource.State {
	at := time.Date(2026, 7, 1, 18, 0, 0, 0, time.UTC)
	grant := pop.GrantID{1, 2, 3, 4, 5, 6, 7, 8}
	return resource.State{
		Time:  resource.TimeMark{Low: at, Boot: "b", Uptime: time.Hour, Known: true, Boots: 3},
		Epoch: 5, News: 6, Receipt: []byte{7}, NewsHash: []byte{8}, HighestExpired: 8, NextSession: 9, NextEntry: 10, Reported: 4,
		Sessions: []resource.Record{{
			Number: 9, Key: []byte{1}, Hashes: [][]byte{{2}, {3}}, Sequence: 11,
			Grant: pop.GrantRef{Epoch: 5, Grant: grant, Once: []uint{0},
				Grade: grade.Grade{Kind: grade.Service, Key: grade.KeyHardware, System: grade.SystemVerified}},
			Rights:  aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}),
			Expires: at, NotBefore: at, ExpiresIn: time.Minute,
			Profile: pop.ProfileCoAPDTLS, KeyID: []byte{12},
			Material: resource.Material{Secret: []byte{4}, Salt: []byte{5}, Algorithm: 10},
			Nonce1:   []byte{6}, Nonce2: []byte{7}, ClientID: []byte{8}, ServerID: []byte{9}, Server: true, Used: true, Reserved: 64,
		}},
		Counts:  []resource.Count{{Sequence: 11, ExpiresIn: time.Minute, Boot: "b", Started: time.Second, Grant: pop.GrantID{3}}},
		Spent:   []resource.Spent{{Grant: grant, Path: "/door/unlock", Methods: aif.POST, Expires: at}},
		Revoked: []resource.Revoked{{Hash: []byte{1, 2}, Sequence: 4, Over: time.Unix(1_800_000_000, 0).UTC()}},
		Log: []resource.Entry{{Number: 10, Time: at, Boot: 3, Grant: grant, Action: "unlock", Result: resource.Refused,
			Reason: "used"}},
	}
}

// TestSampleIsWhole keeps the test honest when State grows: a field that is not set is not tested.
func TestSampleIsWhole(t *testing.T) {
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(name+"."+v.Type().Field(i).Name, v.Field(i))
				}
			}
		case v.Kind() == reflect.Slice && v.Len() > 0 && v.Index(0).Kind() == reflect.Struct:
			walk(name, v.Index(0))
		}
		if v.IsZero() {
			t.Errorf("%s is not set in the sample", name)
		}
	}
	walk("State", reflect.ValueOf(sample()))
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStateComesBackWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	if got, err := s.Load(); err != nil || !reflect.DeepEqual(got, resource.State{}) {
		t.Fatalf("fresh: got %+v, %v, want the zero state", got, err)
	}
	if err := s.Save(sample()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, dir).Load(); err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("got %+v, %v, want %+v", got, err, sample())
	}
	for name, want := range map[string]fs.FileMode{".": 0o700, stateFile: 0o600, lockFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %v", name, info.Mode(), err, want)
		}
	}
}

// TestStateFromBeforeDTLSOpens: a lock that is updated must not forget what was used and revoked. Its file names no profile
// and no key id, as a file does today that has no session of coap_dtls.
func TestStateFromBeforeDTLSOpens(t *testing.T) {
	old := sample()
	old.Sessions[0].Profile, old.Sessions[0].KeyID = 0, nil
	file, err := encode(old)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Profile", "KeyID"} {
		if bytes.Contains(file, []byte(name)) {
			t.Errorf("%s stands in the file: %s", name, file)
		}
	}
	if got, err := decode(file); err != nil || !reflect.DeepEqual(got, old) {
		t.Errorf("got %+v, %v, want %+v", got, err, old)
	}
}

// TestDTLSSessionSurvivesARestart: profile, key id and key, without which its phone would need a new token.
func TestDTLSSessionSurvivesARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	want := sample().Sessions[0]
	want.Nonce1, want.Nonce2, want.ClientID, want.ServerID, want.Material.Salt = nil, nil, nil, nil, nil
	s := open(t, dir)
	if err := s.Save(resource.State{Sessions: []resource.Record{want}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := open(t, dir).Load()
	if err != nil || len(state.Sessions) != 1 || !reflect.DeepEqual(state.Sessions[0], want) {
		t.Errorf("got %+v, %v, want %+v", state.Sessions, err, want)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestDirectoryOpenToOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("got %v, want the advice", err)
	}
}

func TestEveryTruncationAndBitFlipIsRefused(t *testing.T) {
	whole, err := encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := decode(whole[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: got %v, want ErrDamaged", n, len(whole), err)
		}
	}
	for bit := range 8 * len(whole) {
		broken := bytes.Clone(whole)
		broken[bit/8] ^= 1 << (bit % 8)
		if _, err := decode(broken); !errors.Is(err, ErrDamaged) {
			t.Errorf("bit %d: got %v, want ErrDamaged", bit, err)
		}
	}
	if _, err := decode(append(whole, '\n')); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: got %v, want ErrDamaged", err)
	}
}

func TestDamagedFileIsNeitherReadNorReset(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	if err := s.Save(sample()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stateFile)
	for _, content := range []string{"", "latchkey device state 2\n", header} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "epoch") {
			t.Errorf("%q: got %v, want ErrDamaged with advice", content, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != content {
			t.Errorf("%q was changed to %q, %v", content, left, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole, err := encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(header))
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := decode(data)
		if err != nil {
			return
		}
		if _, err := encode(state); err != nil {
			t.Fatal(err)
		}
	})
}

// cutDisk is a disk whose power can be cut. What was not synced may afterwards be there, or not, or in part.
type cutDisk struct {
	files   map[string][]byte // as a running system sees them
	durable map[string][]byte // as they are certain to be after a cut
	steps   int               // left before the cut
	partly  bool              // unsynced content is half written, not lost
}

var errCut = errors.New("power cut")

func (d *cutDisk) step() error {
	if d.steps == 0 {
		return errCut
	}
	d.steps--
	return nil
}

func (d *cutDisk) read(name string) ([]byte, error) {
	data, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (d *cutDisk) write(name string, data []byte) error {
	// The old content of the file is gone at once, and half of the new may reach the disk by itself.
	d.files[name], d.durable[name] = nil, nil
	if d.partly {
		d.durable[name] = data[:len(data)/2]
	}
	if err := d.step(); err != nil {
		return err
	}
	d.files[name] = data
	return nil
}

func (d *cutDisk) sync(name string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.durable[name] = d.files[name]
	return nil
}

func (d *cutDisk) rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.files[to] = d.files[from]
	delete(d.files, from)
	if d.partly { // the directory may reach the disk by itself
		d.durable[to] = d.durable[from]
	}
	return nil
}

func (d *cutDisk) syncDir() error {
	if err := d.step(); err != nil {
		return err
	}
	d.durable[stateFile] = d.durable[newFile]
	delete(d.durable, newFile)
	return nil
}

// TestPowerCutAfterEveryStep cuts the power before each write, flush and rename of a second Save: what Load finds is the
// old state or the new one, and the new one if Save had returned.
func TestPowerCutAfterEveryStep(t *testing.T) {
	before, after := sample(), sample()
	after.Epoch++
	for _, partly := range []bool{false, true} {
		for cut := range 5 {
			t.Run(fmt.Sprintf("step %d partly %v", cut, partly), func(t *testing.T) {
				d := &cutDisk{files: map[string][]byte{}, durable: map[string][]byte{}, steps: 100, partly: partly}
				if err := (&Store{disk: d}).Save(before); err != nil {
					t.Fatal(err)
				}
				d.steps = cut
				err := (&Store{disk: d}).Save(after)
				if (err == nil) != (cut == 4) {
					t.Fatalf("save: got %v", err)
				}
				d.files, d.steps = d.durable, 100
				got, loadErr := (&Store{disk: d}).Load()
				if loadErr != nil {
					t.Fatalf("load after the cut: %v", loadErr)
				}
				isNew := reflect.DeepEqual(got, after)
				if !isNew && !reflect.DeepEqual(got, before) || err == nil && !isNew {
					t.Errorf("got epoch %d, want %d or, if not acknowledged, %d", got.Epoch, after.Epoch, before.Epoch)
				}
				if err := (&Store{disk: d}).Save(after); err != nil {
					t.Errorf("save after the cut: %v", err)
				}
			})
		}
	}
}

func TestReadSecretFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode fs.FileMode, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte{'s'}, size), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", 0o600, 10)
	if got, err := ReadSecretFile(good); err != nil || string(got) != "ssssssssss" {
		t.Errorf("got %q, %v", got, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	group, others := file("group", 0o640, 1), file("others", 0o604, 1)
	for path, want := range map[string]string{
		group: "chmod 600 " + group, others: "chmod 600 " + others, link: "symbolic link", dir: "not a regular file",
		file("long", 0o600, MaxSecret+1): "longer", filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := ReadSecretFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestClockRunsOnWithinOneBoot(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	first, boot := c.Uptime()
	second, again := c.Uptime()
	if boot == "" || boot != again || first <= 0 || second < first {
		t.Errorf("got %v %q, then %v %q", first, boot, second, again)
	}
}

func BenchmarkSave(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "state"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	state := sample()
	for range resource.MaxLog {
		state.Log = append(state.Log, state.Log[0])
	}
	for b.Loop() {
		if err := s.Save(state); err != nil {
			b.Fatal(err)
		}
	}
}
