package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/spf13/cobra"
)

const (
	tokenTime = 20 * time.Second // the server itself waits up to 5 s for the lock
	keySize   = 16               // bytes of a key made here
)

// tokenFlags are the flags of token.
type tokenFlags struct {
	memory
	makeKey  bool
	noUpload bool
	print    bool
	secret   bool
	nonce    bool
	refresh  bool
}

func (p *phone) tokenCommand() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:   "token",
		Short: "Redeem the login for a token and its key",
		Long: "Redeems the login of phone login. The server delivers the token to a device that is online; else phone deliver\n" +
			"shows it to the device. A session that was redeemed is renewed if the server gave a refresh token. With\n" +
			"--client-secret-stdin the app proves itself: with --issuer it asks for itself, without a person.",
		Example: "  phone token\n  phone token --make-key\n  phone token --refresh\n" +
			"  phone token --client-secret-stdin --issuer http://localhost:8080 --client gateway --device front-door < secret.txt",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.token(cmd, f) },
	}
	c.Flags().BoolVar(&f.makeKey, "make-key", false, "make the possession key here")
	c.Flags().BoolVar(&f.noUpload, "no-upload", false, "take the token itself even if the server could deliver it")
	c.Flags().BoolVar(&f.print, "print", false, "print the token (not its key) as base64url")
	c.Flags().BoolVar(&f.nonce, "ask-device", false, "first ask the device (--to) for a nonce to put into the token")
	c.Flags().StringVar(&p.to, "to", "", "for --ask-device: the device's address")
	c.Flags().BoolVar(&f.secret, "client-secret-stdin", false, "read the app's secret from standard input")
	c.Flags().BoolVar(&f.refresh, "refresh", false, "renew the token, also while a login waits")
	c.Flags().StringVar(&f.Issuer, "issuer", "", "for client credentials: the authorization server")
	c.Flags().StringVar(&f.Client, "client", "", "for client credentials: the app's name")
	c.Flags().StringVar(&f.Audience, "device", "", "for client credentials: the device")
	c.Flags().StringVar(&f.Scope, "scope", "", "for client credentials: what to do")
	return c
}

func (p *phone) token(cmd *cobra.Command, f tokenFlags) error {
	m, secret, err := p.grant(cmd, f)
	if err != nil {
		return err
	}
	patience := tokenTime
	if m.Device != nil {
		patience += time.Until(m.Device.ExpiresAt) // for the person to answer
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	if renews(m, f) {
		return p.refresh(ctx, cmd, m, f, secret)
	}
	want := client.Want{Code: m.Code, Device: m.Device, Audience: m.Audience, Upload: !f.noUpload}
	if m.Code == nil && m.Device == nil {
		want.Scope = m.Scope
	}
	if f.makeKey {
		want.Key = make([]byte, keySize)
		if _, err := rand.Read(want.Key); err != nil {
			return err
		}
	}
	if f.nonce {
		if want.CNonce, err = p.nonce(ctx, cmd); err != nil {
			return err
		}
	}
	c, err := p.discover(ctx, cmd, m, client.Options{Secret: secret})
	if err != nil {
		return err
	}
	// The code is forgotten before it is sent: whatever comes back, it is never sent again (D20).
	if m.Code != nil {
		m.Code = nil
		if err := p.store(m); err != nil {
			return err
		}
	}
	m.Device = nil // from here on in memory alone: on disk it stays until it was redeemed
	p.trace(cmd).words("phone → server  %s", describeWant(want))
	s, err := c.Token(ctx, want, p.saver(m))
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	p.trace(cmd).words("server → phone  %s", describeSaved(s.Saved()))
	return p.report(cmd, s.Saved(), f.print)
}

func describeWant(w client.Want) string {
	words := "the app's own credentials"
	if w.Code != nil {
		words = "the code and its verifier"
	}
	if w.Device != nil {
		words = "has the person answered?"
	}
	if w.Key != nil {
		words += ", a possession key made here"
	}
	if w.CNonce != nil {
		words += ", the device's nonce"
	}
	if w.Upload {
		words += "; please deliver, with my nonce and id for the device"
	}
	return words
}

func describeSaved(s client.Saved) string {
	if s.Uploaded && s.Profile == pop.ProfileCoAPDTLS {
		return "delivered; here is the key and its id: " + s.Scope
	}
	if s.Uploaded {
		return "delivered; here are the device's nonce and id: " + s.Scope
	}
	return fmt.Sprintf("a token of %d bytes and its key: %s", len(s.Token), s.Scope)
}

// grant finds what stands for the token: the saved login or session, or the app's own secret.
func (p *phone) grant(cmd *cobra.Command, f tokenFlags) (m memory, secret string, err error) {
	own := f.secret && (f.Issuer != "" || f.Client != "" || f.Audience != "")
	switch {
	case !own && (f.Issuer != "" || f.Client != "" || f.Audience != "" || f.Scope != ""):
		return memory{}, "", errors.New("--issuer, --client, --device and --scope go with --client-secret-stdin")
	case own && (f.Issuer == "" || f.Client == "" || f.Audience == ""):
		return memory{}, "", errors.New("say where, who and for what: --issuer URL --client ID --device NAME")
	case own:
		m = f.memory
	default:
		if m, err = p.load(); err != nil {
			if f.secret {
				err = fmt.Errorf("%w, or let the app ask for itself: --issuer URL --client ID --device NAME", err)
			}
			return memory{}, "", err
		}
		if m.Code == nil && m.Device == nil && !renews(m, f) {
			return memory{}, "", errors.New("this login was redeemed: run phone login again")
		}
	}
	if !f.secret {
		return m, "", nil
	}
	secret, err = command.ReadLine(cmd.InOrStdin(), maxSecret)
	if err == nil && secret == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return memory{}, "", fmt.Errorf("the app's secret on standard input: %w", err)
	}
	return m, secret, nil
}

