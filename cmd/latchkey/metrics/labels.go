package metrics

import (
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// other is every value that is not in its set.
const other = "other"

func among(value string, set []string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// reasonOf leaves out of a reason what is of one request only: who vouched for the app, and what was wrong with what it showed.
func reasonOf(reason string) string {
	reason, _, _ = strings.Cut(reason, "; attested by ")
	if strings.HasPrefix(reason, clientAuthentication) {
		return clientAuthentication
	}
	return among(reason, reasons)
}

const clientAuthentication = "client authentication"

// wants are what devices want of apps.
func wants() (all []string) {
	for _, lack := range []attest.Lack{attest.LackApp, attest.LackKind, attest.LackKey, attest.LackSystem, attest.LackFresh} {
		all = append(all, (&policy.RefusedError{Reason: policy.ReasonApp, Lack: lack}).Why())
	}
	return all
}

var (
	events = []string{"token", "authorize", "login", "client", "upload", "grant.add", "grant.revoke", "introspect", "revoke", "register", "keys", "throttle",
		"client.register", "client.update", "client.unregister", "app.attest", "app.pass"}
	results    = []string{"granted", "refused", "failed"}
	grantTypes = []string{
		"authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
	}
	reasons = append(wants(),
		ace.InvalidRequest.String(), ace.InvalidClient.String(), ace.InvalidGrant.String(), ace.UnauthorizedClient.String(),
		ace.UnsupportedGrantType.String(), ace.InvalidScope.String(), ace.UnsupportedPoPKey.String(), ace.IncompatibleProfiles.String(),
		"access_denied", "authorization_pending", "slow_down", "expired_token", "invalid_dpop_proof", "use_dpop_nonce", "invalid_target",
		string(policy.ReasonUnknownRight), string(policy.ReasonCeiling), string(policy.ReasonNoGrant), string(policy.ReasonMore),
		string(policy.ReasonNotYet), string(policy.ReasonEnded), string(policy.ReasonRevoked), string(policy.ReasonUsed), string(policy.ReasonReserved),
		clientAuthentication, "registration token", ace.InvalidClientMetadata.String(), ace.InvalidRedirectURI.String(), "the person said no", "the device did not confirm", "wrong name or password",
		string(throttle.Source), string(throttle.Client), string(throttle.Device), string(throttle.Credential), string(throttle.Account),
		string(throttle.Strangers), string(throttle.UserCode), string(throttle.People), string(throttle.Copies), "use_attestation_challenge", "use_fresh_attestation", "invalid_client_attestation",
	)
	statuses = []string{"", "1xx", "2xx", "3xx", "4xx", "5xx"}
)
