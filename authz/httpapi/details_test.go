package httpapi_test

import (
	"encoding/json"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// wish is authorization_details for some actions of a device.
func wish(location string, actions ...string) string {
	text, err := json.Marshal([]map[string]any{{"type": authz.DetailsType, "locations": []string{location}, "actions": actions}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// agreed is the member authorization_details of a token response, which must be all that it says about what was granted.
func (w *world) agreed(p page) any {
	w.t.Helper()
	m := w.object(p)
	if p.StatusCode != 200 || m["access_token"] == nil {
		w.t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	return m["authorization_details"]
}

// granting is what authorization_details of an answer say (RFC 9396 §7): the device by the audience of its tokens.
func granting(actions ...any) any {
	return []any{map[string]any{"type": authz.DetailsType, "locations": []any{provision.Audience(deviceID(1))}, "actions": actions}}
}

// TestDetailsFromQuestionToRefresh: what is asked for in details is shown, agreed to, granted and renewed in details, and can be
// narrowed each time (RFC 9396 §§2, 6, 7); pushed, it is the same.
func TestDetailsFromQuestionToRefresh(t *testing.T) {
	for _, pushed := range []bool{false, true} {
		w := newWorld(t)
		w.give("mother", unlock, view)
		tenant := basic("tenant", w.tenant(nil))
		b := w.browser()
		q := question("client_id", "tenant", "audience", "", "authorization_details", wish("door-1", "unlock", "view"))
		if pushed {
			p := b.post(w.url+"/par", q, "Authorization", tenant)
			q = url.Values{"client_id": {"tenant"}, "request_uri": {w.object(p)["request_uri"].(string)}}
		}
		redeem := func(pairs ...string) page {
			form := redemption(w.code("mother", q))
			form.Del("client_id")
			for i := 0; i < len(pairs); i += 2 {
				form.Set(pairs[i], pairs[i+1])
			}
			return b.post(w.url+"/token", form, "Authorization", tenant)
		}
		first := redeem()
		if got := w.agreed(first); !reflect.DeepEqual(got, granting("unlock", "view")) {
			t.Errorf("granted %v", got)
		}
		token := w.object(first)["refresh_token"].(string)
		refresh := func(pairs ...string) page {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
			for i := 0; i < len(pairs); i += 2 {
				form.Set(pairs[i], pairs[i+1])
			}
			w.clock.move(time.Minute)
			p := b.post(w.url+"/token", form, "Authorization", tenant)
			if next, ok := w.object(p)["refresh_token"].(string); ok {
				token = next
			}
			return p
		}
		for name, row := range map[string]struct {
			ask  []string
			want any
		}{
			"all of it":  {nil, granting("unlock", "view")},
			"less":       {[]string{"authorization_details", wish("door-1", "view")}, granting("view")},
			"less again": {[]string{"authorization_details", wish(provision.Audience(deviceID(1)), "unlock")}, granting("unlock")},
		} {
			if got := w.agreed(refresh(row.ask...)); !reflect.DeepEqual(got, row.want) {
				t.Errorf("refresh, %s: got %v, want %v", name, got, row.want)
			}
		}
		w.wantError("more than was granted", refresh("authorization_details", wish("door-1", "unlock", "view", "configure")), 400, "invalid_scope")
		w.wantError("another device", refresh("authorization_details", wish("barn", "view")), 400, "invalid_request")
		w.wantError("another type", refresh("authorization_details", `[{"type":"payment","locations":["door-1"]}]`), 400, "invalid_authorization_details")
		w.wantError("scope as well", refresh("authorization_details", wish("door-1", "view"), "scope", "view"), 400, "invalid_authorization_details")
		if got := w.agreed(refresh()); !reflect.DeepEqual(got, granting("unlock", "view")) {
			t.Errorf("after what was refused: %v", got)
		}
		if pushed {
			continue // its request_uri is used up
		}
		if got := w.agreed(redeem("authorization_details", wish("door-1", "view"))); !reflect.DeepEqual(got, granting("view")) {
			t.Errorf("a code for less: %v", got)
		}
		w.wantError("a code for more", redeem("authorization_details", wish("door-1", "configure")), 400, "invalid_scope")
	}
}

// TestNoDetailsUnasked: who asked by scope is answered by scope.
func TestNoDetailsUnasked(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	p := w.browser().post(w.url+"/token", redemption(w.code("mother", question())))
	if m := w.object(p); m["authorization_details"] != nil || m["scope"] != "unlock" {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
}
