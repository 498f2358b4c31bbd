package delivery

// PeersKept is how many peers the engine keeps a channel for.
func (e *Engine) PeersKept() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.peers)
}
