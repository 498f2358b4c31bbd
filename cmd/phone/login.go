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
}

func (p *phone) loginCommand() *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login",
		Short: "Ask the person in the browser; the answer is redeemed by phone token within a minute",
		Example: "  phone login --issuer http://localhost:8080 --client phone --device front-door --scope unlock\n" +
			"  phone login --issuer http://localhost:8080 --client phone --device front-door --user mum --password-stdin < password.txt",
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
	return c
}

func (p *phone) login(cmd *cobra.Command, f loginFlags) error {
	if f.Issuer == "" || f.Audience == "" {
		return errors.New("say where and for what: --issuer URL --device NAME")
	}
	if (f.user != "") != f.stdin {
		return errors.New("--user and --password-stdin go together")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), loginTime)
	defer cancel()
	c, err := client.Discover(ctx, f.Issuer, client.Options{ID: f.Client, Rand: rand.Reader, HTTP: p.trace(cmd).http(client.NewHTTP())})
	if err != nil {
		return err
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
