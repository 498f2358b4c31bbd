package cose

// Wrap puts a tag, in its shortest encoding, before one encoded item.
func Wrap(tag Tag, item []byte) []byte {
	return append(appendHead(nil, majorTag, uint64(tag)), item...)
}

// Unwrap splits a tag from the item it stands before. A tag in a longer encoding than needed is refused, because a second
// spelling of a token has a second hash (RFC 9770 §3). The item itself is not looked at and shares memory with data.
func Unwrap(data []byte) (Tag, []byte, error) {
	if len(data) == 0 || data[0]>>5 != majorTag {
		return 0, nil, malformed("no tag")
	}
	r := reader{data: data}
	major, n := r.head()
	switch {
	case major != majorTag:
		return 0, nil, malformed("broken tag")
	case r.loose:
		return 0, nil, malformed("%v in a longer encoding than needed", Tag(n))
	}
	return Tag(n), r.data, nil
}

// Detach takes the content out of an untagged message of any of the six structures and leaves null in its place, so that
// it can travel by another way (RFC 9052 §2).
func Detach(message []byte) (bare, content []byte, err error) {
	item, at, err := splitContent(message)
	if err != nil {
		return nil, nil, err
	}
	r := reader{data: item[at:]}
	content, ok := r.bytes()
	if !ok {
		return nil, nil, malformed("no content to detach")
	}
	return append(append(item[:at:at], null), r.data...), content, nil
}

// Attach puts detached content back to where the message has null. Every other byte stays as it was received.
func Attach(bare, content []byte) ([]byte, error) {
	item, at, err := splitContent(bare)
	if err != nil {
		return nil, err
	}
	if at == len(item) || item[at] != null {
		return nil, malformed("content is not detached")
	}
	return append(appendBytes(item[:at:at], content), item[at+1:]...), nil
}

// splitContent returns a copy of the message and where its third entry, the content, begins.
func splitContent(message []byte) ([]byte, int, error) {
	item, err := own(message)
	if err != nil {
		return nil, 0, err
	}
	r := reader{data: item}
	if n, ok := r.items(majorArray); !ok || n < 3 {
		return nil, 0, malformed("not a COSE message")
	}
	r.skip()
	r.skip()
	return item, len(item) - len(r.data), nil
}
