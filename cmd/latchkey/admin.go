package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

// revocation is the answer to grant revoke, on the socket and with --json.
type revocation struct {
	Grant     string    `json:"grant"`
	Device    string    `json:"device"`
	Confirmed bool      `json:"confirmed"`
	EndsBy    time.Time `json:"ends_by,omitzero"`
	Cause     string    `json:"cause,omitempty"`
}

func describe(r authz.Revocation) revocation {
	out := revocation{Grant: grantName(r.Grant.ID), Device: r.Device.Name, Confirmed: r.Confirmed, EndsBy: r.EndsBy}
	if r.Cause != nil {
		out.Cause = r.Cause.Error()
	}
	return out
}

// lockFolder holds the folder for one server as long as the file stays open; the kernel lets go when the process dies.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("another server runs on %s: stop it first", dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// listenAdmin opens the operator's socket, replacing one that a killed server left behind; the folder is locked.
func listenAdmin(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}

// adminHandler serves the commands that need the running server's channels. Who may open the socket may do them.
func adminHandler(server *authz.Server, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/grants/{id}/revoke", func(w http.ResponseWriter, r *http.Request) {
		id, err := parseGrant(r.PathValue("id"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := server.Revoke(r.Context(), id)
		switch {
		case errors.Is(err, authz.ErrNotFound):
			http.Error(w, "no such grant", http.StatusNotFound)
		case err != nil:
			log.Error("revoke", "err", err)
			http.Error(w, "the grant may still stand: try again", http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(describe(result)); err != nil {
				log.Warn("revoke", "err", err)
			}
		}
	})
	return mux
}

// errNoServer says that no server runs on the folder.
var errNoServer = errors.New("no server is running on this folder")

// askServer revokes through the running server.
func askServer(ctx context.Context, dir string, id pop.GrantID) (revocation, error) {
	path := filepath.Join(dir, socketFile)
	c := &http.Client{Timeout: adminTime, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://latchkey/api/v1/grants/"+grantName(id)+"/revoke", nil)
	if err != nil {
		return revocation{}, err
	}
	response, err := c.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return revocation{}, errNoServer
	}
	if err != nil {
		return revocation{}, err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(nil, response.Body, 64<<10)); err != nil {
		return revocation{}, err
	}
	if response.StatusCode == http.StatusNotFound {
		return revocation{}, authz.ErrNotFound
	}
	if response.StatusCode != http.StatusOK {
		return revocation{}, errors.New(string(bytes.TrimSpace(body.Bytes())))
	}
	var r revocation
	return r, json.Unmarshal(body.Bytes(), &r)
}
