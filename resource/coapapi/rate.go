package coapapi

import (
	"net/netip"
	"sync"
	"time"
)

// rate counts what sources ask for: a bucket of SourceRate requests each, and one of UploadRate for the uploads of all,
// refilled evenly over SourceWindow.
type rate struct {
	now     func() time.Time
	mu      sync.Mutex
	sources map[string]*bucket
	uploads bucket
}

type bucket struct {
	spent float64
	seen  time.Time
}

// take takes one of size, if there is one.
func (b *bucket) take(now time.Time, size float64) bool {
	refill := now.Sub(b.seen).Seconds() * size / SourceWindow.Seconds()
	b.spent, b.seen = max(0, b.spent-max(0, refill)), now
	if b.spent+1 > size {
		return false
	}
	b.spent++
	return true
}

// allowUpload takes one upload, whoever it is from: addresses are free to make up, and each costs a signature and perhaps
// a write.
func (r *rate) allowUpload() bool {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uploads.take(now, UploadRate)
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
		b = &bucket{seen: now}
		r.sources[source] = b
	}
	return b.take(now, SourceRate)
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
