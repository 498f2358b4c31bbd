package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/spf13/cobra"
)

func grantName(id pop.GrantID) string { return hex.EncodeToString(id[:]) }

func parseGrant(s string) (id pop.GrantID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("grant %q: a grant is named by 16 hexadecimal digits; see latchkey grant list", s)
	}
	return pop.GrantID(b), nil
}

// grantFlags are the flags of grant add.
type grantFlags struct {
	owner, to, toClient, device, from, until string
	allow                                    []string
	once                                     bool
}

func (t *tool) grantCommand() *cobra.Command {
	var f grantFlags
	add := &cobra.Command{
		Use:   "add",
		Short: "Let somebody use a device",
		Example: "  latchkey grant add --owner alice --to mum --device front-door --allow unlock --allow disarm --until 23:00 --once\n" +
			"  latchkey grant add --owner carol --to carol --device monitor --allow configure --until 30m",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.addGrant(cmd, f) },
	}
	fl := add.Flags()
	fl.StringVar(&f.owner, "owner", "", "the person who gives")
	fl.StringVar(&f.to, "to", "", "the person who gets")
	fl.StringVar(&f.toClient, "to-client", "", "the app that gets, acting for nobody")
	fl.StringVar(&f.device, "device", "", "the device")
	fl.StringArrayVar(&f.allow, "allow", nil, "an action, or /path:METHOD; once for each")
	fl.StringVar(&f.from, "from", "", "when it begins: 19:00, 2026-12-24T18:00:00Z, or 10m from now (default at once)")
	fl.StringVar(&f.until, "until", "", "when it ends, written likewise (default when you revoke it)")
	fl.BoolVar(&f.once, "once", false, "each action that moves something works once")
	show := &cobra.Command{Use: "show GRANT", Short: "Show one grant", Example: "  latchkey grant show 0123456789abcdef", Args: command.One, RunE: func(cmd *cobra.Command, args []string) error { return t.showGrant(cmd, args[0]) }}
	revoke := &cobra.Command{
		Use: "revoke GRANT", Short: "End a grant now",
		Long:    "Stops new tokens at once, then tells an online device. It prints \"confirmed\" only after the device has answered.",
		Example: "  latchkey grant revoke 0123456789abcdef", Args: command.One,
		RunE: func(cmd *cobra.Command, args []string) error { return t.revokeGrant(cmd, args[0]) },
	}
	var owner string
	list := &cobra.Command{Use: "list", Short: "List grants, newest first", Example: "  latchkey grant list --owner alice", Args: command.None, RunE: func(cmd *cobra.Command, _ []string) error { return t.listGrants(cmd, owner) }}
	list.Flags().StringVar(&owner, "owner", "", "only what this person gave")
	return command.Group("grant", "Permissions", "  latchkey grant list", add, list, show, revoke)
}

// parseTime reads a point in time: RFC 3339, a clock time today or tomorrow, or a duration from now.
func parseTime(what, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d), nil
	}
	if clock, err := time.ParseInLocation("15:04", s, now.Location()); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = at.AddDate(0, 0, 1)
		}
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%s %q: write 23:00, 30m or 2026-12-24T18:00:00Z", what, s)
}

func (t *tool) addGrant(cmd *cobra.Command, f grantFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	g, d, err := h.grant(cmd.Context(), f)
	if err != nil {
		return err
	}
	if g, err = h.server.Give(cmd.Context(), g); err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), grantLine(g, d), "granted %s: %s", grantName(g.ID), sentence(g, d))
}

func (h *house) grant(ctx context.Context, f grantFlags) (authz.Grant, authz.Device, error) {
	g := authz.Grant{Owner: f.owner, To: authz.Subject{User: f.to, Client: f.toClient}, Once: f.once}
	d, err := h.store.DeviceByName(ctx, f.device)
	if err != nil {
		return g, d, orUnknown(err, "--device %q: there is no such device; latchkey device list shows them", f.device)
	}
	g.Device = d.ID
	if d.Owner != f.owner {
		return g, d, fmt.Errorf("--owner %q: %s belongs to %s, who alone can give it", f.owner, d.Name, d.Owner)
	}
	if err := h.checkSubject(ctx, f); err != nil {
		return g, d, err
	}
	rights, unknown := d.ParseRights(f.allow)
	switch able := strings.Join(d.Names(d.Rights()), ", "); {
	case unknown != "":
		return g, d, fmt.Errorf("--allow %q: %s can %s", unknown, d.Name, able)
	case !rights.Subset(d.Rights()):
		return g, d, fmt.Errorf("--allow %s: %s can %s", strings.Join(f.allow, ", "), d.Name, able)
	}
	g.Rights = rights
	now := time.Now()
	if g.From, err = parseTime("--from", f.from, now); err != nil {
		return g, d, err
	}
	g.Until, err = parseTime("--until", f.until, now)
	return g, d, err
}

// checkSubject wants exactly one known subject.
func (h *house) checkSubject(ctx context.Context, f grantFlags) error {
	if f.to != "" {
		_, err := h.store.User(ctx, f.to)
		return orUnknown(err, "--to %q: there is no such person; add them first: latchkey user add", f.to)
	}
	_, err := h.store.Client(ctx, f.toClient)
	return orUnknown(err, "--to-client %q: there is no such app; add it first: latchkey client add", f.toClient)
}

