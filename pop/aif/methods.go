package aif

import (
	"fmt"
	"strings"

	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Method bits (RFC 9237 §3, figure 4), bit n for CoAP method code n+1. A Dynamic bit, 32 places higher, speaks of
// resources whose location the holder was given in a 2.01 response to a request to the path, never of the path itself.
const (
	GET    Methods = 1 << 0
	POST   Methods = 1 << 1
	PUT    Methods = 1 << 2
	DELETE Methods = 1 << 3
	FETCH  Methods = 1 << 4
	PATCH  Methods = 1 << 5
	IPATCH Methods = 1 << 6

	DynamicGET    Methods = GET << dynamicShift
	DynamicPOST   Methods = POST << dynamicShift
	DynamicPUT    Methods = PUT << dynamicShift
	DynamicDELETE Methods = DELETE << dynamicShift
	DynamicFETCH  Methods = FETCH << dynamicShift
	DynamicPATCH  Methods = PATCH << dynamicShift
	DynamicIPATCH Methods = IPATCH << dynamicShift
)

const (
	dynamicShift  = 32
	dynamicPrefix = "Dynamic-"

	static   = GET | POST | PUT | DELETE | FETCH | PATCH | IPATCH
	known    = static | static<<dynamicShift
	changing = POST | PUT | DELETE | PATCH | IPATCH
)

// names in bit order.
var names = [...]string{"GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH"}

// MethodOf gives the bit of a CoAP method code; ok is false for every other code.
func MethodOf(code codes.Code) (m Methods, ok bool) {
	if code < 1 || int(code) > len(names) {
		return 0, false
	}
	return 1 << (code - 1), true
}

// ParseMethods reads method names parted by commas, as String writes them: "GET,PUT". Names are case-sensitive.
func ParseMethods(s string) (Methods, error) {
	var all Methods
	for name := range strings.SplitSeq(s, ",") {
		m, ok := parseMethod(name)
		if !ok {
			return 0, fmt.Errorf("unknown method %q: use %s", name, strings.Join(names[:], ", "))
		}
		all |= m
	}
	return all, nil
}

func parseMethod(name string) (Methods, bool) {
	plain, dynamic := strings.CutPrefix(name, dynamicPrefix)
	for bit, n := range names {
		if n != plain {
			continue
		}
		if dynamic {
			bit += dynamicShift
		}
		return 1 << bit, true
	}
	return 0, false
}

// String lists the method names in bit order, parted by commas. Bits without a name are left out; no method is "".
func (m Methods) String() string {
	var out []string
	for bit, name := range names {
		if m&(1<<bit) != 0 {
			out = append(out, name)
		}
	}
	for bit, name := range names {
		if m&(1<<(bit+dynamicShift)) != 0 {
			out = append(out, dynamicPrefix+name)
		}
	}
	return strings.Join(out, ",")
}

// Valid reports whether every bit has a meaning. Bits 7 to 31 and from 39 on have none: what they would allow is
// unknown, so nothing that has one is granted.
func (m Methods) Valid() bool { return m&^known == 0 }

// Static is the part of m that speaks of the path itself. Bits without a meaning are left out.
func (m Methods) Static() Methods { return m & static }

// OnCreated is what the dynamic part of m grants on a created resource: GET for Dynamic-GET. It undoes Dynamic.
func (m Methods) OnCreated() Methods { return m >> dynamicShift & static }

// Dynamic is the static part of m, granted on created resources instead: Dynamic-GET for GET.
func (m Methods) Dynamic() Methods { return m & static << dynamicShift }

// ChangesState reports whether any of the methods may move a bolt or a dose: all but GET and FETCH, static or dynamic.
func (m Methods) ChangesState() bool { return m.Changing() != 0 }

// Changing is the part of m that changes state.
func (m Methods) Changing() Methods { return m & (changing | changing<<dynamicShift) }
