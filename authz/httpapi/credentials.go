package httpapi

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// algorithms are those of assertions and proofs: what pop/jose takes by default.
var algorithms = []string{jose.ES256.String(), jose.ES384.String(), jose.EdDSA.String()}

// authMethods are those a client can be let in by; certificates of others only where somebody is trusted to issue them, and an
// instance's attestation where somebody is trusted to vouch for it.
func (f *face) authMethods() []authz.AuthMethod {
	all := []authz.AuthMethod{authz.AuthNone, authz.AuthSecretBasic, authz.AuthSecretPost, authz.AuthPrivateKey, authz.AuthSelfSigned}
	if f.options.Roots != nil {
		all = append(all, authz.AuthTLS)
	}
	if len(f.options.Attesters) > 0 {
		all = append(all, authz.AuthAttested, authz.AuthAttestedDPoP, authz.AuthIntegrity)
	}
	return all
}

// sender is who sends a request, and the DPoP key that it has shown already.
type sender struct {
	clientauth.Sender
	proven bool
	dpop   []byte
}

// authenticate finds the client behind a request and spends what it has shown. It is for every endpoint that mints nothing; of
// in it reads ClientID, ClientSecret, AssertionType and Assertion.
func (f *face) authenticate(r *http.Request, in *ace.TokenRequest) (sender, error) {
	s, err := f.identify(r, in)
	if err == nil {
		err = f.server.Spend(r.Context(), s.Uses...)
	}
	if err != nil {
		return sender{}, err
	}
	s.Uses = nil
	return s, nil
}

// identify finds the client behind a request; its uses must be spent before anything is done for it. It takes credentials from
// one place only (RFC 6749 §2.3).
func (f *face) identify(r *http.Request, in *ace.TokenRequest) (s sender, err error) {
	from := origin.From(r.Context())
	p := clientauth.Presented{
		ClientID: in.ClientID, Secret: in.ClientSecret, AssertionType: in.AssertionType, Assertion: in.Assertion,
		Certificate: from.Certificate, Intermediates: from.Intermediates, Attestation: r.Header.Values(attestation.HeaderAttestation),
		Proof: r.Header.Values(attestation.HeaderProof), Integrity: r.Header.Values(integrity.HeaderToken), Body: bodyOf(r),
	}
	if len(r.Header.Values("Authorization")) > 0 {
		if err := fromHeader(r, &p); err != nil {
			return s, err
		}
	}
	var uses []authz.Use
	if len(p.Attestation) == 1 && len(p.Proof) == 0 || len(p.Integrity) == 1 { // DPoP shows the key of the instance
		if p.DPoP, err = f.proof(r, len(p.Attestation) == 1); err != nil {
			return s, err
		}
		s.proven = true
		if p.DPoP != nil {
			s.dpop, uses = p.DPoP.Thumbprint[:], f.proofUse(p.DPoP)
		}
	}
	if s.Sender, err = f.clients.Authenticate(r.Context(), p); err != nil {
		return sender{}, err
	}
	s.Uses = append(s.Uses, uses...)
	return s, nil
}

// fromHeader reads HTTP Basic credentials, form-encoded (RFC 6749 §2.3.1).
func fromHeader(r *http.Request, p *clientauth.Presented) error {
	user, password, ok := r.BasicAuth()
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return &ace.Error{Code: ace.InvalidClient, Description: "Authorization must be Basic with form-encoded id and secret"}
	case len(r.Header.Values("Authorization")) > 1 || p.Secret != "" || p.ClientID != "" && p.ClientID != id:
		return &ace.Error{Code: ace.InvalidRequest, Description: "client credentials in two places"}
	}
	p.ClientID, p.Secret, p.Basic = id, secret, true
	return nil
}

// caller is the client with the keys that it has shown possession of beside its credential.
func (f *face) caller(r *http.Request, s sender) (authz.Caller, error) {
	c := authz.Caller{Client: s.Client, Encoding: authz.EncodingJSON, Attested: s.Attested, DPoP: s.dpop, Proofs: s.Uses}
	if cert := origin.From(r.Context()).Certificate; cert != nil {
		print := sha256.Sum256(cert.Raw)
		c.Certificate = print[:]
	}
	if s.proven {
		return c, nil
	}
	proof, err := f.proof(r, false)
	if err != nil || proof == nil {
		return c, err
	}
	c.DPoP = proof.Thumbprint[:]
	c.Proofs = append(c.Proofs, f.proofUse(proof)...)
	return c, nil
}

func (f *face) proofUse(proof *jose.Proof) []authz.Use {
	return []authz.Use{{Kind: authz.UseDPoP, Value: proof.Replay[:], Until: f.server.Now().Add(proof.Keep)}}
}

// Headers of RFC 9449 §4.1 and §8.
const (
	headerDPoP  = "DPoP"
	headerNonce = "DPoP-Nonce"
)

// proof verifies the request's DPoP proof; nil without one. Its URL is made of the issuer, never of what the request says of
// its host. A proof that holds a nonce must hold a good one, even where none is demanded; one that shows the key of an app instance
// holds a challenge in its place.
func (f *face) proof(r *http.Request, instance bool) (*jose.Proof, error) {
	sent := r.Header.Values(headerDPoP)
	switch len(sent) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, &ace.Error{Code: ace.InvalidDPoPProof, Description: "more than one DPoP header"}
	}
	now := f.server.Now()
	given := f.nonces
	if instance {
		given = f.challenges
	}
	good := func(nonce string) bool { return given.good(nonce, now) }
	expect := jose.ExpectProof{Method: r.Method, URL: f.server.Issuer() + r.URL.Path, Now: now, NonceLife: nonceLife}
	if f.options.DPoPNonce || instance {
		expect.Nonce = good
	}
	proof, err := jose.VerifyProof(sent[0], expect)
	if err == nil && proof.Nonce != "" && !good(proof.Nonce) {
		err = jose.ErrUseNonce
	}
	if err != nil {
		return nil, proofError(err, instance)
	}
	return proof, nil
}

// proofError keeps what was wrong for the client's developer.
func proofError(err error, instance bool) error {
	switch {
	case errors.Is(err, jose.ErrUseNonce) && instance:
		return &ace.Error{Code: ace.UseAttestationChallenge, Description: attestation.ErrChallenge.Error()}
	case errors.Is(err, jose.ErrUseNonce):
		return &ace.Error{Code: ace.UseDPoPNonce, Description: "use the nonce of the header DPoP-Nonce"}
	}
	_, why, _ := strings.Cut(err.Error(), jose.ErrInvalidProof.Error()+": ")
	return &ace.Error{Code: ace.InvalidDPoPProof, Description: why}
}

// bind spends the DPoP proof of a request that mints nothing, and binds what is asked for to the key that the client has shown,
// which the form may name too but not otherwise (RFC 9449 §10.1).
func (f *face) bind(r *http.Request, s sender, form url.Values) (authz.Caller, error) {
	c, err := f.caller(r, s)
	if err != nil || c.Key() == nil {
		return c, err
	}
	key := jose.Thumbprint(c.Key()).String()
	if named := form.Get("dpop_jkt"); named != "" && named != key {
		return c, &ace.Error{Code: ace.InvalidDPoPProof, Description: "the proof is not of the key that dpop_jkt names"}
	}
	if err := f.server.Spend(r.Context(), c.Proofs...); err != nil {
		return c, err
	}
	form.Set("dpop_jkt", key)
	c.Proofs = nil
	return c, nil
}
