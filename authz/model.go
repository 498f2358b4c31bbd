package authz

import (
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// AuthMethod is how a client proves itself (IANA OAuth Token Endpoint Authentication Methods, and ours for CoAP).
type AuthMethod string

const (
	AuthNone        AuthMethod = "none"                // public client
	AuthSecretBasic AuthMethod = "client_secret_basic" // RFC 6749 §2.3.1
	AuthSecretPost  AuthMethod = "client_secret_post"  // RFC 6749 §2.3.1
	AuthPrivateKey  AuthMethod = "private_key_jwt"     // RFC 7523 §2.2
	AuthTLS         AuthMethod = "tls_client_auth"     // RFC 8705 §2.1
	AuthSelfSigned  AuthMethod = "self_signed_tls_client_auth"
	// Attestation-based (draft-ietf-oauth-attestation-based-client-auth-10). What a client may show is the same for both.
	AuthAttested     AuthMethod = "attest_jwt_client_auth"
	AuthAttestedDPoP AuthMethod = "attest_jwt_client_auth_dpop"
	AuthIntegrity    AuthMethod = "integrity_token" // of an attestation service (docs/wire.md)
	AuthOSCORE       AuthMethod = "oscore"          // the CoAP peer's security context (RFC 9203 §3)
	AuthDTLS         AuthMethod = "dtls"            // the CoAP peer's pre-shared key (RFC 9202 §3)
)

// Grant types (RFC 6749 §4.1, §4.4, §6; RFC 8628 §3.4).
const (
	AuthorizationCode = "authorization_code"
	ClientCredentials = "client_credentials"
	RefreshToken      = "refresh_token"
	DeviceCodeGrant   = "urn:ietf:params:oauth:grant-type:device_code"
)

// Client is a registered application.
type Client struct {
	ID             string
	Name           string // for people; "" where the id will do
	AuthMethod     AuthMethod
	SecretHash     []byte // SHA-256 of a random secret of at least 256 bits; nil without a secret
	RedirectURIs   []string
	GrantTypes     []string
	ClientMadeKeys bool     // may choose the possession key (ARCHITECTURE.md decision 11)
	Ceiling        []string // scope words it may ever ask for; nil: no ceiling. Never a grant (D26)
	Channel        *Channel // OSCORE material or DTLS key for CoAP; nil for HTTP-only clients
	Keys           string   // JWK Set of its public keys (private_key_jwt, self-signed certificates in x5c); "" without
	Settings       ClientSettings
	Serves         provision.DeviceID // the device or API that this client is, which may introspect its tokens; zero: none
	Management     []byte             // SHA-256 of its registration access token (RFC 7592); nil without
	SuspendedAt    time.Time          // zero: not suspended
	CreatedAt      time.Time
}

// ClientSettings are what is asked of a client, or allowed to it, beyond the usual. The zero value is the safe default.
type ClientSettings struct {
	RequirePAR     bool   `json:"require_pushed_authorization_requests,omitempty"`      // RFC 9126 §6
	DPoPBound      bool   `json:"dpop_bound_access_tokens,omitempty"`                   // RFC 9449 §5.2: no other token for HTTP APIs
	TLSBound       bool   `json:"tls_client_certificate_bound_access_tokens,omitempty"` // RFC 8705 §3.4
	Bearer         bool   `json:"bearer,omitempty"`                                     // may have tokens for HTTP APIs bound to nothing
	ProblemDetails bool   `json:"problem_details,omitempty"`                            // CoAP errors as RFC 9290 (workflow draft)
	Administrator  bool   `json:"administrator,omitempty"`                              // sees the whole revocation list (RFC 9770 §5)
	TLSSubject     string `json:"tls_client_auth_subject_dn,omitempty"`                 // RFC 8705 §2.1.2, RFC 4514
	TLSSANDNS      string `json:"tls_client_auth_san_dns,omitempty"`
	TLSSANURI      string `json:"tls_client_auth_san_uri,omitempty"`

	Attesters []string      `json:"attesters,omitempty"` // who may vouch for its instances, by the names of authz.Options
	Apps      []string      `json:"apps,omitempty"`      // what it may be called by its platforms; nil: whatever the attester says
	Demand    attest.Demand `json:"demand,omitzero"`     // of its instances, for whatever they ask

	Registered *Registered `json:"registered,omitempty"` // nil: the operator added it
}

// Public reports whether the client has no credential of its own.
func (c *Client) Public() bool { return c.AuthMethod == AuthNone }

// Channel is provisioned OSCORE material between this server and a client. It is the input of appendix B.2 runs
// (D1), never used as a context itself. At rest MasterSecret is sealed (D3).
type Channel struct {
	MasterSecret []byte
	MasterSalt   []byte
	PeerID       []byte // the client's Sender ID, unique among all peers of this server
	ServerID     []byte // our Sender ID
}

// User is a person who signs in.
type User struct {
	Name         string
	PasswordHash string // argon2id in PHC string format
	SuspendedAt  time.Time
	CreatedAt    time.Time
}

// Delivery is how the possession key reaches the device.
type Delivery string

const (
	DeliveryPush       Delivery = "push"
	DeliveryEmbed      Delivery = "embed"
	DeliveryIntrospect Delivery = "introspect" // the device asks the server about a token that says nothing itself
	DeliveryHTTP       Delivery = "http"       // no device: an HTTP API, whose tokens are JWTs bound to a key of the client
)

// DeviceState is where a device is in its life.
type DeviceState string

const (
	DeviceActive         DeviceState = "active"
	DeviceUnclaimed      DeviceState = "unclaimed"      // has no owner yet
	DeviceDecommissioned DeviceState = "decommissioned" // and never comes back
)

// Device is a resource server's record.
type Device struct {
	ID            provision.DeviceID
	Name          string // for people; unique on this server; never on the wire to devices (D6)
	Owner         string // User.Name
	Kind          provision.Kind
	Delivery      Delivery
	Profile       pop.Profile
	Clock         provision.Clock
	Shape         provision.Shape
	Actions       []provision.Action
	Demands       map[string]attest.Demand // by action: what an app instance must be to have it; nil: nothing is asked
	RootKey       []byte                   // 32 bytes; sealed at rest
	PublicKey     []byte                   // P-256, uncompressed point, for sign1-ecdh and jwt; nil otherwise
	SenderID      []byte                   // the device's OSCORE Sender ID towards this server, unique among all peers
	Epoch         uint64
	ExpiresIn     time.Duration // exi of its tokens; one value per device (OFF-5); whole seconds
	Private       bool          // token content is for the device alone: Sign1 goes inside Encrypt0 (D7)
	RequireCNonce bool
	Remote        bool
	Resource      string      // RFC 8707 URI of an HTTP API, the aud of its tokens; "" for devices
	State         DeviceState // "" is stored as active
	SuspendedAt   time.Time
	CreatedAt     time.Time
	Registration  Registration
	SigningKeys   []string // ids of the server's keys that it knows; nil: it asks for the published ones
	Channel       *Channel // OSCORE material that it brought along; nil: its channel derives from RootKey
}

// Audience is the aud of its tokens.
func (d *Device) Audience() string { return provision.Audience(d.ID) }

// Action finds a named action.
func (d *Device) Action(name string) (provision.Action, bool) {
	for _, a := range d.Actions {
		if a.Name == name {
			return a, true
		}
	}
	return provision.Action{}, false
}

// Rights is everything the device can do.
func (d *Device) Rights() aif.Rights {
	var all aif.Rights
	for _, a := range d.Actions {
		all = all.Union(aif.New(aif.Entry{Path: a.Path, Methods: a.Methods}))
	}
	return all
}

// Registration is what a device last told about itself over its channel (D22), from an address it has proven (D5).
type Registration struct {
	Address   string    // last verified transport address; "" before the first registration
	LocalURIs []string  // where a client near it may reach it, in order of preference
	ExpiresAt time.Time // end of the registration's lifetime
	SeenAt    time.Time
}

// Subject holds rights: exactly one field is set.
type Subject struct {
	User   string
	Client string
}

// Grant is an owner's permission.
type Grant struct {
	ID          pop.GrantID
	Owner       string
	To          Subject
	Device      provision.DeviceID
	Rights      aif.Rights
	From        time.Time // zero: at once
	Until       time.Time // zero: until revoked
	Once        bool      // every state-changing right may be used once (D14)
	Spent       aif.Rights
	CreatedAt   time.Time
	RevokedAt   time.Time // zero: live
	ConfirmedAt time.Time // when the device confirmed the revocation
	SuspendedAt time.Time // zero: not suspended
}

// CodeGrant is what an authorization code stands for. Only the SHA-256 of the code is stored.
type CodeGrant struct {
	Hash        []byte
	Client      string
	User        string
	RedirectURI string
	Challenge   string // PKCE S256
	Device      provision.DeviceID
	Rights      aif.Rights // what the user agreed to
	Grant       pop.GrantID
	BoundKey    []byte // thumbprint of the DPoP key that must redeem it (RFC 9449 §10); nil: any
	Details     string // authorization_details as granted (RFC 9396 §7); "" when asked by scope
	IssuedAt    time.Time
	ExpiresAt   time.Time
	ConsumedAt  time.Time // zero: unused. A consumed row stays as a tombstone so that a replay is recognised (D20)
}

// Login is a person's session in the browser. Only the SHA-256 of its id is stored.
type Login struct {
	Hash      []byte
	User      string
	ExpiresAt time.Time
}

// SigningKey is a P-256 key of this server.
type SigningKey struct {
	ID        string
	Private   []byte    // PKCS #8; sealed at rest
	CreatedAt time.Time // from here on others are given its public half
	From      time.Time // from here on it signs
	Until     time.Time // from here on it signs no more; zero: not decided
	Withdrawn time.Time // no longer secret: nothing under it counts; zero: good
}

// TokenRecord is what is remembered of an issued token: never its bytes, never its key (D3).
type TokenRecord struct {
	Hash     []byte // RFC 9770 token hash as of the answer's encoding
	AltHash  []byte // the hash a device computes when the encodings differ (JWT in JSON, D8); nil otherwise
	ID       []byte // cti
	Device   provision.DeviceID
	Grant    pop.GrantID
	Client   string
	User     string
	Code     []byte   // hash of the code it came from; nil otherwise
	Family   FamilyID // of the refresh token it came with or from; zero: none
	Series   []byte   // id of the first token with its possession key; nil: this is the first, or there is no such key
	Claims   []byte   // what introspection tells of a token that says nothing itself, with the key; sealed at rest; nil otherwise
	IssuedAt time.Time
	Expires  time.Time
	Kept     time.Time // how long a device may take it for live, at least Expires; zero: Expires
	Revoked  time.Time // zero: live
	SignedBy string    // id of the server's key under it; "" where none signs
}

// AuditEntry is one decision: who, what, and why.
type AuditEntry struct {
	At     time.Time
	Event  string // "token", "authorize", "login", "grant.add", "grant.revoke", "upload", "register" …
	Result string // "granted" or "refused"
	Reason string // for people and tests; no secrets
	Client string
	User   string
	Device string // audience
	Grant  pop.GrantID
}
