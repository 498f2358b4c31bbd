package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const canary = "c4n4ry-in-the-mine"

type hidden struct{ Password string }

func (hidden) LogValue() slog.Value {
	return slog.GroupValue(slog.String("password", canary), slog.Int("open", 1))
}

// TestSecretsAreNotLogged puts a canary where secrets have been seen in logs (F113).
func TestSecretsAreNotLogged(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := newLogger(&out, "debug", format)
		for _, key := range []string{
			"password", "Password", "client_secret", "clientSecret", "access-token", "token", "code", "user.code", "key", "storeKey", "assertion",
			"client_assertion", "authorization", "Authorization", "cookie", "Set-Cookie", "psk", "code_verifier", "dpop", "session", "form", "request_body",
		} {
			log.Info("x", key, canary)
			log.With(key, canary).Info("x")
			log.Info("x", slog.Group("inner", slog.String(key, canary)))
			log.Info("x", slog.Group(key, slog.String("inner", canary)))
			log.WithGroup(key).Info("x", "inner", canary)
			log.Info("x", key, []byte(canary))
			log.Info("x", key, errors.New(canary))
		}
		log.Info("x", "who", hidden{canary})
		log.Info("x", "raw", []byte(canary))
		for _, text := range []string{
			"dial postgres://latchkey:" + canary + "@db/x: refused", "host=db password=" + canary + " user=x", `Authorization: Bearer ` + canary,
			"POST /token?client_secret=" + canary + "&x=y", `{"access_token":"` + canary + `"}`, "Basic " + canary, "DPoP " + canary,
		} {
			log.Warn("x", "err", errors.New(text))
			log.Warn(text)
			log.Warn("x", "err", fmt.Errorf("outer: %w", errors.New(text)))
		}
		if strings.Contains(out.String(), canary) {
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, canary) {
					t.Errorf("%s: %s", format, line)
				}
			}
		}
		if !strings.Contains(out.String(), redacted) || !strings.Contains(out.String(), "db/x: refused") {
			t.Errorf("%s: nothing is left of what may be read", format)
		}
	}
}

// TestLogIsReadable: what is no secret stays, and no value is longer than its bound.
func TestLogIsReadable(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, "info", "text")
	log.Debug("quiet")
	log.Info("token", "device", "front-door", "key_id", "k1", "grant_type", "authorization_code", "took", 3*time.Second, "n", 7, "err", errors.New("no route"))
	for _, want := range []string{"msg=token", "device=front-door", "key_id=k1", "grant_type=authorization_code", "took=3s", "n=7", `err="no route"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s has no %s", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "quiet") {
		t.Error("a line below the level")
	}
	out.Reset()
	log.Info("long", "err", errors.New(strings.Repeat("é", 100_000)))
	if out.Len() > 2*longestLogged || strings.ContainsRune(out.String(), '�') {
		t.Errorf("a line of %d bytes", out.Len())
	}
}
