// Package event prints what a reference device does, one line an event: in words, or as JSON for other programs.
// Start from New.
package event

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/resource"
)

// Event is one line.
type Event struct {
	Event   string    `json:"event"`
	At      time.Time `json:"at,omitzero"`
	Boot    uint64    `json:"boot,omitempty"`
	Address string    `json:"address,omitempty"`
	State   string    `json:"state,omitempty"`
	Grant   string    `json:"grant,omitempty"`
	Action  string    `json:"action,omitempty"`
	Result  string    `json:"result,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// Options of a Printer.
type Options struct {
	JSON bool
	Gap  string // between words; default one space
}

// maxStrangers is how many lines a second strangers can make a device print: enough to see who rings, too few to fill a
// disk with them.
const maxStrangers = 20

// Printer writes events. It is safe for concurrent use, and a device goes on when nobody reads what it prints.
type Printer struct {
	mu  sync.Mutex
	out io.Writer
	Options

	second time.Time // when the count of strangers began
	shown  int       // since then
	hidden int       // since the last line that said so
}

// New makes a Printer.
func New(out io.Writer, o Options) *Printer {
	if o.Gap == "" {
		o.Gap = " "
	}
	return &Printer{out: out, Options: o}
}

// Print writes one event.
func (p *Printer) Print(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.JSON {
		_ = json.NewEncoder(p.out).Encode(e) // a device goes on when nobody reads
		return
	}
	var columns []string
	for _, column := range []string{e.Event, e.Address, e.State, e.Action, e.Result, e.Reason} {
		// What came over the air must not begin a line of its own.
		if words := strings.Fields(column); len(words) > 0 {
			columns = append(columns, strings.Join(words, " "))
		}
	}
	fmt.Fprintln(p.out, command.Printable(strings.Join(columns, p.Gap)))
}

// Access is a decision as an event.
func Access(e resource.Entry) Event {
	return Event{Event: "access", At: e.Time, Grant: fmt.Sprintf("%x", e.Grant), Action: e.Action, Result: e.Result.String(), Reason: e.Reason}
}

// Refused prints what was refused before anybody was known.
func (p *Printer) Refused(address string, why error) {
	p.Stranger(Event{Event: "access", Address: address, Result: resource.Refused.String(), Reason: why.Error()})
}

// Stranger prints what somebody did who has shown no key, and now and then how much of that it did not print.
func (p *Printer) Stranger(e Event) {
	hidden, show := p.admit(time.Now())
	if hidden > 0 {
		p.Print(Event{Event: "access", Result: resource.Refused.String(), Reason: fmt.Sprintf("%d more by strangers", hidden)})
	}
	if show {
		p.Print(e)
	}
}

func (p *Printer) admit(now time.Time) (hidden int, show bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.second) >= time.Second {
		hidden, p.second, p.shown, p.hidden = p.hidden, now, 0, 0
	}
	if p.shown == maxStrangers {
		p.hidden++
		return 0, false
	}
	p.shown++
	return hidden, true
}

// Fault prints what went wrong while the device goes on.
func (p *Printer) Fault(err error) { p.Print(Event{Event: "fault", Reason: err.Error()}) }