// orUnknown puts ErrNotFound in the words of the flag that named the thing.
func orUnknown(err error, words, name string) error {
	if errors.Is(err, authz.ErrNotFound) {
		return fmt.Errorf(words, name)
	}
	return err
}

// check refuses what is missing before the store is opened.
func (f grantFlags) check() error {
	switch {
	case f.owner == "":
		return errors.New("say who gives: --owner USER")
	case f.device == "":
		return errors.New("say what for: --device NAME")
	case (f.to == "") == (f.toClient == ""):
		return errors.New("say who gets it, one of the two: --to USER or --to-client ID")
	case len(f.allow) == 0:
		return errors.New("say what may be done: --allow ACTION, once for each")
	}
	return nil
}

// grantView is a grant in JSON.
type grantView struct {
	Grant       string    `json:"grant"`
	Owner       string    `json:"owner"`
	To          string    `json:"to"`
	Device      string    `json:"device"`
	Allow       []string  `json:"allow"`
	Used        []string  `json:"used,omitempty"`
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Once        bool      `json:"once"`
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
}

func grantLine(g authz.Grant, d authz.Device) grantView {
	return grantView{
		Grant: grantName(g.ID), Owner: g.Owner, To: g.To.User + g.To.Client, Device: d.Name, Allow: d.Names(g.Rights),
		Used: d.Names(g.Spent), From: g.From, Until: g.Until, Once: g.Once, RevokedAt: g.RevokedAt, ConfirmedAt: g.ConfirmedAt,
	}
}

func sentence(g authz.Grant, d authz.Device) string {
	s := fmt.Sprintf("%s lets %s %s on %s", g.Owner, g.To.User+g.To.Client, strings.Join(d.Names(g.Rights), ", "), d.Name)
	if g.Once {
		s += ", once"
	}
	if !g.From.IsZero() {
		s += ", from " + when(g.From, "")
	}
	s += ", until " + when(g.Until, "revoked")
	switch {
	case len(g.Spent) > 0:
		s += "; used: " + strings.Join(d.Names(g.Spent), ", ")
	case !g.ConfirmedAt.IsZero():
		s += "; revoked " + when(g.RevokedAt, "") + ", confirmed"
	case !g.RevokedAt.IsZero():
		s += "; revoked " + when(g.RevokedAt, "") + ", not confirmed"
	}
	return s
}

func (t *tool) listGrants(cmd *cobra.Command, owner string) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	grants, err := h.store.Grants(cmd.Context(), owner)
	if err != nil {
		return err
	}
	views, words := []grantView{}, []string{}
	for _, g := range grants {
		d, err := h.store.Device(cmd.Context(), g.Device)
		if err != nil {
			return err
		}
		views = append(views, grantLine(g, d))
		words = append(words, grantName(g.ID)+"  "+sentence(g, d))
	}
	return t.say(cmd.OutOrStdout(), views, "%s", orNone(words, "no grants"))
}

func (t *tool) showGrant(cmd *cobra.Command, name string) error {
	id, err := parseGrant(name)
	if err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	g, err := h.store.Grant(cmd.Context(), id)
	if err != nil {
		return orUnknown(err, "grant %q: there is no such grant; latchkey grant list shows them", name)
	}
	d, err := h.store.Device(cmd.Context(), g.Device)
	if err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), grantLine(g, d), "%s  %s", grantName(g.ID), sentence(g, d))
}

// revokeGrant goes through the running server, which alone can reach the device; without one it still stops minting.
func (t *tool) revokeGrant(cmd *cobra.Command, name string) error {
	id, err := parseGrant(name)
	if err != nil {
		return err
	}
	if t.data == "" {
		return errNoData
	}
	r, err := askServer(cmd.Context(), t.data, id)
	if errors.Is(err, errNoServer) {
		r, err = t.revokeHere(cmd.Context(), id)
	}
	if err != nil {
		err = orUnknown(err, "grant %q: there is no such grant; latchkey grant list shows them", name)
		return fmt.Errorf("not revoked for certain: %w", err)
	}
	if r.Confirmed {
		return t.say(cmd.OutOrStdout(), r, "revoked; confirmed by %s", r.Device)
	}
	words := "revoked: no new tokens; NOT confirmed by " + r.Device + " (" + r.Cause + ")"
	if !r.EndsBy.IsZero() {
		words += "; what is out ends by itself by " + when(r.EndsBy, "")
	}
	return t.say(cmd.OutOrStdout(), r, "%s", words)
}

func (t *tool) revokeHere(ctx context.Context, id pop.GrantID) (revocation, error) {
	h, err := t.open(ctx)
	if err != nil {
		return revocation{}, err
	}
	defer h.Close()
	result, err := h.server.Revoke(ctx, id)
	if err != nil {
		return revocation{}, err
	}
	r := describe(result)
	if !r.Confirmed {
		r.Cause = "no server is running"
	}
	return r, nil
}
