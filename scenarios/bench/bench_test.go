package main

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var programs string // folder of them

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == helloCommand {
		exit(serveHello())
	}
	if len(os.Args) == 3 && os.Args[1] == coapCommand {
		exit(serveCoAP(os.Args[2]))
	}
	os.Exit(stage.WithPrograms(func(bin string) int {
		programs = bin
		return m.Run()
	}))
}

// TestParts: each part of what a server is measured by runs to its end, and every figure is there.
func TestParts(t *testing.T) {
	for part, goals := range map[string]int{"token": 9, "store": 2, "coaptoken": 4, "postgres": 7, "memory": 3, "million": 12} {
		t.Run(part, func(t *testing.T) {
			b := &bench{bin: programs, dir: t.TempDir(), span: 50 * time.Millisecond, samples: 10, grants: 1000}
			if err := b.parts(t.Context(), part); err != nil {
				t.Fatal(err)
			}
			judged := 0
			for _, r := range b.table.rows {
				if r.OK != nil {
					judged++
				}
				if math.IsNaN(r.Figure) || math.IsInf(r.Figure, 0) {
					t.Errorf("%s: %f", r.What, r.Figure)
				}
			}
			if judged != goals {
				t.Errorf("%d figures have a goal, want %d", judged, goals)
			}
		})
	}
}

// TestTokenSizes holds the sizes, which no machine changes, to their goals.
func TestTokenSizes(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	if err := b.sizes(t.Context()); err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, r := range b.table.rows {
		if r.OK == nil {
			continue
		}
		judged++
		if !*r.OK {
			t.Errorf("%s: %.0f %s, want %s", r.What, r.Figure, r.Unit, r.Goal)
		}
	}
	if judged != 8 {
		t.Errorf("%d sizes have a goal, want 8", judged)
	}
}

// TestAccept lets each shape of device accept what the server issues for it.
func TestAccept(t *testing.T) {
	b := &bench{dir: t.TempDir(), samples: 10}
	h, err := b.newHouse(t.Context(), "accept", provision.ClockNone)
	if err != nil {
		t.Fatal(err)
	}
	defer h.store.Close()
	for _, shape := range shapes {
		took, err := b.acceptAll(t.Context(), h, shape, true, b.samples)
		if err != nil || len(took) != b.samples {
			t.Errorf("%s: %d of %d accepted: %v", shape, len(took), b.samples, err)
		}
	}
}

// TestCoAP has each kind of client get its answer, and the goals judged.
func TestCoAP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := coapEndpoint(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	go func() { _ = e.Serve(t.Context()) }() // ends with Close
	clients, err := oscoreContexts(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]coapLoad{
		"plain":     {peers: 20, path: coapPath, want: codes.Content},
		"protected": {peers: oscoreClients, path: coapPath, want: codes.Content, clients: clients},
		"missing":   {peers: 2, path: "/nothing", want: codes.NotFound},
	} {
		d := &coapDriver{coapLoad: l}
		if err := d.dial(e.LocalAddr().String()); err != nil {
			t.Fatal(err)
		}
		defer d.close()
		for _, p := range d.all {
			for range 3 {
				if err := d.get(p); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// TestCoAPGoals: a server at twice the loop's CPU that stays so is good; one at three times, which gets slower and larger, is not.
func TestCoAPGoals(t *testing.T) {
	run := func(growth float64, cpu time.Duration) (c coapResult) {
		now := 1.0
		for range coapRounds {
			c.server = append(c.server, round{requests: 1000, took: time.Second, used: time.Duration(now * float64(cpu)), resident: 10 * now})
			c.bare = append(c.bare, round{requests: 1000, took: time.Second, used: 5 * time.Millisecond})
			now += growth
		}
		return c
	}
	for _, r := range coapRows(1, run(0.01, 10*time.Millisecond)) {
		if !*r.OK {
			t.Errorf("%s: got %v, want it good", r.What, r.ratio())
		}
	}
	for _, r := range coapRows(1, run(0.03, 15*time.Millisecond)) {
		if *r.OK {
			t.Errorf("%s: got %v, want it bad", r.What, r.ratio())
		}
	}
}

func TestTable(t *testing.T) {
	slow := row{Part: "Part", What: "slow", Figure: 30, Unit: "µs", Floor: 10, Bare: "bare"}
	var all table
	all.add(slow.atMostTimes(2), slow.atMostTimes(3), slow.atMost(29), row{Part: "Part", What: "free", Figure: 1.234, Unit: "s"})
	var out bytes.Buffer
	all.print(&out)
	var got []string
	for line := range strings.Lines(out.String()) {
		if words := strings.Join(strings.Fields(line), " "); words != "" {
			got = append(got, words)
		}
	}
	want := []string{
		"Part", "what figure floor ratio goal",
		"slow 30 µs bare 10 µs 3× ≤ 2× no",
		"slow 30 µs bare 10 µs 3× ≤ 3× ok",
		"slow 30 µs bare 10 µs 3× ≤ 29 µs no",
		"free 1.23 s — — — —",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	out.Reset()
	if err := all.json(&out); err != nil {
		t.Fatal(err)
	}
	var read struct{ Rows []struct{ Ratio float64 } }
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || len(read.Rows) != 4 || read.Rows[0].Ratio != 3 {
		t.Errorf("got %s (%v), want four rows, the first with ratio 3", out.String(), err)
	}
}

// TestPush: a lock keeps what one round sends it.
func TestPush(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	h, err := b.newHouse(t.Context(), "push", provision.ClockSynced)
	if err != nil {
		t.Fatal(err)
	}
	defer h.store.Close()
	if took, err := b.pushAll(t.Context(), h, false); err != nil || len(took) != pushRound {
		t.Errorf("%d of %d pushed: %v", len(took), pushRound, err)
	}
}
