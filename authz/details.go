package authz

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// DetailsType is the type of authorization_details that this server knows (RFC 9396 §2). An element names one device and
// some of its actions:
//
//	{"type": "latchkey_device", "locations": ["front-door"], "actions": ["unlock", "view"]}
const DetailsType = "latchkey_device"

// details is one element. There is one in a request: a token names one grant (docs/adr/0033).
type details struct {
	Type      string   `json:"type"`
	Locations []string `json:"locations"`
	Actions   []string `json:"actions,omitempty"`
}

func badDetails(why string) error {
	return &ace.Error{Code: ace.InvalidDetails, Description: "authorization_details: " + why}
}

// parseDetails reads the text strictly: a member that is not known would be a wish that is not heard.
func parseDetails(text string) (details, error) {
	var list []details
	in := json.NewDecoder(bytes.NewReader([]byte(text)))
	in.DisallowUnknownFields()
	if err := in.Decode(&list); err != nil || len(text) > maxDetails {
		return details{}, badDetails("must be an array of objects with type, locations and actions")
	}
	if _, err := in.Token(); err != io.EOF {
		return details{}, badDetails("something stands behind the array")
	}
	switch {
	case len(list) != 1:
		return details{}, badDetails("one device a request")
	case list[0].Type != DetailsType:
		return details{}, badDetails("the type must be " + DetailsType)
	case len(list[0].Locations) != 1 || list[0].Locations[0] == "":
		return details{}, badDetails("locations must name one device")
	case !exactNames(text, list[0]):
		return details{}, badDetails("a member is not known, or given twice")
	}
	return list[0], nil
}

// exactNames refuses names that differ from ours in case, which the decoder takes for ours, and names given twice, of which it
// takes the last: another reader of the same text would see another wish.
func exactNames(text string, d details) bool {
	var members []map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil || len(members) != 1 {
		return false
	}
	for name := range members[0] {
		if name != "type" && name != "locations" && name != "actions" {
			return false
		}
	}
	texts := 0
	for in := json.NewDecoder(strings.NewReader(text)); ; {
		token, err := in.Token()
		if err != nil {
			break
		}
		if _, ok := token.(string); ok {
			texts++
		}
	}
	return texts == len(members[0])+1+len(d.Locations)+len(d.Actions)
}

// readDetails turns details into audience and scope; beside either of these they must not contradict, and beside a scope
// they are refused, for it would not be clear which of the two was meant.
func (s *Server) readDetails(_ context.Context, r *AuthorizeRequest) (audience string, scope ace.Scope, err error) {
	d, err := parseDetails(r.Details)
	switch {
	case err != nil:
		return "", ace.Scope{}, err
	case r.Scope != "":
		return "", ace.Scope{}, badDetails("give either scope or authorization_details")
	case r.Audience != "" && r.Audience != d.Locations[0]:
		return "", ace.Scope{}, badDetails("audience names another device")
	}
	words := strings.Join(d.Actions, " ")
	if len(strings.Fields(words)) != len(d.Actions) {
		return "", ace.Scope{}, badDetails("an action has spaces or no name")
	}
	return d.Locations[0], ace.Scope{Words: words}, nil
}

// narrow lets a token request ask for less than was agreed to, in details as in scope (RFC 9396 §6).
func (s *Server) narrow(ctx context.Context, r *request) error {
	if r.Details == "" {
		return nil
	}
	if !r.Scope.Absent() {
		return badDetails("give either scope or authorization_details")
	}
	var err error
	ask := AuthorizeRequest{Details: r.Details, Audience: r.Audience}
	r.Audience, r.Scope, err = s.readDetails(ctx, &ask)
	r.worded = true
	return err
}

// grantedDetails are the details of what was granted, for who asked with details; "" for others (RFC 9396 §7).
func (r *request) grantedDetails() string {
	if r.shown.details == "" && !r.worded {
		return ""
	}
	text, err := json.Marshal([]details{{Type: DetailsType, Locations: []string{r.device.Audience()}, Actions: r.device.Names(r.decision.Rights)}})
	if err != nil {
		return ""
	}
	return string(text)
}
