package throttle

import "net/netip"

// Lengths of the networks that count as one source: what one customer of a provider commonly has.
const (
	prefix4 = 24
	prefix6 = 56
)

// SourceOf is the network of an address, as a key: "192.0.2.0/24", "2001:db8::/56". An IPv4 address written as IPv6 is the
// IPv4 address; an invalid one is a network of its own.
func SourceOf(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	bits := prefix6
	if address.Is4() {
		bits = prefix4
	}
	p, err := address.Prefix(bits)
	if err != nil || !address.IsValid() {
		return "unknown"
	}
	return p.String()
}
