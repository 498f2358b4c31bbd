package wire

import "bytes"

// smallMap is the number of keys that are compared one by one; larger maps are rare and get a table.
const smallMap = 16

// key is a map key by what it means, so that 1 in one byte and 1 in two are the same. text shares memory with the input.
type key struct {
	major byte
	n     uint64
	text  []byte
}

// keySet holds the keys of one map. The zero value is empty.
type keySet struct {
	few   [smallMap]key
	count int
	many  map[number]struct{} // what does not fit into few
	texts map[string]struct{}
}

type number struct {
	major byte
	n     uint64
}

// add reports whether the key was not there yet.
func (s *keySet) add(k key) bool {
	for i := range s.few[:min(s.count, smallMap)] {
		if f := &s.few[i]; f.major == k.major && f.n == k.n && bytes.Equal(f.text, k.text) {
			return false
		}
	}
	s.count++
	if s.count <= smallMap {
		s.few[s.count-1] = k
		return true
	}
	if s.many == nil {
		s.many, s.texts = map[number]struct{}{}, map[string]struct{}{}
	}
	before := len(s.many) + len(s.texts)
	if k.major == MajorText {
		s.texts[string(k.text)] = struct{}{}
	} else {
		s.many[number{k.major, k.n}] = struct{}{}
	}
	return len(s.many)+len(s.texts) > before
}

// members walks a map of count members.
func (w *walker) members(count int) error {
	var keys keySet
	var previous []byte
	for range count {
		start := w.at
		k, err := w.key()
		if err != nil {
			return err
		}
		if encoded := w.data[start:w.at]; w.deterministic {
			if bytes.Compare(previous, encoded) > 0 {
				return ErrNotDeterministic
			}
			previous = encoded
		}
		if !keys.add(k) {
			return errDuplicate
		}
		if err := w.item(); err != nil {
			return err
		}
	}
	return nil
}

// key reads a map key. No protocol of this house has others than integers and text, and others cannot be told apart
// safely: NaN equals nothing, a byte string is no Go map key.
func (w *walker) key() (key, error) {
	major, _, argument, err := w.head()
	if err != nil {
		return key{}, err
	}
	switch major {
	case MajorUint, MajorNegative:
		return key{major: major, n: argument}, nil
	case MajorText:
		text, err := w.content(major, argument)
		return key{major: major, text: text}, err
	}
	return key{}, errKey
}
