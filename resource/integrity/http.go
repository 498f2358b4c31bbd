package integrity

import (
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-ace/latchkey/pop/integrity"
)

// Handler lets requests through to next that come with one integrity token, in the header Integrity-Token, bound to their header
// Authorization. That next judges the access token itself is its own business: a token says that an app is genuine and no more. Without
// Options.Once it can be shown again with the same access token until it ends. now is the time; nil: time.Now.
func (v *Verifier) Handler(next http.Handler, now func() time.Time) http.Handler {
	if now == nil {
		now = time.Now
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens, authorization := r.Header.Values(integrity.HeaderToken), r.Header.Values("Authorization")
		code := "invalid_client_attestation"
		if len(tokens) == 1 && len(authorization) == 1 {
			err := v.Bound(tokens[0], authorization[0], now())
			if err == nil {
				next.ServeHTTP(w, r)
				return
			}
			if errors.Is(err, integrity.ErrStale) || errors.Is(err, ErrUsed) {
				code = "use_fresh_attestation"
			}
		}
		h := w.Header()
		h.Set("WWW-Authenticate", `Integrity error="`+code+`"`)
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"` + code + `"}`)) // the client may have gone
	})
}
