package authz

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/gatt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Encoding is how the answer will be written; a token's hash depends on it (RFC 9770 §4).
type Encoding int

const (
	EncodingJSON Encoding = iota
	EncodingCBOR
)

// Caller is the authenticated client behind a request. A face makes it; nothing in the request can.
type Caller struct {
	Client      Client
	Encoding    Encoding
	DPoP        []byte    // SHA-256 thumbprint of the key whose proof came with the request (RFC 9449); nil: no proof
	Certificate []byte    // SHA-256 of the client's certificate (RFC 8705 §3.1); nil: none
	Attested    *Attested // what vouches for the app instance; nil: nothing
	Proofs      []Use     // ids of assertion and proof, spent together with what the request is granted
}

// request is one token request on its way through the steps of Token.
type request struct {
	*ace.TokenRequest
	caller   Caller
	shown    shown
	device   Device
	key      possession
	signer   jose.Signer // of the token; zero where none signs
	decision policy.Decision
	worded   bool // asked with authorization_details
}

// shown is what the client has to show for itself, as read: Mint consumes it. Zero for client_credentials.
type shown struct {
	user       string
	device     provision.DeviceID
	agreed     aif.Rights  // what the person said yes to
	grant      pop.GrantID // from which that came
	code       []byte      // hash of the code, also of the one a refresh token came from
	details    string      // authorization_details as agreed
	family     *Family
	consumedAt time.Time
	use        use
}

// use names what Mint is to consume: at most one field is set.
type use struct {
	code, deviceCode []byte
	refresh          *RefreshUse
}

// grants holds for each grant type how what the client shows is found and checked, nothing being consumed yet (D20): a
// request that fails here leaves it as it was, so nobody can burn another's.
var grants = map[string]func(*Server, context.Context, *request) error{
	AuthorizationCode: (*Server).findCode,
	ClientCredentials: func(*Server, context.Context, *request) error { return nil },
	RefreshToken:      (*Server).findRefresh,
	DeviceCodeGrant:   (*Server).findDeviceCode,
}

// Token answers a token request (RFC 6749 §3.2, RFC 9200 §5.8): it finds the audience, checks the possession key,
// decides the rights, then consumes the grant and issues in one transaction, and at last delivers.
//
// Errors are *ace.Error for the client; any other error is a fault of this server and says nothing to the client.
func (s *Server) Token(ctx context.Context, caller Caller, in *ace.TokenRequest) (*ace.TokenResponse, error) {
	r := &request{TokenRequest: in, caller: caller}
	response, err := s.token(ctx, r)
	var refused *ace.Error
	s.observeToken(in.GrantType, err)
	if errors.As(err, &refused) {
		if !errors.As(err, new(*recordedError)) {
			entry := r.entry("refused")
			entry.Reason = joinReasons(auditReason(err, refused), entry.Reason)
			s.audit(ctx, entry)
		}
		return nil, refused
	}
	return response, err
}

func (s *Server) token(ctx context.Context, r *request) (*ace.TokenResponse, error) {
	steps := []func(context.Context, *request) error{
		s.checkClient, s.checkAttested, s.narrow, s.findGrant, s.findDevice, s.checkPace, s.checkKey, s.checkUnspent, s.checkSpread, s.decideRights, s.checkDevice, s.chooseSigner,
	}
	for _, step := range steps {
		if err := step(ctx, r); err != nil {
			return nil, err
		}
	}
	token, err := s.mint(ctx, r)
	if errors.Is(err, ErrKeyWithdrawn) { // by another process, a moment ago
		if _, err = s.keys.reload(ctx, s.now()); err == nil {
			err = s.chooseSigner(ctx, r)
		}
		if err == nil {
			token, err = s.mint(ctx, r)
		}
	}
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, r, token)
}

// chooseSigner finds the key that signs the token, before anything is spent on it.
func (s *Server) chooseSigner(ctx context.Context, r *request) (err error) {
	d := &r.device
	if d.Delivery == DeliveryIntrospect || d.Delivery != DeliveryHTTP && !d.Shape.Signed() {
		return nil
	}
	r.signer, err = s.signingKeys(ctx).signer(d, s.now())
	if errors.Is(err, errNoKeyOfDevice) {
		return &reasonError{told: &ace.Error{Code: ace.InvalidRequest, Description: "the device must be given the server's new keys first"}, reason: err.Error()}
	}
	return err
}

// reasonError carries to the audit log what the client is not told.
type reasonError struct {
	told   *ace.Error
	reason string
}

func (e *reasonError) Error() string { return e.reason }

func (e *reasonError) Unwrap() error { return e.told }

