package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	warmTime    = 300 * time.Millisecond
	signedGoal  = 4.5 // times a bare signature, for a durable token with its audit row
	requestTime = 10 * time.Second
)

const (
	tokenPart = "Token endpoint over HTTP, durable on SQLite; the floors are net/http saying hello and one ES256 signature; the driver has the same cores"
	longest   = 2000.0 // ms: nothing takes longer, however many ask
)

// token measures POST /token of the real program: client_credentials over kept connections, each token durable in SQLite with its
// audit entry before it is answered.
func (b *bench) token(ctx context.Context) error {
	sign, err := bareSign()
	if err != nil {
		return err
	}
	verify, err := bareVerify()
	if err != nil {
		return err
	}
	s, err := b.newStand(ctx, "server", "")
	if err != nil {
		return err
	}
	defer s.stop()
	hello, err := b.hello(ctx)
	if err != nil {
		return err
	}
	defer hello.stop()
	var signed, bare load
	for _, connections := range []int{1, 16, 64} {
		if bare, err = b.load(ctx, hello.process, hello.greet(), connections); err != nil {
			return fmt.Errorf("hello: %w", err)
		}
		for _, device := range []string{"monitor", "door"} {
			got, err := b.load(ctx, s.process, s.token(device), connections)
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			b.table.add(tokenRows(device, connections, got, bare, sign)...)
			if device == "monitor" {
				signed = got
			}
		}
	}
	alone, proven, err := b.storeShare(ctx)
	if err != nil {
		return err
	}
	b.table.add(
		row{
			Part: tokenPart, What: "signed token, 64 connections, server CPU less the store's", Figure: signed.cpu - alone, Unit: "µs",
			More: "store " + short(alone) + " µs", Floor: sign, Bare: "sign",
		}.atMostTimes(2.5),
		row{Part: tokenPart, What: "what bounds them: hello + sign + store alone", Figure: bare.cpu + sign + alone, Unit: "µs", More: "without store " + short(bare.cpu+sign) + " µs", Floor: sign, Bare: "sign"},
	)
	if err := b.crowd(ctx, s, tokenPart, s.token("monitor"), 256); err != nil {
		return err
	}
	floor := bare.cpu + verify + sign
	for _, connections := range []int{16, 64} {
		proved, err := b.load(ctx, s.process, s.proved(), connections)
		if err != nil {
			return fmt.Errorf("DPoP: %w", err)
		}
		b.table.add(row{
			Part: tokenPart, What: fmt.Sprintf("JWT with a fresh DPoP proof, %d connections, server CPU", connections), Figure: proved.cpu, Unit: "µs",
			More: short(proved.rate) + "/s", Floor: floor, Bare: "hello + verify + sign",
		}.atMostTimes(2))
	}
	b.table.add(row{Part: tokenPart, What: "what bounds it: that and store alone, with the proof's row", Figure: floor + proven, Unit: "µs", More: "store " + short(proven) + " µs", Floor: floor, Bare: "hello + verify + sign"})
	return b.inquiries(ctx, s, hello)
}

func tokenRows(device string, connections int, got, bare load, sign float64) []row {
	shape := map[string]string{"monitor": "signed", "door": "Encrypt0"}[device]
	name := fmt.Sprintf("%s token, %d connections", shape, connections)
	if connections == 1 {
		name = shape + " token, 1 connection"
	}
	rate := row{Part: tokenPart, What: name, Figure: got.rate, Unit: "/s", More: fmt.Sprintf("p50 %s, p99 %s ms", short(got.took.at(0.5)/1000), short(got.took.at(0.99)/1000)), Floor: bare.rate, Bare: "hello"}
	cpu := row{Part: tokenPart, What: name + ", server CPU", Figure: got.cpu, Unit: "µs", Floor: bare.cpu, Bare: "hello"}
	if device == "monitor" {
		cpu.Floor, cpu.Bare = sign, "sign"
		cpu = cpu.atMostTimes(signedGoal)
	}
	return []row{rate, cpu}
}

// storeShare is what the store alone uses for each of 64 mints at a time, in this process and without a signature, and for each
// with a proof that must not be used again.
func (b *bench) storeShare(ctx context.Context) (alone, proven float64, err error) {
	m, err := b.newMinter(ctx, "sqlite:"+filepath.Join(b.dir, "share.db"))
	if err != nil {
		return 0, 0, err
	}
	defer m.store.Close()
	plain, err := b.mints(ctx, m, 64)
	if err != nil {
		return 0, 0, err
	}
	m.proven = true
	both, err := b.mints(ctx, m, 64)
	return plain.cpu, both.cpu, err
}

// crowd asks with many more connections than usual: nothing stalls, nothing collapses.
func (b *bench) crowd(ctx context.Context, s *stand, part string, r request, connections int) error {
	few, err := b.load(ctx, s.process, r, 16)
	if err != nil {
		return err
	}
	many, err := b.load(ctx, s.process, r, connections)
	if err != nil {
		return err
	}
	b.table.add(
		row{Part: part, What: fmt.Sprintf("signed token, %d connections", connections), Figure: many.rate, Unit: "/s", Floor: few.rate, Bare: "16 connections"}.atLeastTimes(0.8),
		row{Part: part, What: fmt.Sprintf("signed token, %d connections, longest", connections), Figure: many.took.at(1) / 1000, Unit: "ms"}.atMost(longest),
	)
	return nil
}

// inquiries measures introspection on one node, from memory.
func (b *bench) inquiries(ctx context.Context, s *stand, hello *helloProcess) error {
	ask, err := s.inquiry(ctx)
	if err != nil {
		return err
	}
	bare, err := b.load(ctx, hello.process, hello.greet(), 16)
	if err != nil {
		return err
	}
	got, err := b.load(ctx, s.process, ask, 16)
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	b.table.add(
		row{Part: tokenPart, What: "introspection of a reference token, 16 connections", Figure: got.rate, Unit: "/s", Floor: bare.rate, Bare: "hello"}.atLeastTimes(0.4),
		row{Part: tokenPart, What: "introspection, server CPU", Figure: got.cpu, Unit: "µs", Floor: bare.cpu, Bare: "hello"},
	)
	return nil
}

// request is what one load sends again and again.
type request struct {
	method, address, kind, body string
	user, password              string
	want                        string        // in the answer
	proof                       func() string // a DPoP header for each; nil: none
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
	if r.proof != nil {
		out.Header.Set("DPoP", r.proof())
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
