package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage"
)

// checkClock compares the clock with the time this program was built and, while it waits a moment, with the machine's own
// count. The newest stored time is compared by checkStore.
func (e *exam) checkClock(ctx context.Context) []finding {
	const name, cure = "clock", "set the clock and keep it right with NTP (timedatectl set-ntp true)"
	now := e.now()
	if built := buildTime(); now.Before(built) {
		return []finding{bad(name, fail, cure, "it shows %s, before this program was made", now.UTC().Format(time.RFC3339))}
	}
	start := time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(clockSample):
	}
	end := time.Now()
	// Round(0) takes the count away, so that this is the difference on the wall.
	if drift := end.Round(0).Sub(start.Round(0)) - end.Sub(start); drift.Abs() > clockDrift {
		return []finding{bad(name, warn, "see why it is set by steps (chronyc tracking, timedatectl timesync-status)", "it moved by %v on its own within %v", drift, clockSample)}
	}
	return []finding{good(name, "%s, steady", now.UTC().Format(time.RFC3339))}
}

// buildTime is that of the commit this program was built from; zero if unknown.
func buildTime() time.Time {
	info, found := debug.ReadBuildInfo()
	if !found {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, err := time.Parse(time.RFC3339, s.Value)
			if err == nil {
				return at
			}
		}
	}
	return time.Time{}
}

func (e *exam) checkStore(ctx context.Context) []finding {
	const name = "store"
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	db := e.config.database(e.dir)
	c, err := storage.Inspect(ctx, db)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []finding{bad(name, warn, "start the server once; if there was a store before, restore it", "there is none yet")}
	case errors.Is(err, authz.ErrUnavailable):
		return []finding{bad(name, fail, "start the database and see that this machine reaches it; a running server goes on by itself", "%v", err)}
	case err != nil:
		return []finding{bad(name, fail, "see that db names the right database, and restore a backup if it is damaged", "%v", err)}
	case c.Durable != "":
		return []finding{bad(name, fail, "set it back: a power cut would forget spent codes and revocations", "%s", c.Durable)}
	case c.Version > c.Known:
		return []finding{bad(name, fail, "run the newer program", "tables of version %d, and this program knows %d", c.Version, c.Known)}
	case c.Version < c.Known:
		return []finding{bad(name, warn, "take a backup, then start the server: it brings them up to date", "tables of version %d, and this program makes %d", c.Version, c.Known)}
	}
	newest, err := e.newest(ctx, db)
	if err != nil {
		return []finding{bad(name, fail, "see that store.key belongs to this store", "%v", err)}
	}
	if ahead := newest.Sub(e.now()); ahead > clockStep {
		return []finding{bad(name, fail, "set the clock: it was later before", "its newest entry is %v ahead of the clock", ahead.Round(time.Second))}
	}
	return []finding{good(name, "%s, tables of version %d", c.Engine, c.Version)}
}

// newest is the time of the last audit entry. The tables are of this program's version, so opening them changes nothing.
func (e *exam) newest(ctx context.Context, db string) (time.Time, error) {
	key, err := storage.LoadKey(e.path(keyFile))
	if err != nil {
		return time.Time{}, err
	}
	store, err := storage.Open(ctx, db, storage.Options{Key: key})
	if err != nil {
		return time.Time{}, err
	}
	defer store.Close()
	entries, err := store.AuditTail(ctx, 1)
	if err != nil || len(entries) == 0 {
		return time.Time{}, err
	}
	return entries[0].At, nil
}

// checkAddresses takes each address for a moment, or sees that the running server has it.
func (e *exam) checkAddresses(context.Context) []finding {
	var all []finding
	for _, d := range []struct{ name, network, address string }{
		{"http", "tcp", e.config.HTTP}, {"coap", "udp", e.config.CoAP}, {"coaps", "udp", e.config.CoAPS}, {"admin", "tcp", e.config.Admin},
	} {
		if d.address != "" {
			all = append(all, e.checkAddress(d.name, d.network, d.address))
		}
	}
	return all
}

func (e *exam) checkAddress(name, network, address string) finding {
	var door io.Closer
	var err error
	if network == "udp" {
		door, err = net.ListenPacket(network, address)
	} else {
		door, err = net.Listen(network, address)
	}
	switch {
	case err == nil && e.running:
		_ = door.Close() // it was free
		return bad(name, warn, "restart the server: it runs with another configuration", "%s is free, and a server runs on the folder", address)
	case err == nil:
		_ = door.Close() // it was free
		return good(name, "%s is free", address)
	case errors.Is(err, syscall.EADDRINUSE) && e.running:
		return good(name, "%s is served", address)
	case errors.Is(err, syscall.EADDRINUSE):
		return bad(name, fail, "stop what has it (ss -lnptu shows it), or set "+name+" to another address", "%s is taken, and no server runs on the folder", address)
	case errors.Is(err, syscall.EACCES):
		return bad(name, fail, "allow low ports (AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit), or take one above 1023", "%v", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return bad(name, fail, "give an address of this machine", "%v", err)
	}
	return bad(name, fail, "give an address of this machine", "%v", err)
}

// checkIssuer asks the issuer's address, as an app would, who it is (RFC 8414 §3).
func (e *exam) checkIssuer(ctx context.Context) []finding {
	const name = "issuer"
	told, err := issuerAt(ctx, e.config.Issuer)
	switch {
	case err != nil && !e.running:
		return []finding{bad(name, warn, "start the server: latchkey serve --data "+e.dir, "no server runs on the folder")}
	case err != nil:
		return []finding{bad(name, fail, "see that DNS, firewall and proxy lead "+e.config.Issuer+" here, and that the certificate is trusted", "%v", err)}
	case told != e.config.Issuer:
		return []finding{bad(name, fail, "see that DNS and proxy lead "+e.config.Issuer+" here", "another server answers there: %q", told)}
	}
	return []finding{good(name, "%s answers", e.config.Issuer)}
}

func issuerAt(ctx context.Context, issuer string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	at, err := url.Parse(issuer)
	if err != nil {
		return "", err
	}
	at.Path = "/.well-known/oauth-authorization-server" + at.Path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return "", err
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", r.URL, response.Status)
	}
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, longestMetadata)).Decode(&metadata); err != nil {
		return "", fmt.Errorf("%s: %w", r.URL, err)
	}
	return metadata.Issuer, nil
}

func (e *exam) checkDisk(context.Context) []finding {
	const name = "disk"
	var s syscall.Statfs_t
	if err := syscall.Statfs(e.dir, &s); err != nil {
		return []finding{bad(name, fail, "see that the folder can be reached", "%v", err)}
	}
	free := int64(s.Bavail) * s.Bsize
	switch {
	case free < diskFull:
		return []finding{bad(name, fail, "make room: without it nothing can be granted or revoked", "%d MiB free", free>>20)}
	case free < diskLow:
		return []finding{bad(name, warn, "make room", "%d MiB free", free>>20)}
	case s.Files > 0 && s.Ffree < fewFiles:
		return []finding{bad(name, warn, "delete files: the disk has room but takes few more", "%d more files fit", s.Ffree)}
	}
	return []finding{good(name, "%d MiB free", free>>20)}
}
