// Command bench measures this machine: the token endpoint over HTTP and CoAP, introspection, both stores, memory, the push to a
// lock, CoAP over UDP and OSCORE, offline acceptance and token sizes. Each figure stands beside its floor from the same run, because only the ratio can be promised: rates on a
// shared machine move by up to two within an hour. It judges goals but does not fail for one that was missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// bench is one run.
type bench struct {
	bin     string        // folder of the programs
	dir     string        // for everything that is kept
	span    time.Duration // of each load
	samples int           // of what is timed one by one
	grants  int           // that are a million
	table   table
}

func main() {
	// Floors and the CoAP server are other processes, so that their CPU time can be told apart: this program again.
	if len(os.Args) == 2 && os.Args[1] == helloCommand {
		exit(serveHello())
	}
	if len(os.Args) == 3 && os.Args[1] == coapCommand {
		exit(serveCoAP(os.Args[2]))
	}
	asJSON := flag.Bool("json", false, "print the table as JSON")
	bin := flag.String("bin", "bin", "folder of the programs, as make build fills it")
	span := flag.Duration("span", 2*time.Second, "how long each load lasts")
	samples := flag.Int("samples", 500, "how often what is timed one by one is done")
	part := flag.String("part", "", "run only this part: sizes, oscore, coap, accept, push, token, store, coaptoken, postgres, memory or million")
	flag.Parse()
	exit(run(options{bin: *bin, span: *span, samples: *samples, json: *asJSON, part: *part}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	bin     string
	span    time.Duration
	samples int
	json    bool
	part    string // empty: all
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	b := &bench{bin: bin, dir: dir, span: o.span, samples: o.samples, grants: 1_000_000}
	began := time.Now()
	if err := b.parts(ctx, o.part); err != nil {
		return err
	}
	if o.json {
		return b.table.json(os.Stdout)
	}
	b.table.print(os.Stdout)
	return closing(os.Stdout, time.Since(began))
}

// parts runs all parts, or only the one named.
func (b *bench) parts(ctx context.Context, only string) error {
	found := false
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"sizes", b.sizes}, {"oscore", b.oscore}, {"coap", b.coap}, {"accept", b.accept}, {"push", b.push}, {"token", b.token},
		{"store", b.embedded}, {"coaptoken", b.coapToken}, {"postgres", b.postgres}, {"memory", b.memory}, {"million", b.million},
	} {
		if only != "" && only != part.name {
			continue
		}
		found = true
		if err := part.measure(ctx); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("there is no part %q", only)
	}
	return nil
}

func closing(w io.Writer, took time.Duration) error {
	_, err := fmt.Fprintf(w, "\nmeasured in %.0f s; %s\n", took.Seconds(), machine())
	return err
}
