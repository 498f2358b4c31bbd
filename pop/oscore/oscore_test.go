package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var testSecret = []byte("0123456789abcdef")

// pair returns both ends of one context: client 01, server 02.
func pair(t testing.TB, change func(*Params)) (client, server *Context) {
	t.Helper()
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	if change != nil {
		change(&p)
	}
	q := p
	q.SenderID, q.RecipientID = p.RecipientID, p.SenderID
	return newContext(t, p, Options{}), newContext(t, q, Options{})
}

func newExchange(c *Context, kid, piv []byte) *Exchange {
	x := new(Exchange)
	x.begin(c, kid, piv)
	return x
}

func get(path string) message.Message {
	return message.Message{Code: codes.GET, Options: message.Options{{ID: message.URIPath, Value: []byte(path)}}}
}

func content(payload string) message.Message {
	return message.Message{Code: codes.Content, Payload: []byte(payload)}
}

func mustRequest(t testing.TB, c *Context, m message.Message) (message.Message, *Exchange) {
	t.Helper()
	sealed, x, err := c.ProtectRequest(m)
	if err != nil {
		t.Fatal(err)
	}
	return sealed, x
}

func mustUnprotect(t testing.TB, c *Context, outer message.Message) (message.Message, *Exchange) {
	t.Helper()
	m, x, err := c.UnprotectRequest(outer)
	if err != nil {
		t.Fatal(err)
	}
	return m, x
}

