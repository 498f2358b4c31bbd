package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func (t *tool) userCommand() *cobra.Command {
	var stdin bool
	add := &cobra.Command{
		Use:     "add NAME",
		Short:   "Add a person who can sign in",
		Example: "  latchkey user add alice --password-stdin < password.txt",
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !stdin {
				return errors.New("give the password on standard input and say so with --password-stdin")
			}
			password, err := command.ReadLine(cmd.InOrStdin(), console.MaxPassword)
			if err != nil {
				return fmt.Errorf("password: %w", err)
			}
			return t.addUser(cmd, args[0], password)
		},
	}
	add.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input, one line")
	return command.Group("user", "People", "  latchkey user add alice --password-stdin < password.txt", add)
}

// checkName keeps names printable and short; they stand in pages, commands and logs.
func checkName(what, name string) error {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.@", r)
	}
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return !ok(r) }) {
		return fmt.Errorf("%s %q: use 1 to 64 letters, digits and - _ . @", what, name)
	}
	return nil
}

func (t *tool) addUser(cmd *cobra.Command, name, password string) error {
	if err := checkName("user", name); err != nil {
		return err
	}
	hash, err := console.HashPassword(password)
	if err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.store.AddUser(cmd.Context(), authz.User{Name: name, PasswordHash: hash, CreatedAt: time.Now()}); err != nil {
		return taken(err)
	}
	if err := h.note(cmd.Context(), authz.AuditEntry{Event: "user.add", User: name}); err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), map[string]string{"user": name}, "added %s", name)
}

// taken says what to do about a name in use; the store has named it.
func taken(err error) error {
	if errors.Is(err, authz.ErrExists) {
		return fmt.Errorf("%w: choose another name", err)
	}
	return err
}

// clientFlags are the flags of client add.
type clientFlags struct {
	public     bool
	redirects  []string
	grantTypes []string
	method     string
	clientKeys bool
	scope      []string
	importFile string
	settings   authz.ClientSettings
	credentialFlags
}

func (t *tool) clientCommand() *cobra.Command {
	var f clientFlags
	add := &cobra.Command{
		Use:   "add ID",
		Short: "Register an app",
		Example: "  latchkey client add phone --public --redirect-uri http://127.0.0.1/callback --client-made-keys\n" +
			"  latchkey client add gateway --grant-type client_credentials\n" +
			"  latchkey client add backend --auth-method private_key_jwt --jwks backend.jwks --dpop\n" +
			"  latchkey client add meter --auth-method tls_client_auth --tls-san-dns meter.example --tls-bound\n" +
			"  latchkey client add door-app --auth-method attest_jwt_client_auth --attester acme --redirect-uri com.example.door:/cb\n" +
			"  latchkey client add reporting --auth-method client_secret_basic --secret-stdin --bearer < secret.txt",
		Args: command.One,
		RunE: func(cmd *cobra.Command, args []string) error { return t.addClient(cmd, args[0], f) },
	}
	add.Flags().BoolVar(&f.public, "public", false, "an app that can keep no secret (a phone app)")
	add.Flags().StringArrayVar(&f.redirects, "redirect-uri", nil, "where the browser returns to; compared exactly, but for the port of http://127.0.0.1 and http://[::1]")
	add.Flags().StringArrayVar(&f.grantTypes, "grant-type", nil, "authorization_code, client_credentials, refresh_token or device_code (default: authorization_code with a redirect URI, else client_credentials)")
	add.Flags().StringVar(&f.method, "auth-method", "", "how it proves itself: "+methodNames()+" (default client_secret_basic; none with --public)")
	add.Flags().BoolVar(&f.clientKeys, "client-made-keys", false, "the app may make the possession key itself")
	add.Flags().StringArrayVar(&f.scope, "scope", nil, "the most it may ask for, as action names; a ceiling, never a grant")
	add.Flags().StringVar(&f.importFile, "import", "", "keys that it has already, in a JSON file of mode 0600, in hex: for oscore master_secret, master_salt, client_id and server_id; for dtls psk and psk_identity (text)")
	add.Flags().BoolVar(&f.settings.Administrator, "administrator", false, "over CoAP it sees the whole list of revoked tokens, not only its own")
	add.Flags().BoolVar(&f.settings.ProblemDetails, "problem-details", false, "over CoAP it is told errors as RFC 9290 problem details")
	f.credentialFlags.add(add.Flags(), &f.settings)
	return command.Group("client", "Apps", "  latchkey client add gateway --grant-type client_credentials", add, t.inviteCommand(), t.invitationsCommand(), t.uninviteCommand())
}

func (t *tool) addClient(cmd *cobra.Command, id string, f clientFlags) error {
	client, err := f.client(id)
	if err != nil {
		return err
	}
	secret, err := f.secret(cmd, &client)
	if err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	if client.Serves, err = h.served(cmd.Context(), f.serves); err != nil {
		return err
	}
	if err := h.store.AddClient(cmd.Context(), client); err != nil {
		return taken(err)
	}
	if err := h.note(cmd.Context(), authz.AuditEntry{Event: "client.add", Client: id}); err != nil {
		return err
	}
	if secret == "" {
		return t.say(cmd.OutOrStdout(), map[string]string{"client": id}, "added %s", id)
	}
	return t.say(cmd.OutOrStdout(), map[string]string{"client": id, "secret": secret}, "added %s\nits secret, shown only now: %s", id, secret)
}

// grantTypes are grant types by the names that people type.
func grantTypes(typed []string) []string {
	all := slices.Clone(typed)
	for i, name := range all {
		if name == "device_code" {
			all[i] = authz.DeviceCodeGrant
		}
	}
	return all
}

func (f clientFlags) client(id string) (authz.Client, error) {
	c := authz.Client{
		ID: id, RedirectURIs: f.redirects, AuthMethod: authz.AuthMethod(f.method),
		ClientMadeKeys: f.clientKeys, Ceiling: f.scope, CreatedAt: time.Now(), Settings: f.settings,
	}
	c.GrantTypes = grantTypes(f.grantTypes)
	if c.AuthMethod == "" {
		c.AuthMethod = authz.AuthSecretBasic
		if f.public {
			c.AuthMethod = authz.AuthNone
		}
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{authz.ClientCredentials}
		if len(f.redirects) > 0 {
			c.GrantTypes = []string{authz.AuthorizationCode}
		}
	}
	switch {
	case !slices.Contains(authMethods, c.AuthMethod):
		return c, fmt.Errorf("authentication method %q is not available; there are %s", c.AuthMethod, methodNames())
	case f.public != c.Public():
		return c, errors.New("--public and --auth-method none go together")
	}
	if err := checkName("client", c.ID); err != nil {
		return c, err
	}
	if err := f.fill(&c); err != nil {
		return c, err
	}
	return c, f.channel(&c)
}
