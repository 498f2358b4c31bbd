package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/spf13/cobra"
)

// renews reports whether the session's refresh token is to be used.
func renews(m memory, f tokenFlags) bool {
	waiting := m.Code != nil || m.Device != nil
	return m.Session != nil && m.Session.Refresh != "" && (f.refresh || !waiting)
}

// refresh renews the session's token; its key stays.
func (p *phone) refresh(ctx context.Context, cmd *cobra.Command, m memory, f tokenFlags, secret string) error {
	if f.makeKey || f.nonce {
		return errors.New("a token that is renewed keeps its key: --make-key and --ask-device need a new login")
	}
	c, err := p.discover(ctx, cmd, m, client.Options{Secret: secret})
	if err != nil {
		return err
	}
	s := client.Restore(*m.Session, p.saver(m), rand.Reader)
	p.trace(cmd).words("phone → server  the refresh token")
	if err := s.Refresh(ctx, c, !f.noUpload); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	p.trace(cmd).words("server → phone  %s", describeSaved(s.Saved()))
	return p.report(cmd, s.Saved(), f.print)
}
