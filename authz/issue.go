package authz

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// possession is the key the token will be bound to.
type possession struct {
	material pop.InputMaterial // without MasterSecret: the device has it from the first token of the series
	made     []byte            // the key itself if the client made it; nil if we did
	series   []byte            // id of the first token with this key; nil: this is to be the first
}

// minted is a token that exists: it has been recorded.
type minted struct {
	bytes     []byte
	record    TokenRecord
	material  pop.InputMaterial
	expiresIn time.Duration
	refresh   string // its refresh token, if the client is to have a new one
}

// checkKey takes the client's key, finds the one it had before, or makes one (ARCHITECTURE.md decision 11, D9, D10). A new
// key gets its id in issue.
func (s *Server) checkKey(ctx context.Context, r *request) error {
	switch {
	case r.device.Delivery == DeliveryHTTP:
		return r.checkBinding()
	case r.shown.family != nil && r.shown.family.Material.MasterSecret != nil:
		return s.keepKey(r)
	case r.ReqCnf == nil:
		r.key.material.MasterSecret = make([]byte, secretSize)
		if _, err := io.ReadFull(s.rand, r.key.material.MasterSecret); err != nil {
			return fmt.Errorf("possession key: %w", err)
		}
		return nil
	case r.ReqCnf.KeyID != nil:
		return s.continueSeries(ctx, r)
	}
	return r.takeKey()
}

func (r *request) takeKey() error {
	bad := func(why string) error { return &ace.Error{Code: ace.InvalidRequest, Description: "req_cnf: " + why} }
	key := r.ReqCnf.Key
	switch {
	case key == nil:
		return bad("must hold a COSE_Key or jwk")
	case key.Secret() == nil:
		return &ace.Error{Code: ace.UnsupportedPoPKey, Description: "this device takes symmetric possession keys only"}
	case !r.caller.Client.ClientMadeKeys:
		return bad("this client may not choose the key; ask without req_cnf")
	case len(key.ID()) != 0:
		return bad("the key must have no kid; the server assigns it")
	}
	k := key.Secret()
	if len(k) != 16 && len(k) != 32 {
		return bad("the key must be 16 or 32 random bytes")
	}
	if !slices.ContainsFunc(k, func(b byte) bool { return b != k[0] }) {
		return bad("the key is not random")
	}
	r.key.material.MasterSecret, r.key.made = k, k
	return nil
}

// checkDevice refuses what the device could not judge (D16), before a code is spent on it.
func (s *Server) checkDevice(_ context.Context, r *request) error {
	d := &r.device
	if d.Delivery == DeliveryHTTP {
		return nil // it has a clock, and no profile
	}
	if !slices.Contains([]Delivery{DeliveryPush, DeliveryEmbed, DeliveryIntrospect}, d.Delivery) {
		return &ace.Error{Code: ace.InvalidRequest, Description: "this server makes no tokens for devices of delivery " + string(d.Delivery)}
	}
	if d.Profile != pop.ProfileCoAPOSCORE && d.Profile != pop.ProfileCoAPDTLS || r.Profile != nil && r.Profile.Named && r.Profile.Profile != d.Profile {
		return &ace.Error{Code: ace.IncompatibleProfiles, Description: "this device speaks " + d.Profile.String()}
	}
	if d.RequireCNonce && r.CNonce == nil {
		return &ace.Error{Code: ace.InvalidRequest, Description: "cnonce is missing: ask the device for one first"}
	}
	until := r.decision.Until
	if d.Clock != provision.ClockSynced && r.CNonce == nil && !until.IsZero() && until.Sub(s.now()) < d.exi() {
		return &ace.Error{Code: ace.InvalidScope, Description: "the grant ends sooner than this device, which has no clock, could tell; ask at the device with a cnonce"}
	}
	return nil
}

// exi is the lifetime a device without a clock counts from first acceptance.
func (d *Device) exi() time.Duration {
	if d.ExpiresIn > 0 {
		return d.ExpiresIn
	}
	return DefaultEXI
}

// issue makes the token. It runs inside the minting transaction.
func (s *Server) issue(r *request, m Minting, now time.Time) (minted, error) {
	claims, expiresIn := s.claims(r, m, now)
	if expiresIn < time.Second {
		return minted{}, refusal(policy.ReasonEnded) // within the grant's last second there is no token to make
	}
	if r.device.Delivery == DeliveryHTTP {
		return s.issueHTTP(r, claims, expiresIn)
	}
	seal, ok := sealerOf(&r.device, &r.key)
	if !ok {
		return minted{}, fmt.Errorf("device %s: unknown token shape %v", r.device.Audience(), r.device.Shape)
	}
	if r.device.Shape == provision.ShapeJWT || r.device.Delivery == DeliveryIntrospect {
		s.nameParties(claims, r) // RFC 9068 §2.2; a CWT names neither (D7)
	}
	material := r.key.material // a copy: Mint may call again, with another id
	var err error
	if material.ID == nil {
		if material.ID, err = keyID(&r.device, claims.ID); err != nil {
			return minted{}, fmt.Errorf("issue for %s: %w", r.device.Audience(), err)
		}
	}
	token, err := seal(&press{rand: s.rand, device: &r.device, signer: r.signer}, claims, material)
	if err != nil {
		return minted{}, fmt.Errorf("issue for %s: %w", r.device.Audience(), err)
	}
	record := TokenRecord{
		ID: claims.ID, Device: r.device.ID, Grant: r.decision.Grant, Client: r.caller.Client.ID, User: r.shown.user,
		Code: r.shown.code, Series: r.key.series, IssuedAt: now, Expires: claims.Expires,
		SignedBy: r.signer.ID,
	}
	if record.Claims, err = remembered(&r.device, claims); err != nil {
		return minted{}, fmt.Errorf("issue for %s: %w", r.device.Audience(), err)
	}
	if r.device.Clock != provision.ClockSynced {
		record.Kept = claims.Expires.Add(r.device.exi()) // accepted in its last second, it then counts exi (D16)
	}
	record.Hash, record.AltHash = hashes(&r.device, token, r.caller.Encoding)
	return minted{bytes: token, record: record, material: material, expiresIn: expiresIn}, nil
}

