package httpapi

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// introspect answers RFC 7662 requests in JSON, or signed where the asker accepts that (RFC 9701 §4).
func (f *face) introspect(w http.ResponseWriter, r *http.Request) {
	in, client, err := f.inquiry(w, r)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	by := authz.Asker{Client: client, Encoding: authz.EncodingJSON}
	out, err := f.server.Introspect(r.Context(), by, in.Token)
	if errors.Is(err, authz.ErrNotEntitled) {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusForbidden) // RFC 9200 §5.9.3: and nothing more
		return
	}
	if err != nil {
		f.tokenError(w, err)
		return
	}
	body, err := out.JSON()
	if err != nil {
		f.tokenError(w, err)
		return
	}
	if !wantsSigned(r) {
		writeJSON(w, http.StatusOK, body)
		return
	}
	token, err := f.server.SignIntrospection(r.Context(), by, body)
	if err != nil {
		f.tokenError(w, err)
		return
	}
	writeJSON(&typed{w, ace.MediaTypeIntrospection}, http.StatusOK, []byte(token))
}

// revoke answers RFC 7009 requests: 200 whatever the token was, for its client wanted it not to be good and it is not.
func (f *face) revoke(w http.ResponseWriter, r *http.Request) {
	in, client, err := f.inquiry(w, r)
	if err == nil {
		err = f.server.RevokeToken(r.Context(), client, in.Token)
	}
	if err != nil {
		f.tokenError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// inquiry reads a request about a token and finds out who asks.
func (f *face) inquiry(w http.ResponseWriter, r *http.Request) (*ace.IntrospectionRequest, authz.Client, error) {
	in, err := parseInquiry(w, r)
	if err != nil {
		return nil, authz.Client{}, err
	}
	by, err := f.authenticate(r, &ace.TokenRequest{
		ClientID: in.ClientID, ClientSecret: in.ClientSecret, AssertionType: in.AssertionType, Assertion: in.Assertion,
	})
	return in, by.Client, f.admit(r, in.ClientID, &by.Client, err)
}

// parseInquiry reads form or JSON, as parseToken does.
func parseInquiry(w http.ResponseWriter, r *http.Request) (*ace.IntrospectionRequest, error) {
	if r.URL.RawQuery != "" {
		return nil, &ace.Error{Code: ace.InvalidRequest, Description: "parameters belong in the body, not in the address"}
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	switch mediaType(r) {
	case ace.MediaTypeForm:
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, &ace.Error{Code: ace.InvalidRequest, Description: "the form is malformed"}
		}
		return ace.ParseIntrospectionRequestForm(form)
	case ace.MediaTypeJSON, ace.MediaTypeACE:
		return ace.ParseIntrospectionRequestJSON(body)
	}
	return nil, &httpError{http.StatusUnsupportedMediaType, "send application/x-www-form-urlencoded or application/json"}
}

// wantsSigned reports whether a signed answer is accepted, and no other liked better.
func wantsSigned(r *http.Request) bool {
	signed, other := 0.0, 0.0
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			kind, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
			if err != nil {
				continue
			}
			quality := 1.0
			if q, ok := parameters["q"]; ok {
				quality, _ = strconv.ParseFloat(q, 64)
			}
			switch kind {
			case ace.MediaTypeIntrospection:
				signed = max(signed, quality)
			case ace.MediaTypeJSON, ace.MediaTypeACE, "application/*", "*/*":
				other = max(other, quality)
			}
		}
	}
	return signed > 0 && signed >= other
}

// typed gives an answer another Content-Type.
type typed struct {
	http.ResponseWriter
	contentType string
}

func (t *typed) WriteHeader(status int) {
	t.Header().Set("Content-Type", t.contentType)
	t.ResponseWriter.WriteHeader(status)
}