func auditReason(err error, refused *ace.Error) string {
	var known *reasonError
	if errors.As(err, &known) {
		return known.reason
	}
	return cmp.Or(refused.Description, refused.Code.String())
}

func (r *request) entry(result string) AuditEntry {
	e := AuditEntry{Event: "token", Result: result, Client: r.caller.Client.ID, User: r.shown.user, Grant: r.decision.Grant, Reason: r.caller.Attested.words()}
	if r.device.Name != "" {
		e.Device = r.device.Audience()
	}
	return e
}

func (s *Server) checkClient(_ context.Context, r *request) error {
	if grants[r.GrantType] == nil {
		return &ace.Error{Code: ace.UnsupportedGrantType, Description: "this server does not grant that"}
	}
	if !slices.Contains(r.caller.Client.GrantTypes, r.GrantType) {
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "this client may not use " + r.GrantType}
	}
	if r.GrantType == ClientCredentials && r.caller.Client.Public() {
		return &ace.Error{Code: ace.UnauthorizedClient, Description: "a public client has no credentials to use"}
	}
	return nil
}

// badCode is the one answer to everything that can be wrong with a code, so that trying tells nothing (D20).
func badCode(reason string) error {
	return &reasonError{told: &ace.Error{Code: ace.InvalidGrant, Description: "the code is not valid for this client, redirect_uri and code_verifier"}, reason: reason}
}

// findGrant finds and checks what the client shows.
func (s *Server) findGrant(ctx context.Context, r *request) error {
	return grants[r.GrantType](s, ctx, r)
}

