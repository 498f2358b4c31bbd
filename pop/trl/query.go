package trl

import "strconv"

// Query asks for the whole list when Diff is nil, and else for the newest *Diff updates, 0 meaning as many as possible;
// with Cursor, for those after it (RFC 9770 §§6–8).
type Query struct {
	Diff   *uint64
	Cursor *uint64
}

// ParseQuery reads the parameters of a request: texts like "diff=3" or "cursor=17". Others are ignored. c is the
// collection of the requester, whose last index an error may have to tell. The error is an *Error.
func (c Collection) ParseQuery(parameters []string) (Query, error) {
	var q Query
	diff, hasDiff, twice := find(parameters, "diff")
	cursor, hasCursor, again := find(parameters, "cursor")
	if hasDiff {
		n, ok := number(diff)
		if !ok || twice {
			return Query{}, &Error{ID: InvalidValue}
		}
		q.Diff = &n
	}
	if !hasCursor {
		return q, nil
	}
	if !hasDiff {
		return Query{}, &Error{ID: InvalidSet}
	}
	p, ok := number(cursor)
	if !ok || again || p > MaxIndex {
		return Query{}, &Error{ID: InvalidValue, HasCursor: true, Cursor: c.cursor()}
	}
	q.Cursor = &p
	return q, nil
}

// Encode gives the parameters of a request.
func (q Query) Encode() (parameters []string) {
	if q.Diff == nil {
		return nil
	}
	parameters = append(parameters, "diff="+strconv.FormatUint(*q.Diff, 10))
	if q.Cursor != nil {
		parameters = append(parameters, "cursor="+strconv.FormatUint(*q.Cursor, 10))
	}
	return parameters
}

func find(parameters []string, name string) (value string, found, twice bool) {
	for _, p := range parameters {
		if len(p) > len(name) && p[:len(name)] == name && p[len(name)] == '=' || p == name {
			value, found, twice = p[min(len(name)+1, len(p)):], true, found
		}
	}
	return value, found, twice
}

// number reads digits alone: no sign, no space, no second spelling of a number.
func number(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == text
}
