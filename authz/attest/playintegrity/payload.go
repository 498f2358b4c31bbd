package playintegrity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// payload is what is read of a verdict.
type payload struct {
	requestPackage string
	nonce          string
	requestHash    string
	at             time.Time

	recognition string
	packageName string
	digests     []string // base64url, as Google writes them
	release     int64

	labels  []string
	testing bool
}

// members is an object with its values still encoded. No name stands in it twice, at any level: jose.Verify has seen to that.
// Names compare exactly, unlike in Go struct tags.
type members map[string]json.RawMessage

// read takes the payload apart. Errors name members and hold no values.
func read(all members) (*payload, error) {
	p := &payload{}
	for _, section := range []struct {
		name string
		must bool
		read func(*payload, members) error
	}{
		{"requestDetails", true, (*payload).readRequest},
		{"appIntegrity", true, (*payload).readApp},
		{"deviceIntegrity", true, (*payload).readDevice},
		{"testingDetails", false, (*payload).readTesting},
	} {
		raw, there := all[section.name]
		if !there && !section.must {
			continue
		}
		m, err := object(raw)
		if err == nil {
			err = section.read(p, m)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return p, nil
}

func (p *payload) readRequest(m members) error {
	millis, err := m.integer("timestampMillis", maxMillis)
	if err == nil && millis == 0 {
		err = errors.New("no timestampMillis")
	}
	p.at = time.UnixMilli(millis)
	return errors.Join(err,
		m.text("requestPackageName", maxPackage, &p.requestPackage),
		m.text("nonce", maxBound, &p.nonce),
		m.text("requestHash", maxBound, &p.requestHash))
}

func (p *payload) readApp(m members) (err error) {
	if p.release, err = m.integer("versionCode", maxRelease); err != nil {
		return err
	}
	if p.digests, err = m.texts("certificateSha256Digest", maxDigests); err != nil {
		return err
	}
	return errors.Join(m.text("appRecognitionVerdict", maxWord, &p.recognition), m.text("packageName", maxPackage, &p.packageName))
}

func (p *payload) readDevice(m members) (err error) {
	p.labels, err = m.texts("deviceRecognitionVerdict", maxLabels)
	return err
}

func (p *payload) readTesting(m members) error {
	switch string(m["isTestingResponse"]) {
	case "true":
		p.testing = true
	case "", "false":
	default:
		return errors.New("isTestingResponse: neither true nor false")
	}
	return nil
}

func object(raw json.RawMessage) (m members, err error) {
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &m) != nil {
		return nil, errors.New("not an object")
	}
	return m, nil
}

// text reads a string of 1 to limit bytes; one that is absent stays "".
func (m members) text(name string, limit int, to *string) error {
	raw, there := m[name]
	if !there {
		return nil
	}
	if json.Unmarshal(raw, to) != nil || *to == "" || len(*to) > limit {
		return fmt.Errorf("%s: not a string of 1 to %d bytes", name, limit)
	}
	return nil
}

// texts reads a list of at most limit strings; one that is absent is empty.
func (m members) texts(name string, limit int) (all []string, err error) {
	raw, there := m[name]
	if !there {
		return nil, nil
	}
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil || len(items) > limit {
		return nil, fmt.Errorf("%s: not a list of at most %d", name, limit)
	}
	all = make([]string, len(items))
	for i, item := range items {
		if err := (members{name: item}).text(name, maxWord, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// integer reads a whole number from 0 to limit, which Google writes in quotes, as JSON does with 64 bits; its older examples do without.
// One that is absent is 0.
func (m members) integer(name string, limit uint64) (int64, error) {
	raw, there := m[name]
	if !there {
		return 0, nil
	}
	digits := string(raw)
	if raw[0] == '"' {
		digits = digits[1 : len(digits)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > limit || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf("%s: not a whole number from 0 to %d", name, limit)
	}
	return int64(n), nil
}