func mustRespond(t testing.TB, c *Context, x *Exchange, ownPIV bool) message.Message {
	t.Helper()
	m, err := c.ProtectResponse(x, content("ok"), ownPIV)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func optionOf(t testing.TB, m message.Message) Option {
	t.Helper()
	o, found, err := FindOption(m)
	if err != nil || !found {
		t.Fatalf("OSCORE option: %v, %v", found, err)
	}
	return o
}

func TestOptionsAreSplitByClass(t *testing.T) {
	client, server := pair(t, nil)
	plain := message.Message{Code: codes.POST, Payload: []byte("p"), Token: message.Token{7}, MessageID: 9, Type: message.NonConfirmable}
	outside := map[message.OptionID]bool{message.Observe: true, message.URIHost: true, message.URIPort: true, message.ProxyScheme: true}
	for _, id := range []message.OptionID{1, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 17, 20, 23, 27, 28, 39, 60, 252, 258, 292, 65001} {
		plain.Options = append(plain.Options, message.Option{ID: id, Value: []byte{byte(id)}})
	}
	sealed, _ := mustRequest(t, client, plain)
	for _, o := range sealed.Options {
		if !outside[o.ID] && o.ID != OptionOSCORE {
			t.Errorf("option %d is outside", o.ID)
		}
	}
	if got, want := len(sealed.Options), len(outside)+1; got != want {
		t.Errorf("%d outer options, want %d", got, want)
	}
	if sealed.Code != codeFETCH || sealed.MessageID != 9 || sealed.Type != message.NonConfirmable || sealed.Token[0] != 7 {
		t.Errorf("outer header: %+v", sealed)
	}
	opened, _ := mustUnprotect(t, server, sealed)
	if got, want := fmt.Sprint(opened.Options), fmt.Sprint(plain.Options); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if opened.Code != plain.Code || !bytes.Equal(opened.Payload, plain.Payload) {
		t.Errorf("got %+v, want %+v", opened, plain)
	}
}

func TestOuterOptionsOfClassEAreDiscarded(t *testing.T) {
	client, server := pair(t, nil)
	sealed, _ := mustRequest(t, client, get("door"))
	sealed.Code = codes.DELETE
	for _, id := range []message.OptionID{message.URIPath, message.URIQuery, message.IfMatch, message.Observe, 65001} {
		sealed.Options = sealed.Options.Add(message.Option{ID: id, Value: []byte("x")})
	}
	opened, _ := mustUnprotect(t, server, sealed)
	if opened.Code != codes.GET || fmt.Sprint(opened.Options) != fmt.Sprint(get("door").Options) {
		t.Errorf("got %+v, want %+v", opened, get("door"))
	}
}

func TestProtectRefuses(t *testing.T) {
	client, server := pair(t, nil)
	_, asked := mustRequest(t, client, get("a"))
	request, _ := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	options := func(ids ...message.OptionID) message.Message {
		m := message.Message{Code: codes.GET}
		for _, id := range ids {
			m.Options = append(m.Options, message.Option{ID: id, Value: []byte("v")})
		}
		return m
	}
	for name, m := range map[string]message.Message{
		"a protected message":       options(OptionOSCORE),
		"Proxy-Uri":                 options(message.ProxyURI),
		"options out of order":      options(message.URIPath, message.URIHost),
		"a response":                content(""),
		"an empty message":          {},
		"a signal":                  {Code: codes.Ping},
		"more than a CCM plaintext": {Code: codes.POST, Payload: make([]byte, 1<<16)},
	} {
		if _, _, err := client.ProtectRequest(m); !errors.Is(err, ErrUnprotectable) {
			t.Errorf("%s: got %v, want %v", name, err, ErrUnprotectable)
		}
	}
	if _, err := server.ProtectResponse(x, get("a"), false); !errors.Is(err, ErrUnprotectable) {
		t.Errorf("a request as response: got %v", err)
	}
	if _, err := client.ProtectResponse(asked, content(""), false); !errors.Is(err, ErrUnprotectable) {
		t.Errorf("a response to an own request: got %v", err)
	}
	if m := mustRespond(t, server, x, false); optionOf(t, m).PartialIV != nil {
		t.Error("the refused response has used up the nonce of the request")
	}
}

func TestNewRefuses(t *testing.T) {
	good := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	for name, change := range map[string]func(*Params){
		"short secret":      func(p *Params) { p.MasterSecret = p.MasterSecret[1:] },
		"long secret":       func(p *Params) { p.MasterSecret = make([]byte, 65) },
		"long sender id":    func(p *Params) { p.SenderID = make([]byte, 8) },
		"long recipient id": func(p *Params) { p.RecipientID = make([]byte, 8) },
		"equal ids":         func(p *Params) { p.RecipientID = p.SenderID },
		"both ids empty":    func(p *Params) { p.RecipientID, p.SenderID = nil, []byte{} },
		"long id context":   func(p *Params) { p.IDContext = make([]byte, 129) },
		"long salt":         func(p *Params) { p.MasterSalt = make([]byte, 257) },
		"other algorithm":   func(p *Params) { p.Algorithm = 24 },
	} {
		p := good
		change(&p)
		if _, err := New(p, Options{}); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), string(testSecret)) {
			t.Errorf("%s: error shows the secret", name)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, p); got != "[redacted]" {
			t.Errorf("%s: got %s", format, got)
		}
		if got := fmt.Sprintf(format, newContext(t, p, Options{})); got != "oscore context 01 to 02" {
			t.Errorf("%s: got %s", format, got)
		}
	}
}

// Every bit of the OSCORE option and of the ciphertext.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	for _, ownPIV := range []bool{false, true} {
		client, server := pair(t, func(p *Params) { p.IDContext = []byte("ctx") })
		request, asked := mustRequest(t, client, get("door"))
		flip(t, request, func(m message.Message) error { _, _, err := server.UnprotectRequest(m); return err })
		_, x := mustUnprotect(t, server, request)
		response := mustRespond(t, server, x, ownPIV)
		flip(t, response, func(m message.Message) error { _, err := client.UnprotectResponse(asked, m); return err })
		if _, err := client.UnprotectResponse(asked, response); err != nil {
			t.Errorf("unchanged response: %v", err)
		}
	}
}

