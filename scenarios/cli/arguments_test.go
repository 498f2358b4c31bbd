package cli_test

import (
	"os"
	"strings"
	"testing"
)

const lockFlags = " --owner alice --kind lock --action unlock=/door/unlock:POST --out new.lkp"

// TestBadArguments gives each command what it cannot take. Every row is refused before anything is written.
func TestBadArguments(t *testing.T) {
	h := newHouse(t)
	h.write("app.jwks", publicKeys)
	h.write("private.jwks", strings.Replace(publicKeys, `"x"`, `"d":"AAAA","x"`, 1))
	h.must("", "latchkey", "device", "add", "calendar", "--owner", "alice", "--delivery", "http", "--resource", "https://calendar.example/v1", "--action", "read=/events:GET")
	rows := []struct {
		name  string
		args  string
		stdin string
		says  []string
	}{
		{name: "a command that does not exist", args: "import --out x", says: []string{`"import"`, "serve"}},
		{name: "a command with a typing error", args: "device lst", says: []string{`"lst"`, "did you mean latchkey device list"}},
		{name: "a group without a command", args: "device", says: []string{"add or demand or list"}},
		{name: "a flag that does not exist", args: "init --bogus", says: []string{"--bogus", "latchkey init --help"}},
		{name: "a short flag that does not exist", args: "init -x", says: []string{"-x", "latchkey init --help"}},
		{name: "an argument where none belongs", args: "device list all", says: []string{"no arguments", "--help"}},

		{name: "init: an issuer that is no address", args: "init --data new --issuer nope", says: []string{`"nope"`, "http://localhost:8080"}},
		{name: "init: an issuer with a / at the end", args: "init --data new --issuer http://localhost:8080/", says: []string{"/", "leave out"}},
		{name: "init: plain http for another machine", args: "init --data new --issuer http://home.example", says: []string{"home.example", "https"}},
		{name: "init: http for the whole network", args: "init --data new --http 0.0.0.0:8080", says: []string{"0.0.0.0:8080", "loopback"}},
		{name: "init: a coap address without port", args: "init --data new --coap 127.0.0.1", says: []string{`coap "127.0.0.1"`, "127.0.0.1:5683"}},
		{name: "init: a folder that is made already", args: "init", says: []string{"latchkey.toml", "made already"}},
		{name: "init: a folder with other things in it", args: "init --data .", says: []string{"no server's folder", "new one"}},
		{name: "init: a password on the command line", args: "init --data new --db postgres://latchkey:hunter22@127.0.0.1/x", says: []string{"--db", "LATCHKEY_DB"}},
		{name: "a folder that is no server's", args: "device list --data elsewhere", says: []string{"elsewhere", "latchkey init --data elsewhere"}},

		{name: "user: no name", args: "user add --password-stdin", says: []string{"missing", "latchkey user add NAME"}},
		{name: "user: the password as an argument", args: "user add bob hunter22", says: []string{"2 arguments", "latchkey user add NAME"}},
		{name: "user: no --password-stdin", args: "user add bob", stdin: "a long password", says: []string{"standard input", "--password-stdin"}},
		{name: "user: a short password", args: "user add bob --password-stdin", stdin: "hunter2", says: []string{"password", "8 to 1024"}},
		{name: "user: a password without end", args: "user add bob --password-stdin", stdin: strings.Repeat("x", 5000), says: []string{"password", "too long"}},
		{name: "user: a name that is taken", args: "user add alice --password-stdin", stdin: "another password", says: []string{`"alice"`, "another name"}},
		{name: "user: a name that is no name", args: "user add bob/../alice --password-stdin", stdin: "another password", says: []string{"bob/../alice", "letters"}},

		{name: "client: a name that is taken", args: "client add phone", says: []string{`"phone"`, "another name"}},
		{name: "client: refresh_token alone", args: "client add app --grant-type refresh_token", says: []string{"refresh_token goes with", "authorization_code or device_code"}},
		{name: "client: password", args: "client add app --grant-type password", says: []string{`"password"`, "authorization_code, client_credentials, refresh_token and device_code"}},
		{name: "client: pushed requests without a code", args: "client add app --require-par", says: []string{"--require-par", "authorization_code"}},
		{name: "client: a redirect with a fragment", args: "client add app --public --redirect-uri https://app.example/#x", says: []string{"https://app.example/#x", "without #"}},
		{name: "client: a redirect over plain http", args: "client add app --public --redirect-uri http://app.example/", says: []string{"http://app.example/", "this machine"}},
		{name: "client: a redirect into a script", args: "client add app --public --redirect-uri javascript:alert", says: []string{"javascript"}},
		{name: "client: a public client with client_credentials", args: "client add app --public --grant-type client_credentials", says: []string{"public", "client_credentials"}},
		{name: "client: authorization_code without a redirect", args: "client add app --grant-type authorization_code", says: []string{"authorization_code", "--redirect-uri"}},
		{name: "client: an unknown method", args: "client add app --auth-method tls", says: []string{`"tls"`, "client_secret_basic"}},
		{name: "client: oscore without its keys", args: "client add app --auth-method oscore", says: []string{"oscore", "--import"}},
		{name: "client: keys without oscore", args: "client add app --import keys.json", says: []string{"--import", "--auth-method oscore or dtls"}},

		{name: "client: keys that are not there", args: "client add app --auth-method private_key_jwt --jwks none.jwks", says: []string{"--jwks", "none.jwks", "no such file"}},
		{name: "client: keys that are none", args: "client add app --auth-method private_key_jwt --jwks front-door.lkp", says: []string{"--jwks", "public keys alone"}},
		{name: "client: a private key", args: "client add app --auth-method private_key_jwt --jwks private.jwks", says: []string{"--jwks", "private.jwks", "public keys alone"}},
		{name: "client: private_key_jwt without keys", args: "client add app --auth-method private_key_jwt", says: []string{"private_key_jwt", "--jwks"}},
		{name: "client: keys beside a secret", args: "client add app --jwks app.jwks", says: []string{"key set goes with private_key_jwt"}},
		{name: "client: tls_client_auth without a name", args: "client add app --auth-method tls_client_auth", says: []string{"exactly one name", "--tls-san-dns"}},
		{name: "client: tls_client_auth with two names", args: "client add app --auth-method tls_client_auth --tls-subject CN=a --tls-san-dns a.example", says: []string{"exactly one name", "--tls-subject"}},
		{name: "client: a certificate's name for a secret", args: "client add app --tls-san-dns a.example", says: []string{"tls_client_auth"}},
		{name: "client: self_signed_tls_client_auth without a certificate", args: "client add app --auth-method self_signed_tls_client_auth --jwks app.jwks", says: []string{"x5c", "--jwks"}},
		{name: "client: two bindings", args: "client add app --dpop --tls-bound", says: []string{"bound to one thing", "--dpop", "--tls-bound"}},
		{name: "client: bound and bearer", args: "client add app --dpop --bearer", says: []string{"cannot have bearer tokens", "--bearer"}},
		{name: "client: a short secret", args: "client add app --secret-stdin", stdin: "hunter22", says: []string{"secret", "43 random letters", "openssl rand"}},
		{name: "client: a secret of one letter", args: "client add app --secret-stdin", stdin: strings.Repeat("a", 64), says: []string{"secret", "random"}},
		{name: "client: a secret with a blank", args: "client add app --secret-stdin", stdin: "correct horse battery staple correct horse battery", says: []string{"secret", "without blanks"}},
		{name: "client: a secret for a key", args: "client add app --auth-method private_key_jwt --jwks app.jwks --secret-stdin", says: []string{"--secret-stdin", "client_secret_basic"}},
		{name: "client: serves what is not there", args: "client add app --serves barn", says: []string{"--serves", `"barn"`, "latchkey device list"}},

		{name: "api: no address", args: "device add api --owner alice --delivery http --action read=/x:GET", says: []string{"--resource URI"}},
		{name: "api: an address with #", args: "device add api --owner alice --delivery http --action read=/x:GET --resource https://api.example/#x", says: []string{"--resource", "without #"}},
		{name: "api: half an address", args: "device add api --owner alice --delivery http --action read=/x:GET --resource api.example", says: []string{"--resource", "https://api.example/v1"}},
		{name: "api: a file", args: "device add api --owner alice --delivery http --action read=/x:GET --resource https://api.example --out new.lkp", says: []string{"--out", "leave it out"}},
		{name: "api: a profile", args: "device add api --owner alice --delivery http --action read=/x:GET --resource https://api.example --profile coap_dtls", says: []string{"--profile", "leave it out"}},
		{name: "api: a lock", args: "device add api --owner alice --delivery http --kind lock --action read=/x:GET --resource https://api.example", says: []string{"--kind lock", "leave it out"}},
		{name: "api: nobody's", args: "device add api --delivery http --action read=/x:GET --resource https://api.example", says: []string{"--owner USER"}},
		{name: "api: no action", args: "device add api --owner alice --delivery http --resource https://api.example", says: []string{"--action"}},
		{name: "api: a name that is taken", args: "device add front-door --owner alice --delivery http --action read=/x:GET --resource https://api.example", says: []string{`"front-door"`, "another name"}},
		{name: "api: an address that is taken", args: "device add api --owner alice --delivery http --action read=/x:GET --resource https://calendar.example/v1", says: []string{"calendar.example", "calendar is it already"}},
		{name: "device: an address", args: "device add side-door --resource https://api.example" + lockFlags, says: []string{"--resource", "--delivery http"}},

		{name: "device: nobody's", args: "device add side-door --kind lock --action unlock=/door/unlock:POST --out new.lkp", says: []string{"--owner"}},
		{name: "device: a stranger's", args: "device add side-door --owner nobody --action unlock=/door/unlock:POST --out new.lkp", says: []string{`"nobody"`, "latchkey user add"}},
		{name: "device: a name that is taken", args: "device add front-door" + lockFlags, says: []string{`"front-door"`, "another name"}},
		{name: "device: a file that exists", args: "device add side-door --owner alice --action unlock=/door/unlock:POST --out front-door.lkp", says: []string{"front-door.lkp", "never overwritten"}},
		{name: "device: a folder that does not exist", args: "device add side-door --owner alice --action unlock=/door/unlock:POST --out nowhere/new.lkp", says: []string{"nowhere/new.lkp", "folder that exists"}},
		{name: "device: no --out", args: "device add side-door --owner alice --action unlock=/door/unlock:POST", says: []string{"--out FILE"}},
		{name: "device: no action", args: "device add side-door --owner alice --out new.lkp", says: []string{"--action 'unlock=/door/unlock:POST'"}},
		{name: "device: an action without a method", args: "device add side-door --owner alice --out new.lkp --action unlock=/door", says: []string{"unlock", "/door", "NAME=/path:METHOD"}},
		{name: "device: one action twice", args: "device add side-door --owner alice --out new.lkp --action a=/x:POST --action b=/x:POST", says: []string{"b=/x:POST", "twice"}},
		{name: "device: an unknown delivery", args: "device add side-door --delivery pigeon" + lockFlags, says: []string{`"pigeon"`, "push, embed, introspect and http"}},
		{name: "device: an unknown profile", args: "device add side-door --profile coap_tls" + lockFlags, says: []string{"--profile", `"coap_tls"`, "coap_oscore and coap_dtls"}},
		{name: "device: no profile", args: "device add side-door --profile=" + lockFlags, says: []string{"--profile", "coap_oscore and coap_dtls"}},
		{name: "device: coap_dtls with signed tokens", args: "device add side-door --profile coap_dtls --token sign1" + lockFlags, says: []string{"--profile coap_dtls", "sign1", "--token encrypt0", "--profile coap_oscore"}},
		{name: "device: coap_dtls with keys for its own", args: "device add side-door --profile coap_dtls --token sign1-ecdh" + lockFlags, says: []string{"sign1-ecdh", "--token encrypt0"}},
		{name: "device: coap_dtls with JWTs", args: "device add side-door --profile coap_dtls --token jwt" + lockFlags, says: []string{"jwt", "--token encrypt0"}},
		{name: "demo: an unknown profile", args: "demo --profile dtls", says: []string{"--profile", `"dtls"`, "coap_oscore and coap_dtls"}},
		{name: "device: --remote", args: "device add side-door --remote" + lockFlags, says: []string{"--remote", "not available", "reaches the door"}},
		{name: "device: --import of nothing", args: "device add side-door --import none.json" + lockFlags, says: []string{"none.json"}},
		{name: "device: an unknown clock", args: "device add side-door --clock sundial" + lockFlags, says: []string{"sundial", "synced"}},
		{name: "device: an unknown token", args: "device add side-door --token paper" + lockFlags, says: []string{"paper", "encrypt0"}},
		{name: "device: exi beside a clock", args: "device add side-door --exi 1h" + lockFlags, says: []string{"--exi", "without a clock"}},
		{name: "serve: an admin address for everybody", args: "serve --admin 0.0.0.0:9090", says: []string{"admin", "loopback", "admin_remote"}},
		{name: "serve: an admin address where http is", args: "serve --http 127.0.0.1:9090 --admin 127.0.0.1:9090", says: []string{"admin", "http is there"}},
		{name: "serve: http for the network without a certificate", args: "serve --http 0.0.0.0:8080", says: []string{"0.0.0.0:8080", "loopback", "tls_cert", "proxies"}},
		{name: "serve: a certificate without its key", args: "serve --issuer https://home.example --tls-cert x.pem", says: []string{"tls_key is missing", "x.pem"}},
		{name: "serve: a certificate that is not there", args: "serve --issuer https://home.example --tls-cert x.pem --tls-key y.pem", says: []string{"tls_cert", "x.pem", "no such file"}},
		{name: "serve: client_ca where no certificate is seen", args: "serve --client-ca ca.pem", says: []string{"client_ca", "tls_cert"}},
		{name: "serve: client_ca that is not there", args: "serve --client-ca ca.pem --proxies 127.0.0.1 --proxy-client-cert-header Client-Cert", says: []string{"client_ca", "ca.pem", "no such file"}},
		{name: "serve: client_ca that is none", args: "serve --client-ca latchkey.toml --proxies 127.0.0.1 --proxy-client-cert-header Client-Cert", says: []string{"client_ca", "latchkey.toml", "PEM"}},
		{name: "serve: a certificate for plain http", args: "serve --tls-cert x.pem --tls-key y.pem", says: []string{"issuer", "https"}},
		{name: "serve: acme for another name", args: "serve --issuer https://home.example --acme other.example", says: []string{"acme", `"home.example" is missing`}},
		{name: "serve: acme for an address", args: "serve --issuer https://home.example --acme 192.0.2.1", says: []string{"acme", `"192.0.2.1"`, "addresses"}},
		{name: "serve: a proxy that is no address", args: "serve --proxies proxy.example", says: []string{"proxies", `"proxy.example"`, "10.0.0.5"}},
		{name: "serve: everybody as proxy", args: "serve --proxies 0.0.0.0/0", says: []string{"proxies", "everybody"}},
		{name: "serve: a proxy that loopback never sees", args: "serve --proxies 10.0.0.5", says: []string{"proxies", "loopback"}},
		{name: "serve: a header of a proxy that nobody declared", args: "serve --proxy-client-cert-header Client-Cert", says: []string{"proxy_client_cert_header", "proxies"}},
		{name: "serve: a header that clients write", args: "serve --proxies 127.0.0.1 --proxy-client-cert-header Authorization", says: []string{"Authorization", "Client-Cert"}},
		{name: "serve: tokens that live too long", args: "serve --token-life 2h", says: []string{"token_life", "1h0m0s"}},
		{name: "serve: a time without unit", args: "serve --drain 30", says: []string{"--drain", "30s"}},
		{name: "serve: an unknown level", args: "serve --log-level loud", says: []string{"log_level", `"loud"`, "debug, info, warn and error"}},
		{name: "serve: a password on the command line", args: "serve --db postgres://latchkey:hunter22@127.0.0.1/x", says: []string{"--db", "LATCHKEY_DB"}},
		{name: "config: explain what cannot be read", args: "config explain --data elsewhere", says: []string{"elsewhere", "latchkey init"}},
		{name: "config: a key that does not exist", args: "config explain htp", says: []string{"no arguments"}},

		{name: "backup: nowhere", args: "backup --to age1x", says: []string{"--out FILE"}},
		{name: "backup: for nobody", args: "backup --out new.age", says: []string{"--to KEY", "--passphrase-stdin"}},
		{name: "backup: a key that is none", args: "backup --out new.age --to age1x", says: []string{"public keys", "age1"}},
		{name: "backup: a secret key", args: "backup --out new.age --to AGE-SECRET-KEY-1ABC", says: []string{"public keys", "age1"}},
		{name: "backup: a file of keys that is not there", args: "backup --out new.age --to-file keys.txt", says: []string{"keys.txt"}},
		{name: "backup: a key and a passphrase", args: "backup --out new.age --passphrase-stdin --to age1x", stdin: "a long passphrase", says: []string{"--passphrase-stdin", "do not go together"}},
		{name: "backup: a short passphrase", args: "backup --out new.age --passphrase-stdin", stdin: "hunter2", says: []string{"passphrase", "12 characters"}},
		{name: "backup: a passphrase without end", args: "backup --out new.age --passphrase-stdin", stdin: strings.Repeat("x", 5000), says: []string{"passphrase", "too long"}},
		{name: "backup: a passphrase as an argument", args: "backup --out new.age hunter22", says: []string{"no arguments"}},
		{name: "backup: over a file", args: "backup --out front-door.lkp --passphrase-stdin", stdin: "a long passphrase", says: []string{"front-door.lkp", "never written over"}},
		{name: "backup: a folder that is no server's", args: "backup --out new.age --passphrase-stdin --data elsewhere", stdin: "a long passphrase", says: []string{"latchkey init --data elsewhere"}},
		{name: "backup key: nowhere", args: "backup key", says: []string{"--out FILE"}},
		{name: "backup key: over a file", args: "backup key --out front-door.lkp", says: []string{"front-door.lkp", "new file"}},
		{name: "restore: nothing", args: "restore --data new --identity front-door.lkp", says: []string{"missing", "latchkey restore FILE"}},
		{name: "restore: nothing to open it", args: "restore front-door.lkp --data new", says: []string{"--identity FILE", "--passphrase-stdin"}},
		{name: "restore: a key that is none", args: "restore front-door.lkp --data new --identity front-door.lkp", says: []string{"front-door.lkp", "AGE-SECRET-KEY-1"}},
		{name: "restore: a key that is not there", args: "restore front-door.lkp --data new --identity backup.key", says: []string{"backup.key"}},
		{name: "restore: a key and a passphrase", args: "restore front-door.lkp --data new --identity x --passphrase-stdin", stdin: "a long passphrase", says: []string{"do not go together"}},
		{name: "restore: a file that is not there", args: "restore new.age --data new --passphrase-stdin", stdin: "a long passphrase", says: []string{"new.age"}},
		{name: "restore: a file that is no backup", args: "restore front-door.lkp --data new --passphrase-stdin", stdin: "a long passphrase", says: []string{"not a backup"}},
		{name: "restore: a password on the command line", args: "restore front-door.lkp --data new --passphrase-stdin --db postgres://latchkey:hunter22@127.0.0.1/x", stdin: "a long passphrase", says: []string{"--db", "LATCHKEY_DB"}},
		{name: "restore: a folder with other things in it", args: "restore front-door.lkp --data . --passphrase-stdin", stdin: "a long passphrase", says: []string{"no server's folder"}},
		{name: "recover: a folder that is no server's", args: "recover --data elsewhere", says: []string{"latchkey init --data elsewhere"}},
		{name: "migrate: a folder that is no server's", args: "migrate --data elsewhere", says: []string{"latchkey init --data elsewhere"}},

		{name: "grant: by nobody", args: "grant add --to mum --device front-door --allow unlock", says: []string{"--owner USER"}},
		{name: "grant: by one who does not own", args: "grant add --owner mum --to mum --device front-door --allow unlock", says: []string{`"mum"`, "belongs to alice"}},
		{name: "grant: to nobody", args: "grant add --owner alice --device front-door --allow unlock", says: []string{"--to USER", "--to-client ID"}},
		{name: "grant: to a stranger", args: "grant add --owner alice --to bob --device front-door --allow unlock", says: []string{`"bob"`, "latchkey user add"}},
		{name: "grant: to an unknown app", args: "grant add --owner alice --to-client bob --device front-door --allow unlock", says: []string{`"bob"`, "latchkey client add"}},
		{name: "grant: on no device", args: "grant add --owner alice --to mum --allow unlock", says: []string{"--device NAME"}},
		{name: "grant: on an unknown device", args: "grant add --owner alice --to mum --device barn --allow unlock", says: []string{`"barn"`, "latchkey device list"}},
		{name: "grant: of nothing", args: "grant add --owner alice --to mum --device front-door", says: []string{"--allow ACTION"}},
		{name: "grant: of an action the device has not", args: "grant add --owner alice --to mum --device front-door --allow fly", says: []string{`"fly"`, "front-door can view, unlock"}},
		{name: "grant: of a path the device has not", args: "grant add --owner alice --to mum --device front-door --allow /safe:POST", says: []string{"/safe:POST", "front-door can view, unlock"}},
		{name: "grant: until a time that has passed", args: "grant add --owner alice --to mum --device front-door --allow unlock --until 2020-01-01T00:00:00Z", says: []string{"ended already", "--until"}},
		{name: "grant: until before it begins", args: "grant add --owner alice --to mum --device front-door --allow unlock --from 2h --until 1h", says: []string{"before it begins", "--until"}},
		{name: "grant: until nobody knows when", args: "grant add --owner alice --to mum --device front-door --allow unlock --until soon", says: []string{`"soon"`, "23:00"}},
		{name: "grant: show what is no name", args: "grant show mine", says: []string{`"mine"`, "latchkey grant list"}},
		{name: "grant: show what is not there", args: "grant show 0123456789abcdef", says: []string{"0123456789abcdef", "latchkey grant list"}},
		{name: "grant: revoke what is not there", args: "grant revoke 0123456789abcdef", says: []string{"0123456789abcdef", "latchkey grant list"}},

		{name: "token: no file", args: "token inspect nothing.cwt", says: []string{"nothing.cwt", "no such file"}},
		{name: "token: a folder", args: "token inspect .", says: []string{"directory"}},
		{name: "token: nothing", args: "token inspect -", says: []string{"no token given"}},
		{name: "token: garbage", args: "token inspect -", stdin: "\x00garbage\xff", says: []string{"this is no token", "CWT or JWT"}},
		{name: "token: half a token", args: "token inspect -", stdin: "d83dd083", says: []string{"this is no token", "CWT or JWT"}},
		{name: "token: half a JWT", args: "token inspect -", stdin: "eyJhbGciOiJFUzI1NiJ9.x.y", says: []string{"this is no token", "CWT or JWT"}},
		{name: "token: far too long", args: "token inspect -", stdin: strings.Repeat("ab", 40_000), says: []string{"longer than any token"}},
		{name: "audit: fewer than no lines", args: "audit tail -n -3", says: []string{"--lines", "above 0"}},
		{name: "audit: lines that are no number", args: "audit tail -n many", says: []string{`"many"`, "--lines", "latchkey audit tail --help"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(h, t).refused(call{program: "latchkey", args: row.args, stdin: row.stdin}, row.says...)
		})
	}
}

