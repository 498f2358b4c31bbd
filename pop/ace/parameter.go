package ace

import "fmt"

// Parameter is a CBOR abbreviation of an OAuth parameter (IANA OAuth Parameters CBOR Mappings). The ones from drafts
// and our own stand in draft_workflow08.go and private.go.
type Parameter int64

// RFC 9200 §8.10 (table 5), RFC 9201 §9.3, RFC 9203 §9.5, in registry order. Left out on purpose, so ignored on input:
// response_type 26, state 28, username 35, password 36 and the group parameters of RFC 9594.
const (
	ParamAccessToken       Parameter = 1
	ParamExpiresIn         Parameter = 2
	ParamReqCnf            Parameter = 4
	ParamAudience          Parameter = 5
	ParamCnf               Parameter = 8
	ParamScope             Parameter = 9
	ParamClientID          Parameter = 24
	ParamClientSecret      Parameter = 25
	ParamRedirectURI       Parameter = 27
	ParamCode              Parameter = 29
	ParamError             Parameter = 30
	ParamErrorDescription  Parameter = 31
	ParamErrorURI          Parameter = 32
	ParamGrantType         Parameter = 33
	ParamTokenType         Parameter = 34
	ParamRefreshToken      Parameter = 37
	ParamProfile           Parameter = 38
	ParamCNonce            Parameter = 39
	ParamNonce1            Parameter = 40
	ParamRSCnf             Parameter = 41
	ParamNonce2            Parameter = 42
	ParamClientRecipientID Parameter = 43
	ParamServerRecipientID Parameter = 44
)

// rows says how each parameter is named and written in JSON, in registry order. A parameter with two rows has two
// members in JSON, one for each CBOR type.
var rows = []row{
	{ParamAccessToken, "access_token", kindToken},
	{ParamExpiresIn, "expires_in", kindUint},
	{ParamReqCnf, "req_cnf", kindConfirmation},
	{ParamAudience, "audience", kindText},
	{ParamCnf, "cnf", kindConfirmation},
	{ParamScope, "scope", kindText},
	{ParamScope, memberScopeAIF, kindBytes},
	{ParamClientID, "client_id", kindText},
	{ParamClientSecret, "client_secret", kindSecret},
	{ParamRedirectURI, "redirect_uri", kindText},
	{ParamCode, "code", kindSecret},
	{ParamError, "error", kindNone},
	{ParamErrorDescription, "error_description", kindText},
	{ParamErrorURI, "error_uri", kindText},
	{ParamGrantType, "grant_type", kindGrantType},
	{ParamTokenType, "token_type", kindTokenType},
	{ParamRefreshToken, "refresh_token", kindSecret},
	{ParamProfile, "ace_profile", kindProfile},
	{ParamCNonce, "cnonce", kindBytes},
	{ParamNonce1, "nonce1", kindNone},
	{ParamRSCnf, "rs_cnf", kindRefused},
	{ParamNonce2, "nonce2", kindNone},
	{ParamClientRecipientID, "ace_client_recipientid", kindNone},
	{ParamServerRecipientID, "ace_server_recipientid", kindNone},
	{paramTokenUpload, "token_upload", kindUint},
	{paramTokenHash, "token_hash", kindBytes},
	{paramToRS, "to_rs", kindItem},
	{paramFromRS, "from_rs", kindItem},
	{paramRSCnf2, "rs_cnf2", kindRefused},
	{paramAudience2, "audience2", kindRefused},
	{paramAnchorCnf, "anchor_cnf", kindRefused},
	{paramTokenSeriesID, "token_series_id", kindRefused},
	{paramRSURI, "rs_uri", kindTexts},
	{paramCodeVerifier, "code_verifier", kindText},
	{paramDeviceCode, "device_code", kindSecret},
	{paramDetails, "authorization_details", kindDetails},
	{paramAssertionType, "client_assertion_type", kindText},
	{paramAssertion, "client_assertion", kindSecret},
	{paramResource, "resource", kindResource},
}

type row struct {
	param Parameter
	name  string
	kind  kind
}

// String is the parameter's name in JSON and forms.
func (p Parameter) String() string {
	for _, r := range rows {
		if r.param == p {
			return r.name
		}
	}
	return fmt.Sprintf("parameter %d", int64(p))
}

func rowNamed(name string) (row, bool) {
	for _, r := range rows {
		if r.name == name {
			return r, true
		}
	}
	return row{}, false
}
