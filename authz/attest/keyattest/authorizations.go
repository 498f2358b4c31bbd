package keyattest

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Tags of an AuthorizationList that are read. The others are passed over, but must be well formed.
const (
	tagPurpose         = 1
	tagAlgorithm       = 2
	tagCurve           = 10
	tagNoAuthRequired  = 503
	tagAllApplications = 600
	tagExportable      = 602 // Keymaster 1; no schema has it any more, no good key has it either
	tagOrigin          = 702
	tagRootOfTrust     = 704
	tagOSVersion       = 705
	tagOSPatch         = 706
	tagApplicationID   = 709
	tagVendorPatch     = 718
	tagBootPatch       = 719
)

// authorizations is an AuthorizationList.
type authorizations struct {
	purposes                 []int64
	algorithm, curve, origin int64
	noAuth                   bool
	shared                   bool // with every app, or with whoever may export it
	root                     *RootOfTrust
	osVersion, osPatch       int64
	vendorPatch, bootPatch   int64
	appID                    *applicationID
}

// parse reads a list. Tags ascend, so that none stands twice.
func (a *authorizations) parse(list cryptobyte.String) bool {
	a.algorithm, a.curve, a.origin = absent, absent, absent
	before := -1
	for count := 0; !list.Empty(); count++ {
		tag, value, ok := readExplicit(&list)
		if !ok || tag <= before || count >= maxEntries || !a.read(tag, &value) || !value.Empty() {
			return false
		}
		before = tag
	}
	return true
}

// read takes one element from value.
func (a *authorizations) read(tag int, value *cryptobyte.String) (ok bool) {
	numbers := map[int]*int64{
		tagAlgorithm: &a.algorithm, tagCurve: &a.curve, tagOrigin: &a.origin, tagOSVersion: &a.osVersion,
		tagOSPatch: &a.osPatch, tagVendorPatch: &a.vendorPatch, tagBootPatch: &a.bootPatch,
	}
	if number, known := numbers[tag]; known {
		ok = value.ReadASN1Integer(number) && *number >= 0
		return ok && (tag != tagOSPatch || isMonth(*number))
	}
	switch tag {
	case tagPurpose:
		a.purposes, ok = readPurposes(value)
	case tagNoAuthRequired:
		a.noAuth, ok = true, readNull(value)
	case tagAllApplications, tagExportable:
		a.shared, ok = true, readNull(value)
	case tagRootOfTrust:
		a.root, ok = readRootOfTrust(value)
	case tagApplicationID:
		a.appID, ok = readApplicationID(value)
	default:
		var element cryptobyte.String
		var inner asn1.Tag
		ok = value.ReadAnyASN1(&element, &inner)
	}
	return ok
}

// isMonth takes YYYYMM, and 0, with which a system says that it does not know.
func isMonth(patch int64) bool {
	return patch == 0 || patch >= 200000 && patch <= 999912 && patch%100 >= 1 && patch%100 <= 12
}

func readNull(value *cryptobyte.String) bool {
	var null cryptobyte.String
	return value.ReadASN1(&null, asn1.NULL) && null.Empty()
}

func readPurposes(value *cryptobyte.String) (purposes []int64, ok bool) {
	var set cryptobyte.String
	if !value.ReadASN1(&set, asn1.SET) {
		return nil, false
	}
	for !set.Empty() {
		var purpose int64
		if !set.ReadASN1Integer(&purpose) || len(purposes) == maxPurposes {
			return nil, false
		}
		purposes = append(purposes, purpose)
	}
	return purposes, true
}

// readExplicit reads one [tag] EXPLICIT element. cryptobyte does not know tags of 31 and more (X.690 §8.1.2.4), which most of the
// schema has; the lengths are left to it, behind a tag that it knows.
func readExplicit(list *cryptobyte.String) (tag int, value cryptobyte.String, ok bool) {
	const contextConstructed, high = 0xa0, 0x1f
	var first uint8
	if !list.ReadUint8(&first) || first&0xe0 != contextConstructed {
		return 0, nil, false
	}
	tag = int(first & high)
	if tag == high {
		if tag, ok = readHighTag(list); !ok {
			return 0, nil, false
		}
	}
	known := asn1.Tag(0).ContextSpecific().Constructed()
	rest := append(cryptobyte.String{uint8(known)}, *list...)
	if !rest.ReadASN1(&value, known) {
		return 0, nil, false
	}
	*list = rest
	return tag, value, true
}

// readHighTag reads a tag of 31 to 16383 in the fewest bytes; the schema ends at 724.
func readHighTag(list *cryptobyte.String) (int, bool) {
	var first, second uint8
	if !list.ReadUint8(&first) || first == 0x80 {
		return 0, false
	}
	if first < 0x80 {
		return int(first), first >= 0x1f
	}
	if !list.ReadUint8(&second) || second >= 0x80 {
		return 0, false
	}
	return int(first&0x7f)<<7 | int(second), true
}
