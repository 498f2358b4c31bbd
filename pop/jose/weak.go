package jose

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"slices"
)

var errWeakKey = errors.New("Ed25519 key of small order")

// weakPoints are the points of Ed25519 whose order divides 8, in every encoding that the standard library decodes, without
// the bit for the sign of x. Under such a key signatures that anyone can write are good for many messages, or for all: it
// would be a key whose possession shows nothing.
var weakPoints = [][]byte{
	point("0000000000000000000000000000000000000000000000000000000000000000"),
	point("0100000000000000000000000000000000000000000000000000000000000000"),
	point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
	point("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
	point("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p − 1
	point("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p, for 0
	point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // p + 1, for 1
}

func point(digits string) []byte {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != ed25519.PublicKeySize {
		panic("jose: table of weak points")
	}
	return b
}

func isWeak(public ed25519.PublicKey) bool {
	y := slices.Clone(public)
	y[len(y)-1] &= 0x7f
	return slices.ContainsFunc(weakPoints, func(p []byte) bool { return slices.Equal(p, y) })
}
