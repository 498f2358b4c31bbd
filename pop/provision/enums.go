package provision

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a device is to its owner. The numbers of all three enumerations are those of the provisioning file;
// 0 stands for none.
type Kind int

const (
	KindLock    Kind = 1
	KindMedical Kind = 2
	KindGeneric Kind = 3
)

// Clock is how a device knows time (D16).
type Clock int

const (
	ClockSynced   Clock = 1 // has the time of day
	ClockRelative Clock = 2 // counts from the newest server-signed time it has seen
	ClockNone     Clock = 3 // knows how long it has been running, at best
)

// Shape is the form of a device's tokens (ARCHITECTURE.md decision 12).
type Shape int

const (
	ShapeEncrypt0  Shape = 1 // COSE_Encrypt0 under the "token" key
	ShapeSign1     Shape = 2 // COSE_Sign1, the possession key encrypted under the "cnf" key
	ShapeSign1ECDH Shape = 3 // COSE_Sign1, the possession key encrypted to the device's public key
	ShapeJWT       Shape = 4 // JWS with cnf.jwe to the device's public key
)

var (
	kinds  = []string{"lock", "medical", "generic"}
	clocks = []string{"synced", "relative", "none"}
	shapes = []string{"encrypt0", "sign1", "sign1-ecdh", "jwt"}
)

// String is the name on the command line.
func (k Kind) String() string { return nameOf(kinds, int(k)) }

// String is the name on the command line.
func (c Clock) String() string { return nameOf(clocks, int(c)) }

// String is the name on the command line.
func (s Shape) String() string { return nameOf(shapes, int(s)) }

// ParseKind finds a kind by name.
func ParseKind(name string) (Kind, error) { return parse[Kind]("device kind", kinds, name) }

// ParseClock finds a clock by name.
func ParseClock(name string) (Clock, error) { return parse[Clock]("clock", clocks, name) }

// ParseShape finds a token shape by name.
func ParseShape(name string) (Shape, error) { return parse[Shape]("token shape", shapes, name) }

// Signed reports whether the device verifies a signature of its server.
func (s Shape) Signed() bool { return s == ShapeSign1 || s == ShapeSign1ECDH || s == ShapeJWT }

// NeedsPrivateKey reports whether the possession key is encrypted to a public key of the device.
func (s Shape) NeedsPrivateKey() bool { return s == ShapeSign1ECDH || s == ShapeJWT }

func nameOf(names []string, number int) string {
	if number < 1 || number > len(names) {
		return "unknown"
	}
	return names[number-1]
}

func parse[T ~int](what string, names []string, name string) (T, error) {
	i := slices.Index(names, name)
	if i < 0 {
		return 0, fmt.Errorf("unknown %s %q: want %s", what, name, strings.Join(names, ", "))
	}
	return T(i + 1), nil
}
