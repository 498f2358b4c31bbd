package keyfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/oscore"
)

const secret = "0102030405060708090a0b0c0d0e0f10"

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct{ name, content, says string }{
		{"nothing", "", "JSON"},
		{"not an object", `[]`, "JSON"},
		{"cut short", `{"master_secret":"` + secret, "JSON"},
		{"two objects", `{"master_secret":"` + secret + `","client_id":"01"}{}`, "follows"},
		{"a misspelt member", `{"master_secret":"` + secret + `","client_id":"01","idcontext":"00"}`, "JSON"},
		{"no secret", `{"client_id":"01","server_id":"02"}`, "master_secret"},
		{"a short secret", `{"master_secret":"` + secret[2:] + `","client_id":"01"}`, "master_secret must be 16 to 64"},
		{"a long secret", `{"master_secret":"` + strings.Repeat("00", 65) + `","client_id":"01"}`, "master_secret"},
		{"a secret that is no hex", `{"master_secret":"` + secret + `g","client_id":"01"}`, "master_secret"},
		{"a long salt", `{"master_secret":"` + secret + `","master_salt":"` + strings.Repeat("00", 65) + `"}`, "master_salt"},
		{"a client id of 8 bytes", `{"master_secret":"` + secret + `","client_id":"0102030405060708"}`, "client_id must be 0 to 7"},
		{"a server id of 8 bytes", `{"master_secret":"` + secret + `","server_id":"0102030405060708"}`, "server_id must be 0 to 7"},
		{"a long id context", `{"master_secret":"` + secret + `","client_id":"01","id_context":"` + strings.Repeat("00", 129) + `"}`, "id_context"},
		{"equal ids", `{"master_secret":"` + secret + `","client_id":"0A","server_id":"0a"}`, "differ"},
		{"no ids", `{"master_secret":"` + secret + `"}`, "differ"},
		{"a psk without identity", `{"psk":"` + secret + `"}`, "psk_identity"},
		{"an identity without psk", `{"psk_identity":"alice"}`, "psk must be"},
		{"a short psk", `{"psk_identity":"alice","psk":"00"}`, "psk must be 16 to 64"},
		{"a long identity", `{"psk_identity":"` + strings.Repeat("a", 129) + `","psk":"` + secret + `"}`, "psk_identity"},
		{"both kinds", `{"psk_identity":"alice","psk":"` + secret + `","master_secret":"` + secret + `"}`, "alone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			k, err := Parse([]byte(row.content))
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Fatalf("got %v, want an error with %q", err, row.says)
			}
			if strings.Contains(err.Error(), secret[:8]) || k.MasterSecret != nil && k.PSK != nil {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestKeysArePrintedNowhere(t *testing.T) {
	k, err := Parse([]byte(`{"master_secret":"` + secret + `","client_id":"01"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); got != "[redacted] [redacted] [redacted] [redacted]" {
		t.Errorf("got %s", got)
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	next := uint64(0)
	for run := range 4 {
		j, err := OpenJournal(path, AsClient)
		if err != nil {
			t.Fatal(err)
		}
		if j.New != (run == 0) || j.Next() < next {
			t.Fatalf("run %d: new %v, next %d; want %d or more", run, j.New, j.Next(), next)
		}
		if _, err := OpenJournal(path, AsClient); err == nil {
			t.Fatal("opened twice at once")
		}
		server, err := OpenJournal(path, AsServer)
		if err != nil {
			t.Fatalf("the other role: %v", err)
		}
		_ = server.Close()
		next = j.Next() + oscore.ReserveBatch
		if err := j.Reserve(next); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	name := path + ".client.seq"
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode: got %v, %v", info, err)
	}
	if err := os.Truncate(name, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path, AsClient); err == nil {
		t.Error("a damaged journal was opened")
	}
	if err := os.Symlink(name, path+"2.client.seq"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path+"2", AsClient); err == nil {
		t.Error("a link was followed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"master_secret":"` + secret + `","master_salt":"9e7ca92223786340","client_id":"","server_id":"01"}`))
	f.Add([]byte(`{"psk_identity":"alice","psk":"` + secret + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := Parse(data)
		if err != nil || k.PSK != nil {
			return
		}
		for _, p := range []oscore.Params{k.Client(), k.Server()} {
			if _, err := oscore.New(p, oscore.Options{}); err != nil {
				t.Fatalf("accepted what makes no context: %v", err)
			}
		}
	})
}
