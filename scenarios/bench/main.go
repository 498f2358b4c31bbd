// Command bench measures this machine: the token endpoint, the push to a lock, OSCORE, offline acceptance and token
// sizes. Each figure stands beside its floor from the same run, because only the ratio can be promised: rates on a
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
	table   table
}

func main() {
	// The floor of the token endpoint is another process, so that its CPU time can be told apart: this program again.
	if len(os.Args) == 2 && os.Args[1] == helloCommand {
		exit(serveHello())
	}
	asJSON := flag.Bool("json", false, "print the table as JSON")
	bin := flag.String("bin", "bin", "folder of the programs, as make build fills it")
	span := flag.Duration("span", 2*time.Second, "how long each load lasts")
	samples := flag.Int("samples", 500, "how often what is timed one by one is done")
	flag.Parse()
	exit(run(options{bin: *bin, span: *span, samples: *samples, json: *asJSON}))
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
	b := &bench{bin: bin, dir: dir, span: o.span, samples: o.samples}
	began := time.Now()
	for _, part := range []func(context.Context) error{b.sizes, b.oscore, b.accept, b.push, b.token} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if o.json {
		return b.table.json(os.Stdout)
	}
	b.table.print(os.Stdout)
	return closing(os.Stdout, time.Since(began))
}

func closing(w io.Writer, took time.Duration) error {
	_, err := fmt.Fprintf(w, "\nmeasured in %.0f s; %s\n", took.Seconds(), machine())
	return err
}
