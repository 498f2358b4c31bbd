package aif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// ParseJSON decodes the JSON form (RFC 9237 §3, application/aif+json): [["/door",5],…]. It refuses what Parse refuses,
// and a set of methods that is not written in decimal digits alone or is beyond 2^53, where JSON readers no longer
// agree on a number (RFC 7493 §2.2). More than MaxJSON bytes are not looked at.
func ParseJSON(data []byte) (Rights, error) {
	if len(data) > MaxJSON {
		return nil, fmt.Errorf("rights of %d bytes, at most %d", len(data), MaxJSON)
	}
	list, err := jsonArray(data)
	if err != nil {
		return nil, err
	}
	if len(list) > MaxEntries {
		return nil, tooMany(len(list))
	}
	entries := make([]Entry, 0, len(list))
	for _, item := range list {
		e, err := jsonEntry(item)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return New(entries...), nil
}

// jsonArray refuses null, which encoding/json would take for an empty list.
func jsonArray(data []byte) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil || list == nil {
		return nil, errShape
	}
	return list, nil
}

func jsonEntry(data []byte) (e Entry, err error) {
	pair, err := jsonArray(data)
	if err != nil || len(pair) != 2 {
		return Entry{}, errShape
	}
	if err := json.Unmarshal(pair[0], &e.Path); err != nil {
		return Entry{}, errShape
	}
	bits, err := strconv.ParseUint(string(pair[1]), 10, 64)
	if err != nil {
		return Entry{}, errShape
	}
	if bits > maxJSONInteger {
		return Entry{}, fmt.Errorf("path %q: methods beyond 2^53 in JSON", e.Path)
	}
	e.Methods = Methods(bits)
	return e, e.check()
}

// EncodeJSON gives the JSON form, merged, in ascending order of path, without spaces. What Check refuses is not encoded.
func (r Rights) EncodeJSON() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	list := [][2]any{}
	for _, e := range New(r...) {
		list = append(list, [2]any{e.Path, uint64(e.Methods)})
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // "&" parts query arguments
	if err := encoder.Encode(list); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
