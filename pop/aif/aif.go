// Package aif is the Authorization Information Format for REST (RFC 9237): which methods on which local paths.
//
// It parses, prints, compares and combines rights, in CBOR, JSON and a text for people and OAuth scopes ("/door:GET,PUT").
// Start from Rights, ParseText and Allows; Local names what a CoAP request asks for.
//
// It does not decide who has rights, keeps no record of what was created (Created says what such a record would hold),
// has no wildcards, templates or conditions, which RFC 9237 has not either (§2.2), and knows no Toid and Tperm but
// local-uri and REST-method-set.
package aif

import (
	"slices"
	"strings"
)

// Methods is the REST-method-set of RFC 9237 §3: bit n stands for the CoAP method with code n+1.
type Methods uint64

// Entry grants Methods on exactly one Path (an absolute URI path with an optional query, compared byte by byte).
type Entry struct {
	_       struct{} `cbor:",toarray"`
	Path    string
	Methods Methods
}

// Rights is a set of entries, at most one per path, in ascending order of path. All functions of this package return
// that form and accept any other; nil is no rights at all.
type Rights []Entry

// New merges entries: methods of one path are united (RFC 9237 §2.2), entries without a method vanish. It checks
// nothing: Encode, Parse and CheckPath do.
func New(entries ...Entry) Rights { return merge(slices.Clone(entries)) }

// merge is New for entries that nobody else has: their memory is used again.
func merge(entries []Entry) Rights {
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	out := entries[:0]
	for _, e := range entries {
		switch last := len(out) - 1; {
		case e.Methods == 0:
		case last >= 0 && out[last].Path == e.Path:
			out[last].Methods |= e.Methods
		default:
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Answer is what rights say about one request.
type Answer int

const (
	// PathUnknown means that no entry names the path: 4.03 (RFC 9200 §5.10.2).
	PathUnknown Answer = iota
	// MethodNotAllowed means that the path is named, but not with this method: 4.05.
	MethodNotAllowed
	// Allowed means that every method asked for is granted.
	Allowed
)

// String names the answer.
func (a Answer) String() string {
	switch a {
	case PathUnknown:
		return "path unknown"
	case MethodNotAllowed:
		return "method not allowed"
	case Allowed:
		return "allowed"
	}
	return "unknown"
}

// Allows says whether all methods m may be used on path itself. No method at all is never allowed, nor is a dynamic one,
// which no request has, nor a bit without a meaning, even if the rights hold it. A path named with dynamic methods alone
// is known: any method on it answers MethodNotAllowed.
func (r Rights) Allows(path string, m Methods) Answer {
	granted := r.Methods(path)
	switch {
	case granted == 0:
		return PathUnknown
	case m == 0 || m&^granted.Static() != 0:
		return MethodNotAllowed
	}
	return Allowed
}

// Created is what the rights grant on the resource at location, which a 2.01 response to their holder's request to path
// has named in its Location options (RFC 9237 §2.3). It holds for that holder alone; who keeps it, and until when, is the
// resource server's matter. A created resource creates nothing: no dynamic right passes on.
func (r Rights) Created(path, location string) Rights {
	return New(Entry{Path: location, Methods: r.Methods(path).OnCreated()})
}

// Methods is what the rights grant on exactly this path, 0 if they do not name it.
func (r Rights) Methods(path string) Methods {
	var granted Methods
	for _, e := range r {
		if e.Path == path {
			granted |= e.Methods
		}
	}
	return granted
}

// Union is what r or other grants.
func (r Rights) Union(other Rights) Rights { return merge(slices.Concat(r, other)) }

// Intersect is what both r and other grant.
func (r Rights) Intersect(other Rights) Rights {
	both := slices.Clone(r)
	for i, e := range both {
		both[i].Methods = e.Methods & other.Methods(e.Path)
	}
	return merge(both)
}

// Without is what r grants and other does not.
func (r Rights) Without(other Rights) Rights {
	rest := slices.Clone(r)
	for i, e := range rest {
		rest[i].Methods = e.Methods &^ other.Methods(e.Path)
	}
	return merge(rest)
}

// Subset reports whether of grants everything that r does.
func (r Rights) Subset(of Rights) bool {
	return !slices.ContainsFunc(r, func(e Entry) bool { return e.Methods&^of.Methods(e.Path) != 0 })
}

// Equal reports whether both grant the same.
func (r Rights) Equal(other Rights) bool { return r.Subset(other) && other.Subset(r) }

// Empty reports whether nothing is granted.
func (r Rights) Empty() bool {
	return !slices.ContainsFunc(r, func(e Entry) bool { return e.Methods != 0 })
}

// ChangesState reports whether any entry has a method that changes state.
func (r Rights) ChangesState() bool {
	return slices.ContainsFunc(r, func(e Entry) bool { return e.Methods.ChangesState() })
}
