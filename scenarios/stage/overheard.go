package stage

import (
	"bytes"
	"fmt"
	"sync"
)

// overheard collects what the programs say of their messages, in the order in which they say it.
type overheard struct {
	mu   sync.Mutex
	said bytes.Buffer
}

// Write implements io.Writer. It never fails.
func (o *overheard) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(p) > 0 && p[0] != ' ' { // a program's own last words
		o.said.WriteString("      ")
	}
	return o.said.Write(p)
}

// TellMessages tells the messages since the last call.
func (s *Stage) TellMessages() {
	s.air.mu.Lock()
	defer s.air.mu.Unlock()
	fmt.Fprint(s.Out, s.air.said.String())
	s.air.said.Reset()
}
