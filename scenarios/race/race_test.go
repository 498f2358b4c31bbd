package race

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// TestOneCode: a thousand redemptions of one code give one token, and the others do it no harm (D20).
func TestOneCode(t *testing.T) {
	everywhere(t, func(t *testing.T, w *town) {
		answers := w.meet(w.http, "/token", redemption(w.code()))
		w.counts("redemptions", answers, map[string]int{"OK": 1, "Bad Request invalid_grant": crowd - 1})
		w.alive(answers)
	})
}

// TestOneDeviceCode: a thousand polls after the person's yes give one token.
func TestOneDeviceCode(t *testing.T) {
	everywhere(t, func(t *testing.T, w *town) {
		begun, err := w.post(t.Context(), w.http, w.servers[0]+"/device_authorization", url.Values{"audience": {"front-door"}, "scope": {"unlock"}})
		must(t, err)
		code, _ := begun.body["device_code"].(string)
		page, _ := begun.body["verification_uri_complete"].(string)
		if begun.status != http.StatusOK || code == "" || !strings.HasPrefix(page, w.servers[0]) {
			t.Fatalf("status %d: %v", begun.status, begun.body)
		}
		b := w.browser()
		action, form := w.page(b, page)
		form.Set("answer", "yes")
		if a, err := w.post(t.Context(), b, w.servers[0]+action, form); err != nil || a.status != http.StatusOK {
			t.Fatalf("the answer: status %d, %v", a.status, err)
		}
		answers := w.meet(w.http, "/token", url.Values{"grant_type": {authz.DeviceCodeGrant}, "device_code": {code}})
		w.counts("polls", answers, map[string]int{"OK": 1, "Bad Request invalid_grant": crowd - 1})
		w.alive(answers)
	})
}

// TestOnePushedRequest: a thousand yeses to one pushed request give one code (RFC 9126 §4).
func TestOnePushedRequest(t *testing.T) {
	everywhere(t, func(t *testing.T, w *town) {
		pushed, err := w.post(t.Context(), w.http, w.servers[0]+"/par", url.Values{
			"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {redirect}, "audience": {"front-door"}, "scope": {"unlock"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		})
		must(t, err)
		uri, _ := pushed.body["request_uri"].(string)
		if pushed.status != http.StatusCreated || uri == "" {
			t.Fatalf("status %d: %v", pushed.status, pushed.body)
		}
		b := w.browser()
		_, form := w.page(b, w.servers[0]+"/authorize?"+url.Values{"client_id": {"app"}, "request_uri": {uri}}.Encode())
		form.Set("answer", "yes")
		codes := 0
		for i, a := range w.meet(b, "/authorize", form) {
			to, err := url.Parse(a.header.Get("Location"))
			if err == nil && to.Query().Has("code") {
				codes++
			} else if a.status >= http.StatusInternalServerError {
				t.Errorf("answer %d: status %d", i, a.status)
			}
		}
		if codes != 1 {
			t.Errorf("%d codes for one pushed request", codes)
		}
	})
}

// TestOneRefreshToken: of a thousand uses of one refresh token in one moment one gets its successor; the others are told to
// ask again, and none of them harms the family (D19, F86).
func TestOneRefreshToken(t *testing.T) {
	everywhere(t, func(t *testing.T, w *town) {
		first := w.redeemed(redemption(w.code()))
		token, _ := first["refresh_token"].(string)
		if token == "" {
			t.Fatal("no refresh token")
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		begin := time.Now()
		answers := w.meet(w.http, "/token", form)
		successor := ""
		at := map[string]int{}
		for i, a := range answers {
			switch next, _ := a.body["refresh_token"].(string); {
			case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "2" && a.body["error"] == "temporarily_unavailable":
				at["busy"]++
			case a.status != http.StatusOK || next == "" || next == token || successor != "" && next != successor:
				t.Errorf("answer %d: status %d, %v", i, a.status, a.body["error"])
			case a.at.Sub(begin) < authz.RefreshPause:
				at["at once"]++
				successor = next
			default: // on a slow machine some come as late as a lost answer is asked for again, and get the same
				at["later"]++
				successor = next
			}
		}
		if at["at once"] > 1 || at["at once"]+at["later"] == 0 || at["at once"]+at["later"]+at["busy"] != crowd {
			t.Errorf("answers: %v", at)
		}
		w.alive(answers)
		next := w.redeemed(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {successor}})
		if again, _ := next["refresh_token"].(string); again == "" || again == successor {
			t.Error("the successor has no successor")
		}
	})
}

// alive wants the granted token to be good in the eyes of the server.
func (w *town) alive(answers []answer) {
	w.t.Helper()
	for _, a := range answers {
		if a.status != http.StatusOK {
			continue
		}
		token, _ := a.body["access_token"].(string)
		seen, err := w.post(w.t.Context(), w.http, w.servers[len(w.servers)-1]+"/introspect", url.Values{"token": {token}})
		must(w.t, err)
		if seen.status != http.StatusOK || seen.body["active"] != true {
			w.t.Errorf("the one token is not good: status %d, %v", seen.status, seen.body)
		}
	}
}
