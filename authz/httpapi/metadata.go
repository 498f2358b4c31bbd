package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// wellKnown is where the metadata of an issuer is; its path follows (RFC 8414 §3.1).
const wellKnown = "/.well-known/oauth-authorization-server"

// mediaCOSEKeySet is that of a COSE_KeySet (RFC 9052 §11.3.2).
const mediaCOSEKeySet = "application/cose-key-set"

// route is what is served at an address. Metadata lists those with a name, so that nothing is listed that is not served.
type route struct {
	name    string // in the metadata, RFC 8414 §2; "" is for browsers and not listed
	methods []string
	path    string
	serve   func(*face, http.ResponseWriter, *http.Request)
	second  func(*face, http.ResponseWriter, *http.Request) // of the second method; nil: the same
}

var routes = []route{
	{"authorization_endpoint", []string{"GET", "POST"}, "/authorize", (*face).authorize, (*face).answer},
	{"token_endpoint", []string{"POST"}, "/token", recalling((*face).token), nil},
	{"pushed_authorization_request_endpoint", []string{"POST"}, "/par", (*face).push, nil},               // RFC 9126 §5
	{"device_authorization_endpoint", []string{"POST"}, "/device_authorization", (*face).askDevice, nil}, // RFC 8628 §4
	{"introspection_endpoint", []string{"POST"}, "/introspect", recalling((*face).introspect), nil},
	{"revocation_endpoint", []string{"POST"}, "/revoke", (*face).revoke, nil},
	{"jwks_uri", []string{"GET"}, "/jwks", (*face).jwks, nil},
	{"", []string{"POST"}, "/login", (*face).login, nil},
	{"", []string{"GET", "POST"}, "/device", (*face).device, (*face).answerDevice},
	{"", []string{"GET"}, "/{$}", (*face).home, nil},
}

// registrationRoutes are served, and listed, where clients may register themselves.
var registrationRoutes = []route{
	{"registration_endpoint", []string{"POST"}, "/register", (*face).register, nil}, // RFC 7591 §3
	{"", []string{"GET"}, "/register/{client}", (*face).showRegistration, nil},      // RFC 7592 §2, as are the next
	{"", []string{"PUT"}, "/register/{client}", (*face).replaceRegistration, nil},
	{"", []string{"DELETE"}, "/register/{client}", (*face).endRegistration, nil},
}

// attestationRoutes are served, and listed, where somebody may vouch for app instances.
var attestationRoutes = []route{
	{attestation.MetadataChallenge, []string{"POST"}, "/attestation-challenge", (*face).giveChallenge, nil},
}

// platformRoutes are served where this server itself vouches for instances. The member is ours.
var platformRoutes = []route{
	{"latchkey_attestation_endpoint", []string{"POST"}, "/attestation", (*face).vouch, nil},
}

// served are the routes of this server.
func (f *face) served() []route {
	all := routes
	if f.options.Invited {
		all = slices.Concat(all, registrationRoutes)
	}
	if len(f.options.Attesters) > 0 {
		all = slices.Concat(all, attestationRoutes)
	}
	if f.options.Platforms.Any() {
		all = slices.Concat(all, platformRoutes)
	}
	return all
}

// recalling lets a handler that looks at many records see them as of one moment.
func recalling(serve func(*face, http.ResponseWriter, *http.Request)) func(*face, http.ResponseWriter, *http.Request) {
	return func(f *face, w http.ResponseWriter, r *http.Request) {
		ctx, err := f.server.Store().Recall(r.Context())
		if err != nil {
			f.tokenError(w, err)
			return
		}
		serve(f, w, r.WithContext(ctx))
	}
}

// mux serves every route, at the root and below the path of an issuer that has one: some proxies take it off and some do not.
func (f *face) mux() *http.ServeMux {
	below := issuerPath(f.server.Issuer())
	mux := http.NewServeMux()
	for _, prefix := range slices.Compact([]string{"", below}) {
		for _, at := range f.served() {
			for i, method := range at.methods {
				serve := at.serve
				if i > 0 && at.second != nil {
					serve = at.second
				}
				mux.HandleFunc(method+" "+prefix+at.path, func(w http.ResponseWriter, r *http.Request) { serve(f, w, r) })
			}
		}
	}
	mux.HandleFunc("GET "+wellKnown+below, f.metadata)
	return mux
}

// issuerPath is the path of an issuer identifier, without a slash at its end.
func issuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// metadata tells what this server does today, nothing more (RFC 8414 §2).
func (f *face) metadata(w http.ResponseWriter, _ *http.Request) {
	issuer := f.server.Issuer()
	document := map[string]any{
		"issuer":                                         issuer,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{authz.AuthorizationCode, authz.ClientCredentials, authz.RefreshToken, authz.DeviceCodeGrant},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_details_types_supported":          []string{authz.DetailsType}, // RFC 9396 §10
		"authorization_response_iss_parameter_supported": true,                        // RFC 9207 §3

		"token_endpoint_auth_methods_supported":         f.authMethods(),
		"introspection_endpoint_auth_methods_supported": f.authMethods()[1:],           // a public client asks about nothing
		"introspection_signing_alg_values_supported":    []string{jose.ES256.String()}, // RFC 9701 §7
		"revocation_endpoint_auth_methods_supported":    f.authMethods(),

		"token_endpoint_auth_signing_alg_values_supported": algorithms,
		"dpop_signing_alg_values_supported":                algorithms, // RFC 9449 §5.1
		"tls_client_certificate_bound_access_tokens":       true,       // RFC 8705 §3.3
	}
	if len(f.options.Attesters) > 0 {
		document[attestation.MetadataAlgorithms] = f.attesterAlgorithms()
		document[attestation.MetadataProofs] = algorithms
		document[attestation.MetadataMethods] = []string{attestation.ProofJWT, attestation.ProofDPoP}
	}
	for _, at := range f.served() {
		if at.name != "" {
			document[at.name] = issuer + at.path
		}
	}
	body, err := json.Marshal(document)
	if err != nil {
		f.serverError(w, "metadata", err)
		return
	}
	writePublic(w, "application/json", body)
}

// jwks gives the published keys, as a JWK Set or, to who asks for it by name, as a COSE_KeySet.
func (f *face) jwks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if r.Header.Get("Accept") == mediaCOSEKeySet {
		body, err := f.server.COSEKeySet(r.Context())
		if err != nil {
			f.serverError(w, "key set", err)
			return
		}
		writePublic(w, mediaCOSEKeySet, body)
		return
	}
	set, err := f.server.KeySet(r.Context())
	if err != nil {
		f.serverError(w, "key set", err)
		return
	}
	body, err := set.Encode()
	if err != nil {
		f.serverError(w, "key set", err)
		return
	}
	writePublic(w, "application/json", body)
}

func (f *face) serverError(w http.ResponseWriter, what string, err error) {
	f.log.Error(what, "err", err)
	http.Error(w, "server error", http.StatusInternalServerError)
}

// writePublic lets documents that change rarely be kept, for no longer than a key is published before it signs.
func writePublic(w http.ResponseWriter, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(authz.KeySetLife/time.Second)))
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // the client may have gone
}
