package grant

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"

	"github.com/latchkey-ace/latchkey/authz"
)

// errAbsent answers calls that no judgement makes.
var errAbsent = errors.New("judge grant: no such record on the desk")

// judged stands where the Manager wants an access token. The real one is made by authz, after the judgement.
const judged = "judged"

// desk is all that the Manager sees, for one call: it is its token store, client store and code generator.
type desk struct {
	client    client
	code      *authz.CodeGrant // the consumed row, only read; nil when a code is made
	presented string
	random    io.Reader
}

// manager makes a Manager for one desk. Its defaults that matter are all replaced: no refresh token, exact redirect URIs.
func manager(d *desk) *manage.Manager {
	m := manage.NewManager()
	m.SetAuthorizeCodeTokenCfg(&manage.Config{})
	m.SetClientTokenCfg(&manage.Config{})
	m.SetAuthorizeCodeExp(authz.CodeLife)
	m.SetValidateURIHandler(exactURI)
	m.MapClientStorage(d)
	m.MapTokenStorage(tokens{d})
	m.MapAuthorizeGenerate(codeGenerator{d})
	m.MapAccessGenerate(accessGenerator{})
	return m
}

// exactURI compares byte by byte with the URI of the authorization request, which /authorize found registered. The
// Manager's own rule takes every host that ends like the registered one.
func exactURI(expected, got string) error {
	if expected == "" || expected != got {
		return oautherrors.ErrInvalidRedirectURI
	}
	return nil
}

// GetByID gives the one client of this desk.
func (d *desk) GetByID(_ context.Context, id string) (oauth2.ClientInfo, error) {
	if id == "" || id != d.client.id {
		return nil, oautherrors.ErrInvalidClient
	}
	return &d.client, nil
}

// client is what the Manager learns of a client. It has no secret: the client is authenticated before.
type client struct {
	id          string
	redirectURI string
	public      bool
}

func (c *client) GetID() string     { return c.id }
func (c *client) GetSecret() string { return "" }
func (c *client) GetDomain() string { return c.redirectURI }
func (c *client) IsPublic() bool    { return c.public }
func (c *client) GetUserID() string { return "" }

// tokens is the desk as the Manager's token store.
type tokens struct{ desk *desk }

// GetByCode gives the consumed row. The Manager compares with its own clock, so the row's life is told as what was left of
// it when it was consumed.
func (t tokens) GetByCode(_ context.Context, code string) (oauth2.TokenInfo, error) {
	row := t.desk.code
	if row == nil || code == "" || code != t.desk.presented {
		return nil, oautherrors.ErrInvalidAuthorizeCode
	}
	left := row.ExpiresAt.Sub(row.ConsumedAt)
	if left <= 0 {
		return nil, oautherrors.ErrInvalidAuthorizeCode
	}
	info := models.NewToken()
	info.SetCode(code)
	info.SetCodeCreateAt(time.Now())
	info.SetCodeExpiresIn(left)
	info.SetClientID(row.Client)
	info.SetUserID(row.User)
	info.SetRedirectURI(row.RedirectURI)
	info.SetScope(row.Rights.String())
	info.SetCodeChallenge(row.Challenge)
	info.SetCodeChallengeMethod(oauth2.CodeChallengeS256)
	return info, nil
}

// RemoveByCode does nothing: the row was consumed by the statement that returned it.
func (tokens) RemoveByCode(context.Context, string) error { return nil }

// Create does nothing: the Manager returns the same record to its caller, and no one else shall have it.
func (tokens) Create(context.Context, oauth2.TokenInfo) error { return nil }

func (tokens) RemoveByAccess(context.Context, string) error  { return errAbsent }
func (tokens) RemoveByRefresh(context.Context, string) error { return errAbsent }

func (tokens) GetByAccess(context.Context, string) (oauth2.TokenInfo, error)  { return nil, errAbsent }
func (tokens) GetByRefresh(context.Context, string) (oauth2.TokenInfo, error) { return nil, errAbsent }

// codeGenerator makes codes of 256 bits; the library's own are UUIDs.
type codeGenerator struct{ desk *desk }

func (g codeGenerator) Token(context.Context, *oauth2.GenerateBasic) (string, error) {
	var code [codeSize]byte
	if _, err := io.ReadFull(g.desk.random, code[:]); err != nil {
		return "", fmt.Errorf("random bits of a code: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(code[:]), nil
}

type accessGenerator struct{}

func (accessGenerator) Token(context.Context, *oauth2.GenerateBasic, bool) (access, refresh string, err error) {
	return judged, "", nil
}
