package dtls

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// greylist tells addresses that come again from those that come once, as invented ones do. It never forgets an address
// within greyLifetime, and takes some for known that are not, the more the fuller it is. It costs nothing until used.
type greylist struct {
	seed       maphash.Seed
	young, old []uint64
	turned     time.Time
}

func newGreylist() greylist { return greylist{seed: maphash.MakeSeed()} }

// returns says whether the address came before, within two lifetimes at most, and remembers it.
func (g *greylist) returns(from netip.AddrPort, now time.Time) bool {
	switch age := now.Sub(g.turned); {
	case g.young == nil || age >= 2*greyLifetime || age < 0:
		g.young, g.old, g.turned = make([]uint64, greyBits/64), nil, now
	case age >= greyLifetime:
		g.young, g.old, g.turned = make([]uint64, greyBits/64), g.young, now
	}
	bit := maphash.Comparable(g.seed, from) % greyBits
	word, mask := bit/64, uint64(1)<<(bit%64)
	known := g.young[word]&mask != 0 || g.old != nil && g.old[word]&mask != 0
	g.young[word] |= mask
	return known
}
