package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTableAndStruct: each field that the file can hold is a setting, and each setting is such a field.
func TestTableAndStruct(t *testing.T) {
	c := defaults()
	v := reflect.ValueOf(&c).Elem()
	byName := map[string]uintptr{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("toml"); name != "" {
			byName[name] = v.Field(i).Addr().Pointer()
		}
	}
	for _, s := range c.settings() {
		if byName[s.name] != reflect.ValueOf(s.value).Pointer() {
			t.Errorf("setting %s is not the field of that name", s.name)
		}
		delete(byName, s.name)
		if s.means == "" || strings.HasSuffix(s.means, ".") {
			t.Errorf("%s means %q", s.name, s.means)
		}
	}
	if len(byName) > 0 {
		t.Errorf("fields without setting: %v", byName)
	}
}

// TestOrder: flags before environment before file before default, for every kind of value.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	text := "http = '127.0.0.1:1'\nproxies = ['10.0.0.1', '10.0.0.2']\ndrain = '1s'\nadmin_remote = true\nlog_level = 'warn'\n"
	writeFile(t, filepath.Join(dir, configFile), []byte(text))
	t.Setenv("LATCHKEY_HTTP", "127.0.0.1:2")
	t.Setenv("LATCHKEY_PROXIES", "10.0.0.3, 10.0.0.4")
	t.Setenv("LATCHKEY_DRAIN", "2s")
	c, err := readConfig(dir, flags{"http": "127.0.0.1:3", "drain": "3s", "admin_remote": "false"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP != "127.0.0.1:3" || !slices.Equal(c.Proxies, []string{"10.0.0.3", "10.0.0.4"}) || c.Drain != span(3*time.Second) || c.AdminRemote || c.LogLevel != "warn" || c.CoAP != defaultCoAP {
		t.Errorf("got %+v", c)
	}
	if c.Issuer != "http://localhost:3" {
		t.Errorf("issuer %s, want that of the port", c.Issuer)
	}
	from := map[string]string{}
	for _, s := range c.explain() {
		from[s.Setting] = s.From
	}
	want := map[string]string{"http": "--http", "proxies": "LATCHKEY_PROXIES", "drain": "--drain", "admin_remote": "--admin-remote", "log_level": configFile, "coap": "the default", "issuer": "the port of http"}
	for name, w := range want {
		if from[name] != w {
			t.Errorf("%s is from %q, want %q", name, from[name], w)
		}
	}
}

// TestNewFile: what init writes is read as what it was.
func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	c := defaults()
	c.Issuer, c.Proxies, c.DB, c.Drain, c.AdminRemote, c.LogFormat = "https://home.example", []string{"10.0.0.1"}, "postgres://u:it's\"x@h/d", span(time.Minute), true, "json"
	text, err := c.file()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, configFile), text)
	got, err := readConfig(dir, nil)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	got.from, c.from = nil, nil
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, want %+v", got, c)
	}
}

func TestSuggestions(t *testing.T) {
	names := settingNames(func(s setting) string { return s.name })
	for wrong, want := range map[string]string{
		"htp": "http", "HTTP": "http", "isuer": "issuer", "tls-cert": "tls_cert", "tlscert": "tls_cert", "proxy": "", "drain_delai": "drain_delay",
		"password": "", "x": "", "coapss": "coaps", "acme_mail": "acme_email", "": "",
	} {
		if got := near(wrong, names); got != want {
			t.Errorf("%q: got %q, want %q", wrong, got, want)
		}
	}
}

// TestPasswordIsNotShown in any form that drivers read.
func TestPasswordIsNotShown(t *testing.T) {
	for _, db := range []string{
		"postgres://u:" + canary + "@h/x", "postgres://u:" + canary + "@h/x?sslmode=disable", "postgres://u@h/x?password=" + canary,
		"postgres://h/x?sslpassword=" + canary + "&password=x", "host=h password=" + canary, "postgres://u:" + canary + "%zz@h", "postgres://:" + canary + "@h",
	} {
		c := defaults()
		c.DB = db
		for _, s := range c.explain() {
			if strings.Contains(s.Value, canary) {
				t.Errorf("%s is shown as %s", db, s.Value)
			}
		}
	}
	for _, db := range []string{"", "sqlite:/var/lib/x.db", "postgres://u@h/x?sslmode=disable"} {
		if got := withoutPassword(db); got != db {
			t.Errorf("%q is shown as %q", db, got)
		}
	}
}

