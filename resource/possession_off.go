//go:build nocheck_possession

package resource

// Newest is the session of the token that was accepted last, whoever asks. It exists in this test-only build alone.
func (s *Server) Newest() (*Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest *Session
	for session := range s.sessions() {
		if newest == nil || session.number > newest.number {
			newest = session
		}
	}
	return newest, newest != nil
}
