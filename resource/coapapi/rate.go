package coapapi

import (
	"net/netip"
	"sync"
	"time"
)

// rate counts what sources ask for: a bucket of SourceRate requests each, refilled evenly over SourceWindow.
type rate struct {
	now     func() time.Time
	mu      sync.Mutex
	sources map[string]*bucket
}

type bucket struct {
	left float64
	seen time.Time
}

// allow takes one request of a source. A source is a host: ports are free to make up.
func (r *rate) allow(address string) bool {
	source := host(address)
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.sources[source]
	if !ok {
		if len(r.sources) >= MaxSources {
			r.dropOldest()
		}
		b = &bucket{left: SourceRate, seen: now}
		r.sources[source] = b
	}
	refill := now.Sub(b.seen).Seconds() * SourceRate / SourceWindow.Seconds()
	b.left, b.seen = min(SourceRate, b.left+max(0, refill)), now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (r *rate) dropOldest() {
	oldest := ""
	for source, b := range r.sources {
		if oldest == "" || b.seen.Before(r.sources[oldest].seen) {
			oldest = source
		}
	}
	delete(r.sources, oldest)
}

// host takes the port off an IP address and leaves any other transport's address alone. One end of an IPv6 link has the
// lower 64 bits of its address at will.
func host(address string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	ip := a.Addr().Unmap()
	if ip.Is6() {
		if prefix, err := ip.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return ip.String()
}
