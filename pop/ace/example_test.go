package ace_test

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// A token request is one type, whether it came as a form over HTTP or as CBOR over CoAP.
func Example() {
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"daeaaaaaaaaaaaa"}, "scope": {"/door:GET"}, "ace_profile": {""}}
	request, err := ace.ParseTokenRequestForm(form)
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := request.CBOR()
	if err != nil {
		fmt.Println(err)
		return
	}
	again, err := ace.ParseTokenRequestCBOR(data)
	fmt.Println(again.Audience, again.Scope, again.Profile.Named, err)

	_, err = ace.ParseTokenRequestForm(url.Values{"grant_type": {"password"}})
	var refusal *ace.Error
	if errors.As(err, &refusal) {
		answer, _ := refusal.CBOR() // {30: 5, …}, the payload of a 4.00
		fmt.Printf("%v %x…\n", refusal.Code, answer[:4])
	}
	// Output:
	// daeaaaaaaaaaaaa /door:GET false <nil>
	// unsupported_grant_type a2181e05…
}
