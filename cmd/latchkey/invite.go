package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/registration"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

// inviteFlags are the flags of client invite.
type inviteFlags struct {
	uses       int
	life       time.Duration
	grantTypes []string
	methods    []string
	scope      []string
	bearer     bool
	clientKeys bool
	note       string
}

func (t *tool) inviteCommand() *cobra.Command {
	var f inviteFlags
	c := &cobra.Command{
		Use:   "invite",
		Short: "Let an app register itself",
		Long: "Makes an initial access token, shown only now, with which an app registers itself over HTTP (RFC 7591): POST /register\n" +
			"with the header Authorization: Bearer TOKEN. What it may register as is said here, and holds for its later changes too.\n" +
			"The server answers only with registration = \"invited\" among its settings.",
		Example: "  latchkey client invite\n" +
			"  latchkey client invite --grant-type client_credentials --auth-method private_key_jwt --uses 20 --expires-in 1h --note 'meters, July'",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.invite(cmd, f) },
	}
	fl := c.Flags()
	fl.IntVar(&f.uses, "uses", 1, fmt.Sprintf("how many apps may register with it, at most %d", authz.MaxInviteUses))
	fl.DurationVar(&f.life, "expires-in", authz.InviteLife, fmt.Sprintf("how long it can be used, at most %dh", authz.MaxInviteLife/time.Hour))
	fl.StringArrayVar(&f.grantTypes, "grant-type", []string{authz.AuthorizationCode, authz.RefreshToken}, "what it may use: authorization_code, client_credentials, refresh_token or device_code")
	fl.StringArrayVar(&f.methods, "auth-method", names(registerable), "how it may prove itself: "+listed(registerable))
	fl.StringArrayVar(&f.scope, "scope", nil, "the most it may ask for, as action names; a ceiling, never a grant")
	fl.BoolVar(&f.bearer, "bearer", false, "it may have tokens for HTTP APIs that are bound to nothing: whoever sees one can use it")
	fl.BoolVar(&f.clientKeys, "client-made-keys", false, "it may make the possession key itself")
	fl.StringVar(&f.note, "note", "", "what it is for; no secrets")
	return c
}

// registerable are the methods of clients over HTTP.
var registerable = slices.DeleteFunc(slices.Clone(authMethods), func(m authz.AuthMethod) bool {
	attested := (&authz.Client{AuthMethod: m}).Attested() // who vouches for an app its operator says, not the app
	return attested || m == authz.AuthOSCORE || m == authz.AuthDTLS
})

func (f *inviteFlags) token(now time.Time) (authz.RegistrationToken, error) {
	t := authz.RegistrationToken{
		Note: f.note, Uses: f.uses, ExpiresAt: now.Add(f.life),
		Allowed: authz.Allowed{GrantTypes: grantTypes(f.grantTypes), Scope: f.scope, Bearer: f.bearer, ClientMadeKeys: f.clientKeys},
	}
	for _, m := range f.methods {
		if !slices.Contains(registerable, authz.AuthMethod(m)) {
			return t, fmt.Errorf("--auth-method %q is not available; there are %s", m, listed(registerable))
		}
		t.Allowed.AuthMethods = append(t.Allowed.AuthMethods, authz.AuthMethod(m))
	}
	if err := registration.CheckAllowed(t.Allowed); err != nil {
		return t, fmt.Errorf("%w; see --grant-type and --scope", err)
	}
	switch {
	case f.uses < 1 || f.uses > authz.MaxInviteUses:
		return t, fmt.Errorf("--uses: 1 to %d", authz.MaxInviteUses)
	case f.life < time.Minute || f.life > authz.MaxInviteLife:
		return t, fmt.Errorf("--expires-in: 1m to %dh", authz.MaxInviteLife/time.Hour)
	case len(f.note) > maxNote || command.Printable(f.note) != f.note:
		return t, fmt.Errorf("--note: at most %d bytes that print", maxNote)
	}
	return t, nil
}

// invited is the answer to client invite, and a line of client invitations, which has no token.
type invited struct {
	Invitation string    `json:"invitation"`
	Token      string    `json:"token,omitempty"`
	Uses       int       `json:"uses"`
	ExpiresAt  time.Time `json:"expires_at"`
	GrantTypes []string  `json:"grant_types"`
	Methods    []string  `json:"auth_methods"`
	Scope      []string  `json:"scope,omitempty"`
	Bearer     bool      `json:"bearer,omitempty"`
	ClientKeys bool      `json:"client_made_keys,omitempty"`
	Note       string    `json:"note,omitempty"`
}

func invitedBy(t *authz.RegistrationToken, token string) invited {
	return invited{
		Invitation: t.ID(), Token: token, Uses: t.Uses, ExpiresAt: t.ExpiresAt, GrantTypes: t.Allowed.GrantTypes, Methods: names(t.Allowed.AuthMethods),
		Scope: t.Allowed.Scope, Bearer: t.Allowed.Bearer, ClientKeys: t.Allowed.ClientMadeKeys, Note: t.Note,
	}
}

func (t *tool) invite(cmd *cobra.Command, f inviteFlags) error {
	r, err := f.token(time.Now())
	if err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	token, err := h.server.Invite(cmd.Context(), &r)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("invitation %s, good until %s for %s\nits token, shown only now: %s\nregister at %s/register",
		r.ID(), when(r.ExpiresAt, ""), apps(r.Uses), token, h.config.Issuer)
	if h.config.Registration != registrationInvited {
		text += "\nthe server's settings keep registration closed: set registration = \"invited\" and start it again"
	}
	return t.say(cmd.OutOrStdout(), invitedBy(&r, token), "%s", text)
}

func apps(n int) string {
	if n == 1 {
		return "one app"
	}
	return fmt.Sprintf("%d apps", n)
}

func (t *tool) invitationsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "invitations",
		Short:   "List the invitations that can be used",
		Long:    "Lists the invitations, newest first. Their tokens were shown when they were made, and are not known here.",
		Example: "  latchkey client invitations\n  latchkey client invitations --json",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			all, err := h.server.Invitations(cmd.Context())
			if err != nil {
				return err
			}
			lines, words := []invited{}, []string{}
			for _, r := range all {
				lines = append(lines, invitedBy(&r, ""))
				words = append(words, strings.TrimSpace(fmt.Sprintf("%s  until %s, for %s  %s", r.ID(), when(r.ExpiresAt, ""), apps(r.Uses), r.Note)))
			}
			return t.say(cmd.OutOrStdout(), lines, "%s", orNone(words, "no invitations"))
		},
	}
}

func (t *tool) uninviteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "uninvite INVITATION",
		Short:   "Take back an invitation",
		Long:    "Takes back an invitation, by its name in client invitations. Apps that have registered with it stay: see client suspend.",
		Example: "  latchkey client uninvite 0123456789abcdef",
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			err = h.server.EndInvitation(cmd.Context(), args[0])
			if errors.Is(err, authz.ErrNotFound) {
				return fmt.Errorf("there is no invitation %q; latchkey client invitations lists them", args[0])
			}
			if err != nil {
				return err
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"invitation": args[0]}, "took back invitation %s", args[0])
		},
	}
}
