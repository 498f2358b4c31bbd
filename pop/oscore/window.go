package oscore

// window is a sliding replay window (RFC 8613 §3.2.2): bit i of seen stands for number top − i. The zero value has seen
// nothing.
type window struct {
	seen uint32
	top  uint64
}

// fresh says whether number may still be accepted.
func (w *window) fresh(number uint64) bool {
	if w.seen == 0 || number > w.top {
		return true
	}
	age := w.top - number
	return age < WindowSize && w.seen&(1<<age) == 0
}

// mark records a number that was fresh. The top never moves back.
func (w *window) mark(number uint64) {
	switch {
	case w.seen == 0:
		w.top, w.seen = number, 1
	case number > w.top:
		w.seen = w.seen<<min(number-w.top, WindowSize) | 1
		w.top = number
	default:
		w.seen |= 1 << (w.top - number)
	}
}

// startAt makes number the lower limit: it and everything below count as seen.
func (w *window) startAt(number uint64) {
	w.top, w.seen = number, 1<<WindowSize-1
}
