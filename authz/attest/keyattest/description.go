package keyattest

import (
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

// versions of the schema that are known: Keymaster 2–4.1, KeyMint 1–4.
var versions = []int64{1, 2, 3, 4, 100, 200, 300, 400}

// Values of KeyMint's enumerations, as far as they are accepted.
const (
	algorithmEC     = 3
	curveP256       = 1
	originGenerated = 0
	purposeSign     = 2
	purposeVerify   = 3

	// absent stands where the list has no such tag; no enumeration has it.
	absent = -1
)

// BootState is what the boot loader found out about the system that it started.
type BootState uint8

// Boot states.
const (
	Verified   BootState = iota // signed by the phone's maker
	SelfSigned                  // signed by its owner
	Unverified                  // not checked
	Failed                      // checked and found wrong
)

// RootOfTrust is what the hardware says about the system that was started.
type RootOfTrust struct {
	Key          []byte // verifiedBootKey; a hash of it, or zeros
	DeviceLocked bool
	State        BootState
	Hash         []byte // verifiedBootHash; nil before schema version 3
}

// description is a KeyDescription.
type description struct {
	attestationLevel, keyLevel int
	challenge                  []byte
	software, hardware         authorizations
}

// levels of security, in the order of the schema; each is better than the one before.
var levels = [...]attest.Keeping{attest.KeySoftware, attest.KeyHardware, attest.KeyStrongBox}

// level claims no more than both the attestation and the key can bear out.
func (d *description) level() attest.Keeping { return levels[min(d.attestationLevel, d.keyLevel)] }

// parseDescription reads the extension's value: one KeyDescription in DER and nothing behind it.
func parseDescription(der []byte) (*description, error) {
	input := cryptobyte.String(der)
	var body, challenge, unique, software, hardware cryptobyte.String
	var version, keyVersion int64
	var d description
	if !input.ReadASN1(&body, asn1.SEQUENCE) || !input.Empty() || !body.ReadASN1Integer(&version) {
		return nil, fmt.Errorf("description: %w", ErrMalformed)
	}
	if !slices.Contains(versions, version) {
		return nil, ErrVersion
	}
	ok := body.ReadASN1Enum(&d.attestationLevel) && body.ReadASN1Integer(&keyVersion) && body.ReadASN1Enum(&d.keyLevel) &&
		body.ReadASN1(&challenge, asn1.OCTET_STRING) && body.ReadASN1(&unique, asn1.OCTET_STRING) &&
		body.ReadASN1(&software, asn1.SEQUENCE) && body.ReadASN1(&hardware, asn1.SEQUENCE) && body.Empty()
	if !ok || keyVersion < 0 || len(challenge) > maxChallenge || len(unique) > maxBytes || !isLevel(d.attestationLevel) || !isLevel(d.keyLevel) {
		return nil, fmt.Errorf("description: %w", ErrMalformed)
	}
	d.challenge = challenge
	if !d.software.parse(software) {
		return nil, fmt.Errorf("softwareEnforced: %w", ErrMalformed)
	}
	if !d.hardware.parse(hardware) {
		return nil, fmt.Errorf("hardwareEnforced: %w", ErrMalformed)
	}
	return &d, nil
}

func isLevel(level int) bool { return level >= 0 && level < len(levels) }

func readRootOfTrust(value *cryptobyte.String) (*RootOfTrust, bool) {
	var body, key, hash cryptobyte.String
	var root RootOfTrust
	var state int
	ok := value.ReadASN1(&body, asn1.SEQUENCE) && body.ReadASN1(&key, asn1.OCTET_STRING) &&
		body.ReadASN1Boolean(&root.DeviceLocked) && body.ReadASN1Enum(&state)
	if !ok || len(key) > maxBytes || state < int(Verified) || state > int(Failed) {
		return nil, false
	}
	root.Key, root.State = key, BootState(state)
	if body.Empty() {
		return &root, true
	}
	if !body.ReadASN1(&hash, asn1.OCTET_STRING) || !body.Empty() || len(hash) > maxBytes {
		return nil, false
	}
	root.Hash = hash
	return &root, true
}

// attestedPackage is an AttestationPackageInfo.
type attestedPackage struct {
	name    string
	version int64
}

// applicationID is an AttestationApplicationId: the packages of one user id, and the hashes of what signed them.
type applicationID struct {
	packages []attestedPackage
	digests  [][]byte
}

// readApplicationID reads the OCTET STRING and the structure in it.
func readApplicationID(value *cryptobyte.String) (*applicationID, bool) {
	var octets, body, packages, digests cryptobyte.String
	if !value.ReadASN1(&octets, asn1.OCTET_STRING) || len(octets) > maxAppID {
		return nil, false
	}
	ok := octets.ReadASN1(&body, asn1.SEQUENCE) && octets.Empty() &&
		body.ReadASN1(&packages, asn1.SET) && body.ReadASN1(&digests, asn1.SET) && body.Empty()
	if !ok {
		return nil, false
	}
	var id applicationID
	for !packages.Empty() {
		var info, name cryptobyte.String
		var version int64
		ok := packages.ReadASN1(&info, asn1.SEQUENCE) && info.ReadASN1(&name, asn1.OCTET_STRING) &&
			info.ReadASN1Integer(&version) && info.Empty()
		if !ok || len(name) == 0 || len(name) > maxPackage {
			return nil, false
		}
		id.packages = append(id.packages, attestedPackage{string(name), version})
	}
	for !digests.Empty() {
		var digest cryptobyte.String
		if !digests.ReadASN1(&digest, asn1.OCTET_STRING) || len(digest) > maxBytes {
			return nil, false
		}
		id.digests = append(id.digests, digest)
	}
	return &id, true
}