func flip(t *testing.T, m message.Message, unprotect func(message.Message) error) {
	t.Helper()
	at, _, err := m.Options.Find(OptionOSCORE)
	if err != nil {
		t.Fatal(err)
	}
	for name, field := range map[string][]byte{"option": m.Options[at].Value, "payload": m.Payload} {
		for bit := range len(field) * 8 {
			field[bit/8] ^= 1 << (bit % 8)
			if err := unprotect(m); err == nil {
				t.Errorf("%s with bit %d flipped: accepted", name, bit)
			} else if ErrorResponse(err).Code == codes.InternalServerError {
				t.Errorf("%s with bit %d flipped: unexpected %v", name, bit, err)
			}
			field[bit/8] ^= 1 << (bit % 8)
		}
	}
	for n := range m.Payload {
		short := m
		short.Payload = m.Payload[:n]
		if unprotect(short) == nil {
			t.Errorf("payload cut to %d bytes: accepted", n)
		}
	}
}

func TestUnprotectTellsErrorsApart(t *testing.T) {
	client, server := pair(t, func(p *Params) { p.IDContext = []byte("ctx") })
	stranger, _ := pair(t, func(p *Params) { p.IDContext, p.SenderID = []byte("ctx"), []byte{3} })
	forger := newContext(t, Params{
		MasterSecret: []byte("another secret.."), IDContext: []byte("ctx"), SenderID: []byte{1}, RecipientID: []byte{2},
	}, Options{Next: 1})
	elsewhere, _ := pair(t, func(p *Params) { p.IDContext = []byte("other") })
	good, _ := mustRequest(t, client, get("a"))
	mustUnprotect(t, server, good)
	// RFC 8613 §8.2 step 3: the window is asked before anything is decrypted.
	usedNumber := good
	usedNumber.Payload = append([]byte{good.Payload[0] ^ 1}, good.Payload[1:]...)
	twice := good
	twice.Options = append(message.Options{good.Options[0]}, good.Options...)
	bare := good
	bare.Options = message.Options{{ID: OptionOSCORE}}
	from := func(c *Context) message.Message { m, _ := mustRequest(t, c, get("a")); return m }
	for _, c := range []struct {
		name  string
		outer message.Message
		want  error
	}{
		{"replay", good, ErrReplay},
		{"forgery with a used number", usedNumber, ErrReplay},
		{"unknown kid", from(stranger), ErrNoContext},
		{"other kid context", from(elsewhere), ErrNoContext},
		{"other secret", from(forger), ErrDecrypt},
		{"two options", twice, ErrDecode},
		{"no kid and no partial iv", bare, ErrDecode},
		{"not protected", get("a"), ErrDecode},
	} {
		if _, _, err := server.UnprotectRequest(c.outer); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestErrorResponses(t *testing.T) {
	for _, c := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{ErrNoContext, codes.Unauthorized, "Security context not found"},
		{ErrDecode, codes.BadOption, "Failed to decode COSE"},
		{ErrReplay, codes.Unauthorized, "Replay detected"},
		{ErrDecrypt, codes.BadRequest, "Decryption failed"},
		{fmt.Errorf("open: %w", ErrDecrypt), codes.BadRequest, "Decryption failed"},
		{errors.New("disk full at sector 7"), codes.InternalServerError, ""},
	} {
		m := ErrorResponse(c.err)
		if m.Code != c.code || string(m.Payload) != c.text {
			t.Errorf("%v: got %v %q, want %v %q", c.err, m.Code, m.Payload, c.code, c.text)
		}
		if age, err := m.Options.GetUint32(message.MaxAge); err != nil || age != 0 {
			t.Errorf("%v: Max-Age %d, %v, want 0", c.err, age, err)
		}
	}
}

func TestInnerMessageMustFit(t *testing.T) {
	client, server := pair(t, nil)
	seal := func(plaintext []byte) message.Message {
		x := newExchange(client, client.SenderID(), []byte{byte(client.next)})
		client.next++
		option := Option{PartialIV: x.partialIV(), KID: client.SenderID(), HasKID: true}
		return message.Message{
			Code: codes.POST, Options: message.Options{{ID: OptionOSCORE, Value: option.Encode()}},
			Payload: client.keys().send.Seal(nil, x.nonce[:], plaintext, x.aad[:x.aadSize]),
		}
	}
	for name, plaintext := range map[string][]byte{
		"empty":                  {},
		"a response":             {0x45},
		"a signal":               {0xe2},
		"code 0.00":              {0},
		"option cut off":         {1, 0xb3, 't'},
		"marker without payload": {1, 0xff},
		"nested protection":      {1, 0x90},
	} {
		if _, _, err := server.UnprotectRequest(seal(plaintext)); !errors.Is(err, ErrInner) {
			t.Errorf("%s: got %v, want %v", name, err, ErrInner)
		}
	}
	if _, _, err := server.UnprotectRequest(seal([]byte{1})); err != nil {
		t.Errorf("a bare GET: %v", err)
	}
}

func TestResponseIsBoundToItsRequest(t *testing.T) {
	client, server := pair(t, nil)
	first, askedFirst := mustRequest(t, client, get("a"))
	second, askedSecond := mustRequest(t, client, get("b"))
	_, x := mustUnprotect(t, server, first)
	_, y := mustUnprotect(t, server, second)
	response := mustRespond(t, server, x, false)
	own := mustRespond(t, server, y, true)
	for name, check := range map[string]struct {
		x     *Exchange
		outer message.Message
		want  error
	}{
		"response to another request":             {askedSecond, response, ErrDecrypt},
		"response with own iv to another request": {askedFirst, own, ErrDecrypt},
		"unprotected response":                    {askedFirst, content("ok"), ErrNotProtected},
		"own request as response":                 {askedFirst, first, ErrDecode},
	} {
		if _, err := client.UnprotectResponse(check.x, check.outer); !errors.Is(err, check.want) {
			t.Errorf("%s: got %v, want %v", name, err, check.want)
		}
	}
	if _, err := client.UnprotectResponse(askedFirst, response); err != nil {
		t.Fatal(err)
	}
	if _, err := client.UnprotectResponse(askedFirst, response); !errors.Is(err, ErrReplay) {
		t.Errorf("second response: got %v, want %v", err, ErrReplay)
	}
}

func TestRequestNonceIsUsedForOneResponse(t *testing.T) {
	client, server := pair(t, nil)
	request, _ := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	if piv := optionOf(t, mustRespond(t, server, x, false)).PartialIV; piv != nil {
		t.Errorf("first response has partial iv %x", piv)
	}
	for want := range byte(3) {
		if piv := optionOf(t, mustRespond(t, server, x, false)).PartialIV; !bytes.Equal(piv, []byte{want}) {
			t.Errorf("later response has partial iv %x, want %02x", piv, want)
		}
	}
}

// The first request of another context has the same number as one of this context may have.
func TestResponseUnderAnotherContextHasItsOwnNonce(t *testing.T) {
	client, server := pair(t, nil)
	request, _ := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	_, other := pair(t, func(p *Params) { p.IDContext = []byte("other") })
	if piv := optionOf(t, mustRespond(t, other, x, false)).PartialIV; piv == nil {
		t.Error("the nonce of a foreign request was used")
	}
}

func TestOneNonceForOneResponseUnderConcurrency(t *testing.T) {
	client, server := pair(t, nil)
	request, _ := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	var mu sync.Mutex
	var group sync.WaitGroup
	used := map[string]int{}
	for range 16 {
		group.Go(func() {
			m, err := server.ProtectResponse(x, content("ok"), false)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			used[string(m.Options[0].Value)]++
		})
	}
	group.Wait()
	for value, n := range used {
		if n != 1 {
			t.Errorf("option %x used %d times", value, n)
		}
	}
	if len(used) != 16 {
		t.Errorf("%d different nonces, want 16", len(used))
	}
}
