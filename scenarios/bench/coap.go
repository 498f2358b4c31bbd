package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	coapWindow  = 16   // requests under way at any time
	coapRounds  = 10   // of each run, after one to warm up
	coapThird   = 3    // rounds at either end of a run that are compared
	flatGoal    = 0.9  // the last rounds' answers for the CPU over the first rounds'
	memoryGoal  = 1.2  // resident at the end over that after the first round
	coapCPUGoal = 3.0  // times the CPU of a bare loop
	oscoreGoal  = 10.0 // µs of CPU that OSCORE may add to a request
)

const coapPart = "CoAP over UDP: confirmable GET, 16 under way; the floor is a bare loop that sends every datagram back, in turns with the server"

// coapLoad is what is asked.
type coapLoad struct {
	peers   int
	clients contexts // whose requests are protected; nil: they are not
	path    string
	want    codes.Code // 0: whatever comes back
}

// coap measures what a request costs the server, and whether it goes on costing the same.
func (b *bench) coap(ctx context.Context) error {
	clients, err := oscoreContexts(true)
	if err != nil {
		return err
	}
	get := coapLoad{peers: 4096, path: coapPath, want: codes.Content}
	many, err := b.coapRun(ctx, get)
	if err != nil {
		return err
	}
	b.table.add(coapRows(get.peers, many)...)
	get.peers = oscoreClients
	missing := coapLoad{peers: get.peers, path: "/nothing", want: codes.NotFound}
	protected := coapLoad{peers: get.peers, path: coapPath, want: codes.Content, clients: clients}
	few, err := b.coapRun(ctx, get, missing, protected)
	if err != nil {
		return err
	}
	b.table.add(coapRows(get.peers, few)...)
	refused := cpuRow("4.04, 16 peers, server CPU", few.others[0], few.bare)
	added := row{Part: coapPart, What: "OSCORE adds, server CPU", Figure: few.others[1].cpu() - few.server.cpu(), Unit: "µs", More: short(few.others[1].rate()) + "/s"}
	b.table.add(refused.atMostTimes(coapCPUGoal), added.atMost(oscoreGoal))
	return nil
}

func coapRows(peers int, got coapResult) []row {
	name := fmt.Sprintf("GET, %d peers", peers)
	first, last := got.atStart(), got.atEnd()
	flat := row{Part: coapPart, What: name + ", answers for the loop's CPU, last rounds", Figure: 1 / last, Unit: "×", Floor: 1 / first, Bare: "first"}
	memory := row{Part: coapPart, What: name + ", resident at the end", Figure: got.server[len(got.server)-1].resident, Unit: "MiB", Floor: got.server[0].resident, Bare: "at first"}
	return []row{cpuRow(name+", server CPU", got.server, got.bare).atMostTimes(coapCPUGoal), flat.atLeastTimes(flatGoal), memory.atMostTimes(memoryGoal)}
}

func cpuRow(what string, got, bare rounds) row {
	return row{Part: coapPart, What: what, Figure: got.cpu(), Unit: "µs", More: short(got.rate()) + "/s", Floor: bare.cpu(), Bare: "loop"}
}

// round is what one load did to its server in one round.
type round struct {
	requests int64
	took     time.Duration
	used     time.Duration // CPU of the server
	resident float64       // of the server at the end, MiB
}

// cpu is that of a request in µs.
func (r round) cpu() float64 { return float64(r.used.Nanoseconds()) / 1000 / float64(r.requests) }

type rounds []round

func (r rounds) sum() (all round) {
	for _, one := range r {
		all.requests += one.requests
		all.took += one.took
		all.used += one.used
	}
	return all
}

func (r rounds) rate() float64 { return float64(r.sum().requests) / r.sum().took.Seconds() }
func (r rounds) cpu() float64  { return r.sum().cpu() }

// coapResult is a run: of the GET, of the bare loop for as many peers, and of what else was asked of the server.
type coapResult struct {
	server, bare rounds
	others       []rounds
}

func (c coapResult) atStart() float64 { return c.ratio(0) }
func (c coapResult) atEnd() float64   { return c.ratio(len(c.server) - coapThird) }

// ratio is the CPU of a GET over that of the loop in the same round, in the middle one of coapThird rounds: what else the
// machine does slows both.
func (c coapResult) ratio(from int) float64 {
	var all []float64
	for i := from; i < from+coapThird; i++ {
		all = append(all, c.server[i].cpu()/c.bare[i].cpu())
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// coapRun has one server answer the loads in turns with a bare loop, the first load for twice as long as the others.
func (b *bench) coapRun(ctx context.Context, load coapLoad, others ...coapLoad) (result coapResult, err error) {
	var s coapStand
	defer s.close()
	if err := s.start(ctx, coapServer, append([]coapLoad{load}, others...)...); err != nil {
		return result, err
	}
	if err := s.start(ctx, coapBare, coapLoad{peers: load.peers, path: load.path}); err != nil {
		return result, err
	}
	got := make([]rounds, len(s.drivers))
	for n := range 1 + coapRounds {
		for i, d := range s.drivers {
			span := b.span / 10
			if i == 0 {
				span *= 2
			}
			one, err := d.round(ctx, span)
			if err != nil {
				return result, fmt.Errorf("round %d, %s by %d peers: %w", n, d.path, d.peers, err)
			}
			if n > 0 {
				got[i] = append(got[i], one)
			}
		}
	}
	last := len(got) - 1
	return coapResult{server: got[0], others: got[1:last], bare: got[last]}, nil
}

// coapStand is what a run needs: servers, and who asks them.
type coapStand struct {
	servers []*process
	drivers []*coapDriver
}

// start adds a server and a driver for each load.
func (s *coapStand) start(ctx context.Context, mode string, loads ...coapLoad) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server, err := startProcess(ctx, self, coapCommand, mode)
	if err != nil {
		return err
	}
	s.servers = append(s.servers, server)
	for _, l := range loads {
		d := &coapDriver{coapLoad: l, server: server}
		s.drivers = append(s.drivers, d)
		if err := d.dial(server.line); err != nil {
			return err
		}
	}
	return nil
}

func (s *coapStand) close() {
	for _, d := range s.drivers {
		d.close()
	}
	for _, server := range s.servers {
		server.stop()
	}
}