func (p *phone) nonce(ctx context.Context, cmd *cobra.Command) ([]byte, error) {
	x, err := p.reach(ctx, cmd, nil)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	return client.Nonce(ctx, x)
}

// saver makes each change of a session durable.
func (p *phone) saver(m memory) func(client.Saved) error {
	return func(s client.Saved) error {
		m.Session = &s
		return p.store(m)
	}
}

func (p *phone) report(cmd *cobra.Command, s client.Saved, print bool) error {
	if print {
		if len(s.Token) == 0 {
			return errors.New("the server delivered the token and kept no copy for us: use --no-upload")
		}
		return p.say(cmd.OutOrStdout(), map[string]string{"token": base64.RawURLEncoding.EncodeToString(s.Token)}, "%s", base64.RawURLEncoding.EncodeToString(s.Token))
	}
	answer := map[string]any{"scope": s.Scope, "expires_at": s.ExpiresAt, "uploaded": s.Uploaded, "uris": s.URIs}
	how := "the server delivered it to the device"
	if !s.Uploaded {
		how = "show it to the device with phone deliver"
	}
	return p.say(cmd.OutOrStdout(), answer, "token for %s until %s; %s", s.Scope, s.ExpiresAt.Format("15:04:05"), how)
}

func (p *phone) deliverCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "deliver", Short: "Show the token to the device", Example: "  phone deliver --to gatt:/run/monitor.sock", Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), tokenTime)
			defer cancel()
			s, _, err := p.restore()
			if err != nil {
				return err
			}
			give := p.post
			if s.Profile() == pop.ProfileCoAPDTLS {
				give = p.show
			}
			if err := give(ctx, cmd, s); err != nil {
				return fmt.Errorf("deliver: %w", err)
			}
			return p.say(cmd.OutOrStdout(), map[string]bool{"accepted": true}, "the device accepted the token")
		},
	}
	c.Flags().StringVar(&p.to, "to", "", "the device: coap://ADDRESS:PORT, coaps://ADDRESS:PORT or gatt:PATH (default: what the server said)")
	return c
}

// post uploads the token to a device that is reached without protection.
func (p *phone) post(ctx context.Context, cmd *cobra.Command, s *client.Session) error {
	x, err := p.reach(ctx, cmd, s.Saved().URIs)
	if err != nil {
		return err
	}
	defer x.Close()
	dtls := s.Profile() == pop.ProfileCoAPDTLS
	p.trace(cmd).words("phone → device  the token%s", unless(dtls, " and a nonce"))
	if err := s.Deliver(ctx, coapsec.UploadBlocks(x, x.block)); err != nil {
		return err
	}
	p.trace(cmd).words("device → phone  accepted%s", unless(dtls, "; its nonce and id"))
	return nil
}

func unless(not bool, words string) string {
	if not {
		return ""
	}
	return words
}

func (p *phone) restore() (*client.Session, client.Saved, error) {
	m, err := p.load()
	if err != nil {
		return nil, client.Saved{}, err
	}
	if m.Session == nil {
		return nil, client.Saved{}, errors.New("no token yet: run phone token")
	}
	s := client.Restore(*m.Session, p.saver(m), rand.Reader)
	key, err := m.prover()
	if err == nil && m.Attester != "" && key != nil {
		s.Vouched(m.voucher(key))
	}
	return s, *m.Session, err
}
