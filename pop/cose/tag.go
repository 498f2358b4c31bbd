package cose

import "math/bits"

const majorTag = 6 << 5

// Wrap puts a tag, in its shortest encoding, before one encoded item.
func Wrap(tag Tag, item []byte) []byte {
	head := tagHead(tag)
	return append(head, item...)
}

// Unwrap splits a tag from the item it stands before. A tag in a longer encoding than needed is refused, because a second
// spelling of a token has a second hash (RFC 9770 §3). The item itself is not looked at and shares memory with data.
func Unwrap(data []byte) (Tag, []byte, error) {
	if len(data) == 0 || data[0]>>5 != majorTag>>5 {
		return 0, nil, malformed("no tag")
	}
	info := data[0] & 0x1f
	if info < 24 {
		return Tag(info), data[1:], nil
	}
	size := 1 << (info - 24)
	if info > 27 || len(data) < 1+size {
		return 0, nil, malformed("broken tag")
	}
	var tag Tag
	for _, b := range data[1 : 1+size] {
		tag = tag<<8 | Tag(b)
	}
	if len(tagHead(tag)) != 1+size {
		return 0, nil, malformed("%v in a longer encoding than needed", tag)
	}
	return tag, data[1+size:], nil
}

func tagHead(tag Tag) []byte {
	if tag < 24 {
		return []byte{majorTag | byte(tag)}
	}
	exponent := 0
	for size := (bits.Len64(uint64(tag)) + 7) / 8; 1<<exponent < size; {
		exponent++
	}
	head := []byte{majorTag | byte(24+exponent)}
	for shift := 8<<exponent - 8; shift >= 0; shift -= 8 {
		head = append(head, byte(tag>>shift))
	}
	return head
}
