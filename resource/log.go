package resource

import (
	"cmp"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/aif"
)

// actionAccept is the Action of entries about tokens.
const actionAccept = "accept"

// actionExpire is the Action of entries about tokens that ended by themselves; they go to OnLog only.
const actionExpire = "expire"

// actionName is "" for what the device does not have: a path is the client's word and not for the log.
func (s *Server) actionName(path string, method aif.Methods) string {
	if a := s.action(path, method); a != nil {
		return a.Name
	}
	return ""
}

// stamp puts into e what is known about the time.
func (i instant) stamp(e Entry) Entry {
	e.Boot = i.boots
	if i.known {
		e.Time = i.low
	}
	return e
}

// log appends an entry with the next number and keeps the ring bounded.
func (s *State) log(e Entry) Entry {
	s.NextEntry++
	e.Number = s.NextEntry
	s.Log = append(s.Log, e)
	if len(s.Log) > MaxLog || s.minor() > MaxLog/4 && e.minor() {
		s.dropEntry()
	}
	return e
}

// minor entries moved nothing. They never push out what did, or a guest could wash his unlock away with refusals.
func (e Entry) minor() bool { return e.Result == Refused || e.Result == Accepted }

func (s *State) minor() (n int) {
	for i := range s.Log {
		if s.Log[i].minor() {
			n++
		}
	}
	return n
}

func (s *State) dropEntry() {
	i := 0
	if s.minor() > MaxLog/4 {
		i = slices.IndexFunc(s.Log, Entry.minor)
	}
	s.Log = slices.Delete(s.Log, i, i+1)
}

// remember appends an entry that the next stored change takes along: a refusal is not worth wearing out the flash for.
// What others get to read of the log is stored first, so that no number is ever given twice.
func (s *Server) remember(e Entry) {
	s.state.Log = slices.Clone(s.state.Log) // the store may still read the old one
	e = s.state.log(e)
	s.unsaved = true
	s.tell(e)
}

// tell hands an entry to the program.
func (s *Server) tell(e Entry) {
	if s.options.OnLog != nil {
		s.options.OnLog(e)
	}
}

// begin claims the one execution of an allowed change.
func (s *Server) begin(number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	started, decided := s.acting[number]
	if !decided || started {
		return false
	}
	s.acting[number] = true
	return true
}

// finish completes the entry of a change. Until the next stored change the store still says "unknown", which is what a
// power cut now would make of it.
func (s *Server) finish(e Entry, result Result, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acting, e.Number)
	e.Result, e.Reason = result, reason
	s.state.Log = slices.Clone(s.state.Log)
	if i, ok := slices.BinarySearchFunc(s.state.Log, e.Number, byNumber); ok {
		s.state.Log[i] = e
	}
	s.unsaved = true
	s.tell(e)
}

func byNumber(e Entry, number uint64) int { return cmp.Compare(e.Number, number) }

// Log gives up to MaxLogBatch finished entries with numbers above after, oldest first. It ends before an action that is
// still going on, so that a reader who asks on from the last number misses nothing.
func (s *Server) Log(after uint64) ([]Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush(); err != nil {
		return nil, err
	}
	// What is asked for next shows what has arrived.
	s.state.Reported = max(s.state.Reported, min(after, s.state.NextEntry))
	return s.finished(&s.state, after, MaxLogBatch), nil
}

// finished gives up to limit entries with numbers above after, up to the first that is still going on.
func (s *Server) finished(state *State, after uint64, limit int) (out []Entry) {
	for _, e := range state.Log {
		if _, busy := s.acting[e.Number]; busy || len(out) == limit {
			break
		}
		if e.Number > after {
			out = append(out, e)
		}
	}
	return out
}

// flush stores what remember and finish left in memory.
func (s *Server) flush() error {
	if !s.unsaved {
		return nil
	}
	return s.save(s.state.clone(), s.now())
}
