package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

const (
	apiResource = "https://calendar.example/v1"
	form        = "application/x-www-form-urlencoded"
)

// stand is a server's folder and the real program that serves it, with a device or API of each kind and clients for them.
type stand struct {
	*process
	b          *bench
	dir        string
	http, coap string
	secrets    map[string]string // of clients
	bridges    []bridge          // clients over CoAP: what one asks is answered in turn
	started    time.Duration     // from its start to its being ready
}

// bridge is what a client over CoAP knows.
type bridge struct{ secret, id, server []byte }

// newStand makes the folder and starts the server; db "" is the built-in store.
func (b *bench) newStand(ctx context.Context, name, db string) (*stand, error) {
	s := &stand{b: b, dir: filepath.Join(b.dir, name), secrets: map[string]string{}}
	var err error
	if s.http, err = stage.FreePort("tcp"); err != nil {
		return nil, err
	}
	if s.coap, err = stage.FreePort("udp"); err != nil {
		return nil, err
	}
	where := "init --http " + s.http + " --coap " + s.coap
	if db != "" {
		where += " --db " + db
	}
	for _, args := range []string{
		where,
		"user add alice --password-stdin",
		"device add monitor --owner alice --kind medical --action view=/measurements:GET --out " + filepath.Join(s.dir, "monitor.lkp"),
		"device add door --owner alice --kind lock --action view=/door:GET --out " + filepath.Join(s.dir, "door.lkp"),
		"device add meter --owner alice --delivery introspect --action view=/meter:GET --out " + filepath.Join(s.dir, "meter.lkp"),
		"device add calendar --owner alice --delivery http --resource " + apiResource + " --action view=/events:GET",
	} {
		if _, err := s.latchkey(ctx, args); err != nil {
			return nil, err
		}
	}
	if err := s.addClients(ctx); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

func (s *stand) addClients(ctx context.Context) error {
	for id, more := range map[string]string{"gateway": "--dpop", "reader": "--serves meter"} {
		var client struct{ Secret string }
		out, err := s.latchkey(ctx, "client add "+id+" --json "+more)
		if err == nil {
			err = json.Unmarshal(out, &client)
		}
		if err != nil {
			return err
		}
		s.secrets[id] = client.Secret
	}
	for _, device := range []string{"monitor", "door", "meter", "calendar"} {
		if err := s.grant(ctx, "gateway", device); err != nil {
			return err
		}
	}
	for n := range coapWindow {
		if err := s.addBridge(ctx, byte(n)); err != nil {
			return err
		}
	}
	return nil
}

func (s *stand) grant(ctx context.Context, client, device string) error {
	_, err := s.latchkey(ctx, "grant add --owner alice --to-client "+client+" --allow view --device "+device)
	return err
}

// addBridge registers a client over CoAP with rights on both devices.
func (s *stand) addBridge(ctx context.Context, n byte) error {
	b := bridge{secret: random(16), id: []byte{0xB1, n}, server: []byte{0x01}}
	s.bridges = append(s.bridges, b)
	name := fmt.Sprintf("bridge%d", n)
	file := filepath.Join(s.dir, name+".json")
	keys := fmt.Sprintf(`{"master_secret":"%x","client_id":"%x","server_id":"%x"}`, b.secret, b.id, b.server)
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		return err
	}
	_, err := s.latchkey(ctx, "client add "+name+" --auth-method oscore --grant-type client_credentials --import "+file)
	return errors.Join(err, s.grant(ctx, name, "monitor"), s.grant(ctx, name, "door"))
}

// start runs the server. One client asks as fast as it can, which the limits are there to stop.
func (s *stand) start(ctx context.Context) (err error) {
	began := time.Now()
	s.process, err = startProcess(ctx, filepath.Join(s.b.bin, "latchkey"), "serve", "--limits=false", "--log-level", "error", "--data", s.dir)
	s.started = time.Since(began)
	return err
}

// latchkey runs a command on the folder.
func (s *stand) latchkey(ctx context.Context, args string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.b.bin, "latchkey"), append(strings.Fields(args), "--data", s.dir)...)
	cmd.Stdin = strings.NewReader("alice's long password\n")
	out, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = fmt.Errorf("latchkey %s: %s", args, bytes.TrimSpace(ended.Stderr))
	}
	return out, err
}

func (s *stand) url(path string) string { return "http://" + s.http + path }

// token asks for a token of a device.
func (s *stand) token(device string) request {
	return request{
		method: http.MethodPost, address: s.url("/token"), kind: form, body: "grant_type=client_credentials&audience=" + device,
		user: "gateway", password: s.secrets["gateway"], want: "access_token",
	}
}

// proved asks for a token of the API, with a fresh proof each time (RFC 9449).
func (s *stand) proved() request {
	r := s.token("calendar")
	r.body = "grant_type=client_credentials&resource=" + url.QueryEscape(apiResource)
	_, port, _ := strings.Cut(s.http, ":")
	r.proof = newProver("http://localhost:" + port + "/token").proof // the issuer's name for itself
	return r
}

// inquiry asks about a reference token, as its device's client.
func (s *stand) inquiry(ctx context.Context) (request, error) {
	r := s.token("meter")
	in, err := http.NewRequestWithContext(ctx, r.method, r.address, strings.NewReader(r.body))
	if err != nil {
		return r, err
	}
	in.SetBasicAuth(r.user, r.password)
	in.Header.Set("Content-Type", r.kind)
	response, err := http.DefaultClient.Do(in)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return r, err
	}
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Token == "" {
		return r, fmt.Errorf("no token: %s", text)
	}
	return request{
		method: http.MethodPost, address: s.url("/introspect"), kind: form, body: "token=" + url.QueryEscape(got.Token),
		user: "reader", password: s.secrets["reader"], want: `"active":true`,
	}, nil
}

// prover makes DPoP proofs for one address.
type prover struct {
	key     *ecdsa.PrivateKey
	address string
}

func newProver(address string) *prover {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // never fails
	return &prover{key: key, address: address}
}

func (p *prover) proof() string {
	proof, err := jose.Prove(jose.ProofFor{Method: http.MethodPost, URL: p.address}, p.key, time.Now(), rand.Reader)
	if err != nil {
		return err.Error() // which the server will not take for one
	}
	return proof
}

// helloProcess says hello over HTTP.
type helloProcess struct{ *process }

func (b *bench) hello(ctx context.Context) (*helloProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, self, helloCommand)
	return &helloProcess{p}, err
}

func (h *helloProcess) greet() request {
	return request{method: http.MethodGet, address: "http://" + h.line, want: "hello"}
}
