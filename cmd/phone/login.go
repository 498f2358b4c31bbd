package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/spf13/cobra"
)

const (
	loginTime = 5 * time.Minute // for a person to sign in and answer
	maxSecret = 1024            // bytes of a password or client secret
)

// loginFlags are the flags of login.
type loginFlags struct {
	memory
	redirect string
	user     string
	stdin    bool
	byCode   bool
	push     bool
}

func (p *phone) loginCommand() *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login",
		Short: "Ask the person in the browser; the answer is redeemed by phone token within a minute",
		Long: "Asks the person in the browser. The app makes a key for this session and proves it to the server each time, so that what\n" +
			"the server gives it is of use to nobody else. The answer is redeemed by phone token within a minute.",
		Example: "  phone login --issuer http://localhost:8080 --client phone --device front-door --scope unlock\n" +
			"  phone login --issuer http://localhost:8080 --client phone --device front-door --user mum --password-stdin < password.txt\n" +
			"  phone login --issuer http://localhost:8080 --client door-app --device front-door --attester http://127.0.0.1:9400 --app com.example.door\n" +
			"  phone login --issuer http://localhost:8080 --client tv --device front-door --by-code",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.login(cmd, f) },
	}
	c.Flags().StringVar(&f.Issuer, "issuer", "", "the authorization server")
	c.Flags().StringVar(&f.Client, "client", "phone", "this app's registered name")
	c.Flags().StringVar(&f.Audience, "device", "", "the device")
	c.Flags().StringVar(&f.Scope, "scope", "", "what to do there (default: all that is allowed)")
	c.Flags().StringVar(&f.redirect, "redirect-uri", "http://127.0.0.1/callback", "the registered redirect URI; its port is free")
	c.Flags().StringVar(&f.user, "user", "", "without a browser: sign in as this person and say yes")
	c.Flags().BoolVar(&f.stdin, "password-stdin", false, "read the person's password from standard input")
	c.Flags().BoolVar(&f.byCode, "by-code", false, "show a code that the person types in on another screen; phone token then waits for the answer")
	c.Flags().StringVar(&f.Attester, "attester", "", "let the attestation service for development at this address vouch for this app")
	c.Flags().StringVar(&f.App, "app", "", "with --attester: what it calls this app")
	c.Flags().BoolVar(&f.push, "push", false, "send the request straight to the server, and the browser only a reference to it")
	return c
}

func (p *phone) login(cmd *cobra.Command, f loginFlags) error {
	if f.Issuer == "" || f.Audience == "" {
		return errors.New("say where and for what: --issuer URL --device NAME")
	}
	if (f.Attester != "") != (f.App != "") {
		return errors.New("--attester and --app go together")
	}
	if (f.user != "") != f.stdin {
		return errors.New("--user and --password-stdin go together")
	}
	if f.byCode && (f.stdin || f.push) {
		return errors.New("--by-code goes without --user and --push")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), loginTime)
	defer cancel()
	var err error
	if f.Key, err = newKey(); err != nil {
		return err
	}
	c, err := p.discover(ctx, cmd, f.memory, client.Options{Push: f.push})
	if err != nil {
		return err
	}
	if f.byCode {
		return p.loginElsewhere(ctx, cmd, c, f.memory)
	}
	p.trace(cmd).words("phone → server  may the app %s on %s? (authorization code, PKCE)", orAll(f.Scope), f.Audience)
	ask := client.Ask{Audience: f.Audience, Scope: f.Scope, Redirect: f.redirect}
	var code client.Code
	if f.user != "" {
		password, rerr := command.ReadLine(cmd.InOrStdin(), maxSecret)
		if rerr != nil {
			return fmt.Errorf("password: %w", rerr)
		}
		code, err = c.Headless(ctx, ask, f.user, password)
	} else {
		code, err = c.Login(ctx, ask, func(address string) error { return openBrowser(cmd, address) })
	}
	if err != nil {
		return fmt.Errorf("login at %s for device %q: %w", f.Issuer, f.Audience, err)
	}
	p.trace(cmd).words("server → phone  yes: a code, good for a minute")
	f.Code = &code
	if err := p.store(f.memory); err != nil {
		return err
	}
	return p.say(cmd.OutOrStdout(), map[string]string{"session": p.session}, "allowed; run phone token within a minute")
}

// discover finds the server of a session, for the app with its key.
func (p *phone) discover(ctx context.Context, cmd *cobra.Command, m memory, o client.Options) (*client.Client, error) {
	key, err := m.prover()
	if err != nil {
		return nil, err
	}
	o.ID, o.DPoP, o.Rand, o.HTTP = m.Client, key, rand.Reader, p.trace(cmd).http(client.NewHTTP())
	if m.Attester != "" && key != nil {
		o.Attest = func(ctx context.Context, _ bool) (string, error) {
			p.trace(cmd).words("phone → attester  here is what I am and my key; please vouch for me")
			i, err := m.instance(key)
			if err != nil {
				return "", err
			}
			return i.Attest(ctx)
		}
	}
	return client.Discover(ctx, m.Issuer, o)
}

// loginElsewhere shows a code; the answer is waited for by phone token.
func (p *phone) loginElsewhere(ctx context.Context, cmd *cobra.Command, c *client.Client, m memory) error {
	p.trace(cmd).words("phone → server  may the app %s on %s? the person answers elsewhere (device authorization)", orAll(m.Scope), m.Audience)
	login, err := c.LoginElsewhere(ctx, client.Ask{Audience: m.Audience, Scope: m.Scope})
	if err != nil {
		return fmt.Errorf("login at %s for device %q: %w", m.Issuer, m.Audience, err)
	}
	m.Device = &login
	if err := p.store(m); err != nil {
		return err
	}
	said := map[string]any{"session": p.session, "user_code": login.UserCode, "address": login.Address, "address_with_code": login.WithCode, "expires_at": login.ExpiresAt}
	return p.say(cmd.OutOrStdout(), said, "open %s on any screen and type in %s; phone token waits for the answer", login.Address, login.UserCode)
}

func orAll(scope string) string {
	if scope == "" {
		return "do everything"
	}
	return scope
}

// openBrowser shows the address and tries to open it; where no browser starts, the person copies it.
func openBrowser(cmd *cobra.Command, address string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "open this address in your browser:\n%s\n", address)
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	if path, err := exec.LookPath(opener); err == nil {
		browser := exec.Command(path, address)
		if err := browser.Start(); err == nil {
			go func() { _ = browser.Wait() }() // how the browser ends is the person's business
		}
	}
	return nil
}
