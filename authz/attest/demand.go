package attest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Demand is what is asked of an instance before it may have something. The zero value asks for nothing, an attestation included.
type Demand struct {
	Key    Keeping       `json:"key,omitempty"`
	System System        `json:"os,omitempty"`
	MaxAge time.Duration `json:"age,omitempty"`   // of the finding; 0: any
	Kinds  []Kind        `json:"kinds,omitempty"` // nil: any but None and Development
}

// Lack says which demand a verdict does not meet. Its text is for people.
type Lack string

// Lacks, the one that a person can do least about first.
const (
	LackNone   Lack = ""
	LackApp    Lack = "an app that somebody vouches for"
	LackKind   Lack = "another kind of proof that the app is genuine"
	LackKey    Lack = "a phone that keeps the app's key in hardware"
	LackSystem Lack = "a phone with an unchanged system"
	LackFresh  Lack = "a fresh proof that the app is genuine"
)

// Demanding reports whether anything is asked at all.
func (d *Demand) Demanding() bool {
	return d.Key != KeyUnknown || d.System != SystemUnknown || d.MaxAge != 0 || len(d.Kinds) > 0
}

// Lack is the first demand that v does not meet at now, LackNone if it meets all. With the zero time its age is not judged.
func (d *Demand) Lack(v Verdict, now time.Time) Lack {
	switch {
	case !d.Demanding():
		return LackNone
	case v.Kind == None:
		return LackApp
	case len(d.Kinds) > 0 && !slices.Contains(d.Kinds, v.Kind), len(d.Kinds) == 0 && v.Kind == Development:
		return LackKind
	case v.Key < d.Key:
		return LackKey
	case v.System < d.System:
		return LackSystem
	case d.MaxAge > 0 && !now.IsZero() && now.Sub(v.At) > d.MaxAge:
		return LackFresh
	}
	return LackNone
}

// String writes what ParseDemand reads.
func (d Demand) String() string {
	var parts []string
	if d.Key != KeyUnknown {
		parts = append(parts, "key="+d.Key.String())
	}
	if d.System != SystemUnknown {
		parts = append(parts, "os="+d.System.String())
	}
	if d.MaxAge != 0 {
		parts = append(parts, "age="+d.MaxAge.String())
	}
	for _, k := range d.Kinds {
		parts = append(parts, "kind="+k.String())
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ",")
}

// ParseDemand reads parts like key=hardware,os=verified,age=5m,kind=key-attestation, of which kind may stand several times.
func ParseDemand(text string) (d Demand, err error) {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		if err := d.set(name, value); err != nil {
			return Demand{}, fmt.Errorf("%.64q: %w", part, err)
		}
	}
	if !d.Demanding() {
		return Demand{}, errors.New("it asks for nothing")
	}
	return d, nil
}

func (d *Demand) set(name, value string) (err error) {
	was := *d
	switch name {
	case "key":
		err = once(was.Key == KeyUnknown, d.Key.UnmarshalText([]byte(value)))
	case "os":
		err = once(was.System == SystemUnknown, d.System.UnmarshalText([]byte(value)))
	case "age":
		if d.MaxAge, err = time.ParseDuration(value); err == nil && (d.MaxAge < MinAge || d.MaxAge > MaxAge) {
			err = fmt.Errorf("an age is %v to %v", MinAge, MaxAge)
		}
		err = once(was.MaxAge == 0, err)
	case "kind":
		var k Kind
		if err = k.UnmarshalText([]byte(value)); err == nil && (k == None || slices.Contains(d.Kinds, k)) {
			err = errors.New("not a kind, or named twice")
		}
		d.Kinds = append(d.Kinds, k)
	default:
		err = errors.New("write key=…, os=…, age=… or kind=…")
	}
	return err
}

func once(first bool, err error) error {
	if err == nil && !first {
		return errors.New("named twice")
	}
	return err
}