// nameParties names issuer, client and subject; a client that acts for nobody is its own subject.
func (s *Server) nameParties(c *pop.Claims, r *request) {
	c.Issuer, c.ClientID, c.Subject = s.issuer, r.caller.Client.ID, r.shown.user
	if c.Subject == "" {
		c.Subject = c.ClientID
	}
}

// claims says what is granted. Whole seconds: rounding down shortens, never lengthens.
func (s *Server) claims(r *request, m Minting, now time.Time) (*pop.Claims, time.Duration) {
	now = now.Truncate(time.Second)
	c := &pop.Claims{
		Audience: r.device.Audience(), IssuedAt: now, Scope: r.decision.Rights, CNonce: r.CNonce,
		ID:      binary.BigEndian.AppendUint64(slices.Clone(r.device.ID[:]), m.Sequence),
		Profile: r.device.Profile,
		Grant:   &pop.GrantRef{Epoch: m.Epoch, Grant: r.decision.Grant, Once: r.decision.Once, Grade: r.caller.grade()},
	}
	life := s.life
	if r.device.Clock != provision.ClockSynced {
		c.ExpiresIn = r.device.exi()
		life = c.ExpiresIn + HoldLife
	}
	c.Expires = now.Add(life)
	if until := r.decision.Until; !until.IsZero() && until.Before(c.Expires) {
		c.Expires = until.Truncate(time.Second)
	}
	expiresIn := c.Expires.Sub(now)
	if c.ExpiresIn > 0 {
		expiresIn = min(expiresIn, c.ExpiresIn) // OFF-9: never promise more than exi
	}
	return c, expiresIn
}

// sealer makes one of the offline token shapes (ARCHITECTURE.md §3.12).
type sealer func(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error)

// press is what tokens for one device are made with.
type press struct {
	rand   io.Reader
	device *Device
	signer jose.Signer // zero where none signs
}

var shapes = map[provision.Shape]sealer{
	provision.ShapeEncrypt0:  sealEncrypt0,
	provision.ShapeSign1:     sealSign1,
	provision.ShapeSign1ECDH: sealSign1ECDH,
	provision.ShapeJWT:       sealJWT,
}

// sealEncrypt0 is shape (a): everything encrypted under the device's token key, the OSCORE input material or the DTLS key
// inside.
func sealEncrypt0(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	d := p.device
	key, err := provision.SymmetricKey(d.RootKey, provision.PurposeToken, d.ID, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	c.Confirmation = confirmationOf(d, m)
	return cwt.Seal(c, cwt.Encrypt0{Key: key}, p.rand)
}

// sealSign1 is shape (b) with the possession key under the device's shared cnf key (D7).
func sealSign1(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	d := p.device
	key, err := provision.SymmetricKey(d.RootKey, provision.PurposeCnf, d.ID, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	c.Confirmation.Encrypted, err = cwt.EncryptKey(cose.NewSymmetric(m.MasterSecret, m.ID), key, p.rand)
	if err != nil {
		return nil, err
	}
	return p.sign(c)
}

// sealSign1ECDH is shape (b) with the possession key under the device's public key (D7).
func sealSign1ECDH(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	to, err := p.device.publicKey()
	if err != nil {
		return nil, err
	}
	c.Confirmation.Encrypted, err = cwt.EncryptKeyTo(cose.NewSymmetric(m.MasterSecret, m.ID), to, p.rand)
	if err != nil {
		return nil, err
	}
	return p.sign(c)
}

// sign signs a CWT; a device marked private gets it inside an Encrypt0.
func (p *press) sign(c *pop.Claims) ([]byte, error) {
	d, sign := p.device, cwt.Sign1{Signer: p.signer.Key, ID: cose.KeyID(p.signer.ID)}
	if !d.Private {
		return cwt.Seal(c, sign, p.rand)
	}
	key, err := provision.SymmetricKey(d.RootKey, provision.PurposeToken, d.ID, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	return cwt.Seal(c, cwt.Nested{Sign1: sign, Encrypt0: cwt.Encrypt0{Key: key}}, p.rand)
}

// sealJWT is shape (c): a signed JWT whose cnf.jwe holds the possession key (D8).
func sealJWT(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	to, err := p.device.publicKey()
	if err != nil {
		return nil, err
	}
	c.Confirmation.JWE, err = cnfjwe.EncryptKey(m.MasterSecret, m.ID, to)
	if err != nil {
		return nil, err
	}
	token, err := jose.Sign(c, p.signer)
	return []byte(token), err
}

// hashes are the token's hash as of the answer, and the one the device may compute instead (D8).
func hashes(d *Device, token []byte, e Encoding) (hash, alt []byte) {
	if d.Shape != provision.ShapeJWT || d.Delivery == DeliveryIntrospect {
		h := cwt.Hash(token)
		return h[:], nil
	}
	asJSON, asCBOR := cwt.HashJWT(string(token))
	if e == EncodingCBOR {
		return asCBOR[:], asJSON[:]
	}
	return asJSON[:], asCBOR[:]
}
