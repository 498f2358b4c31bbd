package keyattest

import "errors"

// What Verify refuses, by name. Each text may go to the audit log: it holds nothing that was sent.
var (
	ErrMalformed   = errors.New("key attestation is malformed")
	ErrVersion     = errors.New("version of the key attestation is not known")
	ErrNotAttested = errors.New("leaf certificate has no key attestation")
	ErrAttestKey   = errors.New("key attestation stands above the leaf: chains of attest keys are not accepted")
	ErrChain       = errors.New("certificates do not form a chain in the order given")
	ErrRoot        = errors.New("chain does not end at a configured root")
	ErrAlgorithm   = errors.New("key or signature algorithm of a certificate is not accepted")
	ErrValidity    = errors.New("certificate is not valid at this time")
	ErrRevoked     = errors.New("certificate is revoked or suspended")
	ErrChallenge   = errors.New("challenge is another")
	ErrKey         = errors.New("attested key is not an EC P-256 key")
	ErrOrigin      = errors.New("key was not generated where it is kept")
	ErrPurpose     = errors.New("key is not for signing only")
	ErrShared      = errors.New("key can leave its app")
	ErrSoftware    = errors.New("key or attestation is the software's only")
	ErrRootOfTrust = errors.New("hardware does not say which system was started")
	ErrApp         = errors.New("package or its signing certificate is not allowed")

	// ErrStatusList refuses a revocation list as a whole.
	ErrStatusList = errors.New("revocation status list is malformed")
)