// findCode reads the code and checks all that binds it.
func (s *Server) findCode(ctx context.Context, r *request) error {
	if r.Code == "" {
		return &ace.Error{Code: ace.InvalidRequest, Description: "code is missing"}
	}
	code, err := s.store.Code(ctx, HashSecret(r.Code))
	if errors.Is(err, ErrNotFound) {
		return badCode("unknown code")
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(r.CodeVerifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	switch {
	case code.Client != r.caller.Client.ID:
		return badCode("code of another client")
	case code.RedirectURI != r.RedirectURI:
		return badCode("another redirect_uri")
	case len(r.CodeVerifier) < 43 || len(r.CodeVerifier) > 128 || !unreserved(r.CodeVerifier):
		return badCode("malformed code_verifier")
	case subtle.ConstantTimeCompare([]byte(challenge), []byte(code.Challenge)) != 1:
		return badCode("wrong code_verifier")
	case !r.caller.proves(code.BoundKey):
		return badCode("without a proof of the key it is bound to")
	case code.ConsumedAt.IsZero() && !s.now().Before(code.ExpiresAt):
		return badCode("expired code")
	}
	r.shown = shown{
		user: code.User, device: code.Device, agreed: code.Rights, grant: code.Grant, code: code.Hash,
		details: code.Details, consumedAt: code.ConsumedAt, use: use{code: code.Hash},
	}
	return nil
}

// findDevice takes the audience of what was shown, which the request may repeat but not change.
func (s *Server) findDevice(ctx context.Context, r *request) (err error) {
	if r.shown.agreed != nil && r.Audience == "" && r.Resource == "" {
		r.device, err = s.store.Device(ctx, r.shown.device)
		return err
	}
	if r.device, err = s.target(ctx, r.Audience, r.Resource); err != nil {
		return err
	}
	if r.shown.agreed != nil && r.device.ID != r.shown.device {
		r.device = Device{}
		if r.Resource != "" {
			return wrongTarget("resource: what was agreed to is another one") // RFC 8707 §2.2
		}
		return wrong[r.GrantType]("another audience")
	}
	return nil
}

// wrong are the answers to what was shown, by grant type.
var wrong = map[string]func(reason string) error{AuthorizationCode: badCode, RefreshToken: badRefresh, DeviceCodeGrant: badDeviceCode}

// checkPace holds a client to a rhythm at each device. A client without rights there slows down itself alone.
func (s *Server) checkPace(_ context.Context, r *request) error {
	return s.limits.Allow(throttle.Device, r.caller.Client.ID+" at "+r.device.Audience())
}

// checkUnspent knows a replay by its being right in everything that binds the code (D20). Whether a code
// is unspent, Mint decides.
func (s *Server) checkUnspent(ctx context.Context, r *request) error {
	if !checks.Code || r.shown.consumedAt.IsZero() {
		return nil
	}
	return s.replayed(ctx, r, r.shown.consumedAt)
}

// decideRights asks the policy anew, whatever was decided when the code was made: a grant may have ended since.
func (s *Server) decideRights(ctx context.Context, r *request) error {
	asked, err := rightsOf(&r.device, r.Scope)
	if err != nil {
		return err
	}
	subject := Subject{Client: r.caller.Client.ID}
	if r.shown.agreed != nil {
		subject = Subject{User: r.shown.user}
		if len(asked) == 0 {
			asked = r.shown.agreed
		}
		if asked.Empty() || !asked.Subset(r.shown.agreed) {
			return refusal(policy.ReasonMore)
		}
	}
	r.decision, err = s.decide(ctx, question{device: &r.device, client: &r.caller.Client, subject: subject, asked: asked, verdict: r.caller.verdict()})
	var refused *policy.RefusedError
	if errors.As(err, &refused) {
		return s.explain(ctx, r.shown.grant, refused)
	}
	return err
}

// explain tells a grant that has ended since the code was made from one that never was: the store lists live ones alone.
func (s *Server) explain(ctx context.Context, was pop.GrantID, why *policy.RefusedError) error {
	if reason := policy.ReasonNoGrant; why.Reason == reason && was != (pop.GrantID{}) {
		g, err := s.store.Grant(ctx, was)
		if err != nil {
			return err
		}
		reason = policy.ReasonEnded
		if !g.RevokedAt.IsZero() {
			reason = policy.ReasonRevoked
		}
		why = &policy.RefusedError{Reason: reason}
	}
	return refused(why)
}

// mint consumes and issues in one transaction.
func (s *Server) mint(ctx context.Context, r *request) (minted, error) {
	if err := s.steady.check(s.now()); err != nil {
		return minted{}, err
	}
	spec := MintSpec{
		Now: s.now(), ClientKey: r.key.made, Audit: r.entry("granted"), Proofs: r.caller.Proofs,
		Parties: Parties{Client: r.caller.Client.ID, User: r.shown.user, Grant: r.decision.Grant, Device: r.device.ID},
		Code:    r.shown.use.code, DeviceCode: r.shown.use.deviceCode, Refresh: r.shown.use.refresh, Series: r.key.series,
	}
	spec.Audit.At = spec.Now
	var token minted
	err := s.store.Mint(ctx, spec, func(m Minting) (Issued, error) {
		if err := s.granter.Judge(ctx, r.judgement(m)); err != nil {
			return Issued{}, err
		}
		var err error
		if token, err = s.issue(r, m, spec.Now); err != nil {
			return Issued{}, err
		}
		return s.withFamily(r, m, &token, spec.Now)
	})
	if r.shown.family != nil && err != nil {
		err = s.refreshError(ctx, r, err)
	}
	var spent *CodeSpentError
	if errors.As(err, &spent) && spec.Code != nil {
		return minted{}, s.replayed(ctx, r, spent.ConsumedAt)
	}
	return token, mintError(err, r)
}

func (r *request) judgement(m Minting) Judgement {
	return Judgement{
		GrantType: r.GrantType, Client: r.caller.Client, Code: m.Code, Family: m.Family, DeviceCode: m.DeviceCode, CodeValue: r.Code,
		Verifier: r.CodeVerifier, RedirectURI: r.RedirectURI, Scope: r.decision.Rights.String(),
	}
}

// mintError says in protocol words why the transaction found nothing to give.
func mintError(err error, r *request) error {
	var spent *CodeSpentError
	var gone *SuspendedError
	switch {
	case errors.As(err, &spent) && r.shown.use.deviceCode != nil:
		return badDeviceCode("device code was redeemed before")
	case r.shown.use.deviceCode != nil && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrPending) || errors.Is(err, ErrDenied)):
		return badDeviceCode("device code that was answered otherwise meanwhile")
	case errors.As(err, &spent):
		return badCode("code was redeemed before")
	case errors.Is(err, ErrNotFound) && r.GrantType == AuthorizationCode:
		return badCode("expired code")
	case errors.Is(err, ErrGrantEnded):
		return refusal(policy.ReasonEnded)
	case errors.As(err, &gone):
		return &reasonError{told: refusal(policy.ReasonNoGrant), reason: gone.Error()}
	case errors.Is(err, ErrSeriesEnded):
		return noSuchKey(&r.device, "the series has ended")
	case errors.Is(err, ErrLogWanted):
		return &reasonError{told: &ace.Error{Code: ace.InvalidGrant, Description: "what was used up is not known before the device has been online; ask again then"}, reason: err.Error()}
	case errors.Is(err, ErrReplayed):
		return replayed(err)
	case errors.Is(err, ErrKeySeen):
		return &ace.Error{Code: ace.InvalidRequest, Description: "req_cnf: this key was used before; make a new one"}
	}
	return err
}

