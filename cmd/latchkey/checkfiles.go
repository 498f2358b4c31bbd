package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/latchkey-ace/latchkey/storage"
)

func (e *exam) path(name string) string { return filepath.Join(e.dir, name) }

// checkFolder also tells whether there is a folder to look further into.
func (e *exam) checkFolder() (found []finding, there bool) {
	const name = "folder"
	info, err := os.Stat(e.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []finding{bad(name, fail, "run latchkey init --data "+e.dir, "%s does not exist", e.dir)}, false
	case err != nil:
		return []finding{bad(name, fail, "run this as the user the server runs as", "%v", err)}, false
	case !info.IsDir():
		return []finding{bad(name, fail, "name the folder with --data", "%s is not a folder", e.dir)}, false
	}
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return []finding{bad(name, fail, "run chmod 700 "+e.dir, "others can change %s (mode %04o)", e.dir, mode)}, true
	}
	if mode&0o055 != 0 {
		return []finding{bad(name, warn, "run chmod 700 "+e.dir, "others can look into %s (mode %04o)", e.dir, mode)}, true
	}
	if f, found := foreign(name, e.dir, info); found {
		return []finding{f}, true
	}
	return []finding{good(name, "%s, mode %04o", e.dir, mode)}, true
}

// foreign finds what belongs to another user than the one who asks.
func foreign(name, path string, info fs.FileInfo) (finding, bool) {
	of, known := info.Sys().(*syscall.Stat_t)
	if !known || int(of.Uid) == os.Getuid() {
		return finding{}, false
	}
	return bad(name, warn, fmt.Sprintf("run this and the server as user %d, or chown it", of.Uid), "%s belongs to user %d, not to you (%d)", path, of.Uid, os.Getuid()), true
}

func (e *exam) checkConfig(context.Context) []finding {
	const name = "config"
	path := e.path(configFile)
	if e.broken != nil {
		return []finding{bad(name, fail, "correct it; latchkey config explain shows what there is to set", "%v", e.broken)}
	}
	var all []finding
	for _, err := range e.config.check() {
		all = append(all, bad(name, fail, "correct it; latchkey config explain tells where the value is from", "%v", err))
	}
	if info, err := os.Stat(path); err == nil {
		switch mode := info.Mode().Perm(); {
		case mode&0o022 != 0:
			all = append(all, bad(name, fail, "run chmod 600 "+path, "others can change %s (mode %04o)", path, mode))
		case mode&0o044 != 0 && hasPassword(e.config.DB) && e.config.from["db"] == configFile:
			all = append(all, bad(name, fail, "run chmod 600 "+path+", and change the password", "%s holds a password that others can read (mode %04o)", path, mode))
		}
	}
	if len(all) == 0 {
		all = append(all, good(name, "%s for %s", path, e.config.Issuer))
	}
	return all
}

func (e *exam) checkKey(context.Context) []finding {
	const name = "store.key"
	path := e.path(keyFile)
	info, err := os.Lstat(path)
	if err != nil {
		return []finding{bad(name, fail, "bring it back from where you keep a copy; the store cannot be read without it", "%v", err)}
	}
	if _, err := storage.LoadKey(path); err != nil {
		return []finding{bad(name, fail, "run chmod 600 "+path+"; bring it back from where you keep a copy if it is damaged", "%v", err)}
	}
	if f, found := foreign(name, path, info); found {
		return []finding{f}
	}
	return []finding{good(name, "%s, mode %04o", path, info.Mode().Perm())}
}

// checkCertificate looks at the certificate of HTTPS, in its files or in ACME's folder.
func (e *exam) checkCertificate(context.Context) []finding {
	const name = "certificate"
	switch {
	case e.config.TLSCert != "" && e.config.TLSKey != "":
		both, err := loadPair(within(e.dir, e.config.TLSCert), within(e.dir, e.config.TLSKey))
		if err != nil {
			return []finding{bad(name, fail, "give tls_cert and tls_key that belong together, the key with mode 0600", "%v", err)}
		}
		return []finding{e.judge(both.Leaf, "put a new one into "+e.config.TLSCert+" and "+e.config.TLSKey+"; a running server takes it by itself")}
	case len(e.config.ACME) > 0:
		var all []finding
		for _, host := range e.config.ACME {
			all = append(all, e.checkACME(host))
		}
		return all
	case e.config.secure():
		return []finding{good(name, "none here: HTTPS ends at the proxy")}
	}
	return []finding{good(name, "none: http on this machine only")}
}

func (e *exam) checkACME(host string) finding {
	const name = "certificate"
	text, err := os.ReadFile(filepath.Join(within(e.dir, e.config.ACMECache), host))
	if errors.Is(err, fs.ErrNotExist) {
		return bad(name, warn, "start the server and see that port 443 of "+host+" leads to it; its log tells what the authority says", "none for %s yet", host)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			return e.judge(leaf, "see the server's log for what the authority says")
		}
	}
	return bad(name, fail, "delete "+filepath.Join(e.config.ACMECache, host)+" and start the server again", "the one for %s cannot be read", host)
}

// checkClientCA looks at who issues the certificates of apps.
func (e *exam) checkClientCA(context.Context) []finding {
	const name = "client_ca"
	all, err := e.config.clientCA(e.dir)
	if err != nil {
		return []finding{bad(name, fail, "give the certificates of the authorities, in PEM", "%v", err)}
	}
	if all == nil {
		return []finding{good(name, "none: apps show certificates of their own only")}
	}
	info, err := os.Stat(within(e.dir, e.config.ClientCA))
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		return []finding{bad(name, fail, "run chmod 644 "+e.config.ClientCA, "others can change %s, and say who is an app (mode %04o)", e.config.ClientCA, info.Mode().Perm())}
	}
	for _, authority := range all {
		switch {
		case e.now().After(authority.NotAfter):
			return []finding{bad(name, fail, "put the new one into "+e.config.ClientCA+" and restart the server", "that of %q ended at %s", authority.Subject, authority.NotAfter.UTC().Format(time.RFC3339))}
		case urgency(authority.NotAfter, e.now()) != "":
			return []finding{bad(name, warn, "add the new one to "+e.config.ClientCA+" and restart the server", "that of %q ends at %s", authority.Subject, authority.NotAfter.UTC().Format(time.RFC3339))}
		}
	}
	return []finding{good(name, "%d in %s", len(all), e.config.ClientCA)}
}

// judge looks at times and names.
func (e *exam) judge(leaf *x509.Certificate, cure string) finding {
	const name = "certificate"
	now, left := e.now(), leaf.NotAfter.Sub(e.now()).Round(time.Hour)
	u, err := url.Parse(e.config.Issuer)
	if err != nil {
		return bad(name, fail, "correct issuer", "%v", err)
	}
	switch {
	case now.After(leaf.NotAfter):
		return bad(name, fail, cure, "it ended at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return bad(name, fail, "set the clock, or wait", "it begins at %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case leaf.VerifyHostname(u.Hostname()) != nil:
		return bad(name, fail, "get one for "+u.Hostname(), "it is for %v, not for %s", leaf.DNSNames, u.Hostname())
	}
	switch urgency(leaf.NotAfter, now) {
	case "late":
		return bad(name, fail, cure, "it ends in %v", left)
	case "now", "soon":
		return bad(name, warn, cure, "it ends in %d days", int(left.Hours()/24))
	}
	return good(name, "until %s", leaf.NotAfter.UTC().Format(time.RFC3339))
}
