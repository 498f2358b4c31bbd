package ace

import (
	"errors"
	"fmt"
	"time"
)

// Keys of a registration and its answer (D22), our own format in Content-Format 60.
const (
	keyLifetime Parameter = 0

	keyLocalURIs      Parameter = 1
	keyEpoch          Parameter = 2
	keyHighestExpired Parameter = 3
	keyNewestNews     Parameter = 4

	keyTime    Parameter = 1
	keyTRLPath Parameter = 3
	keyMaxN    Parameter = 4
)

var (
	registerNames = map[Parameter]string{keyLifetime: "lifetime", keyLocalURIs: "local URIs", keyEpoch: "epoch",
		keyHighestExpired: "highest expired sequence", keyNewestNews: "newest news"}
	answerNames = map[Parameter]string{keyLifetime: "lifetime", keyTime: "time", keyEpoch: "epoch",
		keyTRLPath: "TRL path", keyMaxN: "max_n"}
)

// Register is what a device tells its server over their channel: POST /register (D22).
type Register struct {
	Lifetime       time.Duration // how long the registration is to hold; whole seconds
	LocalURIs      []string      // where a client near the device may reach it, best first
	Epoch          uint64        // newest epoch the device has accepted
	HighestExpired uint64        // highest sequence number among its expired exi tokens
	NewestNews     uint64        // newest news it has applied
}

// RegisterAnswer is the payload of 2.04.
type RegisterAnswer struct {
	Lifetime time.Duration // granted; whole seconds
	Time     time.Time     // the server's time, in whole seconds
	Epoch    uint64        // the device's epoch at the server
	TRLPath  string        // "" while the server keeps no token revocation list
	MaxN     uint64        // diff entries of that list at most (RFC 9770 §6.2); 0 without one
}

// ParseRegister reads a registration. All keys are required; ones we do not know are ignored.
func ParseRegister(data []byte) (Register, error) {
	f, err := parseFields(data)
	if err != nil {
		return Register{}, fmt.Errorf("registration: %w", err)
	}
	r := &reader{fields: f, names: registerNames}
	for _, key := range []Parameter{keyLifetime, keyLocalURIs, keyEpoch, keyHighestExpired, keyNewestNews} {
		r.required(key)
	}
	reg := Register{
		Lifetime:       r.seconds(keyLifetime),
		LocalURIs:      r.uris(keyLocalURIs),
		Epoch:          r.uint(keyEpoch),
		HighestExpired: r.uint(keyHighestExpired),
		NewestNews:     r.uint(keyNewestNews),
	}
	if r.err != nil {
		return Register{}, fmt.Errorf("registration: %w", r.err)
	}
	return reg, nil
}

// Encode writes the registration.
func (r Register) Encode() ([]byte, error) {
	uris := r.LocalURIs
	if uris == nil {
		uris = []string{}
	}
	w := writer{}
	w.put(keyLifetime, int64(r.Lifetime/time.Second))
	w.put(keyLocalURIs, uris)
	w.put(keyEpoch, r.Epoch)
	w.put(keyHighestExpired, r.HighestExpired)
	w.put(keyNewestNews, r.NewestNews)
	return checked(w, ParseRegister)
}

// maxUnixTime is the end of the year 9999.
const maxUnixTime = 253402300799

// ParseRegisterAnswer reads the answer. Lifetime, time and epoch are required.
func ParseRegisterAnswer(data []byte) (RegisterAnswer, error) {
	f, err := parseFields(data)
	if err != nil {
		return RegisterAnswer{}, fmt.Errorf("registration answer: %w", err)
	}
	r := &reader{fields: f, names: answerNames}
	r.required(keyLifetime).required(keyTime).required(keyEpoch)
	unix := r.uint(keyTime)
	if unix > maxUnixTime {
		r.fail(keyTime, errors.New("after the year 9999"))
	}
	a := RegisterAnswer{
		Lifetime: r.seconds(keyLifetime),
		Epoch:    r.uint(keyEpoch),
		TRLPath:  r.text(keyTRLPath, MaxURI),
		MaxN:     r.uint(keyMaxN),
	}
	if r.err != nil {
		return RegisterAnswer{}, fmt.Errorf("registration answer: %w", r.err)
	}
	a.Time = time.Unix(int64(unix), 0).UTC()
	return a, nil
}

// Encode writes the answer.
func (a RegisterAnswer) Encode() ([]byte, error) {
	w := writer{}
	w.put(keyLifetime, int64(a.Lifetime/time.Second))
	w.put(keyTime, a.Time.Unix())
	w.put(keyEpoch, a.Epoch)
	w.text(keyTRLPath, a.TRLPath)
	if a.MaxN != 0 {
		w.put(keyMaxN, a.MaxN)
	}
	return checked(w, ParseRegisterAnswer)
}
