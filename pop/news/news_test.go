package news

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
)

var (
	down = cose.SymmetricKey{K: bytes.Repeat([]byte{1}, 16), ID: cose.KeyID{1}, Algorithm: cose.AESCCM16_128_128}
	up   = cose.SymmetricKey{K: bytes.Repeat([]byte{2}, 16), ID: cose.KeyID{1}, Algorithm: cose.AESCCM16_128_128}
	noon = time.Unix(1800000000, 0)
)

func hash(b byte) []byte { return append([]byte{1}, bytes.Repeat([]byte{b}, 32)...) }

func sampleNews() News {
	return News{Sequence: 1 << 52, IssuedAt: noon, Items: []Item{
		TimeItem(noon), HashesItem(hash(1), hash(2)), HashesItem(hash(3)), EpochItem(1790000000),
	}}
}

func sampleReceipt() Receipt {
	return Receipt{Sequence: 1 << 52, Applied: true, Cursor: 9, Entries: []Entry{
		{N: 7, Boot: 3, Grant: pop.GrantID{1, 2}, Action: 1, Result: ResultDone},
		{N: 9, Time: noon, Boot: 3, Action: NoAction, Result: ResultAccepted},
	}}
}

func TestNewsComesBackAsItWas(t *testing.T) {
	for _, want := range []News{sampleNews(), {Sequence: 1, IssuedAt: noon}, {IssuedAt: time.Unix(0, 0), Items: []Item{EpochItem(0)}}} {
		data, err := Seal(want, down, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(data, down); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestReceiptsComeBackAsTheyWere(t *testing.T) {
	for _, want := range []Receipt{sampleReceipt(), {Sequence: 1}, {Applied: true, Cursor: 1<<63 - 1}} {
		data, err := SealReceipt(want, up, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OpenReceipt(data, up); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	for _, want := range [][]Entry{nil, sampleReceipt().Entries} {
		data, err := EncodeEntries(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseEntries(data); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestWireForm pins D22.
func TestWireForm(t *testing.T) {
	n := News{Sequence: 5, IssuedAt: noon, Items: []Item{HashesItem(hash(0)), EpochItem(7), TimeItem(noon)}}
	got, err := n.encode()
	want := "83051a6b49d200" + "83" + "8200815821" + "01" + strings.Repeat("00", 32) + "820107" + "82021a6b49d200"
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("got %x, %v, want %s", got, err, want)
	}
	got, err = sampleReceipt().encode()
	want = "841b0010000000000000f50982" + "8607f603480102000000000000" + "0101" + "86091a6b49d20003480000000000000000" + "18ff03"
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("got %x, %v, want %s", got, err, want)
	}
}

func TestOnlyTheOtherEndOpens(t *testing.T) {
	data, err := Seal(sampleNews(), down, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := down
	other.ID = cose.KeyID{2}
	for name, key := range map[string]cose.SymmetricKey{"the other direction's key": up, "another key id": other} {
		if _, err := Open(data, key); !errors.Is(err, ErrProtection) {
			t.Errorf("%s: got %v, want %v", name, err, ErrProtection)
		}
	}
	if _, err := OpenReceipt(data, down); !errors.Is(err, ErrContent) {
		t.Errorf("news as a receipt: got %v, want %v", err, ErrContent)
	}
	for n := range data {
		if _, err := Open(data[:n], down); !errors.Is(err, ErrProtection) {
			t.Errorf("cut to %d bytes: got %v, want %v", n, err, ErrProtection)
		}
	}
	for bit := range 8 * len(data) {
		damaged := bytes.Clone(data)
		damaged[bit/8] ^= 1 << (bit % 8)
		if _, err := Open(damaged, down); !errors.Is(err, ErrProtection) {
			t.Errorf("bit %d flipped: got %v, want %v", bit, err, ErrProtection)
		}
	}
	short := down
	short.Algorithm = cose.AESCCM16_64_128
	if _, err := Seal(sampleNews(), short, rand.Reader); !errors.Is(err, cose.ErrKey) {
		t.Errorf("a key with short tags: got %v, want %v", err, cose.ErrKey)
	}
	data, err = cose.SealEncrypt0(short, []byte{0x83, 0, 0, 0x80}, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(data, short); !errors.Is(err, ErrProtection) {
		t.Errorf("short tags: got %v, want %v", err, ErrProtection)
	}
}

func TestNewsThatIsRefused(t *testing.T) {
	hashItem := "82008158" + "21" + strings.Repeat("00", 33)
	tests := []struct{ name, data string }{
		{"nothing", ""},
		{"null", "f6"},
		{"no items", "820500"},
		{"items null", "830500f6"},
		{"a fourth field", "840500" + "80" + "00"},
		{"a byte after", "83050080" + "00"},
		{"a tag outside", "c683050080"},
		{"a long sequence", "8318050080"},
		{"a negative sequence", "83200080"},
		{"a sequence beyond 63 bits", "831bffffffffffffffff0080"},
		{"a time before 1970", "83052080"},
		{"a time after 9999", "83051b0000003afff4418080"},
		{"a time with a tag", "8305c10080"},
		{"a time as float", "8305f93c0080"},
		{"no hashes", "830500" + "81" + "820080"},
		{"a hash of 32 bytes", "830500" + "81" + "8200815820" + strings.Repeat("00", 32)},
		{"a hash of numbers", "830500" + "81" + "8200819821" + strings.Repeat("00", 33)},
		{"33 hashes", "830500" + "81" + "82009821" + strings.Repeat("5821"+strings.Repeat("00", 33), 33)},
		{"17 items", "83050091" + strings.Repeat(hashItem, 17)},
		{"an epoch as text", "830500" + "81" + "82016131"},
		{"two epochs", "830500" + "82" + "820101" + "820102"},
		{"two times", "830500" + "82" + "820201" + "820201"},
		{"a time item before 1970", "830500" + "81" + "820220"},
		{"an item without value", "830500" + "81" + "8101"},
		{"an item with two values", "830500" + "81" + "83010101"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseNews(unhex(t, tt.data)); !errors.Is(err, ErrContent) {
				t.Errorf("got %+v, %v, want %v", got, err, ErrContent)
			}
		})
	}
	for _, kind := range []string{"03", "04", "1863"} {
		var unknown *UnknownItemError
		if got, err := parseNews(unhex(t, "83050082"+"820101"+"82"+kind+"80")); !errors.As(err, &unknown) {
			t.Errorf("kind %s: got %+v, %v", kind, got, err)
		}
	}
}

func TestReceiptsThatAreRefused(t *testing.T) {
	receipt := func(entries string) string { return "8405f500" + entries }
	grant := "48" + strings.Repeat("00", 8)
	tests := []struct{ name, data string }{
		{"nothing", ""},
		{"applied as a number", "84050100" + "80"},
		{"applied as null", "8405f600" + "80"},
		{"entries null", receipt("f6")},
		{"a cursor beyond 63 bits", "8405f51bffffffffffffffff80"},
		{"an entry of five", receipt("818501f600" + grant + "00")},
		{"a grant of seven bytes", receipt("818601f60047" + strings.Repeat("00", 7) + "0000")},
		{"an action above 255", receipt("818601f600" + grant + "19010000")},
		{"a result above 255", receipt("818601f600" + grant + "00190100")},
		{"a number twice", receipt("82" + "8601f600" + grant + "0000" + "8601f600" + grant + "0000")},
		{"numbers in descending order", receipt("82" + "8602f600" + grant + "0000" + "8601f600" + grant + "0000")},
		{"a time before 1970", receipt("81" + "86012000" + grant + "0000")},
		{"time undefined", receipt("81" + "8601f700" + grant + "0000")},
		{"33 entries", receipt("9821" + strings.Repeat("8601f600"+grant+"0000", 33))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseReceipt(unhex(t, tt.data)); !errors.Is(err, ErrContent) {
				t.Errorf("got %+v, %v, want %v", got, err, ErrContent)
			}
		})
	}
	if _, err := parseReceipt(unhex(t, receipt("81"+"8601f600"+grant+"0000"))); err != nil {
		t.Errorf("a receipt as it should be: %v", err)
	}
}

func TestWhatIsNotSealed(t *testing.T) {
	tests := []struct {
		name string
		news News
	}{
		{"no time", News{Sequence: 1}},
		{"an unknown kind", News{IssuedAt: noon, Items: []Item{{Kind: 3}}}},
		{"no hashes", News{IssuedAt: noon, Items: []Item{HashesItem()}}},
		{"a short hash", News{IssuedAt: noon, Items: []Item{HashesItem(hash(1)[:32])}}},
		{"a sequence beyond 63 bits", News{Sequence: 1 << 63, IssuedAt: noon}},
		{"more than MaxSize", News{IssuedAt: noon, Items: slicesOf(8)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if data, err := Seal(tt.news, down, rand.Reader); err == nil {
				t.Errorf("got %d bytes", len(data))
			}
		})
	}
	most := News{Sequence: 1, IssuedAt: noon, Items: slicesOf(3)}
	if _, err := Seal(most, down, rand.Reader); err != nil {
		t.Errorf("%d full items: %v", len(most.Items), err)
	}
	descending := sampleReceipt()
	descending.Entries[0].N = 10
	if data, err := SealReceipt(descending, up, rand.Reader); err == nil {
		t.Errorf("got %x", data)
	}
	if data, err := EncodeEntries(descending.Entries); err == nil {
		t.Errorf("got %x", data)
	}
}

// slicesOf makes n items of MaxHashes hashes each.
func slicesOf(n int) []Item {
	var items []Item
	for range n {
		var hashes [][]byte
		for i := range MaxHashes {
			hashes = append(hashes, hash(byte(i)))
		}
		items = append(items, HashesItem(hashes...))
	}
	return items
}

func TestHashesOfTokensFit(t *testing.T) {
	h := cwt.Hash([]byte("token"))
	if _, err := Seal(News{IssuedAt: noon, Items: []Item{HashesItem(h[:])}}, down, rand.Reader); err != nil {
		t.Error(err)
	}
}

func FuzzParseNews(f *testing.F) {
	data, err := sampleNews().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNews(data)
		if err != nil {
			return
		}
		if again, err := n.encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("got %x, %v, want %x", again, err, data)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	data, err := sampleReceipt().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseReceipt(data)
		if err != nil {
			return
		}
		if again, err := r.encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("got %x, %v, want %x", again, err, data)
		}
	})
}

func FuzzParseEntries(f *testing.F) {
	data, err := EncodeEntries(sampleReceipt().Entries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := ParseEntries(data)
		if err != nil {
			return
		}
		if again, err := EncodeEntries(entries); err != nil || !bytes.Equal(again, data) {
			t.Errorf("got %x, %v, want %x", again, err, data)
		}
	})
}

func FuzzOpen(f *testing.F) {
	data, err := Seal(sampleNews(), up, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := Open(data, down); err == nil {
			t.Errorf("news that nobody sealed was opened: %+v", n)
		}
		if r, err := OpenReceipt(data, down); err == nil {
			t.Errorf("a receipt that nobody sealed was opened: %+v", r)
		}
	})
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