// within reports in a subtest what happens in a house.
func within(h *house, t *testing.T) *house { return &house{t: t, dir: h.dir} }

// TestImportedChannel feeds client add --import with files it must not take.
func TestImportedChannel(t *testing.T) {
	h := newHouse(t)
	const good = `{"master_secret":"000102030405060708090a0b0c0d0e0f","client_id":"01","server_id":"00"}`
	for _, row := range []struct {
		name, content string
		mode          os.FileMode
		says          []string
	}{
		{"readable by others", good, 0o644, []string{"keys.json", "chmod 600"}},
		{"not JSON", "secret: 1", 0o600, []string{"keys.json", "JSON"}},
		{"a short secret", `{"master_secret":"0001","client_id":"01","server_id":"00"}`, 0o600, []string{"master_secret", "16 to 64 bytes"}},
		{"a secret that is no hex", `{"master_secret":"not hex at all, but long","client_id":"01","server_id":"00"}`, 0o600, []string{"master_secret", "hex"}},
		{"both ends with one id", `{"master_secret":"000102030405060708090a0b0c0d0e0f","client_id":"01","server_id":"01"}`, 0o600, []string{"client_id", "differ"}},
		{"an id as devices have them", `{"master_secret":"000102030405060708090a0b0c0d0e0f","client_id":"01020304","server_id":"00"}`, 0o600, []string{"client_id", "devices"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := within(h, t)
			h.write("keys.json", row.content)
			h.chmod("keys.json", row.mode)
			h.refused(call{program: "latchkey", args: "client add app --auth-method oscore --import keys.json"}, row.says...)
		})
	}
}

// TestProvisioningFile looks at what device add leaves behind.
func TestProvisioningFile(t *testing.T) {
	h := newHouse(t)
	info, err := os.Stat(h.path("front-door.lkp"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != 0o600 {
		t.Errorf("the provisioning file has mode %v, want -rw-------", got)
	}
}