// TestRules: each of these alone keeps the server from starting.
func TestRules(t *testing.T) {
	for _, row := range []struct {
		name  string
		spoil func(*config)
		says  string // "" for what is fine
	}{
		{"as it is", func(*config) {}, ""},
		{"a TLS proxy on this machine", func(c *config) { c.Issuer = "https://home.example" }, ""},
		{"a TLS proxy elsewhere", func(c *config) {
			c.Issuer, c.HTTP, c.Proxies = "https://home.example", "0.0.0.0:8080", []string{"10.0.0.5", "2001:db8::/64"}
		}, ""},
		{"a proxy here that is declared", func(c *config) { c.Issuer, c.Proxies = "https://home.example", []string{"127.0.0.1"} }, ""},
		{"a certificate on every address", func(c *config) {
			c.Issuer, c.HTTP, c.TLSCert, c.TLSKey = "https://home.example", ":443", "a", "b"
		}, ""},
		{"ACME on every address", func(c *config) { c.Issuer, c.HTTP, c.ACME = "https://home.example", ":443", []string{"home.example"} }, ""},
		{"admin for a firewalled network", func(c *config) { c.Admin, c.AdminRemote = "0.0.0.0:9090", true }, ""},
		{"plain http for everybody", func(c *config) { c.HTTP = ":8080" }, "loopback"},
		{"plain http for everybody, https by name only", func(c *config) { c.Issuer, c.HTTP = "https://home.example", "192.0.2.1:80" }, "loopback"},
		{"a user in the issuer", func(c *config) { c.Issuer = "https://u:p@home.example" }, "issuer"},
		{"port 0", func(c *config) { c.HTTP = "127.0.0.1:0" }, "fixed port"},
		{"a port too high", func(c *config) { c.HTTP = "127.0.0.1:70000" }, "fixed port"},
		{"both certificates", func(c *config) {
			c.Issuer, c.TLSCert, c.TLSKey, c.ACME = "https://home.example", "a", "b", []string{"home.example"}
		}, "one of them"},
		{"a wildcard by ACME", func(c *config) { c.Issuer, c.ACME = "https://home.example", []string{"home.example", "*.home.example"} }, "*.home.example"},
		{"ACME by http", func(c *config) {
			c.Issuer, c.ACME, c.ACMEDirectory = "https://home.example", []string{"home.example"}, "http://ca.example"
		}, "acme_directory"},
		{"ACME without a cache", func(c *config) { c.Issuer, c.ACME, c.ACMECache = "https://home.example", []string{"home.example"}, "" }, "acme_cache"},
		{"a proxy with a zone", func(c *config) { c.Proxies = []string{"fe80::1%eth0"} }, "fe80::1%eth0"},
		{"half the world as proxy", func(c *config) { c.Proxies = []string{"0.0.0.0/1"} }, "everybody"},
		{"admin for everybody", func(c *config) { c.Admin = "0.0.0.0:9090" }, "admin_remote"},
		{"admin on every address of IPv6", func(c *config) { c.Admin = "[::]:9090" }, "admin_remote"},
		{"admin by name", func(c *config) { c.Admin = "localhost:9090" }, "admin"},
		{"coaps where coap is", func(c *config) { c.CoAPS = c.CoAP }, "coaps"},
		{"tokens without life", func(c *config) { c.TokenLife = 0 }, "token_life"},
		{"a drain before its beginning", func(c *config) { c.Drain = -1 }, "drain"},
		{"a drain without end", func(c *config) { c.Drain = span(time.Hour) }, "drain"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := defaults()
			c.Issuer = "http://localhost:8080"
			row.spoil(&c)
			err := first(c.check())
			if row.says == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
				t.Errorf("got %v, want an error about %s", err, row.says)
			}
		})
	}
}

// FuzzConfig: no file makes the reader panic, and what it takes is known or refused.
func FuzzConfig(f *testing.F) {
	f.Add("issuer = 'http://localhost:8080'\nproxies = ['10.0.0.1']\ndrain = '3s'\n")
	f.Add("[http]\nx = 1")
	f.Add("http = 3\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, configFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig(dir, nil)
		if err != nil {
			return
		}
		c.check()
		c.explain()
	})
}
