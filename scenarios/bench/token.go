package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

const (
	warmTime    = 300 * time.Millisecond
	signedGoal  = 4.5 // times a bare signature, for a durable token with its audit row
	requestTime = 10 * time.Second
)

// token measures POST /token of the real program: client_credentials over kept connections, each token durable in SQLite
// before it is answered. The driver has the same cores.
func (b *bench) token(ctx context.Context) error {
	sign, err := bareSign()
	if err != nil {
		return err
	}
	server, target, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer server.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	hello, err := startProcess(ctx, self, helloCommand)
	if err != nil {
		return err
	}
	defer hello.stop()
	greet := request{method: http.MethodGet, address: "http://" + hello.line, want: "hello"}
	for _, connections := range []int{1, 16, 64} {
		bare, err := b.load(ctx, hello, greet, connections)
		if err != nil {
			return fmt.Errorf("hello: %w", err)
		}
		for _, device := range []string{"monitor", "door"} {
			got, err := b.load(ctx, server, target(device), connections)
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			b.table.add(tokenRows(device, connections, got, bare, sign)...)
		}
	}
	return nil
}

func tokenRows(device string, connections int, got, bare load, sign float64) []row {
	const part = "Token endpoint: client_credentials over HTTP, durable on SQLite; the floors are net/http saying hello and one ES256 signature"
	shape := map[string]string{"monitor": "signed", "door": "Encrypt0"}[device]
	name := fmt.Sprintf("%s token, %d connections", shape, connections)
	if connections == 1 {
		name = shape + " token, 1 connection"
	}
	rate := row{Part: part, What: name, Figure: got.rate, Unit: "/s", More: fmt.Sprintf("p50 %s, p99 %s ms", short(got.took.at(0.5)/1000), short(got.took.at(0.99)/1000)), Floor: bare.rate, Bare: "hello"}
	cpu := row{Part: part, What: name + ", server CPU", Figure: got.cpu, Unit: "µs", Floor: bare.cpu, Bare: "hello"}
	if device == "monitor" {
		cpu.Floor, cpu.Bare = sign, "sign"
		cpu = cpu.atMostTimes(signedGoal)
	}
	return []row{rate, cpu}
}

// request is what one load sends again and again.
type request struct {
	method, address, kind, body string
	user, password              string
	want                        string // in the answer
}

// load is what came out.
type load struct {
	rate float64 // requests a second
	cpu  float64 // of the server, microseconds a request
	took spread
}

// load keeps n connections busy for the span.
func (b *bench) load(ctx context.Context, p *process, r request, n int) (load, error) {
	client := &http.Client{Timeout: requestTime, Transport: &http.Transport{MaxIdleConnsPerHost: n, MaxConnsPerHost: n}}
	defer client.CloseIdleConnections()
	if _, err := drive(ctx, client, r, n, warmTime); err != nil {
		return load{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	began := time.Now()
	took, err := drive(ctx, client, r, n, b.span)
	if err != nil {
		return load{}, err
	}
	elapsed := time.Since(began)
	after, err := p.cpu()
	if err != nil {
		return load{}, err
	}
	count := float64(len(took))
	return load{rate: count / elapsed.Seconds(), cpu: float64((after - before).Microseconds()) / count, took: took}, nil
}

func drive(ctx context.Context, client *http.Client, r request, n int, span time.Duration) (spread, error) {
	end := time.Now().Add(span)
	each, errs := make([]spread, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for began := time.Now(); began.Before(end) && errs[i] == nil; began = time.Now() {
				errs[i] = r.send(ctx, client)
				each[i] = append(each[i], time.Since(began))
			}
		})
	}
	all.Wait()
	var took spread
	for _, some := range each {
		took = append(took, some...)
	}
	return took, errors.Join(errs...)
}

func (r request) send(ctx context.Context, client *http.Client) error {
	out, err := http.NewRequestWithContext(ctx, r.method, r.address, strings.NewReader(r.body))
	if err != nil {
		return err
	}
	if r.user != "" {
		out.SetBasicAuth(r.user, r.password)
		out.Header.Set("Content-Type", r.kind)
	}
	response, err := client.Do(out)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(r.want))) {
		err = fmt.Errorf("answered %s: %.200s", response.Status, body)
	}
	return err
}

// startServer makes a server's folder with two devices, a monitor that takes signed tokens and a door that takes
// encrypted ones, starts the server and says how to ask for a token.
func (b *bench) startServer(ctx context.Context) (*process, func(device string) request, error) {
	httpAddress, err := stage.FreePort("tcp")
	if err != nil {
		return nil, nil, err
	}
	coapAddress, err := stage.FreePort("udp")
	if err != nil {
		return nil, nil, err
	}
	for _, args := range []string{
		"init --http " + httpAddress + " --coap " + coapAddress,
		"user add alice --password-stdin",
		"device add monitor --owner alice --kind medical --action view=/measurements:GET --out " + filepath.Join(b.dir, "monitor.lkp"),
		"device add door --owner alice --kind lock --action view=/door:GET --out " + filepath.Join(b.dir, "door.lkp"),
	} {
		if _, err := b.latchkey(ctx, args); err != nil {
			return nil, nil, err
		}
	}
	var client struct{ Secret string }
	out, err := b.latchkey(ctx, "client add gateway --json")
	if err == nil {
		err = json.Unmarshal(out, &client)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, device := range []string{"monitor", "door"} {
		if _, err := b.latchkey(ctx, "grant add --owner alice --to-client gateway --allow view --device "+device); err != nil {
			return nil, nil, err
		}
	}
	// One client asks as fast as it can, which the limits are there to stop.
	p, err := startProcess(ctx, filepath.Join(b.bin, "latchkey"), "serve", "--limits=false", "--data", filepath.Join(b.dir, "server"))
	ask := func(device string) request {
		return request{
			method: http.MethodPost, address: "http://" + httpAddress + "/token", kind: "application/x-www-form-urlencoded",
			body: "grant_type=client_credentials&audience=" + device, user: "gateway", password: client.Secret, want: "access_token",
		}
	}
	return p, ask, err
}

func (b *bench) latchkey(ctx context.Context, args string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "latchkey"), append(strings.Fields(args), "--data", filepath.Join(b.dir, "server"))...)
	cmd.Stdin = strings.NewReader("alice's long password\n")
	out, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = fmt.Errorf("latchkey %s: %s", args, bytes.TrimSpace(ended.Stderr))
	}
	return out, err
}