// answer delivers the token and says where it went (RFC 9200 §5.8.2, SDC of the workflow draft §3).
func (s *Server) answer(ctx context.Context, r *request, token minted) (*ace.TokenResponse, error) {
	if r.device.Delivery == DeliveryHTTP {
		return r.answerHTTP(token), nil
	}
	s.locate(ctx, &r.device)
	response := &ace.TokenResponse{
		TokenType: ace.TokenTypePoP, ExpiresIn: token.expiresIn, RSURI: s.whereabouts(&r.device), RefreshToken: token.refresh, Details: r.grantedDetails(),
	}
	if !r.key.update() { // RFC 9203 §3.2: the client has the key already
		cnf := confirmationOf(&r.device, token.material)
		response.Cnf = &cnf
	}
	// A COSE_Key alone does not say what it is for, OSCORE input material does.
	if r.Profile != nil || r.caller.Encoding == EncodingJSON || r.device.Profile == pop.ProfileCoAPDTLS {
		response.Profile = r.device.Profile
	}
	response.Scope = scopeFor(&r.device, r.decision.Rights, r.Scope)
	uploaded := ace.UploadFailed
	if payload := s.uploadFor(r, token); payload != nil {
		response.TokenUpload = &uploaded
		if from, err := s.upload(ctx, &r.device, payload); err != nil {
			s.log.Warn("upload", "device", r.device.Audience(), "err", err)
			entry := r.entry("refused")
			entry.Event, entry.Reason = "upload", "the device did not confirm"
			s.audit(ctx, entry)
		} else {
			uploaded, response.FromRS = ace.UploadDone, from
		}
	}
	if uploaded != ace.UploadDone || *r.TokenUpload == ace.UploadWantToken {
		response.AccessToken = token.bytes
	} else if *r.TokenUpload == ace.UploadWantHash {
		response.TokenHash = token.record.Hash
	}
	return response, nil
}

// uploadFor is the payload to upload; nil where no upload is to be tried, which the client must be able to tell from one
// that failed (workflow draft §3.1): it did not ask, its to_rs cannot be read, the device takes none or is not there, or
// the limits of D18 are reached, or it is an update: the draft's updated_rights, which would say so, has no number, and only the
// client can show it under the context that it updates. For coap_dtls the token is the whole payload: a client that does not know the device's
// profile yet sends a to_rs for OSCORE, which then has no place.
func (s *Server) uploadFor(r *request, token minted) []byte {
	if r.TokenUpload == nil || r.key.update() || s.deliver == nil || r.device.Delivery != DeliveryPush || !s.online(&r.device) {
		return nil
	}
	payload, err := token.bytes, error(nil)
	if r.device.Profile != pop.ProfileCoAPDTLS {
		payload, err = ace.UploadPayload(r.ToRS, token.bytes)
	}
	if err != nil || !s.uploads.take(r.device.ID, r.decision.Grant, token.record.IssuedAt) {
		return nil
	}
	return payload
}

// upload returns the device's answer.
func (s *Server) upload(ctx context.Context, d *Device, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, UploadTime)
	defer cancel()
	from, err := s.deliver.Upload(ctx, *d, payload)
	if err != nil {
		return nil, err
	}
	return checkUploaded(d, from)
}

// locate learns where a device is now. The token is there already; without an answer the device counts as away.
func (s *Server) locate(ctx context.Context, d *Device) {
	var err error
	if d.Delivery == DeliveryEmbed {
		return
	}
	if d.Registration, err = s.store.Registration(ctx, d.ID); err != nil {
		s.log.Warn("where the device is", "device", d.Audience(), "err", err)
	}
}

func (s *Server) online(d *Device) bool { return d.Registration.ExpiresAt.After(s.now()) }

// whereabouts are hints in order of preference (D13), never trust.
func (s *Server) whereabouts(d *Device) []string {
	switch {
	case d.Delivery == DeliveryEmbed:
		return []string{"coap+gatt:" + gatt.ServiceUUID}
	case s.online(d):
		return d.Registration.LocalURIs
	}
	return nil
}

// uploadLimits counts uploads per grant and per device within the current hour (D18).
type uploadLimits struct {
	mu     sync.Mutex
	hour   time.Time
	device map[provision.DeviceID]int
	grant  map[uploadKey]int
}

type uploadKey struct {
	device provision.DeviceID
	grant  pop.GrantID
}

func newUploadLimits() *uploadLimits { return &uploadLimits{} }

func (l *uploadLimits) take(device provision.DeviceID, grant pop.GrantID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hour := now.Truncate(time.Hour); !hour.Equal(l.hour) {
		l.hour, l.device, l.grant = hour, map[provision.DeviceID]int{}, map[uploadKey]int{}
	}
	key := uploadKey{device, grant}
	if l.device[device] >= UploadsDevice || l.grant[key] >= UploadsGrant {
		return false
	}
	l.device[device]++
	l.grant[key]++
	return true
}
